"""Gate: a result passes where no condition is exceeded beyond noise, and nothing asked about is missing."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from neuronctl.bench.amount import amount, signed
from neuronctl.bench.change import Change, is_beyond, noise_of
from neuronctl.bench.compare import ERROR_RATE, compare, failures_of, forbids, points_by_name, warnings
from neuronctl.bench.condition import Condition
from neuronctl.bench.measures import MEASURES
from neuronctl.bench.schema import BenchResult, Point
from neuronctl.bench.spread import values_of
from neuronctl.errors import UsageError


@dataclass(frozen=True)
class Breach:
    """A condition that fails, at one point or (None) for the whole result; `text` is the reason."""

    condition: str
    point: str | None
    kind: Literal["regression", "limit", "missing", "not comparable", "partial"]
    text: str


@dataclass(frozen=True)
class Doubt:
    """A condition that is exceeded at a point, but not beyond noise: it passes, and should be told."""

    condition: str
    point: str
    text: str


@dataclass(frozen=True)
class Judged:
    """What fails, nothing where all is well; and what passes only since it may be noise."""

    breaches: tuple[Breach, ...]
    doubts: tuple[Doubt, ...]


def judge(result: BenchResult, conditions: Sequence[Condition], baseline: BenchResult | None) -> Judged:
    """Hold a result against conditions. Raises UsageError for a relative one without a baseline."""
    found = tuple(_judge(result, conditions, baseline))
    return Judged(
        tuple(one for one in found if isinstance(one, Breach)),
        tuple(one for one in found if isinstance(one, Doubt)),
    )


def _judge(
    result: BenchResult, conditions: Sequence[Condition], baseline: BenchResult | None
) -> Iterator[Breach | Doubt]:
    relative = [one for one in conditions if one.is_relative]
    if relative and baseline is None:
        raise UsageError(
            f"`{relative[0].text}` is relative, and there is nothing to compare with",
            fix="--baseline FILE, or give a limit such as 200ms",
            code="bench.no-baseline",
        )
    if conditions and result.status == "partial":
        why = f": {result.why_partial}" if result.why_partial else ""
        yield Breach("", None, "partial", f"the result is not whole{why}; what is missing cannot pass")
    for condition in conditions:
        if not condition.is_relative:
            yield from _judge_limit(result, condition)
    if relative and baseline is not None:
        yield from _judge_changes(result, relative, baseline)


def _judge_limit(result: BenchResult, condition: Condition) -> Iterator[Breach | Doubt]:
    measure = MEASURES[condition.measure]
    points = points_by_name(result)
    chosen = {name: point for name, point in points.items() if condition.selects(point.load)}
    if not chosen:
        yield _no_point(condition, points)
    noise = noise_of(values_of(point, measure) for point in points.values())
    for name, point in chosen.items():
        values = values_of(point, measure)
        if not values:
            yield _not_measured(condition, name, "the result")
            continue
        value = _failed_share(point) if measure.name == ERROR_RATE else statistics.median(values)
        if not condition.is_exceeded_by(value):
            continue
        told = f"{_at(condition, name)} is {amount(measure.name, value)}, and the limit is " + amount(
            measure.name, condition.value
        )
        if measure.name == ERROR_RATE or is_beyond(values, condition.value, noise):
            yield Breach(condition.text, name, "limit", told)
        else:
            yield Doubt(condition.text, name, f"{told}: that may be noise")


def _judge_changes(
    result: BenchResult, conditions: Sequence[Condition], baseline: BenchResult
) -> Iterator[Breach | Doubt]:
    # What failed in a run counts through error_rate, as the user asks; other work makes other numbers.
    for warning in warnings(baseline, result):
        if forbids(warning):
            yield Breach("", None, "not comparable", f"A (baseline) and B cannot be compared: {warning.text}")
    comparison = compare(baseline, result)
    loads = {**points_by_name(baseline), **points_by_name(result)}
    for condition in conditions:
        chosen = [name for name, point in loads.items() if condition.selects(point.load)]
        if not chosen:
            yield _no_point(condition, loads)
        for name in chosen:
            if name in comparison.only_a:
                yield _not_measured(condition, name, "the result")
            elif name in comparison.only_b:
                yield _not_measured(condition, name, "the baseline")
        for point in comparison.points:
            changes = {change.measure: change for change in point.changes}
            if point.name in chosen:
                yield from _judge_change(condition, point.name, changes.get(condition.measure))


def _judge_change(condition: Condition, name: str, change: Change | None) -> Iterator[Breach | Doubt]:
    if change is None or change.b is None:
        yield _not_measured(condition, name, "the result")
        return
    if change.a is None:
        yield _not_measured(condition, name, "the baseline")
        return
    # From nothing to something is more than any part.
    is_exceeded = change.a != change.b if change.change is None else condition.is_exceeded_by(change.change)
    if not is_exceeded or change.verdict == "better":
        return
    told = f"{_at(condition, name)}: {amount(condition.measure, change.a)} → " + amount(
        condition.measure, change.b
    )
    if change.change is not None:
        told += f" ({signed(change.change)}; the limit is {signed(condition.value)})"
    if change.verdict == "worse":
        yield Breach(condition.text, name, "regression", told)
    else:
        yield Doubt(condition.text, name, f"{told}: {change.why or 'within noise'}")


def _no_point(condition: Condition, points: dict[str, Point]) -> Breach:
    there = ", ".join(points) or "none"
    what = "@" + " ".join(condition.where) if condition.where else "a point"
    return Breach(condition.text, None, "missing", f"nothing was measured at {what}; points: {there}")


def _not_measured(condition: Condition, name: str, where: str) -> Breach:
    return Breach(
        condition.text,
        name,
        "missing",
        f"{_at(condition, name)} was not measured in {where}, which is no pass",
    )


def _failed_share(point: Point) -> float:
    failed, sent = failures_of(point)
    return failed / sent if sent else 0.0


def _at(condition: Condition, name: str) -> str:
    return f"{condition.measure} at {name}"
