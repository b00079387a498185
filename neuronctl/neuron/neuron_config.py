"""What NeuronConfig of NxD Inference makes of its arguments: derived defaults, and what it refuses.

Facts: nxdi:M/models/config.py, of the release labelled 0.9.0; line numbers are that file's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from neuronctl.neuron.keys import class_keys, known_keys

# Longest prompt from which the long-context mode is on, and its scratchpad page size (614-616).
_LONG_CONTEXT = 32 * 1024
_LONG_CONTEXT_PAGE_SIZE = 1024
# Arguments of MoENeuronConfig that end up in its router_config, not as attributes (844-846).
_ROUTER_ARGUMENTS = ("router_act_fn", "router_dtype")
# A larger number is no size, and would overflow the arithmetic of buckets.
_LARGEST = 2**40


@dataclass(frozen=True)
class Objection:
    """What NxD Inference raises: the exception's name, the start of its text, the known issue's id.

    `about` is the setting that it is about, where the text is empty.
    """

    error: str
    message: str
    issue: str | None = None
    about: str | None = None


def complete(
    arguments: Mapping[str, Any], *, hardware: str, lnc: int | None, has_experts: bool = False
) -> dict[str, Any]:
    """The attributes of a NeuronConfig made with `arguments`; unknown arguments are left out, as there.

    `hardware` is TRN1, TRN2 or TRN3; `lnc` is NEURON_LOGICAL_NC_CONFIG, which wins over the arguments. A
    value of the wrong type is taken as if it were not given: `check_keys` tells of it. `has_experts` makes
    it a MoENeuronConfig.
    """
    known = class_keys(has_experts)
    config: dict[str, Any] = {name: key.default for name, key in known.items()}
    config.update({name: value for name, value in arguments.items() if name in known})
    for name in known_keys("nxdi", "multimodal_vision_neuron_config"):
        if name in arguments:
            config[name] = arguments[name]
    for name in _ROUTER_ARGUMENTS:
        config.pop(name, None)

    def derive(name: str, value: object) -> None:
        if not _is_size(config[name]):
            config[name] = value

    for name in ("batch_size", "seq_len", "tp_degree", "cp_degree", "pp_degree", "ep_degree"):
        derive(name, known[name].default)
    for name in ("attention_dp_degree", "mlp_cp_degree", "speculation_length"):
        if not _is_number(config[name]):
            config[name] = known[name].default
    batch, length = config["batch_size"], config["seq_len"]
    for name in ("n_active_tokens", "n_positions", "max_context_length", "max_length", "pa_block_size"):
        derive(name, length)
    for name in ("ctx_batch_size", "tkg_batch_size", "max_batch_size", "spec_batch_size", "pa_num_blocks"):
        derive(name, batch)
    derive("kv_cache_batch_size", batch)
    derive("world_size", config["tp_degree"] * config["pp_degree"] * config["ep_degree"])
    derive("local_ranks_size", config["world_size"])
    if "max_new_tokens" not in arguments:
        config["max_new_tokens"] = length - config["max_context_length"] or None
    if "buckets" not in arguments:
        config["buckets"] = [length]
    for name in ("context_encoding_buckets", "prefix_buckets", "token_generation_buckets"):
        config[name] = _sizes(config[name])
    batches = config["token_generation_batches"]
    config["token_generation_batches"] = batches if _is_size(batches) else _sizes(batches)
    _derive_types(config, arguments)
    _derive_sub_configs(config, hardware)
    _derive_features(config, hardware)
    config["logical_nc_config"] = _lnc(arguments, hardware, lnc)
    if "lm_head_pad" not in arguments:
        config["lm_head_pad"] = config["logical_nc_config"] > 1
    config.pop("logical_neuron_cores", None)  # read as logical_nc_config, no attribute of its own (733-740)
    return config


def _derive_types(config: dict[str, Any], arguments: Mapping[str, Any]) -> None:
    if arguments.get("torch_dtype") is None:
        config.update(torch_dtype="bfloat16", overrides_torch_dtype=False)
    elif "overrides_torch_dtype" not in arguments:
        config["overrides_torch_dtype"] = True


def _derive_sub_configs(config: dict[str, Any], hardware: str) -> None:
    """Mappings become objects with defaults; anything else stays."""
    for name in ("on_device_sampling_config", "chunked_prefill_config", "lora_config"):
        given = config[name]
        if not isinstance(given, Mapping):
            continue
        section = known_keys("nxdi", "lora_serving_config" if name == "lora_config" else name)
        config[name] = {each: given.get(each, key.default) for each, key in section.items()}
        for each, key in section.items():
            if key.kinds == ("int",) and not _is_number(config[name][each]) and key.default is not None:
                config[name][each] = key.default
        if name == "on_device_sampling_config" and "top_k_kernel_enabled" not in given:
            config[name]["top_k_kernel_enabled"] = hardware != "TRN1"
    chunked = config["chunked_prefill_config"]
    if isinstance(chunked, Mapping):
        for each in ("kernel_q_tile_size", "kernel_kv_tile_size"):
            if not _is_size(chunked[each]):
                config["chunked_prefill_config"][each] = 128 if each == "kernel_q_tile_size" else 1024


def _derive_features(config: dict[str, Any], hardware: str) -> None:
    """What one setting does to another (152, 255-256, 430-467, 492-521, 576-578, 596-619)."""
    if config["enable_eagle_speculation"]:
        config["enable_fused_speculation"] = True
    if config["tensor_capture_config"]:
        config["output_logits"] = True
    if config["mlp_tkg_nki_kernel_enabled"]:
        config["mlp_kernel_enabled"] = True
    if config["attn_tkg_nki_kernel_enabled"] or config["attn_tkg_builtin_kernel_enabled"]:
        config["attn_block_tkg_nki_kernel_enabled"] = True
    if config["activation_quantization_type"] is not None:
        config["fused_qkv"] = False  # taken out of the arguments a second time, so the setting is lost
    if config["activation_quantization_type"] or config["quantized_mlp_kernel_enabled"]:
        config.update(quantization_type="per_channel_symmetric", quantization_dtype="f8e4m3")
    if config["attention_dp_degree"] > 1:
        config["kv_cache_batch_size"] = config["tkg_batch_size"] // config["attention_dp_degree"]
        # The kernel that updates the cache needs no line of its own for what is written for nobody.
        by_kernel = config["attn_block_tkg_nki_kernel_cascaded_attention"] and hardware != "TRN1"
        config["kv_cache_padding_size"] = 0 if by_kernel else 1
    skipped = config["weights_to_skip_layout_optimization"]
    lora = config["lora_config"]
    if isinstance(lora, Mapping) and lora.get("dynamic_multi_lora") and isinstance(skipped, list):
        config["weights_to_skip_layout_optimization"] = [*skipped, ".*lora.*"]
    if config["scratchpad_page_size"] is None and config["max_context_length"] >= _LONG_CONTEXT:
        config["scratchpad_page_size"] = _LONG_CONTEXT_PAGE_SIZE


def _lnc(arguments: Mapping[str, Any], hardware: str, lnc: int | None) -> int:
    """Environment, then arguments, then the platform (729-759, 1099-1118)."""
    if lnc is not None:
        return lnc
    for name in ("logical_nc_config", "logical_neuron_cores"):
        given = arguments.get(name)
        if isinstance(given, int) and not isinstance(given, bool):
            return given
    return 1 if hardware == "TRN1" else 2


def objections(config: Mapping[str, Any]) -> Iterator[Objection]:
    """What the constructor refuses in a complete configuration, in its order; the first is what happens.

    Where the reference has only the condition, the text is empty.
    """
    allowed = known_keys("nxdi", "neuron_config")["torch_dtype"].allowed
    if config["torch_dtype"] not in allowed:
        yield Objection("AssertionError", f"Unsupported dtype: {config['torch_dtype']}")
    if config["cast_type"] not in ("config", "as-declared"):
        yield Objection("ValueError", "cast_type must be one of config, as-declared")
    other = config["attention_dtype"]
    if other is not None and other != config["torch_dtype"] and config["cast_type"] != "as-declared":
        yield Objection("AssertionError", "attention dtype and torch dtype are different")
    yield from _lengths(config)
    yield from _quantization(config)
    yield from _speculation(config)
    yield from _chunked_prefill(config)
    if config["tensor_capture_config"] and config["on_device_sampling_config"] is None:
        yield Objection("IncompatibleConfigError", "Tensor capture requires on device sampling config")
    yield from _degrees(config)
    yield from _kernels(config)


def _lengths(config: Mapping[str, Any]) -> Iterator[Objection]:
    longest, total = config["max_context_length"], config["max_length"]
    if longest > total:
        yield Objection("AssertionError", "max_context_length cannot be more than max_length")
    context, decode = config["context_encoding_buckets"], config["token_generation_buckets"]
    if context is not None and context[-1] > longest:
        yield Objection("AssertionError", f"Context bucket {context[-1]} should be <= {longest}")
    if decode is not None and decode[-1] > total:
        yield Objection("AssertionError", f"Token generation bucket {decode[-1]} should be <= {total}")
    batches = config["token_generation_batches"]
    if batches is None:
        return
    if max(batches if isinstance(batches, list) else [batches]) > config["tkg_batch_size"]:
        yield Objection("AssertionError", "", about="token_generation_batches")
    features = ("enable_fused_speculation", "is_medusa", "token_tree_config", "chunked_prefill_config")
    others = ("speculation_length", "is_prefix_caching", "is_block_kv_layout")
    if any(config[name] for name in (*features, *others)):
        yield Objection("ValueError", "", about="token_generation_batches")


def _quantization(config: Mapping[str, Any]) -> Iterator[Objection]:
    if config["is_full_model_shuffled"] and not (config["is_mxfp4_compute"] or config["is_eagle_draft"]):
        text = "is_full_model_shuffled is enabled, but is_mxfp4_compute is not enabled."
        yield Objection("AssertionError", text)
    dtype, is_quantized = config["quantization_dtype"], config["quantized"]
    if is_quantized and config["quantized_checkpoints_path"] is None:
        yield Objection("AssertionError", "quantized_checkpoints_path is required", "quantized-needs-path")
    if is_quantized and str(dtype).lower() not in known_keys("nxdi")["quantization_dtype"].allowed:
        yield Objection("AssertionError", f"{dtype} is not a valid QuantizedDtype.")
    if not (is_quantized or config["quantized_mlp_kernel_enabled"] or config["activation_quantization_type"]):
        return
    if (config["qkv_kernel_enabled"] or config["qkv_nki_kernel_enabled"]) and not config[
        "modules_to_not_convert"
    ]:
        yield Objection("AssertionError", "Could not find modules_to_not_convert for quantized model.")


def _speculation(config: Mapping[str, Any]) -> Iterator[Objection]:
    if config["is_medusa"] and config["async_mode"]:
        yield Objection("IncompatibleConfigError", "Medusa Decoding is not yet supported with async.")


def _chunked_prefill(config: Mapping[str, Any]) -> Iterator[Objection]:
    chunked = config["chunked_prefill_config"]
    if chunked is None:
        return
    if not config["is_block_kv_layout"]:
        text = "is_block_kv_layout has to be true for chunked prefill because it depends on block KV"
        yield Objection("AssertionError", text, "chunked-prefill")
    if isinstance(chunked, Mapping) and not chunked["tkg_model_enabled"] and config["batch_size"] != 1:
        yield Objection(
            "AssertionError", "batch_size has to be 1 for chunked prefill CTE model", "chunked-prefill"
        )


def _degrees(config: Mapping[str, Any]) -> Iterator[Objection]:
    tp, cp, dp = config["tp_degree"], config["cp_degree"], config["attention_dp_degree"]
    if tp % cp:
        yield Objection("ValueError", "TP Degree must be evenly divisible by CP Degree")
    if config["mlp_cp_degree"] > 1 and not config["sequence_parallel_enabled"]:
        text = "Context Parallel for MLP requires Sequence Parallel to be enabled"
        yield Objection("IncompatibleConfigError", text)
    if config["ep_dispatch_cc_option"] == "RS_AG" and tp > config["tkg_batch_size"]:
        yield Objection("ValueError", "", about="ep_dispatch_cc_option")
    if dp <= 1:
        return
    if tp % dp:
        yield Objection("ValueError", "TP Degree must be evenly divisible by DP Degree")
    if config["tkg_batch_size"] % dp:
        yield Objection("ValueError", "Batch Size must be evenly divisible by DP Degree")
    if 1 < cp < dp:
        text = "Running DP Degree > CP Degree is not supported when CP and DP is enabled"
        yield Objection("ValueError", text)
    elif cp > 1 and cp % dp:
        yield Objection("ValueError", "CP Degree % DP Degree should be 0 when CP and DP is enabled")
    if not config["is_continuous_batching"]:
        yield Objection("ValueError", "--is-continuous-batching must be enabled when running DP")
    if config["attn_block_tkg_nki_kernel_cache_update"] and config["kv_cache_padding_size"]:
        text = "kv_cache_update_with_kernel must be set to enable attn_block_tkg_nki_kernel_cache_update"
        yield Objection("ValueError", text)


def _kernels(config: Mapping[str, Any]) -> Iterator[Objection]:
    qkv, qkv_nki = config["qkv_kernel_enabled"], config["qkv_nki_kernel_enabled"]
    block_tkg = config["attn_block_tkg_nki_kernel_enabled"]
    if config["qkv_cte_nki_kernel_fuse_rope"] and not (qkv and qkv_nki):
        yield Objection("AssertionError", "When qkv_cte_nki_kernel_fuse_rope is set to True")
    quantized = config["activation_quantization_type"]
    if quantized is not None and quantized not in ("dynamic", "static"):
        yield Objection("AssertionError", f"Unsupported activation quantization type: {quantized}")
    if config["strided_context_parallel_kernel_enabled"] and config["cp_degree"] <= 1:
        text = "CP must also be enabled when strided_context_parallel_kernel_enabled is set."
        yield Objection("ValueError", text)
    if block_tkg and not (qkv or qkv_nki):
        yield Objection("AssertionError", "When attn-block-tkg-nki-kernel-enabled")
    wanted = "can only be enabled with attn-block-tkg-nki-kernel-enabled"
    if config["attn_block_tkg_nki_kernel_cache_update"] and not block_tkg:
        yield Objection("AssertionError", f"attn-block-tkg-nki-kernel-cache-update {wanted}")
    if config["attn_block_tkg_nki_kernel_cascaded_attention"] and not block_tkg:
        yield Objection("AssertionError", f"attn_block_tkg_nki_kernel_cascaded_attention {wanted}")
    if config["attn_block_cte_nki_kernel_enabled"]:
        for name in ("qkv_kernel_enabled", "qkv_nki_kernel_enabled", "out_proj_kernel_enabled"):
            if not config[name]:
                text = f"Cannot set {name}=False when attn_block_cte_nki_kernel_enabled=True."
                yield Objection("ValueError", text, "cte-block-kernel-flag")
    chunked = config["chunked_prefill_config"] is not None
    if block_tkg and (config["flash_decoding_enabled"] or chunked):
        yield Objection("AssertionError", "Attention TKG kernels do not yet support")
    transposed = config["k_cache_transposed"]
    if transposed and (config["flash_decoding_enabled"] or chunked or config["is_block_kv_layout"]):
        yield Objection("AssertionError", "Transposed K cache is not yet supported by")
    if quantized and (config["quantized_mlp_kernel_enabled"] or config["mlp_kernel_enabled"]):
        text = "native quantization does not work with quantized kernels"
        yield Objection("AssertionError", text)
    if config["rmsnorm_quantize_kernel_enabled"] and not config["quantized_mlp_kernel_enabled"]:
        yield Objection(
            "AssertionError", "quantized_mlp_kernel must be enabled to use rmsnorm_quantize_kernel!"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _is_size(value: object) -> bool:
    return _is_number(value) and value != 0


def _sizes(value: object) -> list[int] | None:
    if isinstance(value, list) and value and all(_is_number(one) for one in value):
        return sorted(value)
    return None
