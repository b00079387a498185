"""Rules about how a server meets the world, the same for each backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neuronctl.rules.rule import Remark, rule
from neuronctl.rules.situation import Situation

_OURS = "neuronctl: refuses what exposes or cannot work"


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a server that listens on `address`."""
    if address in ("127.0.0.1", "localhost"):
        return True
    import ipaddress

    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


@rule("server.public-without-key", "error", _OURS)
def public_without_key(situation: Situation) -> Remark | None:
    """The server would listen where other machines reach it, and no API key is set.

    Whoever reaches the port may use the model. Set `server.api_key_env`, listen on `127.0.0.1`, or insist
    with `--allow-public-without-key`.
    """
    address = situation.profile.shape.server.host
    if situation.has_api_key or situation.public_without_key or is_loopback(address):
        return None
    return Remark(
        f"server.host {address} can be reached from other machines and no API key is set",
        fix="set server.api_key_env to the name of a variable that holds a key, listen on 127.0.0.1, "
        "or insist with --allow-public-without-key",
        key="server.host",
    )


@rule(
    "model.context-exceeded",
    "error",
    "vLLM refuses a max_model_len above max_position_embeddings; plugin020:V/platform.py:92-98",
    covers=("context-too-long",),
)
def context_exceeded(situation: Situation) -> Remark | None:
    """`engine.max_model_len` is beyond the positions that the model was made for.

    vLLM refuses it too, but only after it has started, and the Neuron plugin over NxD Inference takes
    vLLM's check away (by its code): what happens past the limit is not known. A model whose positions are
    stretched (`rope_scaling`, `rope_parameters`, `model_max_length`) and `hf_overrides` are left to vLLM.
    Lower `engine.max_model_len`. `VLLM_ALLOW_LONG_MAX_MODEL_LEN=1` is respected.
    """
    length, context = situation.engine.get("max_model_len"), situation.model.facts.context_length
    if not isinstance(length, int) or context is None or length <= context:
        return None
    config = situation.model.config
    longest = config.get("model_max_length")
    if isinstance(longest, int) and length <= longest:
        return None
    if _is_scaled(config) or situation.engine.get("hf_overrides"):
        return None
    if situation.environment.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") == "1":
        return None
    return Remark(
        f"max_model_len {length} is beyond the {context} positions that {situation.model.id} was made for",
        fix=f"set engine.max_model_len to {context} or less",
        key="engine.max_model_len",
    )


def _is_scaled(config: Mapping[str, Any]) -> bool:
    """Whether positions are stretched, so that vLLM reckons with more than the configuration's number.

    Newer configurations say `rope_parameters`, also where nothing is stretched (`rope_type: default`).
    """
    nested = config.get("text_config")
    for one in (config, nested if isinstance(nested, dict) else {}):
        scaling = one.get("rope_scaling") or one.get("rope_parameters")
        if not isinstance(scaling, dict):
            continue
        # Some models have one such mapping for each kind of layer.
        for each in (scaling, *(inner for inner in scaling.values() if isinstance(inner, dict))):
            if each.get("rope_type", each.get("type", "default")) != "default":
                return True
    return False


@rule("server.api-key-missing", "error", _OURS)
def api_key_missing(situation: Situation) -> Remark | None:
    """`server.api_key_env` names a variable that is not set in your environment.

    A server that is meant to want a key must not start without one. A value under `env` of the profile
    does not count: a profile is no place for secrets. Export the variable, or remove
    `server.api_key_env`.
    """
    variable = situation.profile.shape.server.api_key_env
    if variable is None or situation.has_api_key:
        return None
    return Remark(
        f"the API key is to be in the variable {variable}, which is not set",
        fix=f"export {variable}=…, or remove server.api_key_env",
        key="server.api_key_env",
    )


RULES = (api_key_missing, public_without_key, context_exceeded)
