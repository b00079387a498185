"""Settings of adapters: read from a JSON file, from paths, or from both, which do not go together."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from neuronx_distributed_inference.models.defaults import LORA

logger = logging.getLogger("Neuron")


class LoraServingConfig:
    """Which adapters are served, and how.

    What is saved with a compiled model holds both the name of the JSON file and the paths that were read from
    it, so that loading it meets each adapter twice.
    """

    def __init__(self, **given: Any) -> None:
        if unknown := given.keys() - LORA.keys():
            raise TypeError(
                f"LoraServingConfig.__init__() got an unexpected keyword argument {min(unknown)!r}"
            )
        self.__dict__.update({**LORA, **given})
        self.lora_ckpt_paths = self._paths(given.get("lora_ckpt_paths"), "lora-ckpt-paths")
        on_cpu = {}
        if self.dynamic_multi_lora:
            on_cpu = self._paths(given.get("lora_ckpt_paths_cpu"), "lora-ckpt-paths-cpu")
            on_cpu |= self.lora_ckpt_paths
        self.lora_ckpt_paths_cpu = on_cpu
        self.max_loras = max(self.max_loras, len(self.lora_ckpt_paths))
        if self.dynamic_multi_lora and len(on_cpu) > self.max_cpu_loras:
            raise ValueError(
                f"The total number of LoRA checkpoints specified in {self.lora_ckpt_json} is {len(on_cpu)}, "
                f"but the maximum number of adapters that can be hosted on CPU is {self.max_cpu_loras}."
            )
        self._take_over([*self.lora_ckpt_paths.values(), *on_cpu.values()])

    def _paths(self, stated: Any, section: str) -> dict[str, str]:
        """Adapter → path, of the JSON file and of what is stated."""
        found: dict[str, str] = {}
        if self.lora_ckpt_json is not None:
            content = json.loads(_read(_existing(self.lora_ckpt_json, None)))
            folder = content.get("lora-ckpt-dir", os.getcwd())
            for name, path in content[section].items():
                self._add(found, name, os.path.join(folder, path))
        if isinstance(stated, dict):
            for name, path in stated.items():
                self._add(found, name, path)
        for one in stated if isinstance(stated, list) else []:
            name, path = one.split(":")[:2]
            self._add(found, name.strip(), path.strip())
        return found

    def _add(self, found: dict[str, str], name: str, path: str) -> None:
        path = _existing(path, name)
        if name in found:
            raise ValueError(f"The adapter ID {name} appears more than once in lora_ckpt_paths.")
        found[name] = path

    def _take_over(self, folders: list[str]) -> None:
        """Modules and the highest rank are those of the adapters."""
        modules: set[str] = set()
        for folder in folders:
            if "adapter_config.json" not in os.listdir(folder):
                raise FileNotFoundError(f"No LoRA configuration json file is found in {folder}")
            adapter = json.loads(_read(os.path.join(folder, "adapter_config.json")))
            modules |= set(adapter["target_modules"])
            self.max_lora_rank = max(self.max_lora_rank, adapter["r"])
        if self.target_modules is None or not modules <= set(self.target_modules):
            self.target_modules = sorted(modules)


def _existing(path: str, name: str | None) -> str:
    path = os.path.expanduser(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"LoRA adapter path {path} for adapter ID {name} is not found.")
    return path


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()
