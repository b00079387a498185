"""The files of a model folder that neuronctl makes, and whether they are all there."""

from __future__ import annotations

import json
from pathlib import Path

WEIGHTS = "model.safetensors"
FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", WEIGHTS)


def is_whole(folder: Path) -> bool:
    """Whether every file is there and not empty, and the weights are as long as their header says."""
    try:
        return all((folder / name).stat().st_size for name in FILES) and _weights_whole(folder / WEIGHTS)
    except OSError:
        return False


def _weights_whole(weights: Path) -> bool:
    """safetensors: the header's length (u64), the header (JSON with `data_offsets`), then the numbers."""
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > 2**26:
            return False
        try:
            header = json.loads(file.read(length))
            end = max(row["data_offsets"][1] for name, row in header.items() if name != "__metadata__")
        except (ValueError, LookupError, TypeError, AttributeError):
            return False
    return bool(weights.stat().st_size == 8 + length + end)
