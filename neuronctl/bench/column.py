"""Column: what tables of points show, on a page and in a terminal alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

from neuronctl.bench.schema import BenchResult, Point
from neuronctl.bench.shown import clean, dollars, milliseconds, number, share
from neuronctl.bench.spread import Spread, over_runs


@dataclass(frozen=True)
class Column:
    """A number of each point: its head, the `group` of columns it stands in, and how it is read."""

    group: str
    head: str
    of: Callable[[Point], Spread | None]
    say: Callable[[float], str]


def measured(group: str, head: str, measure: str, say: Callable[[float], str]) -> Column:
    """The column of one of the measures."""
    return Column(group, head, lambda point: over_runs(point, measure), say)


OUTPUT = measured("tokens a second", "output", "output_throughput", number)
TOTAL = measured("tokens a second", "with prompts", "total_throughput", number)
PER_CORE = Column(
    "tokens a second", "output a core", lambda point: _only(point.output_tokens_per_s_per_core), number
)
ANSWERS = measured("answers a second", "all", "request_throughput", number)
GOODPUT = measured("answers a second", "good", "goodput", number)
COST = Column(
    "dollars a million", "output tokens", lambda point: _only(point.usd_per_million_tokens), dollars
)
FAILED = measured("requests", "failed", "error_rate", share)
CLIENT = Column("client", "of a core", lambda point: _client_cpu(point), share)
RATES = (OUTPUT, TOTAL, PER_CORE, ANSWERS, GOODPUT, FAILED, COST, CLIENT)


def times(name: str, keys: Sequence[str] = ("p50", "p90", "p99")) -> tuple[Column, ...]:
    """The columns of one of the times, in milliseconds: `ttft`, `itl`, `tpot` or `e2e`."""
    return tuple(measured(f"{name.upper()}, ms", key, f"{name}_{key}", milliseconds) for key in keys)


TIMES = tuple(chain(*(times(name) for name in ("ttft", "itl", "tpot", "e2e"))))


def with_data(columns: Sequence[Column], result: BenchResult) -> tuple[Column, ...]:
    """Those of the columns that some point has."""
    return tuple(one for one in columns if any(one.of(point) is not None for point in result.points))


def errors(point: Point) -> str:
    """What failed, by kind: `HTTP 500: 3, timeout: 1 of 192`; empty where nothing did."""
    kinds: dict[str, int] = {}
    for run in point.runs:
        for kind, count in run.errors.items():
            kinds[kind] = kinds.get(kind, 0) + count
    if not kinds:
        return ""
    sent = sum(run.requests for run in point.runs)
    most = sorted(kinds.items(), key=lambda one: -one[1])
    return ", ".join(f"{clean(kind)}: {count:,}" for kind, count in most) + f" of {sent:,}"


def _only(value: float | None) -> Spread | None:
    return None if value is None else Spread(value, value, value, 1)


def _client_cpu(point: Point) -> Spread | None:
    used = [run.client_cpu for run in point.runs if run.client_cpu is not None]
    return _only(max(used)) if used else None
