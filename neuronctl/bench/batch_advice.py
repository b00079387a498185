"""Another batch: where throughput stops growing with concurrency, against the batch that is compiled."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping

from neuronctl.bench.proposal import KV_CACHE, KV_RULE, Advice, after_the_measured_one, kv_freed
from neuronctl.bench.schema import BenchResult
from neuronctl.bench.shown import number, share, whole
from neuronctl.bench.spread import over_runs
from neuronctl.neuron.estimate import Estimate

# Throughput this near to the best is the best: less is noise.
_AS_GOOD = 0.95
# What the last doubling of concurrency must bring before a larger batch is worth trying.
_STILL_GROWS = 1.15


def advise_batch(result: BenchResult, estimate: Estimate | None) -> Iterator[Advice]:
    """Where throughput stops growing with concurrency, against the batch that is compiled."""
    curve = _curve(result)
    if len(curve) < 3:
        return
    best = max(curve.values())
    levels = sorted(curve)
    knee = next(level for level in levels if curve[level] >= _AS_GOOD * best)
    batch = result.target.batch
    told = f"most tokens a second come at {knee} at once ({number(curve[knee])} of {number(best)} at best)"
    basis = "measured: output tokens a second at " + ", ".join(
        f"{level} at once {number(curve[level])}" for level in levels
    )
    if knee == levels[-1] and (batch is None or knee < batch):
        yield Advice(
            id="concurrency",
            text=f"throughput still grows at {knee} at once, the most that was measured: measure more at "
            f"once before another batch is chosen{f' (up to the batch of {batch})' if batch else ''}",
            setting=None,
            gain="knowing where the server is full",
            cost="a longer measurement, no compile",
            basis=basis,
        )
    elif batch is not None and 2 * knee <= batch and levels[-1] >= batch:
        yield Advice(
            id="batch",
            text=f"{told}, and the model is compiled for a batch of {batch}: the rest of it brings nothing "
            "with this load",
            setting={"engine": {"max_num_seqs": knee}},
            gain=f"{share(1 - knee / batch)} less KV cache{kv_freed(estimate, 1 - knee / batch)}; what it "
            "does for times, measure",
            cost=f"a new compile{after_the_measured_one(result)}; more than {knee} at once will wait",
            basis=f"{basis}; {KV_RULE}",
        )
    elif batch is not None and knee >= batch and (grown := _last_growth(curve, batch)) >= _STILL_GROWS:
        yield from _larger_batch(result, estimate, batch, grown, basis)


def _larger_batch(
    result: BenchResult, estimate: Estimate | None, batch: int, grown: float, basis: str
) -> Iterator[Advice]:
    larger, memory = 2 * batch, "whether it fits, --profile NAME estimates"
    if estimate is not None and estimate.core_memory_bytes is not None:
        kv_bytes = next((amount.bytes for amount in estimate.per_core if amount.name == KV_CACHE), 0)
        free = estimate.core_memory_bytes - estimate.core_bytes
        if kv_bytes and free >= 0:
            larger = min(larger, batch + int(free * batch / kv_bytes))
            memory = f"by the plan's estimate {whole(larger)} fit, guesses included"
    if larger <= batch:
        return
    yield Advice(
        id="batch",
        text=f"throughput grew with concurrency until the batch of {batch} was full: a larger one may carry "
        "more",
        setting={"engine": {"max_num_seqs": larger}},
        gain=f"not known before it is measured; the last doubling up to the batch brought {share(grown - 1)}",
        cost=f"a new compile{after_the_measured_one(result)}, and KV cache for {larger - batch} more at "
        f"once; {memory}",
        basis=f"{basis}; {KV_RULE}",
    )


def _curve(result: BenchResult) -> dict[int, float]:
    """Output tokens a second by concurrency, of loads that are alike but for that; the longest such row."""
    rows: dict[tuple[object, ...], dict[int, float]] = defaultdict(dict)
    for point in result.points:
        load = point.load
        if load.concurrency and load.rate_rps is None and point.runs:
            alike = (load.input_tokens, load.output_tokens, load.prefix_tokens)
            found = over_runs(point, "output_throughput")
            rows[alike][load.concurrency] = found.median if found else 0.0
    curve = max(rows.values(), key=len, default={})
    return curve if curve and max(curve.values()) > 0 else {}


def _last_growth(curve: Mapping[int, float], batch: int) -> float:
    """What twice the concurrency brought, on the way up to the batch; 1 where too little was measured."""
    full = max((level for level in curve if level <= batch), default=0)
    half = max((level for level in curve if 2 * level <= full), default=0)
    if not half or curve[half] <= 0 or 2 * full <= batch:
        return 1.0
    return math.pow(curve[full] / curve[half], 1 / math.log2(full / half))
