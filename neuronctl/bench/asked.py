"""Asked: the requests that advice is about, by their lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from neuronctl.bench.schema import BenchResult
from neuronctl.bench.shown import whole


@dataclass(frozen=True)
class Asked:
    """Prompts counted by length, all their tokens, the longest prompt with its answer, and who says so.

    `is_real` where somebody's own requests were so long; random prompts are as long as the benchmark wanted.
    """

    prompts: Mapping[int, int]
    tokens: int
    longest: int
    is_real: bool
    basis: str


def asked_of(result: BenchResult, lengths: Sequence[tuple[int, int]]) -> Asked | None:
    """The lengths that are given, else those that were measured; None where nothing was."""
    if lengths:
        return Asked(
            Counter(into for into, _ in lengths),
            sum(into for into, _ in lengths),
            max(into + out for into, out in lengths),
            True,
            f"lengths that were given ({whole(len(lengths))})",
        )
    # Points at the edges of buckets are there to be measured, not because anybody asks so.
    points = [point for point in result.points if point.load.edge is None]
    runs = [run for point in points for run in point.runs if run.lengths is not None]
    prompts: Counter[int] = Counter()
    longest = 0
    for run in runs:
        if run.lengths is not None:
            prompts.update(dict(zip(run.lengths.upto, run.lengths.count, strict=False)))
            longest = max(longest, run.lengths.longest)
    if not +prompts:
        return None
    is_real = result.workload.kind in ("jsonl", "sharegpt")
    requests = sum(run.succeeded for run in runs)
    return Asked(
        prompts,
        sum(run.input_tokens for run in runs),
        longest,
        is_real,
        f"lengths of the {whole(requests)} requests that were measured"
        + ("" if is_real else f" ({result.workload.kind}: good for traffic like it only)"),
    )
