"""`additional_config` of the nxdi generation, read and laid over the defaults as the plugin does it.

Line numbers are those of 0.2.0's loader; max_prompt_length and LoRA are read from 0.3.0 (fork-infinity).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from neuronctl.neuron.architectures import has_experts, is_image_to_text
from neuronctl.neuron.keys import known_keys
from neuronctl.neuron.refusal import Refusal
from neuronctl.stack.version import release

_PARTS = ("text_neuron_config", "vision_neuron_config")
_LORA_KEYS = ("target_modules", "lora_ckpt_json", "lora_modules")


@dataclass(frozen=True)
class Override:
    """`additional_config`, read as the plugin reads it.

    `settings` is `override_neuron_config`, empty where that is no mapping; `is_given` says whether it was
    set at all.
    """

    settings: Mapping[str, Any]
    is_given: bool
    max_prompt_length: object
    silent: tuple[str, ...]
    refusals: tuple[Refusal, ...]


def read_override(additional_config: object, is_early: bool) -> Override:
    """Read it; `is_early` is a plugin before 0.3, which knows no max_prompt_length."""
    if additional_config is None:
        additional_config = {}
    if not isinstance(additional_config, Mapping):
        text = (
            "2 validation errors for VllmConfig\nadditional_config.dict[any,any]\n"
            "  Input should be a valid dictionary"
        )
        return Override({}, False, None, (), (Refusal("create_engine_config", "ValidationError", text),))
    silent = []
    read = ("override_neuron_config",) if is_early else ("override_neuron_config", "max_prompt_length")
    for key in additional_config:
        if key not in read:
            silent.append(f"additional_config.{key} is not read by the plugin and has no effect")
    given = additional_config.get("override_neuron_config")
    longest = None if is_early else additional_config.get("max_prompt_length")
    if isinstance(given, Mapping):
        return Override(given, True, longest, tuple(silent), ())
    refused: tuple[Refusal, ...] = ()
    if given is not None and (given or not is_early):
        # The plugin calls .pop(key, default) on it, unseen.
        kind = type(given).__name__
        text, error = f"'{kind}' object has no attribute 'pop'", "AttributeError"
        if isinstance(given, list):
            text, error = "pop expected at most 1 argument, got 2", "TypeError"
        refused = (Refusal("load_model", error, text),)
    return Override({}, given is not None, longest, tuple(silent), refused)


def merge_override(override: Override) -> dict[str, Any]:
    """The user's settings as they are laid over the defaults (870-899).

    The plugin reads the quantization keys once more with defaults, which are those of NeuronConfig.
    """
    found = dict(override.settings)
    for part in _PARTS:
        found.pop(part, None)
    if not found.get("chunked_prefill_config"):
        found.pop("chunked_prefill_config", None)
    return found


def conflicting_prompt_length(override: Override) -> Iterator[Refusal]:
    """max_prompt_length and max_context_length are one thing, and must not differ."""
    stated = override.settings.get("max_context_length")
    if override.max_prompt_length is None or stated in (None, override.max_prompt_length):
        return
    text = (
        "Conflicting max_prompt_length settings: override_neuron_config specifies max_context_length "
        f"{stated} but the max_prompt_length is {override.max_prompt_length}."
    )
    yield Refusal("load_model", "ValueError", text)


def match_blocks(
    arguments: dict[str, Any], values: Mapping[str, Any], override: Override
) -> Iterator[Refusal]:
    """pa_num_blocks and num_gpu_blocks_override must agree (796-829); then both count the null block."""
    if "pa_num_blocks" not in override.settings:
        return
    stated, blocks = arguments["pa_num_blocks"], values["num_gpu_blocks_override"]
    if blocks is None:
        text = (
            f"When setting pa_num_blocks ({stated}) in override_neuron_config, you must also "
            "set --num-gpu-blocks-override to the same value to ensure vLLM and NxDI have consistent block "
            "counts."
        )
        yield Refusal("load_model", "ValueError", text, "pa-blocks-mismatch")
    elif stated == blocks - 1:
        arguments["pa_num_blocks"] = blocks
    else:
        text = (
            f"pa_num_blocks ({stated}) must match your --num-gpu-blocks-override intent({blocks - 1}) to "
            "ensure vLLM and NxDI have consistent block counts."
        )
        yield Refusal("load_model", "ValueError", text, "pa-blocks-mismatch")


def lora_config(
    engine: Mapping[str, object], values: Mapping[str, Any], override: Override
) -> dict[str, object]:
    """LoraServingConfig as the runner of 0.3.0 makes it.

    vLLM makes max_cpu_loras at least max_loras, so adapters are always swapped at run time. Adapters named in
    lora_ckpt_json raise the maxima further; the file is not read here.
    """
    adapters = engine.get("max_loras", 1)
    return {
        "max_loras": adapters,
        "max_lora_rank": engine.get("max_lora_rank", 16),
        "max_cpu_loras": engine.get("max_cpu_loras") or adapters,
        "target_modules": override.settings.get("target_modules"),
        "lora_ckpt_json": override.settings.get("lora_ckpt_json"),
        "dynamic_multi_lora": True,
        "batch_size": values["max_num_seqs"],
        "base_model_quantized": override.settings.get("quantized", False),
    }


def overruled(
    neuron_config: Mapping[str, object],
    values: Mapping[str, Any],
    override: Override,
    engine: Mapping[str, object],
    architecture: str,
    plugin: str,
) -> Iterator[str]:
    """Settings that win over vLLM's arguments, or are lost, with no message that says so."""
    for key, name in (
        ("tp_degree", "tensor_parallel_size"),
        ("seq_len", "max_model_len"),
        ("batch_size", "max_num_seqs"),
    ):
        if key in override.settings and neuron_config.get(key) != values[name]:
            yield (
                f"override_neuron_config.{key} {neuron_config.get(key)} is compiled, while vLLM goes on with "
                f"{name} {values[name]}"
            )
    sampling = override.settings.get("on_device_sampling_config")
    if isinstance(sampling, Mapping) and not sampling.get("dynamic"):
        yield (
            "on_device_sampling_config replaces the plugin's own, so dynamic becomes false: each request's "
            "sampling parameters are ignored"
        )
    speculative = engine.get("speculative_config")
    if isinstance(speculative, Mapping) and speculative.get("method") == "eagle3":
        yield "speculative method eagle3 is not matched by the plugin: it becomes plain fused speculation"
    if "draft_overrides" in override.settings and release(plugin) < (0, 5):
        yield "override_neuron_config.draft_overrides is not read before vllm-neuron 0.5 and has no effect"
    known = known_keys("nxdi", "override_neuron_config")
    for key in override.settings:
        if key not in known:
            yield f"override_neuron_config.{key} is not a key of NeuronConfig and has no effect"
        elif key in _LORA_KEYS and engine.get("enable_lora") is not True:
            yield f"override_neuron_config.{key} is read with enable_lora only and has no effect"
        elif key in _PARTS and not is_image_to_text(architecture, plugin):
            yield f"override_neuron_config.{key} is for models with a vision encoder and has no effect here"
        elif key in known_keys("nxdi", "moe_neuron_config") and not has_experts(architecture):
            yield f"override_neuron_config.{key} is for models with experts and has no effect here"
