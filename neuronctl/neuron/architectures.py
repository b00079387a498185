"""Which models each plugin can serve, by the architecture that config.json names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from neuronctl.stack.version import release
from neuronctl.yaml_data import read_yaml


@dataclass(frozen=True)
class Support:
    """Whether a plugin has a model for an architecture.

    `since` is the first plugin known to have it, None where none has or all have;
    `note` says what the fact stands on.
    """

    ok: bool
    since: str | None
    note: str


def supported(architecture: str, plugin_version: str) -> Support:
    """What `plugin_version` of vllm-neuron makes of `architecture`.

    The list of NxD Inference's models is that of 0.9.0; an older release may have fewer.
    """
    if release(plugin_version) >= (0, 21):
        return _native(architecture)
    facts = _data()["nxdi"]
    family, since, note = _family(architecture)
    listed = f"models of NxD Inference {facts['model_types_version']}: {', '.join(facts['model_types'])}"
    if family is None:
        return Support(False, None, f"{architecture} is none of the {listed}")
    if since is not None and release(plugin_version) < release(since):
        return Support(False, since, note or f"vllm-neuron {since} and later map it")
    return Support(True, since, f"mapped to {family} of NxD Inference {facts['model_types_version']}")


def is_multimodal(architecture: str) -> bool:
    """Whether the plugin of the nxdi generation lists the architecture as multimodal."""
    return architecture in _data()["nxdi"]["multimodal"]


def is_image_to_text(architecture: str, plugin_version: str) -> bool:
    """Whether the plugin takes `text_neuron_config` and `vision_neuron_config` for it, and nothing else."""
    since = _data()["nxdi"]["image_to_text"].get(architecture)
    return since is not None and release(plugin_version) >= release(since)


def has_experts(architecture: str) -> bool:
    """Whether NxD Inference configures the model with a MoENeuronConfig, which has more keys."""
    return _family(architecture)[0] in _data()["nxdi"]["experts"]


def _family(architecture: str) -> tuple[str | None, str | None, str | None]:
    """The name in NxD Inference's MODEL_TYPES, the plugin that maps to it, and a note on that."""
    facts = _data()["nxdi"]
    if "For" not in architecture:
        return None, None, None
    left, task = architecture.split("For", 1)
    left = left.lower()
    if task not in ("CausalLM", "ConditionalGeneration"):
        return None, None, None
    renamed = facts["renamed"].get(left)
    if renamed and (left != "llava" or architecture == "LlavaForConditionalGeneration"):
        return renamed["to"], renamed["since"], renamed.get("note")
    return (left if left in facts["model_types"] else None), None, None


def _native(architecture: str) -> Support:
    facts = _data()["native"]
    if architecture in facts["architectures"]:
        return Support(True, None, f"one of the models of {facts['version']}: {facts['models']}")
    return Support(False, None, f"not one of the models of {facts['version']}: {facts['models']}")


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = read_yaml(Path(__file__).with_name("architectures.yaml"))
    return data
