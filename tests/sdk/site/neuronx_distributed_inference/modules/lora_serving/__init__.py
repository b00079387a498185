"""Settings of adapters."""

from __future__ import annotations

import os
from typing import Any

from neuronx_distributed_inference.models.defaults import LORA


class LoraServingConfig:
    """Which adapters are served, and how."""

    def __init__(self, **given: Any) -> None:
        self.__dict__.update({name: given.get(name, value) for name, value in LORA.items()})
        paths = self.lora_ckpt_paths or {}
        if isinstance(paths, list):
            paths = dict((part.strip() for part in one.split(":")[:2]) for one in paths)
        for path in paths.values():
            if not os.path.exists(path):
                raise FileNotFoundError(f"LoRA adapter path {path} is not found")
        self.max_loras = max(self.max_loras, len(paths))
