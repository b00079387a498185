"""Rules about how a server meets the world, the same for each backend."""

from __future__ import annotations

from neuronctl.model.context import longest_context
from neuronctl.rules.place import engine_key
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
    "vLLM's config/model.py (_get_and_verify_max_len); plugin020:V/platform.py:92-98",
    covers=("context-too-long",),
)
def context_exceeded(situation: Situation) -> Remark | None:
    """`engine.max_model_len` is beyond the positions that the model was made for.

    vLLM refuses it too, but only after it has started, and the Neuron plugin over NxD Inference takes
    vLLM's check away (by its code): what happens past the limit is not known. Positions that are stretched
    (`rope_scaling` of yarn, linear, dynamic) count as vLLM counts them; Llama 3's way and longrope stretch
    nothing. `hf_overrides`, and ways of scaling that neuronctl does not know, are left to vLLM. Lower
    `engine.max_model_len`. `VLLM_ALLOW_LONG_MAX_MODEL_LEN=1` is respected.
    """
    length, positions = situation.engine.get("max_model_len"), situation.model.facts.context_length
    if not isinstance(length, int) or positions is None or not 0 < positions < length:
        return None
    longest = longest_context(situation.model.config, positions)
    if longest is None or length <= longest or situation.engine.get("hf_overrides"):
        return None
    if situation.environment.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") == "1":
        return None
    return Remark(
        f"max_model_len {length} is beyond the {longest} positions that {situation.model.id} was made for",
        fix=f"set engine.max_model_len to {longest} or less",
        key=engine_key(situation, "max_model_len"),
    )


@rule(
    "vllm.tool-parser-missing",
    "error",
    "measured on the parsers of vLLM 0.11.0, 0.16.0, 0.24.0 and 0.32.0",
)
def tool_parser_missing(situation: Situation) -> Remark | None:
    """`--enable-auto-tool-choice` wants the name of a parser; vLLM stops at once without one.

    Which parser it is depends on the model. `features.tools.parser` sets both.
    """
    engine = situation.engine
    if engine.get("enable_auto_tool_choice") is not True or engine.get("tool_call_parser"):
        return None
    return Remark(
        "enable_auto_tool_choice without a parser: vLLM stops with TypeError: Error: "
        "--enable-auto-tool-choice requires --tool-call-parser",
        fix="set features.tools.parser, such as llama3_json or hermes, or remove enable_auto_tool_choice",
        key=engine_key(situation, "enable_auto_tool_choice"),
    )


@rule("vllm.lora-turned-off", "error", "measured: vLLM takes --lora-modules without --enable-lora")
def lora_turned_off(situation: Situation) -> Remark | None:
    """Adapters are named and LoRA is turned off: vLLM starts, and the adapters are not served."""
    adapters = situation.profile.shape.features.lora.adapters
    if not adapters or situation.engine.get("enable_lora") is not False:
        return None
    return Remark(
        f"features.lora names {', '.join(adapters)}, and enable_lora is false: vLLM would start without them",
        fix="remove engine.enable_lora, or features.lora",
        key=engine_key(situation, "enable_lora"),
    )


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


RULES = (api_key_missing, public_without_key, context_exceeded, tool_parser_missing, lora_turned_off)
