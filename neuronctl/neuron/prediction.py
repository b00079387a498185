"""What the Neuron software will make of a server's arguments, without running it.

For the plugins of the nxdi generation: vLLM's configuration as the plugin changes it, the final NeuronConfig,
the graphs that are compiled, and what is refused. Line numbers are those of 0.2.0, which was measured
(plugin020:V/worker/neuronx_distributed_model_loader.py); what came later is from fork-infinity (0.3.0) and
fork-exa (0.5.x), as the legend of keys.yaml names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from neuronctl.model.config import ModelFacts
from neuronctl.neuron.architectures import has_experts, is_image_to_text
from neuronctl.neuron.buckets import graph_buckets
from neuronctl.neuron.checks import (
    config_refusals,
    early_refusals,
    head_refusals,
    plugin_refusals,
    refuses_block_layout,
    sequence_refusals,
    unmapped_refusals,
    vision_refusals,
)
from neuronctl.neuron.engine import resolve_engine
from neuronctl.neuron.keys import is_before, known_keys
from neuronctl.neuron.neuron_config import complete, objections
from neuronctl.neuron.override import (
    conflicting_prompt_length,
    lora_config,
    match_blocks,
    merge_override,
    overruled,
    read_override,
)
from neuronctl.neuron.refusal import Refusal, Stage
from neuronctl.stack.version import release

__all__ = ["Prediction", "Refusal", "predict"]

_DTYPES = {
    "half": "float16",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "float": "float32",
    "float32": "float32",
}


@dataclass(frozen=True)
class Prediction:
    """What will be made of the arguments.

    `engine` is vLLM's configuration after the plugin; `neuron_config` the final NeuronConfig (of the text
    model where there is a vision encoder, whose own is `vision_config`), empty without a max_model_len;
    `buckets` maps each graph to its sizes; `silent` says in words what is overruled without an error; the
    first of `refusals` is what happens, the others would follow once it is mended.
    """

    engine: Mapping[str, object]
    neuron_config: Mapping[str, object]
    vision_config: Mapping[str, object] | None
    buckets: Mapping[str, tuple[object, ...]]
    silent: tuple[str, ...]
    refusals: tuple[Refusal, ...]


def predict(
    *,
    engine: Mapping[str, object],
    additional_config: object,
    model_facts: ModelFacts,
    config: Mapping[str, Any],
    hardware: str,
    lnc: int | None,
    plugin: str,
    vllm: str,
    nxdi: str | None,
    environment: Mapping[str, str],
    host_memory_bytes: int | None = None,
) -> Prediction:
    """Predict a start of the nxdi generation; never raises, whatever JSON the arguments are.

    `engine` has vLLM's names with underscores, only what was said; `config` is the model's config.json;
    `hardware` is TRN1, TRN2 or TRN3; `lnc` is NEURON_LOGICAL_NC_CONFIG; `plugin`, `vllm`, `nxdi` are
    versions. NeuronConfig is that of NxD Inference 0.9.0, without the keys that `nxdi` certainly lacks.
    """
    is_early = release(plugin) < (0, 3)
    vllm_config = resolve_engine(
        engine, vllm=vllm, environment=environment, host_memory_bytes=host_memory_bytes
    )
    override = read_override(additional_config, is_early)
    refusals = [one for one in override.refusals if one.stage == "create_engine_config"]
    refusals += [
        Refusal("create_engine_config", "ValidationError", _validation_error(text), issue)
        for text, issue in vllm_config.errors
    ]
    refusals += early_refusals(engine, model_facts, environment, override, plugin)
    refusals += [one for one in override.refusals if one.stage == "load_model"]
    values = vllm_config.values
    silent = [*vllm_config.silent, *override.silent]
    if values["max_model_len"] is None:
        silent.append("max_model_len is not set: without it the Neuron configuration cannot be told")
        return Prediction(values, {}, None, {}, tuple(silent), tuple(refusals))

    arguments, dtype_refusals = _plugin_defaults(engine, values, model_facts)
    refusals += dtype_refusals
    if not is_early and override.is_given and engine.get("enable_lora") is True:
        arguments["lora_config"] = lora_config(engine, values, override)
    arguments.update(merge_override(override))
    refusals += conflicting_prompt_length(override)
    if override.max_prompt_length is not None:
        arguments["max_context_length"] = override.max_prompt_length
    if arguments.get("is_block_kv_layout"):
        refusals += match_blocks(arguments, values, override)
    refusals += plugin_refusals(arguments, values)
    refusals += unmapped_refusals(model_facts.architecture, plugin)

    def finish(part: str) -> dict[str, Any]:
        given = override.settings.get(part) if has_vision else None
        merged = {**arguments, **(given if isinstance(given, Mapping) else {})}
        experts = has_experts(model_facts.architecture)
        return complete(merged, hardware=hardware, lnc=lnc, has_experts=experts)

    has_vision = is_image_to_text(model_facts.architecture, plugin)
    if has_vision:
        refusals += vision_refusals(engine, override, is_early)
    vision = finish("vision_neuron_config") if has_vision else None
    text = finish("text_neuron_config")
    of_text = tuple(objections(text))
    for one in (*(objections(vision) if vision is not None else ()), *of_text):
        part = None if one in of_text else "vision_neuron_config"
        refusals.append(Refusal("load_model", one.error, one.message, one.issue, one.about, part))
    refusals += config_refusals(text, config, has_vision, model_facts.architecture, plugin)
    if text["enable_fused_speculation"] and not isinstance(engine.get("speculative_config"), Mapping):
        said = "Must pass speculative_config to load weights if using Neuron Speculation."
        refusals.append(Refusal("load_model", "AssertionError", said))
    silent += overruled(text, values, override, engine, model_facts.architecture, plugin)
    buckets: dict[str, tuple[object, ...]] = {}
    try:
        buckets = graph_buckets(text)
    except TypeError as error:
        if not any(refuses_block_layout(one) for one in refusals):
            refusals.append(Refusal("load_model", "TypeError", str(error), "prefix-buckets-none"))
    refusals += sequence_refusals(text, buckets)
    refusals += head_refusals(text, model_facts)
    return Prediction(
        engine=values,
        neuron_config=_known_to(text, nxdi),
        vision_config=None if vision is None else _known_to(vision, nxdi),
        buckets=buckets,
        silent=tuple(silent),
        refusals=_unique(refusals),
    )


def _validation_error(text: str) -> str:
    """How pydantic words one error that is raised while VllmConfig is made."""
    return f"1 validation error for VllmConfig\n  {text}"


def _plugin_defaults(
    engine: Mapping[str, object], values: Mapping[str, Any], facts: ModelFacts
) -> tuple[dict[str, Any], list[Refusal]]:
    """The plugin's own NeuronConfig, before overrides (725-793)."""
    length, block, chunked = values["max_model_len"], values["block_size"], values["enable_chunked_prefill"]
    batch = 1 if chunked else values["max_num_seqs"]
    blocks = values["num_gpu_blocks_override"]
    if blocks is None and block is not None:
        blocks = length // block * values["max_num_seqs"]
    dtype, refusals = _dtype(engine.get("dtype"), facts)
    defaults: dict[str, Any] = {
        "tp_degree": values["tensor_parallel_size"],
        "ctx_batch_size": 1,
        "batch_size": batch,
        "max_context_length": values["max_num_batched_tokens"] if chunked else length,
        "seq_len": length,
        "enable_bucketing": True,
        "is_continuous_batching": batch > 1,
        "quantized": False,
        "torch_dtype": dtype,
        "padding_side": "right",
        "on_device_sampling_config": {"dynamic": True, "deterministic": False},
        "lora_config": None,
        "pa_num_blocks": blocks,
        "pa_block_size": block,
        "is_block_kv_layout": chunked or values["enable_prefix_caching"],
        "is_prefix_caching": values["enable_prefix_caching"],
    }
    speculative = engine.get("speculative_config")
    if isinstance(speculative, Mapping):
        defaults["enable_fused_speculation"] = True
        defaults["speculation_length"] = speculative.get("num_speculative_tokens", 0)
        if speculative.get("method") == "eagle":
            defaults["enable_eagle_speculation"] = True
    return defaults, refusals


