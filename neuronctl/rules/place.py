"""Where a profile says a setting that a rule is about."""

from __future__ import annotations

from neuronctl.profile.load import dotted
from neuronctl.profile.variable import removal, variable_place
from neuronctl.rules.situation import Situation

# vLLM's arguments that features imply (plan/arguments.py).
_FEATURES = {
    "enable_prefix_caching": "features.prefix_caching",
    "enable_chunked_prefill": "features.chunked_prefill",
    "speculative_config": "features.speculative",
    "enable_lora": "features.lora",
}


def engine_key(situation: Situation, name: str) -> str | None:
    """The profile's key of one of vLLM's arguments; None where it is said after `--`."""
    section, value = situation.profile.shape.engine, situation.engine.get(name)
    for said, given in section.extra.items():
        if said.lstrip("-").replace("-", "_") == name:
            return dotted(("engine", "extra", said)) if given == value else None
    stated = getattr(section, name, None)
    if stated is None and (feature := _FEATURES.get(name)) and feature_is_said(situation, feature):
        return feature
    if stated is None:
        return f"engine.{name}" if name in section.__struct_fields__ else None
    return f"engine.{name}" if stated == value else None


def feature_is_said(situation: Situation, key: str) -> bool:
    """Whether the profile says a feature, or anything of it."""
    return situation.profile.origin(key).kind != "built-in"


def neuron_key(situation: Situation, path: str) -> str | None:
    """The profile's key of a Neuron setting (`a.b` inside the Neuron config); None where there is none."""
    if path.partition(".")[0] in situation.profile.shape.neuron:
        return f"neuron.{path}"
    return additional_config_key(situation)


def additional_config_key(situation: Situation) -> str | None:
    """Where the profile writes `--additional-config` itself; None also where it is said after `--`."""
    if isinstance(situation.engine.get("additional_config"), str):
        return None
    for said in situation.profile.shape.engine.extra:
        if said.lstrip("-").replace("-", "_") == "additional_config":
            return dotted(("engine", "extra", said))
    return None


def remove_variable(situation: Situation, name: str) -> str:
    """What to do so that a variable is not set, in the profile or in the shell."""
    return removal(name, variable_place(situation.profile, name))


def variable_key(situation: Situation, name: str) -> str | None:
    """The profile's key of a variable; None where the shell or neuronctl sets it."""
    return f"env.{name}" if name in situation.profile.shape.env else None
