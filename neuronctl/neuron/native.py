"""Facts of the native plugin that the plan and the rules share.

Source: vllm-neuron 0.24.0.1.1.0 (reference: g2), vllm_neuron/utils/bucket_utils.py and
vllm_neuron/vllm/worker; read, not run.
"""

from __future__ import annotations

from collections.abc import Mapping

# What the kernel of segmented prefill takes: a prompt is worked through in pieces of one of these.
SEGMENT_SIZES = (512, 1024, 2048, 4096, 8192)
# The longest context that may be prefilled in one piece.
SINGLE_SHOT_LENGTH = 16 * 1024
# vLLM's own max_num_batched_tokens (reference: known_issues, native-buckets).
BATCHED_TOKENS = 2048
# A decode context bucket is a multiple of it: a tile of the attention kernel.
DECODE_STEP = 128
# Share of the memory granted to vLLM that its KV cache may have, and the least it must be, in GiB.
KV_CAP_FRACTION = 0.30
LEAST_KV_GIB = 1.0

# Name in 0.21 → name in 0.24. No source states that they were renamed: the one list is from a fork of 0.21,
# the other from the documentation of 0.24 (reference: env_vars, rename_0_21_to_0_24).
RENAMED: Mapping[str, str] = {
    "VLLM_NEURON_COMPILATION_TIMEOUT": "NEURON_LIBTORCH_COMPILATION_TIMEOUT",
    "VLLM_NEURON_PARALLEL_COMPILE_WORKERS": "NEURON_LIBTORCH_PARALLEL_COMPILE_WORKERS",
    "VLLM_NEURON_REMOTE_CACHE": "NEURON_LIBTORCH_REMOTE_CACHE",
    "VLLM_NEURON_DISABLE_COMPILE_CACHE": "NEURON_LIBTORCH_DISABLE_COMPILE_CACHE",
    "VLLM_NEURON_DISABLE_GRAPH_CAPTURE_BACKEND": "NEURON_LIBTORCH_DISABLE_GRAPH_CAPTURE_BACKEND",
}
# Both are exported: quickstarts for 0.24 still use the old name.
COMPILATION_TIMEOUTS = ("VLLM_NEURON_COMPILATION_TIMEOUT", "NEURON_LIBTORCH_COMPILATION_TIMEOUT")

# What AWS's tutorials raise these to before a cold compile, in seconds (reference: env_vars).
COLD_COMPILE_TIMEOUTS_S: Mapping[str, int] = {
    "VLLM_ENGINE_READY_TIMEOUT_S": 5400,
    "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": 1200,
    COMPILATION_TIMEOUTS[0]: 1200,
    COMPILATION_TIMEOUTS[1]: 1200,
}


def prefill_tokens(engine: Mapping[str, object]) -> int | None:
    """The most tokens of one prefill: `max_num_batched_tokens`, and never more than `max_model_len`.

    None where a length is not a number.
    """
    tokens, length = engine.get("max_num_batched_tokens", BATCHED_TOKENS), engine.get("max_model_len")
    if not isinstance(tokens, int) or not isinstance(length, int):
        return None
    return min(tokens, length)


def local_ranks(engine: Mapping[str, object]) -> int:
    """How many cores one server takes: all ranks of all its copies of the model."""
    ranks = 1
    for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
        size = engine.get(name)
        ranks *= size if isinstance(size, int) and size > 0 else 1
    return ranks
