"""What the nxdi backend makes of a profile: vLLM with the plugin over NxD Inference.

Intent becomes vLLM's arguments and `additional_config.override_neuron_config`. Only that spelling is read
by the plugin; the dashed one of AWS's examples is ignored (reference: vllm_defaults, override).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from neuronctl.neuron.heads import shard_heads
from neuronctl.neuron.outlook import Outlook
from neuronctl.neuron.prediction import Prediction, predict
from neuronctl.plan.fit import choose_tensor_parallel, estimate_fit
from neuronctl.plan.given import Decided, Given
from neuronctl.plan.neuron import (
    TEXT,
    additional_config,
    assign_cores,
    default_length,
    default_sequences,
    find_key_faults,
    logical_cores_config,
    neuron_environment,
    neuron_key_inputs,
    neuron_origins,
    renamed,
    stated_neuron,
    whole,
)
from neuronctl.plan.plan import Setting

# What vLLM and NxD Inference see of these changes what is compiled (reference: env_vars, nxdi).
_COMPILING_VARIABLES = (
    "NEURON_CC_FLAGS",
    "NEURON_LOGICAL_NC_CONFIG",
    "NEURON_PLATFORM_TARGET_OVERRIDE",
    "NEURON_COMBINE_KV_ALLOCATIONS",
    "NEURON_FLOAT4X4_IS_FLOAT16",
    "NEURON_ON_DEVICE_SAMPLING_DISABLED",
    "DISABLE_NEURON_CUSTOM_SCHEDULER",
    "DISABLE_NUMERIC_CC_TOKEN",
    "NXD_LAYOUT_TRANSFORMATION_OPTIONS",
    "XLA_HANDLE_SPECIAL_SCALAR",
    "UNSAFE_FP8FNCAST",
    "CHECKPOINT_FORMAT",
    "NEURON_RT_ENABLE_OCP",
    "NEURON_RT_ENABLE_OCP_SATURATION",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
)
# What else begins so may change it too: when in doubt it is in the key.
_COMPILING_BEGINNINGS = ("NEURON_", "NXD_", "NKI_", "XLA_")
# Distributions whose version changes what is compiled or how it is sharded.
_COMPILING_VERSIONS = (
    "vllm",
    "vllm-neuron",
    "neuronx-distributed-inference",
    "neuronx-distributed",
    "neuronx-cc",
    "torch-neuronx",
    "libneuronxla",
    "nki",
    "torch",
    "torch-xla",
    "transformers",
)
SECTION = "override_neuron_config"
# Tokens in a block of the KV cache: the value of AWS's examples, and one that every version accepts.
_BLOCK_TOKENS = 32
_SCHEDULER = "DISABLE_NEURON_CUSTOM_SCHEDULER"
# Tokens in a piece of a prompt with chunked prefill: vLLM's own default.
_PIECE_TOKENS = 2048
_FP8_SETTINGS = ("kv_cache_quant", "activation_quantization_type", "quantized_mlp_kernel_enabled")
_QUANTIZED_DTYPE = {"int8": "int8", "fp8": "f8e4m3"}


def decide_nxdi(given: Given) -> Decided:
    """The nxdi backend's part of the plan."""
    lnc = logical_cores_config(given, stated_neuron(given, SECTION))
    engine = given.engine(_defaults(given, lnc))
    if "enable_chunked_prefill" not in given.effective(engine) and _turns_scheduler_off(given):
        engine["enable_chunked_prefill"] = Setting(True, f"{_SCHEDULER}=1")
    _shape_kv_cache(given, engine)
    speculative = given.profile.shape.features.speculative
    if speculative.method is not None and "speculative_config" not in engine:
        engine["speculative_config"] = _speculative_config(given)
    files: dict[str, str] = {}
    settings = _neuron_settings(given, engine, files)
    over, config = additional_config(given, engine, SECTION, settings)
    effective = given.effective(engine)
    degree = whole(effective.get("tensor_parallel_size")) or 1
    granted, assigned = assign_cores(given, degree, lnc)
    environment = given.environment(_environment(given, effective, over, lnc))
    if assigned is not None:
        environment["NEURON_RT_VISIBLE_CORES"] = Setting(
            str(assigned), "neuronctl: the first run of tensor_parallel_size cores that are granted"
        )
    prediction = _predict(given, effective, config, environment)
    facts = given.model.facts
    heads = None
    if facts.attention_heads and facts.kv_heads:
        heads = shard_heads(
            facts.attention_heads,
            facts.kv_heads,
            whole(prediction.neuron_config.get("tp_degree")) or degree,
        )
    fit = estimate_fit(given, effective, lnc, len(granted) if granted is not None else None, prediction)
    outlook = Outlook(
        generation="nxdi",
        settings=over,
        origins=neuron_origins(given, engine, over, settings),
        additional_config=config,
        tensor_parallel_size=degree,
        lnc=lnc,
        granted=granted,
        assigned=assigned,
        key_faults=find_key_faults(given, config, "nxdi"),
        prediction=prediction,
        heads=heads,
        estimate=fit.estimate,
        find_fitting=fit.find_fitting,
        find_degrees=fit.find_degrees,
    )
    key_inputs = _key_inputs(given, engine, environment, outlook, prediction, files)
    return Decided(engine, environment, key_inputs, files, outlook)


