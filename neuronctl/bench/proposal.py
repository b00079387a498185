"""Advice: one setting to try, and what is said in all of them of the compile and the memory it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from neuronctl.bench.padding import STEP
from neuronctl.bench.schema import BenchResult
from neuronctl.bench.shown import duration, number
from neuronctl.neuron.estimate import GIB, Estimate

KV_CACHE = "KV cache"
KV_RULE = "the contiguous KV cache grows with batch x length (docs/estimates.md, derived)"


@dataclass(frozen=True)
class Advice:
    """One setting to try.

    `setting` is what to put into the profile, None where there is nothing to set. `gain` is expected, `cost`
    what it takes, `basis` where both are from. Each is meant by itself: apply one, measure, ask again.
    """

    id: Literal["buckets", "batch", "length", "concurrency"]
    text: str
    setting: Mapping[str, object] | None
    gain: str
    cost: str
    basis: str


def compile_s(result: BenchResult) -> float | None:
    """How long the compile took where a cold start was measured."""
    found = [
        phase.took_s
        for start in result.startup
        if start.kind == "cold"
        for phase in start.phases
        if phase.name == "compile"
    ]
    return found[0] if found else None


def after_the_measured_one(result: BenchResult) -> str:
    """How long a compile took, where that was measured, in brackets."""
    took = compile_s(result)
    return "" if took is None else f" (the one measured took {duration(took)})"


def kv_freed(estimate: Estimate | None, part: float) -> str:
    """That part of the KV cache in bytes, where the plan's estimate is known, in brackets."""
    kv_bytes = sum(amount.bytes for amount in estimate.per_core if amount.name == KV_CACHE) if estimate else 0
    return f" ({number(kv_bytes * part / GIB)} GiB of each core, by the plan's estimate)" if kv_bytes else ""


def rounded_up(length: int) -> int:
    """The next multiple of what lengths are compiled in."""
    return -(-length // STEP) * STEP
