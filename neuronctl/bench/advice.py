"""Advice: what a result speaks for: other buckets, another batch, another length.

Nothing is claimed that was neither measured nor follows from something that is named.
"""

from __future__ import annotations

from collections.abc import Sequence

from neuronctl.bench.asked import asked_of
from neuronctl.bench.batch_advice import advise_batch
from neuronctl.bench.bucket_advice import advise_buckets
from neuronctl.bench.length_advice import advise_length
from neuronctl.bench.proposal import Advice
from neuronctl.bench.schema import BenchResult
from neuronctl.neuron.estimate import Estimate


def advise(
    result: BenchResult, lengths: Sequence[tuple[int, int]] = (), estimate: Estimate | None = None
) -> tuple[Advice, ...]:
    """What to try next, the first thing first; nothing where nothing measured speaks for a change.

    `lengths` are tokens of (prompt, answer) of one's own requests; without them those of the result count.
    `estimate` is the plan's, for what a larger batch or a shorter length means in memory.
    """
    asked = asked_of(result, lengths)
    found: list[Advice] = []
    if asked is not None:
        found += advise_buckets(result, asked)
    found += advise_batch(result, estimate)
    if asked is not None:
        found += advise_length(result, asked, estimate)
    return tuple(found)
