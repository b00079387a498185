"""What a server of the nxdi backend sees of an artifact: links, and a neuron_config.json that it may lose."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from neuronctl.neuron.written import FILE


def link_artifact(tree: Path, folder: Path, adapters: Mapping[str, str]) -> None:
    """Make `folder` a view of the artifact: its own neuron_config.json, links to all else.

    `adapters` maps their names to their folders on this machine. Raises OSError.
    """
    for source in sorted(tree.rglob("*")):
        target = folder / source.relative_to(tree)
        if source.is_dir() and not source.is_symlink():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.name == FILE:
            target.write_bytes(_with_adapters_once(source.read_bytes(), adapters))
        else:
            os.symlink(source.resolve(), target)


def _with_adapters_once(written: bytes, adapters: Mapping[str, str]) -> bytes:
    """neuron_config.json with each adapter named once, where it is on this machine.

    NxD Inference saves the paths of adapters beside the name of the JSON file that it read them from, and
    refuses an adapter that it meets twice with a ValueError when it loads what it has saved: the plugin would
    compile at each start (nxdi:M/modules/lora_serving/config.py, by its code, not run).
    """
    try:
        data = json.loads(written)
        config = data["neuron_config"]["lora_config"]
        if not isinstance(config, dict):
            return written
    except (ValueError, LookupError, TypeError, RecursionError):
        return written
    config["lora_ckpt_json"] = None
    for key in ("lora_ckpt_paths", "lora_ckpt_paths_cpu"):
        if isinstance(config.get(key), dict):
            config[key] = {name: adapters.get(name, path) for name, path in config[key].items()}
    return json.dumps(data, indent=2, sort_keys=True).encode()
