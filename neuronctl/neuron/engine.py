"""vLLM's configuration once the plugin of the nxdi generation has changed it.

Facts: plugin020:V/platform.py:143-210 (the same in 0.3.0 and 0.5.x: fork-infinity, fork-exa); vLLM's defaults
as measured with 0.11.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuronctl.stack.version import release

SCHEDULER = "vllm_neuron.core.scheduler.ContinuousBatchingNeuronScheduler"
_TOKEN_BUDGET = 131072
_GIB = 1024**3
# vLLM 0.11's own defaults for `vllm serve` where the platform says nothing.
_MAX_NUM_SEQS = 256
_MAX_NUM_BATCHED_TOKENS = 2048
_SWAP_SPACE_GIB = 4.0
_LARGEST = 2**40


@dataclass(frozen=True)
class Engine:
    """`values` by vLLM's names; `silent` what was overruled; `errors` what VllmConfig refuses, in order."""

    values: Mapping[str, Any]
    silent: tuple[str, ...]
    errors: tuple[tuple[str, str | None], ...]


def resolve_engine(
    stated: Mapping[str, object],
    *,
    vllm: str,
    environment: Mapping[str, str],
    host_memory_bytes: int | None,
) -> Engine:
    """What the plugin leaves of the arguments `stated` (names with underscores, only what was said).

    An error is the text inside pydantic's ValidationError, with the id of the known issue.
    """
    silent: list[str] = []
    errors: list[tuple[str, str | None]] = []
    tp = _size(stated.get("tensor_parallel_size")) or 1
    world = tp * (_size(stated.get("pipeline_parallel_size")) or 1)
    length = _size(stated.get("max_model_len"))
    seqs = _size(stated.get("max_num_seqs")) or _MAX_NUM_SEQS
    tokens = _size(stated.get("max_num_batched_tokens")) or _MAX_NUM_BATCHED_TOKENS
    block = _size(stated.get("block_size"))
    blocks = _size(stated.get("num_gpu_blocks_override"))
    prefix_caching = stated.get("enable_prefix_caching") is not False
    chunked = stated.get("enable_chunked_prefill") is not False
    if not chunked and release(vllm) < (0, 12):
        chunked = True  # vLLM 0.11 turns it on for whatever generates text (engine/arg_utils.py:1544-1548)
    if swap := _swap_error(stated.get("swap_space"), tp, host_memory_bytes):
        errors.append((f"Value error, {swap}", None))

    native_scheduler = _flag(environment, "DISABLE_NEURON_CUSTOM_SCHEDULER")
    if native_scheduler is None:
        said = environment["DISABLE_NEURON_CUSTOM_SCHEDULER"]
        errors.append((f"Value error, invalid literal for int() with base 10: {said!r}", None))
    if blocks is not None:
        blocks += 1
        silent.append(
            f"num_gpu_blocks_override {blocks - 1} becomes {blocks}: one block is vLLM's null block"
        )
    backend = stated.get("distributed_executor_backend")
    if world > 1 and backend not in (None, "uni"):
        silent.append(f"distributed_executor_backend {backend} becomes uni: one process drives all cores")
    if stated.get("gpu_memory_utilization") is not None:
        silent.append(
            "gpu_memory_utilization has no effect: NxD Inference takes what the compiled graphs need"
        )
    scheduler: str | None = None
    if native_scheduler:
        if block is None:
            text = "When vLLM V1 native scheduler is enabled, block_size must be set."
            errors.append((f"Assertion failed, {text}", "chunked-prefill"))
    else:
        scheduler = SCHEDULER
        if stated.get("scheduler_cls") not in (None, SCHEDULER):
            silent.append(f"scheduler_cls {stated['scheduler_cls']} becomes {SCHEDULER}")
        chunked = False
        if stated.get("enable_chunked_prefill") is True:
            silent.append(
                "enable_chunked_prefill becomes false: the plugin's scheduler has no chunked prefill"
            )
        if _size(stated.get("max_num_batched_tokens")) not in (None, _TOKEN_BUDGET):
            silent.append(f"max_num_batched_tokens {tokens} becomes {_TOKEN_BUDGET}")
        tokens = _TOKEN_BUDGET
        if not prefix_caching:
            if block is not None and block != length:
                silent.append(
                    f"block_size {block} becomes max_model_len {length}: there is no prefix caching"
                )
            block = length
        elif block is None:
            text = "When prefix caching is enabled, block_size must be set."
            errors.append((f"Assertion failed, {text}", "prefix-caching-default"))
    values = {
        "tensor_parallel_size": tp,
        "block_size": block,
        "max_num_seqs": seqs,
        "max_num_batched_tokens": tokens,
        "max_model_len": length,
        "enable_prefix_caching": prefix_caching,
        "num_gpu_blocks_override": blocks,
        "enable_chunked_prefill": chunked,
        "distributed_executor_backend": "uni" if world > 1 else backend or "uni",
        "scheduler": scheduler,
    }
    return Engine(values, tuple(silent), tuple(errors))


def _swap_error(stated: object, tp: int, host_memory_bytes: int | None) -> str | None:
    """vLLM wants swap space, 4 GiB by default, for each rank, and refuses more than 70 % of the memory.

    Source: vLLM's config/cache.py (verify_with_parallel_config); measured with 0.11.0.
    """
    swap_gib = _SWAP_SPACE_GIB
    if isinstance(stated, int | float) and not isinstance(stated, bool):
        # A whole number may have more digits than a float can hold.
        swap_gib = float(max(min(stated, _LARGEST), -_LARGEST))
    if not host_memory_bytes or swap_gib * tp * _GIB <= 0.7 * host_memory_bytes:
        return None
    return (
        f"Too large swap space. {swap_gib * tp:.2f} GiB out of the {host_memory_bytes / _GIB:.2f} GiB "
        "total CPU memory is allocated for the swap space."
    )


def _flag(environment: Mapping[str, str], name: str) -> bool | None:
    """As the plugin reads it, bool(int(...)); None where that raises."""
    try:
        return bool(int(environment.get(name, "0")))
    except ValueError:
        return None


def _size(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST:
        return value
    return None
