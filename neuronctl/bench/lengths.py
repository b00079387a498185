"""Lengths: how long requests are, kept in a few numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from neuronctl.bench.schema import Lengths

# More groups would only be lines in git. Sizes that are compiled are multiples of 128, so few are split.
_GROUPS = 24
_STEP = 128


def lengths(requests: Sequence[tuple[int, int]]) -> Lengths | None:
    """The lengths of (prompt, answer) pairs; None for none.

    Each length of a prompt is kept as it is where they are few; else they are counted up to multiples of 128
    tokens, or of 256, 512, … where those are many too.
    """
    if not requests:
        return None
    counted = Counter(into for into, _ in requests)
    step = _STEP
    while len(counted) > _GROUPS:
        counted = grouped(counted, step)
        step *= 2
    upto = sorted(counted)
    return Lengths(
        upto=tuple(upto),
        count=tuple(counted[size] for size in upto),
        longest=max(into + out for into, out in requests),
    )


def grouped(counted: Counter[int], step: int) -> Counter[int]:
    """The same counts by lengths rounded up to multiples of `step`."""
    groups: Counter[int] = Counter()
    for length, count in counted.items():
        groups[-(-length // step) * step] += count
    return groups