def _dtype(stated: object, facts: ModelFacts) -> tuple[str, list[Refusal]]:
    """The data type that vLLM chooses; from `auto` a 32-bit model becomes bfloat16."""
    if stated in (None, "auto"):
        return ("float16" if facts.dtype == "float16" else "bfloat16"), []
    name = stated if isinstance(stated, str) else str(stated)
    if name in _DTYPES:
        return _DTYPES[name], []
    return "bfloat16", [Refusal("load_model", "KeyError", name)]


def _known_to(finished: dict[str, Any], nxdi: str | None) -> dict[str, Any]:
    """Without the keys that an older NxD Inference certainly does not have."""
    if nxdi is None:
        return finished
    late = _later_keys(nxdi)
    return {key: value for key, value in finished.items() if key not in late}


@cache
def _later_keys(nxdi: str) -> frozenset[str]:
    known = known_keys("nxdi", "neuron_config").items()
    return frozenset(name for name, key in known if key.since and is_before(nxdi, key.since))


def _unique(refusals: list[Refusal]) -> tuple[Refusal, ...]:
    """In the order of the stages, each once: two configurations may be refused for one reason."""
    order: dict[Stage, int] = {"create_engine_config": 0, "worker": 1, "load_model": 2, "compile": 3}
    return tuple(sorted(dict.fromkeys(refusals), key=lambda one: order[one.stage]))
