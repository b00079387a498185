"""From a model's own configuration to ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoConfig


def load_pretrained_config(name: str) -> Callable[[Any], None]:
    """A function that gives a configuration the attributes of the model's config.json."""

    def load(config: Any) -> None:
        found = AutoConfig.from_pretrained(name).to_dict()
        stated = found.pop("torch_dtype", None)
        neuron_config = config.neuron_config
        if stated and neuron_config is not None and not neuron_config.overrides_torch_dtype:
            neuron_config.torch_dtype = getattr(torch, stated)
        for key, value in found.items():
            setattr(config, key, value)

    return load
