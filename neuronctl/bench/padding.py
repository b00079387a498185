"""Padding: what a set of buckets makes of prompts of given lengths, and which set wastes the least."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from neuronctl.bench.lengths import grouped

# NxD Inference's own smallest bucket; ours are multiples of it.
STEP = 128
# Finer sizes would take minutes to try out, and change nothing.
_SIZES = 96


def padded_tokens(prompts: Mapping[int, int], buckets: Sequence[int]) -> int:
    """Tokens that are computed where each prompt takes the smallest bucket that holds it.

    `prompts` counts prompts by length. Raises ValueError where a prompt fits no bucket.
    """
    ordered = sorted(buckets)
    total = 0
    for length, count in prompts.items():
        bucket = next((size for size in ordered if size >= length), None)
        if bucket is None:
            raise ValueError(f"a prompt of {length} tokens fits no bucket")
        total += bucket * count
    return total


def best_buckets(prompts: Mapping[int, int], most: int, top: int) -> tuple[int, ...]:
    """At most `most` buckets, the last of them `top`, that compute the fewest tokens for these prompts.

    Buckets are multiples of 128 (of more for very many lengths); fewer where more bring nothing. Every prompt
    must be as long as `top` at most. Found by dynamic programming: the best with a bucket more is the best
    for the shorter prompts, and one bucket for the rest.
    """
    counted = Counter(dict(prompts))
    step = STEP
    while len(sizes := grouped(counted, step)) > _SIZES:
        step *= 2
    at_most: Counter[int] = Counter()
    for size, count in sizes.items():
        at_most[min(max(size, STEP), top)] += count
    ends = sorted({*at_most, top})
    # before[i]: how many prompts are shorter than or as long as ends[i - 1]
    before = [0]
    for end in ends:
        before.append(before[-1] + at_most[end])
    # best[i]: the fewest tokens for the first i ends, and the buckets that do it
    best: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    for until in range(1, len(ends) + 1):
        best.append((before[until] * ends[until - 1], (ends[until - 1],)))
    for _ in range(most - 1):
        best = [best[0]] + [
            min(
                (
                    best[since][0] + (before[until] - before[since]) * ends[until - 1],
                    (*best[since][1], ends[until - 1]),
                )
                for since in range(until)
            )
            for until in range(1, len(ends) + 1)
        ]
    return best[-1][1]