def _defaults(given: Given, lnc: int) -> dict[str, Setting]:
    """What vLLM would otherwise choose to a Neuron user's harm."""
    settings = {
        "max_model_len": default_length(given),
        "max_num_seqs": default_sequences(given),
        "dtype": _dtype(given),
        # vLLM's default is on, and then the plugin wants a block size (reference: prefix-caching-default).
        "enable_prefix_caching": Setting(False, "neuronctl: only where features.prefix_caching asks for it"),
    }
    settings["tensor_parallel_size"] = choose_tensor_parallel(given, settings, lnc)
    return settings


def _dtype(given: Given) -> Setting:
    stored = given.model.facts.dtype
    if stored in ("float16", "float32", "bfloat16"):
        return Setting(stored, "neuronctl: as the checkpoint")
    return Setting("bfloat16", "neuronctl: left to itself the plugin may take float32")


def _turns_scheduler_off(given: Given) -> bool:
    """Whether the profile or the shell asks for vLLM's own scheduler, which on Neuron is chunked prefill."""
    return given.seen(given.environment({})).get(_SCHEDULER) == "1"


def _shape_kv_cache(given: Given, engine: dict[str, Setting]) -> None:
    """Block size and number of blocks, by the plugin's rule for each of the two layouts.

    One block a sequence holds it whole in the contiguous layout; the block layout needs
    ceil(max_model_len / block_size) x max_num_seqs (reference: known_issues, num-gpu-blocks-override). The
    plugin adds one to what is said here, for its null block.
    """
    values = given.effective(engine)
    prefix, chunked = values.get("enable_prefix_caching"), values.get("enable_chunked_prefill")
    length, sequences = whole(values.get("max_model_len")), whole(values.get("max_num_seqs"))
    if not (prefix or chunked):
        if sequences and "num_gpu_blocks_override" not in values:
            engine["num_gpu_blocks_override"] = Setting(
                sequences, "neuronctl: contiguous KV layout, one block for each of max_num_seqs"
            )
        return
    if chunked and length and "max_num_batched_tokens" not in values:
        engine["max_num_batched_tokens"] = Setting(
            min(_PIECE_TOKENS, length), "neuronctl: one piece, which must not be longer than max_model_len"
        )
    if "block_size" not in values:
        engine["block_size"] = Setting(_BLOCK_TOKENS, "neuronctl: the block KV layout wants one")
    block = whole(given.effective(engine).get("block_size"))
    if "num_gpu_blocks_override" not in values and length and sequences and block:
        engine["num_gpu_blocks_override"] = Setting(
            math.ceil(length / block) * sequences,
            "neuronctl: block KV layout, ceil(max_model_len / block_size) x max_num_seqs",
        )


def _speculative_config(given: Given) -> Setting:
    """vLLM's own description; the plugin takes EAGLE for it only under the exact name `eagle`."""
    asked = given.profile.shape.features.speculative
    config: dict[str, object] = {"method": asked.method, "model": asked.model}
    if asked.tokens is not None:
        config["num_speculative_tokens"] = asked.tokens
    return Setting(config, f"features.speculative, {given.profile.origin('features.speculative')}")


def _neuron_settings(
    given: Given, engine: Mapping[str, Setting], files: dict[str, str]
) -> dict[str, Setting]:
    """NeuronConfig settings: neuronctl's own, then what features imply, then the profile's `neuron`."""
    features = given.profile.shape.features
    settings = {
        "save_sharded_checkpoint": Setting(
            True, "neuronctl: the artifact holds its weights, and loads where the model is elsewhere"
        )
    }

    def imply(key: str, value: object, feature: str) -> None:
        settings[key] = Setting(value, f"features.{feature}, {given.profile.origin(f'features.{feature}')}")

    sampling = features.sampling
    if sampling.on_device is False:
        imply("on_device_sampling_config", None, "sampling.on_device")
    elif sampling.global_top_k is not None:
        config = {"dynamic": True, "deterministic": False, "global_topk": sampling.global_top_k}
        imply("on_device_sampling_config", config, "sampling.global_top_k")
    if (weights := features.quantization.weights) is not None:
        imply("quantized", True, "quantization.weights")
        imply("quantization_dtype", _QUANTIZED_DTYPE[weights], "quantization.weights")
        imply("quantization_type", "per_channel_symmetric", "quantization.weights")
    if features.quantization.checkpoint is not None:
        imply("quantized_checkpoints_path", features.quantization.checkpoint, "quantization.checkpoint")
    if features.buckets.prefill is not None:
        imply("context_encoding_buckets", list(features.buckets.prefill), "buckets.prefill")
    if features.buckets.decode is not None:
        imply("token_generation_buckets", list(features.buckets.decode), "buckets.decode")
    if given.effective(engine).get("enable_chunked_prefill"):
        sequences = whole(given.effective(engine).get("max_num_seqs"))
        origin = engine.get("enable_chunked_prefill")
        settings["chunked_prefill_config"] = Setting(
            {"max_num_seqs": sequences}, origin.origin if origin else "after --"
        )
    if features.lora.adapters:
        imply("lora_ckpt_json", _adapter_file(given, files), "lora.adapters")
    return settings | stated_neuron(given, SECTION)


