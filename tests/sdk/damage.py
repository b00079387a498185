"""What can happen to compiled artifacts: the measured cases as functions of the folder.

The ids are the numbers of the cases in the reference (`measured.yaml`, `artifact_damage`). Cases that damage
nothing in the folder, but start with other flags, another model or a kill, are in FLAG_CASES.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Damage = Callable[[Path], None]
# What these cases change is not in the folder.
FLAG_CASES = {
    "50": "--tensor-parallel-size 4",
    "52": "--max-model-len 256",
    "54": "prefix caching on",
    "56": "another model",
    "58": "a checkpoint with other weights",
    "61": "a checkpoint with other weights, no shards",
    "70": "a compile that fails",
    "72": "a compile that is killed in a folder that is not empty",
    "81": "a folder that cannot be written",
}


def set_in_config(folder: Path, **settings: Any) -> None:
    """Give NeuronConfig's settings other values in neuron_config.json."""
    file = folder / "neuron_config.json"
    config = json.loads(file.read_text())
    config["neuron_config"].update(settings)
    file.write_text(json.dumps(config, indent=2, sort_keys=True))


def halve(file: Path) -> None:
    """Keep the first half."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def flip(file: Path, at: int) -> None:
    """Turn the bits of one byte around."""
    content = bytearray(file.read_bytes())
    content[at] ^= 0xFF
    file.write_bytes(bytes(content))


def empty(folder: Path) -> None:
    """Take everything out."""
    shutil.rmtree(folder)
    folder.mkdir()


def drop_section(folder: Path) -> None:
    """Take the NeuronConfig out of neuron_config.json."""
    file = folder / "neuron_config.json"
    config = json.loads(file.read_text())
    del config["neuron_config"]
    file.write_text(json.dumps(config, indent=2, sort_keys=True))


def move_draft_class(folder: Path) -> None:
    """Let neuron_config.json name a class where none is any more."""
    file = folder / "neuron_config.json"
    config = json.loads(file.read_text())
    config["fused_spec_config"]["worker_cls"]["__module__"] = "neuronx_distributed_inference.models.gone"
    file.write_text(json.dumps(config, indent=2, sort_keys=True))


def flip_in_graph(folder: Path) -> None:
    """One byte in the middle of a compiled graph."""
    content = (folder / "model.pt").read_bytes()
    flip(folder / "model.pt", content.index(b'"lnc"') + 500)


def flip_in_code(folder: Path) -> None:
    """One byte of a comment in the TorchScript code."""
    content = (folder / "model.pt").read_bytes()
    flip(folder / "model.pt", content.index(b"# traced model of") + 10)


def shard(folder: Path, rank: int) -> Path:
    """The file of one rank's weights."""
    return folder / "weights" / f"tp{rank}_sharded_checkpoint.safetensors"


def flip_in_shard(folder: Path) -> None:
    """One byte of a tensor."""
    file = shard(folder, 0)
    flip(file, file.stat().st_size - 9)


DAMAGE: dict[str, Damage] = {
    "00": lambda folder: None,
    "02": empty,
    "10": lambda folder: (folder / "model.pt").unlink(),
    "12": lambda folder: halve(folder / "model.pt"),
    "14": flip_in_graph,
    "16": flip_in_code,
    "18": lambda folder: _write(
        folder / "model.pt", "<html><body><h1>503 Service Unavailable</h1></body></html>"
    ),
    "21": lambda folder: _write(folder / "neuron_config.json", "no JSON at all"),
    "23": lambda folder: halve(folder / "neuron_config.json"),
    "25": lambda folder: _write(folder / "neuron_config.json", "{}"),
    "27": drop_section,
    "29": lambda folder: set_in_config(folder, setting_of_another_version=1),
    "30": lambda folder: set_in_config(folder, tp_degree=4),
    "32": lambda folder: set_in_config(folder, tp_degree=1, world_size=1, local_ranks_size=1),
    "34": lambda folder: set_in_config(folder, save_sharded_checkpoint=False),
    "41": lambda folder: shard(folder, 1).unlink(),
    "43": flip_in_shard,
    "45": lambda folder: _write(shard(folder, 0), ""),
    "63": lambda folder: set_in_config(folder, tp_degree=4),
}


def _write(file: Path, text: str) -> None:
    file.write_text(text)
