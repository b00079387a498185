"""Another length: the longest request against the length that is compiled."""

from __future__ import annotations

import math
from collections.abc import Iterator

from neuronctl.bench.asked import Asked
from neuronctl.bench.padding import STEP
from neuronctl.bench.proposal import KV_RULE, Advice, after_the_measured_one, kv_freed, rounded_up
from neuronctl.bench.schema import BenchResult
from neuronctl.bench.shown import share, whole
from neuronctl.neuron.buckets import powers_of_two
from neuronctl.neuron.estimate import Estimate

# Room above the longest request that was measured, and how much shorter a length must be to be proposed.
_HEADROOM = 1.25
_SHORTER = 0.75


def advise_length(result: BenchResult, asked: Asked, estimate: Estimate | None) -> Iterator[Advice]:
    """A shorter or longer length, for nxdi, which keeps that much cache for each sequence of the batch."""
    target = result.target
    longest = target.max_model_len
    if target.backend not in (None, "nxdi") or longest is None:
        return
    basis = f"{asked.basis}; {KV_RULE}"
    if asked.longest > longest:
        wanted = rounded_up(asked.longest)
        yield Advice(
            id="length",
            text=f"the longest request takes {whole(asked.longest)} tokens with its answer, and "
            f"max_model_len is {whole(longest)}",
            setting={"engine": {"max_model_len": wanted}},
            gain="the longest requests fit",
            cost=f"a new compile{after_the_measured_one(result)}, and {share(wanted / longest - 1)} more KV "
            "cache",
            basis=basis,
        )
        return
    wanted = rounded_up(math.ceil(asked.longest * _HEADROOM))
    if not asked.is_real or wanted > _SHORTER * longest:
        return
    setting: dict[str, object] = {"engine": {"max_model_len": wanted}}
    if target.input_buckets and max(target.input_buckets) > wanted:
        shorter = sorted({size for size in target.input_buckets if size < wanted} | {wanted})
        setting["features"] = {"buckets": {"prefill": shorter}}
    freed = 1 - wanted / longest
    sizes_now, sizes = len(powers_of_two(STEP, longest)), len(powers_of_two(STEP, wanted))
    graphs = (
        f", and {sizes} decode buckets instead of {sizes_now} where none are named"
        if sizes < sizes_now
        else ""
    )
    yield Advice(
        id="length",
        text=f"the longest request took {whole(asked.longest)} tokens with its answer, and max_model_len is "
        f"{whole(longest)}; {whole(wanted)} leaves a quarter above it",
        setting=setting,
        gain=f"{share(freed)} less KV cache{kv_freed(estimate, freed)}, room for a larger batch{graphs}",
        cost=f"a new compile{after_the_measured_one(result)}; what takes more than {whole(wanted)} tokens is "
        "refused",
        basis=f"{basis}; decode buckets: NxD Inference's own, from {STEP} by doubling",
    )
