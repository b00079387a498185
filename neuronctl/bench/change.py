"""Change: how a measure moved between the repeats of A and those of B, and whether noise could do as much.

The change is the middle of the ratios between each run of B and each run of A. The noise is what a change of
nothing at all would stay under 19 times of 20 in each direction: Student's factor times the spread of the
repeats. That spread is drawn half from the point's own repeats and half from those of all points, since
three repeats alone say little about themselves. Ratios are taken as logarithms, so that twice and half are
equally far.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["better", "worse", "within noise", "cannot tell"]
Better = Literal["lower", "higher"]

# Two starts of one server differ too, which repeats against one start do not show.
LEAST = 0.03
# Without repeats nothing is known of the noise; less than this is not judged.
UNKNOWN = 0.15
# Fewer repeats than these, beyond the first of each point, say nothing of their spread.
_ENOUGH = 3
_CHANCE = 0.05
# Student's t where its series is not good enough.
_STUDENT = {1: 6.31, 2: 2.92}


@dataclass(frozen=True)
class Noise:
    """How far repeats of a measure lie apart: the variance of their logarithms, from `freedom` repeats more
    than needed."""

    variance: float
    freedom: int


@dataclass(frozen=True)
class Change:
    """One measure at one point, in A and in B.

    `a`, `b` are the medians of the repeats. `change` is B's part above A (0.1: a tenth more), `noise` what it
    must exceed to count, both None where they have no meaning. `why` says what kept from a verdict.
    """

    measure: str
    a: float | None
    b: float | None
    change: float | None
    noise: float | None
    verdict: Verdict
    why: str | None = None


def noise_of(repeats: Iterable[Sequence[float]]) -> Noise:
    """The noise of a measure, from its repeats at many points; each sequence holds those of one point."""
    squares, freedom = 0.0, 0
    for values in repeats:
        if len(values) > 1 and min(values) > 0:
            squares += statistics.variance(map(math.log, values)) * (len(values) - 1)
            freedom += len(values) - 1
    return Noise(squares / freedom if freedom else 0.0, freedom)


def change_of(
    measure: str, better: Better, a: Sequence[float], b: Sequence[float], all_points: Noise
) -> Change:
    """What became of a measure whose repeats were `a` and are `b`; `all_points` is its noise everywhere."""
    if not a or not b:
        missing = " and ".join(name for name, values in (("A", a), ("B", b)) if not values)
        return Change(
            measure, _median(a), _median(b), None, None, "cannot tell", f"{missing} did not measure it"
        )
    if min(*a, *b) <= 0:
        return _change_of_nothing(measure, better, a, b)
    moved = statistics.median(math.log(after / before) for before in a for after in b)
    bar, is_known = _bar((a, b), all_points)
    bar = max(bar, math.log1p(LEAST))
    verdict: Verdict
    why = None
    if abs(moved) > bar:
        verdict = _direction(better, moved)
    elif is_known or moved == 0:
        verdict = "within noise"
    else:
        verdict = "cannot tell"
        why = f"too few repeats: a change below {math.expm1(bar) * 100:.0f} % could be noise"
    return Change(measure, _median(a), _median(b), math.expm1(moved), math.expm1(bar), verdict, why)


def change_of_share(measure: str, better: Better, a: tuple[int, int], b: tuple[int, int]) -> Change:
    """What became of a share, such as that of failed requests, counted as (how many, of how many).

    Noise is chance: it would be worse, if nothing had changed, in one of 20 cases (Fisher's exact test).
    """
    if not a[1] or not b[1]:
        missing = " and ".join(name for name, counted in (("A", a), ("B", b)) if not counted[1])
        return Change(measure, _share(a), _share(b), None, None, "cannot tell", f"{missing} sent no requests")
    before, after = a[0] / a[1], b[0] / b[1]
    more, less = (b, a) if after > before else (a, b)
    verdict: Verdict = "within noise"
    if before != after and _chance(more, less) < _CHANCE:
        verdict = _direction(better, after - before)
    return Change(measure, before, after, after / before - 1 if before else None, None, verdict)


def is_beyond(values: Sequence[float], limit: float, all_points: Noise) -> bool:
    """Whether repeats lie above (or below) a limit by more than their noise; without repeats, at all."""
    if min(values) <= 0 or limit <= 0 or not all_points.freedom:
        return True
    bar = _student(all_points.freedom) * _apart((values,), all_points)
    return abs(math.log(statistics.median(values) / limit)) > bar


def _bar(repeats: Sequence[Sequence[float]], all_points: Noise) -> tuple[float, bool]:
    """How far a logarithm must be off to count, and whether that rests on enough repeats."""
    apart = _apart(repeats, all_points)
    if all_points.freedom < _ENOUGH:
        return max(math.log1p(UNKNOWN), 2 * apart), False
    return _student(all_points.freedom) * apart, True


def _apart(repeats: Sequence[Sequence[float]], all_points: Noise) -> float:
    """How far medians of such repeats lie apart by chance, as the standard deviation of a logarithm."""
    own = noise_of(repeats)
    variance = (own.variance + all_points.variance) / 2 if own.freedom else all_points.variance
    return math.sqrt(variance * sum(1 / len(values) for values in repeats))


def _student(freedom: int) -> float:
    """Student's t that 5 of 100 exceed; from 3 on from its series in 1/freedom, 1 % off at 4, less beyond."""
    return _STUDENT.get(freedom) or 1.645 + 1.52 / freedom + 1.9 / freedom**2


def _change_of_nothing(measure: str, better: Better, a: Sequence[float], b: Sequence[float]) -> Change:
    """Where a repeat is zero there is no ratio: what counts is that all repeats moved, and are enough."""
    before, after = statistics.median(a), statistics.median(b)
    change = after / before - 1 if before > 0 else None
    verdict: Verdict = "within noise"
    why = None
    if min(b) > max(a) or max(b) < min(a):
        # So by chance in one of as many cases as there are ways to deal out the repeats.
        is_rare = 1 / math.comb(len(a) + len(b), len(a)) <= _CHANCE
        if is_rare or abs(change or 0) > UNKNOWN:
            verdict = _direction(better, after - before)
        else:
            verdict, why = "cannot tell", "too few repeats to compare with zero"
    return Change(measure, before, after, change, None, verdict, why)


def _chance(more: tuple[int, int], less: tuple[int, int]) -> float:
    """How often the larger share would be as large or larger, were the same failures dealt out by chance."""
    failed, of = more[0] + less[0], more[1] + less[1]
    return sum(
        math.exp(_ways(more[1], one) + _ways(less[1], failed - one) - _ways(of, failed))
        for one in range(more[0], min(failed, more[1]) + 1)
    )


def _ways(of: int, many: int) -> float:
    """Logarithm of the number of ways to choose so many."""
    return math.lgamma(of + 1) - math.lgamma(many + 1) - math.lgamma(of - many + 1)


def _direction(better: Better, moved: float) -> Verdict:
    return "better" if (moved > 0) == (better == "higher") else "worse"


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _share(counted: tuple[int, int]) -> float | None:
    return counted[0] / counted[1] if counted[1] else None
