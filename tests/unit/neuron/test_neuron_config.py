from __future__ import annotations

from typing import Any

import pytest

from neuronctl.neuron.neuron_config import complete, objections


def made(**arguments: Any) -> dict[str, Any]:
    return complete(arguments, hardware="TRN2", lnc=None)


def refused(**arguments: Any) -> list[tuple[str, str]]:
    return [(one.error, one.message) for one in objections(made(**arguments))]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"seq_len": 512, "max_context_length": 128}, {"max_new_tokens": 384, "buckets": [512]}),
        ({"max_new_tokens": 7, "buckets": [64]}, {"max_new_tokens": 7, "buckets": [64]}),
        ({}, {"torch_dtype": "bfloat16", "overrides_torch_dtype": False}),
        ({"torch_dtype": "float16"}, {"overrides_torch_dtype": True}),
        ({"torch_dtype": "float16", "overrides_torch_dtype": False}, {"overrides_torch_dtype": False}),
        (
            {},
            {"output_logits": False, "mlp_kernel_enabled": False, "attn_block_tkg_nki_kernel_enabled": False},
        ),
        ({"tensor_capture_config": {"modules_to_capture": []}}, {"output_logits": True}),
        ({"mlp_tkg_nki_kernel_enabled": True}, {"mlp_kernel_enabled": True}),
        ({"attn_tkg_nki_kernel_enabled": True}, {"attn_block_tkg_nki_kernel_enabled": True}),
        ({"tkg_batch_size": 8, "attention_dp_degree": 2}, {"kv_cache_batch_size": 4}),
        ({"batch_size": 8, "tkg_batch_size": 6}, {"kv_cache_batch_size": 8, "kv_cache_padding_size": 0}),
        ({"tkg_batch_size": 8, "attention_dp_degree": 2}, {"kv_cache_padding_size": 1}),
        (
            {"attention_dp_degree": 2, "attn_block_tkg_nki_kernel_cascaded_attention": True},
            {"kv_cache_padding_size": 0},
        ),
        (
            {"default_image_width": 640, "skip_vision": True},
            {"default_image_width": 640, "skip_vision": True},
        ),
        ({"quantized_mlp_kernel_enabled": True}, {"quantization_dtype": "f8e4m3"}),
        ({"tp_degree": 4, "pp_degree": 2}, {"world_size": 8, "local_ranks_size": 8}),
        ({"on_device_sampling_config": {}}, {"lm_head_pad": True, "logical_nc_config": 2}),
        ({"lm_head_pad": False}, {"lm_head_pad": False}),
    ],
)
def test_derived_settings(arguments: dict[str, Any], expected: dict[str, Any]) -> None:
    config = made(**arguments)
    assert {name: config[name] for name in expected} == expected


def test_the_kernel_for_top_k_depends_on_the_hardware() -> None:
    arguments = {"on_device_sampling_config": {}}
    assert made(**arguments)["on_device_sampling_config"]["top_k_kernel_enabled"] is True
    older = complete(arguments, hardware="TRN1", lnc=None)
    assert older["on_device_sampling_config"]["top_k_kernel_enabled"] is False


def test_the_defaults_are_accepted() -> None:
    assert refused() == []
    assert refused(tp_degree=8, batch_size=8, is_continuous_batching=True, attention_dp_degree=2) == []
    assert refused(batch_size=4, token_generation_batches=[1, 4]) == []
    assert refused(is_full_model_shuffled=True, is_mxfp4_compute=True) == []
    kept = ["lm_head"]
    assert (
        refused(quantized_mlp_kernel_enabled=True, qkv_kernel_enabled=True, modules_to_not_convert=kept) == []
    )


