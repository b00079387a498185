"""What stops a start before anything is compiled, beyond what NeuronConfig itself refuses.

Line numbers are those of 0.2.0's loader and of NxD Inference's models/config.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from neuronctl.model.config import ModelFacts
from neuronctl.neuron.architectures import supported
from neuronctl.neuron.heads import shard_heads
from neuronctl.neuron.override import Override
from neuronctl.neuron.refusal import Refusal
from neuronctl.stack.version import release

_PIXTRAL = "LlavaForConditionalGeneration"
# What NxD Inference wants of a model with chunked attention, such as Llama 4 (nxdi:M/models/config.py:24-32).
_CHUNKED_ATTENTION = {
    "flash_decoding_enabled": False,
    "attn_tkg_builtin_kernel_enabled": False,
    "attn_tkg_nki_kernel_enabled": False,
    "is_prefix_caching": False,
    "is_chunked_prefill": False,
    "padding_side": "right",
    "attention_dp_degree": 1,
}
# What the models with a vision encoder refuse of the text model, in the order of their code, and the names
# that they go by (nxdi:M/models/<model>/modeling_<model>.py). That of Qwen2-VL was not read.
_NOT_WITH_IMAGES = (
    ("is_block_kv_layout", "block_kv_layout"),
    ("is_medusa", "medusa"),
    ("enable_fused_speculation", "fused speculation"),
)
_NAMES_WITH_IMAGES = {
    "Llama4ForConditionalGeneration": "Llama4",
    _PIXTRAL: "Pixtral",
    "Qwen3VLForConditionalGeneration": "Qwen3VL",
}


def early_refusals(
    engine: Mapping[str, object],
    facts: ModelFacts,
    environment: Mapping[str, str],
    override: Override,
    plugin: str,
) -> Iterator[Refusal]:
    """What is refused before the Neuron configuration is looked at."""
    is_early = release(plugin) < (0, 3)
    if engine.get("enable_lora") is True and is_early:
        text = "Multi-lora is not yet supported on the Neuron plugin"
        yield Refusal("worker", "NotImplementedError", text, "lora-0.2.0")
    elif engine.get("enable_lora") is True and not override.is_given:
        # The runner takes LoRA's settings out of the mapping without asking whether there is one.
        yield Refusal("load_model", "AttributeError", "'NoneType' object has no attribute 'pop'")
    if facts.architecture == _PIXTRAL and is_early:
        text = "Pixtral is not yet supported on the Neuron plugin"
        yield Refusal("load_model", "NotImplementedError", text, "pixtral-limits")
    disabled = environment.get("NEURON_ON_DEVICE_SAMPLING_DISABLED", "0")
    # The sampler's module is called in place of its class; 0.5 calls the class, 0.4 was not read.
    if release(plugin) < (0, 4) and disabled.strip() != "0":
        text = "'module' object is not callable"
        yield Refusal("load_model", "TypeError", text, "on-device-sampling-env")


def plugin_refusals(arguments: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[Refusal]:
    """The plugin's own assertions on the merged settings (832-867); most have no text."""
    if values["enable_prefix_caching"]:
        for name in ("is_prefix_caching", "is_block_kv_layout"):
            if not arguments.get(name):
                yield Refusal("load_model", "AssertionError", "", about=name)
    if values["enable_chunked_prefill"]:
        for name in ("chunked_prefill_config", "is_block_kv_layout"):
            if not arguments.get(name):
                yield Refusal("load_model", "AssertionError", "", "chunked-prefill")
    block, length = values["block_size"], values["max_model_len"]
    if not arguments.get("is_block_kv_layout") or block is None:
        return
    needed = -(-length // block) * values["max_num_seqs"]
    blocks = values["num_gpu_blocks_override"]
    available = blocks - 1 if blocks is not None else arguments["pa_num_blocks"]
    if isinstance(available, int) and available < needed:
        text = (
            f"At least {needed} blocks are required for max_model_len {length}, but only {available} blocks "
            "are available (user-intended blocks, excluding the +1 for null block)"
        )
        issue = "num-gpu-blocks-override" if blocks is not None else "blocks-rounding"
        yield Refusal("load_model", "AssertionError", text, issue)


def vision_refusals(engine: Mapping[str, object], override: Override, is_early: bool) -> Iterator[Refusal]:
    """A model with a vision encoder takes its settings in two mappings only (903-910).

    Where LoRA is on, the runner of 0.3.0 and later has taken out its own keys before (_get_nxdi_lora_config),
    and 0.2.0 has refused it.
    """
    if is_early and not override.is_given:
        yield Refusal("load_model", "TypeError", "object of type 'NoneType' has no len()")
    keys = set(override.settings)
    if engine.get("enable_lora") is True:
        keys -= {"target_modules", "lora_ckpt_json"}
    if override.max_prompt_length is not None:
        keys.add("max_context_length")  # the plugin itself puts it beside the two
    if not keys <= {"text_neuron_config", "vision_neuron_config"}:
        text = "override_neuron_config for ImageToText models can only contain keys"
        yield Refusal("load_model", "AssertionError", text)


def unmapped_refusals(architecture: str, plugin: str) -> Iterator[Refusal]:
    if supported(architecture, plugin).ok or (architecture == _PIXTRAL and release(plugin) < (0, 3)):
        return
    text = f"Model {architecture} is not supported on Neuron for now. Supported models: ["
    yield Refusal("load_model", "ValueError", text, "unsupported-arch")


def config_refusals(
    neuron_config: Mapping[str, Any],
    config: Mapping[str, Any],
    has_vision: bool,
    architecture: str,
    plugin: str,
) -> Iterator[Refusal]:
    """What NxD Inference refuses of the model and its NeuronConfig together (907-925)."""
    # Only 0.3.0 was read to have this limit; the source of 0.5 does not have it, 0.4 was not read.
    is_limited = architecture == _PIXTRAL and (0, 3) <= release(plugin) < (0, 4)
    if is_limited and max(neuron_config["batch_size"], neuron_config["tkg_batch_size"]) > 4:
        text = "Neuron Pixtral model does not support batch size > 4 in vLLM v1 yet."
        yield Refusal("load_model", "ValueError", text, "pixtral-limits")
    nested = config.get("text_config")
    text_config = nested if has_vision and isinstance(nested, Mapping) else config
    chunk, window = text_config.get("attention_chunk_size"), text_config.get("sliding_window")
    is_chunked = (
        isinstance(chunk, int) and not isinstance(chunk, bool) and 0 < chunk < neuron_config["seq_len"]
    )
    if is_chunked:
        for name, wanted in _CHUNKED_ATTENTION.items():
            found = neuron_config.get(name)
            if name == "is_chunked_prefill":
                found = neuron_config["chunked_prefill_config"] is not None
            if found != wanted:
                text = (
                    f"The Neuron config {name}: {found} is not yet supported with chunked attention. Only "
                    f"config value of {wanted} is supported"
                )
                yield Refusal("load_model", "ValueError", text)
        cp = neuron_config["cp_degree"]
        if chunk % cp:
            text = f"attention_chunk_size: {chunk} must be divisible by cp_degree: {cp}"
            yield Refusal("load_model", "AssertionError", text)
        elif neuron_config["seq_len"] % chunk % cp:
            text = f"The last chunk must be divisible by cp_degree: {cp}"
            yield Refusal("load_model", "AssertionError", text)
    size = neuron_config["windowed_context_encoding_size"]
    if size is not None and window is not None and size != window:
        text = "Windowed context encoding size must equal sliding window size"
        yield Refusal("load_model", "AssertionError", text)
    if has_vision:
        yield from _image_refusals(neuron_config, architecture, is_told=is_chunked)


def _image_refusals(
    neuron_config: Mapping[str, Any], architecture: str, *, is_told: bool
) -> Iterator[Refusal]:
    """What a model with a vision encoder refuses of the NeuronConfig of its text model.

    `is_told`: chunked attention has refused prefix caching and chunked prefill, which want the block layout.
    """
    name = _NAMES_WITH_IMAGES.get(architecture)
    if name is None:
        return
    for key, feature in _NOT_WITH_IMAGES:
        if neuron_config[key] and not (is_told and key == "is_block_kv_layout"):
            yield Refusal("load_model", "ValueError", f"{name} does not yet support {feature}.")
    if name == "Qwen3VL" and neuron_config["attention_dp_degree"] > 1:
        yield Refusal("load_model", "ValueError", f"{name} does not yet support attention data parallel")
    if name == "Qwen3VL" and neuron_config["cp_degree"] > 1:
        yield Refusal("load_model", "ValueError", f"{name} does not yet support context parallel")


def refuses_block_layout(refusal: Refusal) -> bool:
    """Whether it is a model that refuses prefix caching and chunked prefill: their settings do not matter."""
    words = ("does not yet support block_kv_layout", "is not yet supported with chunked attention")
    return any(each in refusal.message for each in words)


def shared_lengths(
    neuron_config: Mapping[str, Any], buckets: Mapping[str, tuple[object, ...]]
) -> tuple[int, ...]:
    """The prefill buckets that sequence parallelism shares evenly (nxdi:M/models/model_base.py).

    With prefix caching or chunked prefill a bucket is a pair, whose first number counts. Windows were not
    looked at.
    """
    if not neuron_config.get("sequence_parallel_enabled"):
        return ()
    if neuron_config.get("windowed_context_encoding_size"):
        return ()
    sizes = buckets.get("context_encoding_model", ())
    lengths = (size[0] if isinstance(size, tuple) else size for size in sizes)
    return tuple(length for length in lengths if isinstance(length, int))


def sequence_refusals(
    neuron_config: Mapping[str, Any], buckets: Mapping[str, tuple[object, ...]]
) -> Iterator[Refusal]:
    """TP must divide what sequence parallelism shares.

    The plugin's own test has this refused (plugin020:test/tiny/test_sequence_parallel.py).
    """
    tp = neuron_config["tp_degree"]
    for length in shared_lengths(neuron_config, buckets):
        if length % tp:
            text = (
                f"When sequence parallel is enabled, context length ({length}) must be divisible by TP group "
                f"size ({tp})"
            )
            yield Refusal("compile", "AssertionError", text)
            return


def head_refusals(neuron_config: Mapping[str, Any], facts: ModelFacts) -> Iterator[Refusal]:
    heads, kv_heads, tp = facts.attention_heads, facts.kv_heads, neuron_config["tp_degree"]
    if not heads or not kv_heads or min(heads, kv_heads) < 1:
        return
    plan = shard_heads(heads, kv_heads, tp)
    if not plan.crashes:
        return
    text = ""
    if not neuron_config["fused_qkv"] and facts.head_dim and facts.hidden_size:
        expected, found = (
            f"torch.Size([{count * facts.head_dim // tp}, {facts.hidden_size}])"
            for count in (plan.kv_heads_after, plan.found_kv_heads)
        )
        text = f"expected shape {expected} for layers.0.self_attn.qkv_proj.k_proj.weight but found {found}"
    yield Refusal("load_model", "RuntimeError", text, "head-divisibility")
