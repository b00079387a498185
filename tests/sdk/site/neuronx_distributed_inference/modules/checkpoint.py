"""Checkpoints as they lie on the disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def load_state_dict(folder: str) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint folder."""
    index = os.path.join(folder, "model.safetensors.index.json")
    if os.path.isfile(index):
        files = json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values()
        found: dict[str, torch.Tensor] = {}
        for file in sorted(set(files)):
            found.update(load_file(os.path.join(folder, file)))
        return found
    whole = os.path.join(folder, "model.safetensors")
    if os.path.isfile(whole):
        return load_file(whole)
    pickled = os.path.join(folder, "pytorch_model.bin")
    if os.path.isfile(pickled):
        data = Path(pickled).read_bytes()
        return {"pytorch_model": torch.Tensor(torch.uint8, (len(data),), data)}
    raise FileNotFoundError(f"Can not find model.safetensors or pytorch_model.bin in {folder}")


def save_state_dict_safetensors(state_dict: dict[str, torch.Tensor], state_dict_dir: str) -> None:
    """Write a checkpoint into a folder."""
    save_file(state_dict, os.path.join(state_dict_dir, "model.safetensors"))