def _adapter_file(given: Given, files: dict[str, str]) -> str:
    """The file by which the plugin learns of adapters; its name follows its content."""
    from blake3 import blake3

    # The second list is read too as soon as vLLM may keep adapters in host memory, which it does by default.
    content = {"lora-ckpt-paths": given.profile.shape.features.lora.adapters, "lora-ckpt-paths-cpu": {}}
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    path = f"{given.home}/lora/{blake3(text.encode()).hexdigest()[:16]}.json"
    files[path] = text
    return path


def _environment(
    given: Given, effective: Mapping[str, object], over: Mapping[str, Any], lnc: int
) -> dict[str, Setting]:
    settings = neuron_environment(given, lnc)
    if effective.get("enable_chunked_prefill"):
        settings[_SCHEDULER] = Setting("1", "neuronctl: the plugin's own scheduler has no chunked prefill")
    if any(_needs_special_scalar(one) for one in (over, over.get(TEXT)) if isinstance(one, Mapping)):
        settings["XLA_HANDLE_SPECIAL_SCALAR"] = Setting("1", "neuronctl: without it results in FP8 are wrong")
    return settings


def _needs_special_scalar(neuron: Mapping[str, Any]) -> bool:
    """Whether numbers are kept in FP8 (reference: known_issues, fp8-xla-scalar)."""
    return neuron.get("quantization_dtype") == "f8e4m3" or any(neuron.get(key) for key in _FP8_SETTINGS)


def _predict(
    given: Given, effective: Mapping[str, object], config: object, environment: Mapping[str, Setting]
) -> Prediction:
    seen = given.seen(environment)
    versions = given.stack.versions
    instance = given.machine.instance
    lnc = seen.get("NEURON_LOGICAL_NC_CONFIG")
    return predict(
        engine=effective,
        additional_config=config,
        model_facts=given.model.facts,
        config=given.model.config,
        hardware=instance.hardware if instance else "TRN1",
        lnc=int(lnc) if lnc in ("1", "2") else None,
        plugin=versions.get("vllm-neuron", ""),
        vllm=given.stack.vllm_version or "",
        nxdi=versions.get("neuronx-distributed-inference"),
        environment=seen,
        host_memory_bytes=given.machine.memory_bytes,
    )


def _key_inputs(
    given: Given,
    engine: Mapping[str, Setting],
    environment: Mapping[str, Setting],
    outlook: Outlook,
    prediction: Prediction,
    files: Mapping[str, str],
) -> dict[str, object]:
    """All that can change what is compiled and sharded: weights are part of the output.

    Not where adapters, drafts and neuronctl's own files lie, which another machine may have elsewhere.
    """
    holds_weights = bool(prediction.neuron_config.get("save_sharded_checkpoint"))
    shared = neuron_key_inputs(
        given,
        outlook,
        engine,
        environment,
        versions=_COMPILING_VERSIONS,
        variables=_COMPILING_VARIABLES,
        beginnings=_COMPILING_BEGINNINGS,
        without=("additional_config", "lora_modules"),
        reads_model=not holds_weights,
    )
    adapters = given.profile.shape.features.lora.adapters
    names = given.identities
    named = {**names} | dict.fromkeys(files, "adapters")
    checkpoint = prediction.neuron_config.get("quantized_checkpoints_path")
    if holds_weights and isinstance(checkpoint, str):
        # By the plugin's code each compile makes it from the model, and no start reads it then
        # (plugin020:V/worker/neuronx_distributed_model_loader.py, _compile_and_load_model).
        named[checkpoint] = "made from the model"
    neuron = {
        "settings": dict(outlook.settings),
        "predicted": dict(prediction.neuron_config),
        "vision": dict(prediction.vision_config or {}),
    }
    return shared | {
        "engine": renamed(shared["engine"], names),
        "named": sorted(set(names.values())),
        "neuron_config": renamed(neuron, named),
        "adapters": {name: names.get(path, path) for name, path in adapters.items()},
    }
