"""The files of a model folder that neuronctl makes, and whether they are all there."""

from __future__ import annotations

from pathlib import Path

from neuronctl.model.safetensors import find_fault

WEIGHTS = "model.safetensors"
FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", WEIGHTS)


def is_whole(folder: Path) -> bool:
    """Whether every file is there and not empty, and the weights are as long as their header says."""
    try:
        return all((folder / name).stat().st_size for name in FILES) and find_fault(folder / WEIGHTS) is None
    except OSError:
        return False
