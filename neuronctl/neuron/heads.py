"""How NxD Inference spreads attention heads over the cores of tensor parallelism.

Facts: nxdi:M/modules/attention/gqa.py (determine_sharding_strategy, get_shardable_head_counts, preshard_hook)
and nxd:parallel_layers/pad.py (get_number_of_extra_heads). The plugin turns vLLM's own check of heads off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# AWS's own tutorials and the tests of plugin 0.3.0 run these padded, the 40 heads of Llama 4 and the 96 of
# Pixtral Large at TP 64: no degree that is large enough divides them.
PADDED_AS_DOCUMENTED = frozenset({"Llama4ForConditionalGeneration", "LlavaForConditionalGeneration"})

Strategy = Literal["replicate-to-tp-degree", "convert-to-mha"]


@dataclass(frozen=True)
class HeadPlan:
    """Attention heads after padding.

    `kv_heads_after` counts replicated heads too; `wasted_fraction` is the part of the attention heads that is
    padding, 0 to 1; `found_kv_heads` is how many heads the key and value weights really end up with, which is
    another number than `kv_heads_after` where `crashes` is true. `why` is a sentence.
    """

    padded_heads: int
    kv_heads_after: int
    heads_per_core: int
    strategy: Strategy
    wasted_fraction: float
    found_kv_heads: int
    crashes: bool
    why: str


def shard_heads(attention_heads: int, kv_heads: int, tp: int) -> HeadPlan:
    """What `tp` cores make of a model's heads.

    Raises ValueError for numbers below 1. The crash where TP neither divides the KV heads nor is divided by
    them was measured once (9 heads, 3 KV heads, TP 2); for other numbers it follows from the same code.
    """
    if min(attention_heads, kv_heads, tp) < 1:
        raise ValueError("heads and TP must be 1 or more")
    strategy: Strategy = "convert-to-mha" if tp % kv_heads else "replicate-to-tp-degree"
    padded = -(-attention_heads // tp) * tp
    grouped = attention_heads != kv_heads
    after = kv_heads
    if not grouped:
        after = padded
    elif kv_heads < tp or kv_heads % tp:
        after = padded if strategy == "convert-to-mha" else tp
    found = _found_kv_heads(attention_heads, kv_heads, after, tp, strategy)
    wasted = (padded - attention_heads) / padded
    crashes = found != after
    heads = f"{attention_heads} heads ({kv_heads} KV) at TP {tp}"
    if crashes:
        why = (
            f"{heads}: TP neither divides the KV heads nor is divided by them, and NxD Inference pads their "
            f"weights to {found} heads where it expects {after}"
        )
    elif padded > attention_heads:
        why = f"{heads} are padded to {padded}: {wasted:.0%} of the attention work is padding"
    elif after > kv_heads:
        why = f"{heads}: each KV head is stored {after // kv_heads} times"
    else:
        why = f"{heads}: {padded // tp} a core, nothing is padded"
    return HeadPlan(padded, after, padded // tp, strategy, wasted, found, crashes, why)


def divides_heads(attention_heads: int, kv_heads: int, tp: int, *, may_pad: bool = False) -> bool:
    """Whether `tp` cores can share the heads, with nothing padded unless `may_pad`."""
    plan = shard_heads(attention_heads, kv_heads, tp)
    return not plan.crashes and (may_pad or not plan.wasted_fraction)


def _found_kv_heads(attention_heads: int, kv_heads: int, after: int, tp: int, strategy: Strategy) -> int:
    """How many heads preshard_hook makes of the key weights; the layer may have been made for others."""
    repeats = 1
    if after != kv_heads:
        repeats = tp // kv_heads if strategy == "replicate-to-tp-degree" else attention_heads // kv_heads
    if strategy == "replicate-to-tp-degree":
        return kv_heads * repeats
    # maybe_pad_tail takes a head to be (rows / original KV heads), but the rows are replicated by then.
    return repeats * after