DP = {"tp_degree": 8, "batch_size": 8, "is_continuous_batching": True}
CONFLICTS: list[tuple[dict[str, Any], str, str]] = [
    ({"batch_size": 4, "token_generation_batches": [8]}, "AssertionError", ""),
    ({"batch_size": 4, "token_generation_batches": [2], "speculation_length": 3}, "ValueError", ""),
    ({**DP, "batch_size": 6, "attention_dp_degree": 4}, "ValueError", "Batch Size must be evenly divisible"),
    ({**DP, "tp_degree": 6, "attention_dp_degree": 4}, "ValueError", "TP Degree must be evenly"),
    ({**DP, "cp_degree": 2, "attention_dp_degree": 4}, "ValueError", "Running DP Degree > CP Degree"),
    ({**DP, "tp_degree": 24, "batch_size": 8, "cp_degree": 6, "attention_dp_degree": 4}, "ValueError",
     "CP Degree % DP Degree should be 0"),
    ({**DP, "is_continuous_batching": False, "attention_dp_degree": 2}, "ValueError", "--is-continuous"),
    ({"cast_type": "other"}, "ValueError", "cast_type must be one of config, as-declared"),
    ({"torch_dtype": "bfloat16", "attention_dtype": "float32"}, "AssertionError", "attention dtype and"),
    ({"is_medusa": True, "async_mode": True}, "IncompatibleConfigError", "Medusa Decoding"),
    ({"mlp_cp_degree": 2}, "IncompatibleConfigError", "Context Parallel for MLP requires"),
    ({"tp_degree": 4, "ep_dispatch_cc_option": "RS_AG"}, "ValueError", ""),
    ({"qkv_cte_nki_kernel_fuse_rope": True}, "AssertionError", "When qkv_cte_nki_kernel_fuse_rope"),
    ({"activation_quantization_type": "DYNAMIC"}, "AssertionError", "Unsupported activation quantization"),
    ({"strided_context_parallel_kernel_enabled": True}, "ValueError", "CP must also be enabled"),
    ({"attn_block_tkg_nki_kernel_enabled": True}, "AssertionError", "When attn-block-tkg-nki-kernel-enabled"),
    ({"attn_block_tkg_nki_kernel_cache_update": True}, "AssertionError",
     "attn-block-tkg-nki-kernel-cache-update can only be enabled with"),
    ({**DP, "attention_dp_degree": 2, "qkv_kernel_enabled": True, "attn_block_tkg_nki_kernel_enabled": True,
      "attn_block_tkg_nki_kernel_cache_update": True}, "ValueError", "kv_cache_update_with_kernel must be"),
    ({"is_full_model_shuffled": True}, "AssertionError", "is_full_model_shuffled is enabled, but"),
    ({"quantized_mlp_kernel_enabled": True, "qkv_kernel_enabled": True}, "AssertionError",
     "Could not find modules_to_not_convert"),
    ({"k_cache_transposed": True, "is_block_kv_layout": True}, "AssertionError", "Transposed K cache"),
    ({"qkv_kernel_enabled": True, "attn_block_tkg_nki_kernel_enabled": True, "flash_decoding_enabled": True},
     "AssertionError", "Attention TKG kernels do not yet support"),
    ({"activation_quantization_type": "static", "mlp_kernel_enabled": True}, "AssertionError",
     "native quantization does not work"),
    ({"rmsnorm_quantize_kernel_enabled": True}, "AssertionError", "quantized_mlp_kernel must be enabled"),
    ({"quantized": True, "quantized_checkpoints_path": "/q", "qkv_kernel_enabled": True}, "AssertionError",
     "Could not find modules_to_not_convert"),
    ({"tensor_capture_config": {"capture_inputs": True}}, "IncompatibleConfigError", "Tensor capture"),
    ({"is_block_kv_layout": True, "batch_size": 2, "chunked_prefill_config": {"tkg_model_enabled": False}},
     "AssertionError", "batch_size has to be 1 for chunked prefill"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "error", "text"), CONFLICTS)
def test_what_cannot_go_together_is_refused(arguments: dict[str, Any], error: str, text: str) -> None:
    ((found, message),) = refused(**arguments)
    assert found == error
    assert message.startswith(text)
    assert bool(message) == bool(text)
