"""Compare: two results, point by point and measure by measure, with what makes them hard to compare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from neuronctl.bench.change import Change, Noise, change_of, change_of_share, noise_of
from neuronctl.bench.measures import MEASURES, Measure
from neuronctl.bench.schema import BenchResult, Point, Remark
from neuronctl.bench.shown import duration
from neuronctl.bench.spread import over_runs, values_of

ERROR_RATE = "error_rate"
# The client's own delay counts where it moved by more of the measure than this.
_DELAY_SHARE = 0.05
# What may differ because it is what somebody wants to compare; it is told, not warned of.
_SUBJECTS = (
    "profile",
    "key",
    "backend",
    "cores",
    "batch",
    "max_model_len",
    "input_buckets",
    "server_version",
)


@dataclass(frozen=True)
class PointChange:
    """One load that both results have, with what became of each measure that one of them has."""

    name: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Difference:
    """Something that is not the same in A and B, as text; empty where one does not have it."""

    name: str
    a: str
    b: str


@dataclass(frozen=True)
class Comparison:
    """B against A. `only_a`, `only_b` are loads that the other result lacks.

    `warnings` say why the numbers may not be comparable (error: they are not); `differences` what else is not
    the same.
    """

    a: str
    b: str
    points: tuple[PointChange, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    warnings: tuple[Remark, ...]
    differences: tuple[Difference, ...]

    @property
    def is_comparable(self) -> bool:
        """Whether both have a load in common, of the same model and the same kind of work."""
        return bool(self.points) and not any(map(forbids, self.warnings))


def compare(a: BenchResult, b: BenchResult) -> Comparison:
    """B against A; loads are paired by their names."""
    before, after = points_by_name(a), points_by_name(b)
    shared = [name for name in before if name in after]
    noises = {name: _noise_at_all_points(a, b, measure) for name, measure in MEASURES.items()}
    return Comparison(
        a=a.name,
        b=b.name,
        points=tuple(
            PointChange(name, tuple(_changes(before[name], after[name], noises))) for name in shared
        ),
        only_a=tuple(name for name in before if name not in after),
        only_b=tuple(name for name in after if name not in before),
        warnings=tuple(warnings(a, b)),
        differences=tuple(_differences(a, b)),
    )


def points_by_name(result: BenchResult) -> dict[str, Point]:
    """The points by the names of their loads; runs of equal loads are repeats of one point."""
    found: dict[str, Point] = {}
    for point in result.points:
        name = point.load.name
        earlier = found[name].runs if name in found else ()
        found[name] = Point(load=point.load, runs=earlier + point.runs)
    return found


def forbids(warning: Remark) -> bool:
    """Whether numbers cannot be compared for this; what went wrong in one result alone is no such reason."""
    return warning.severity == "error" and warning.id.startswith("compare.")


def failures_of(point: Point) -> tuple[int, int]:
    """How many requests of all runs did not get a whole answer, and how many were sent."""
    sent = sum(run.requests for run in point.runs)
    return sent - sum(run.succeeded for run in point.runs), sent


def warnings(a: BenchResult, b: BenchResult) -> Iterator[Remark]:
    """Why the numbers of A and B may not be comparable."""
    yield from _other_work(a, b)
    yield from _other_measuring(a, b)
    yield from _client_delays(a, b)
    for name, result in (("A", a), ("B", b)):
        if result.status == "partial":
            why = f": {result.why_partial}" if result.why_partial else ""
            yield Remark(id="compare.partial", severity="warning", text=f"{name} was broken off{why}")
        for remark in result.remarks:
            if remark.severity == "error" and remark.id != "partial":
                yield Remark(id=remark.id, severity="error", text=f"{name}: {remark.text}")


def _other_work(a: BenchResult, b: BenchResult) -> Iterator[Remark]:
    if _model_name(a) != _model_name(b):
        yield _differ("compare.model", "error", "the models", a.target.model, b.target.model)
    for field in ("kind", "api", "ignore_eos", "dataset", "digest", "seed"):
        before, after = getattr(a.workload, field), getattr(b.workload, field)
        # A file may have another name: its content says whether it is another one.
        is_same_file = field == "dataset" and a.workload.digest == b.workload.digest
        if before != after and not is_same_file:
            severity: Literal["error", "warning"] = "warning" if field == "seed" else "error"
            yield _differ("compare.workload", severity, f"the workload's {field}", before, after)
    after_points = points_by_name(b)
    for name, point in points_by_name(a).items():
        if name in after_points and (other := after_points[name]).load.requests != point.load.requests:
            what = f"{name}: the numbers of requests"
            yield _differ("compare.requests", "warning", what, point.load.requests, other.load.requests)


def _other_measuring(a: BenchResult, b: BenchResult) -> Iterator[Remark]:
    compared: tuple[tuple[str, str, str | None, str | None], ...] = (
        ("compare.engine", "what sent the requests", a.engine.name, b.engine.name),
        ("compare.engine", "the version of what sent the requests", a.engine.version, b.engine.version),
        ("compare.instance", "the instance types", a.target.instance, b.target.instance),
        ("compare.machine", "the processors", _processors(a), _processors(b)),
    )
    for id_, what, before, after in compared:
        if before != after:
            yield _differ(id_, "warning", what, before, after)
    if a.objective != b.objective:
        text = "the objectives differ: goodput does not count the same requests"
        yield Remark(id="compare.objective", severity="warning", text=text)


def _client_delays(a: BenchResult, b: BenchResult) -> Iterator[Remark]:
    """Where what the client itself adds moved by more than a little of what was measured."""
    earlier = {one.concurrency: one for one in a.client_delay}
    for later in b.client_delay:
        if (before := earlier.get(later.concurrency)) is None:
            continue
        for name, moved in (("ttft", later.ttft_s - before.ttft_s), ("itl", later.itl_s - before.itl_s)):
            typical = [
                found.median
                for point in a.points
                if point.load.concurrency == later.concurrency
                and (found := over_runs(point, f"{name}_p50")) is not None
            ]
            if typical and abs(moved) > _DELAY_SHARE * min(typical):
                yield Remark(
                    id="compare.client-delay",
                    severity="warning",
                    text=f"at c{later.concurrency} the client itself adds {duration(abs(moved))} "
                    f"{'more' if moved > 0 else 'less'} to {name} in B, of {duration(min(typical))} in A",
                )


def _differences(a: BenchResult, b: BenchResult) -> Iterator[Difference]:
    for name in _SUBJECTS:
        before, after = getattr(a.target, name), getattr(b.target, name)
        if before != after:
            yield Difference(name, _said(before), _said(after))
    if a.neuronctl != b.neuronctl:
        yield Difference("neuronctl", a.neuronctl, b.neuronctl)
    for name in sorted({*a.environment, *b.environment} - {"processors"}):
        before, after = a.environment.get(name), b.environment.get(name)
        if before != after:
            yield Difference(name, _said(before), _said(after))


def _changes(a: Point, b: Point, noises: dict[str, Noise]) -> Iterator[Change]:
    for name, measure in MEASURES.items():
        before, after = values_of(a, measure), values_of(b, measure)
        if name == ERROR_RATE:
            yield change_of_share(name, measure.better, failures_of(a), failures_of(b))
        elif before or after:
            yield change_of(name, measure.better, before, after, noises[name])


def _noise_at_all_points(a: BenchResult, b: BenchResult, measure: Measure) -> Noise:
    points = (point for result in (a, b) for point in points_by_name(result).values())
    return noise_of(values_of(point, measure) for point in points)


def _model_name(result: BenchResult) -> str:
    """The model's id; of a folder only its own name, which is the same on another machine."""
    model = result.target.model
    return PurePath(model).name if model.startswith(("/", ".", "~")) else model


def _processors(result: BenchResult) -> str | None:
    return result.environment.get("processors")


def _differ(id_: str, severity: Literal["error", "warning"], what: str, a: object, b: object) -> Remark:
    return Remark(id=id_, severity=severity, text=f"{what} differ: {_said(a)} in A, {_said(b)} in B")


def _said(value: object) -> str:
    if value is None or value == ():
        return "unknown"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
