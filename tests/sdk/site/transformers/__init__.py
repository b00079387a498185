"""A stand-in for transformers: configurations, checkpoints and tokenizers of models, without arithmetic.

A model's name is a folder, or an id of the hub: a folder under STAND_IN_HUB, or in the cache of the hub.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# What the configuration classes of decoder models fill in.
_DEFAULTS: dict[str, Any] = {
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "pad_token_id": None,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "vocab_size": 32000,
}


def find_model(name: str) -> Path:
    """The folder of a model; OSError where neither disk nor hub has it."""
    if os.path.isdir(name):
        return Path(name)
    hub = os.environ.get("STAND_IN_HUB")
    if hub and (Path(hub) / name).is_dir():
        return Path(hub) / name
    home = os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")
    cached = Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub") / ("models--" + name.replace("/", "--"))
    if (cached / "refs" / "main").is_file():
        commit = (cached / "refs" / "main").read_text().strip()
        if (cached / "snapshots" / commit).is_dir():
            return cached / "snapshots" / commit
    raise OSError(f"{name} is not a local folder and is not a valid model identifier of the hub")


class PretrainedConfig:
    """The content of config.json, with defaults, as attributes."""

    def __init__(self, **values: Any) -> None:
        given = {**_DEFAULTS, **values}
        heads, hidden = given.get("num_attention_heads"), given.get("hidden_size")
        if heads and hidden:
            if given.get("num_key_value_heads") is None:
                given["num_key_value_heads"] = heads
            if given.get("head_dim") is None:
                given["head_dim"] = hidden // heads
        if "torch_dtype" not in given and "dtype" in given:
            given["torch_dtype"] = given.pop("dtype")
        self.__dict__.update(given)

    def get_text_config(self) -> Any:
        """The part that is about text."""
        inner = self.__dict__.get("text_config")
        return SimpleNamespace(**{**_DEFAULTS, **inner}) if isinstance(inner, dict) else self

    def to_dict(self) -> dict[str, Any]:
        """Everything that was said and filled in."""
        return dict(self.__dict__)


class AutoConfig:
    """Reads a configuration."""

    @staticmethod
    def from_pretrained(name: str, **_: Any) -> PretrainedConfig:
        """The configuration of a model, which remembers the name it was asked by."""
        file = find_model(name) / "config.json"
        if not file.is_file():
            raise OSError(f"{name} does not appear to have a file named config.json.")
        config = PretrainedConfig(**json.loads(file.read_text(encoding="utf-8")))
        config._name_or_path = name
        return config


class _Model:
    """A checkpoint in memory, in float32 unless something else was asked for."""

    def __init__(self, source: Path, tensors: dict[str, Any]) -> None:
        self.source = source
        self.tensors = tensors

    def state_dict(self) -> dict[str, Any]:
        """All tensors by name."""
        return dict(self.tensors)

    def save_pretrained(self, folder: str) -> None:
        """Write configuration and weights."""
        from safetensors.torch import save_file

        os.makedirs(folder, exist_ok=True)
        config = json.loads((self.source / "config.json").read_text(encoding="utf-8"))
        config["torch_dtype"] = "float32"
        (Path(folder) / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
        if (self.source / "generation_config.json").is_file():
            shutil.copy(self.source / "generation_config.json", folder)
        save_file(self.tensors, str(Path(folder) / "model.safetensors"))


class AutoModelForCausalLM:
    """Reads a checkpoint."""

    @staticmethod
    def from_pretrained(name: str, **_: Any) -> _Model:
        """The model in float32, whatever the file has."""
        import torch
        from neuronx_distributed_inference.modules.checkpoint import load_state_dict

        source = find_model(name)
        tensors = load_state_dict(str(source))
        return _Model(source, {key: tensor.to(torch.float32) for key, tensor in tensors.items()})


class AutoTokenizer:
    """Reads a tokenizer."""

    @staticmethod
    def from_pretrained(name: str, **_: Any) -> Any:
        """Something that makes one number of every text."""
        folder = find_model(name)
        if not any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json")):
            raise OSError(f"Can't load tokenizer for '{name}'.")
        return lambda text, **_: SimpleNamespace(input_ids=[len(text)])
