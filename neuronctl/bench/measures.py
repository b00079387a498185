"""Measures: from the records of a run to its numbers. Pure arithmetic."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from neuronctl.bench.lengths import lengths
from neuronctl.bench.record import Record, Sent
from neuronctl.bench.schema import GRID, Distribution, Objective, Run, Timeline

# More would only be noise on a picture, and lines in git.
_SLICES = 30


@dataclass(frozen=True)
class Measure:
    """One number of a run: what it is called in gates and tables, and which way is better."""

    name: str
    unit: Literal["s", "1/s", "tokens/s", "share"]
    better: Literal["lower", "higher"]
    meaning: str
    of: Callable[[Run], float | None]


def _quantile_of(name: str, key: str) -> Callable[[Run], float | None]:
    def of(run: Run) -> float | None:
        distribution = getattr(run, f"{name}_s")
        return None if distribution is None else float(getattr(distribution, key))

    return of


_TIMES = {
    "ttft": "time to first token: from sending the request until the first text of the answer arrives",
    "itl": "inter-token latency: between two arrivals of text of one answer, over all arrivals of the run; "
    "an arrival may carry several tokens",
    "tpot": "time per output token: of one answer, from the first text to the last, divided by its tokens "
    "less one",
    "e2e": "end to end: from sending the request until the last text of its answer arrives",
}
_KEYS = {"mean": "mean", "p50": "median", "p90": "90 of 100", "p95": "95 of 100", "p99": "99 of 100"}

MEASURES: dict[str, Measure] = {
    f"{name}_{key}": Measure(
        f"{name}_{key}",
        "s",
        "lower",
        f"{meaning} ({words if key in ('mean', 'p50') else f'no more than this in {words}'})",
        _quantile_of(name, key),
    )
    for name, meaning in _TIMES.items()
    for key, words in _KEYS.items()
} | {
    one.name: one
    for one in (
        Measure("request_throughput", "1/s", "higher", "whole answers a second", lambda run: run.request_rps),
        Measure(
            "output_throughput",
            "tokens/s",
            "higher",
            "tokens of whole answers a second",
            lambda run: run.output_tokens_per_s,
        ),
        Measure(
            "total_throughput",
            "tokens/s",
            "higher",
            "tokens of whole answers and of their prompts a second",
            lambda run: run.total_tokens_per_s,
        ),
        Measure(
            "goodput",
            "1/s",
            "higher",
            "whole answers a second that met every part of the objective",
            lambda run: run.goodput_rps,
        ),
        Measure(
            "error_rate",
            "share",
            "lower",
            "share of requests without a whole answer, from 0 to 1",
            lambda run: 1 - run.succeeded / run.requests if run.requests else None,
        ),
    )
}


def samples_needed(share: float) -> int:
    """How many samples a quantile wants so that, 19 times of 20, one of them lies beyond it."""
    return math.ceil(math.log(0.05) / math.log(share))


def quantile(ordered: Sequence[float], share: float) -> float:
    """The quantile of sorted values, between neighbours by straight line."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def distribution(values: Iterable[float]) -> Distribution | None:
    """The distribution of values; None for none."""
    ordered = sorted(values)
    if not ordered:
        return None
    of = {share: _short(quantile(ordered, share)) for share in (*GRID, 0.99)}
    return Distribution(
        count=len(ordered),
        mean=_short(statistics.fmean(ordered)),
        p50=of[0.5],
        p90=of[0.9],
        p95=of[0.95],
        p99=of[0.99],
        grid=tuple(of[share] for share in GRID),
    )


def measure(sent: Sent, objective: Objective | None = None) -> Run:
    """The numbers of a run. Times and tokens are those of whole answers only; what failed is counted."""
    whole = [record for record in sent.records if record.error is None]
    took_s = max(sent.took_s, 1e-9)
    into = sum(record.input_tokens for record in whole)
    out = sum(record.output_tokens for record in whole)
    return Run(
        took_s=_short(sent.took_s),
        requests=len(sent.records),
        succeeded=len(whole),
        errors=dict(Counter(record.error for record in sent.records if record.error is not None)),
        input_tokens=into,
        output_tokens=out,
        request_rps=_short(len(whole) / took_s),
        output_tokens_per_s=_short(out / took_s),
        total_tokens_per_s=_short((into + out) / took_s),
        goodput_rps=None
        if objective is None
        else _short(sum(_is_good(one, objective) for one in whole) / took_s),
        client_cpu=None if sent.cpu_s is None else _short(sent.cpu_s / took_s),
        ttft_s=distribution(one.ttft_s for one in whole if one.ttft_s is not None),
        itl_s=distribution(itl for one in whole for itl in one.itls_s),
        tpot_s=distribution(one.tpot_s for one in whole if one.tpot_s is not None),
        e2e_s=distribution(one.e2e_s for one in whole if one.e2e_s is not None),
        lengths=lengths([(one.input_tokens, one.output_tokens) for one in whole]),
        timeline=timeline(whole),
        raw=sent.raw,
    )


def timeline(records: Sequence[Record]) -> Timeline | None:
    """A run in slices; None where the engine does not say when requests began."""
    spans = [
        (one, one.start_s, one.start_s + one.e2e_s)
        for one in records
        if one.start_s is not None and one.e2e_s
    ]
    if not spans:
        return None
    begin = min(first for _, first, _ in spans)
    width = max((max(last for _, _, last in spans) - begin) / _SLICES, 1e-6)
    tokens = [0.0] * _SLICES
    busy = [0.0] * _SLICES
    for one, first, last in spans:
        _spread_tokens(one, first - begin, width, tokens)
        for number in range(_SLICES):
            since, until = number * width, (number + 1) * width
            busy[number] += max(0.0, min(last - begin, until) - max(first - begin, since))
    return Timeline(
        width_s=_short(width),
        in_flight=tuple(_brief(one / width) for one in busy),
        tokens_per_s=tuple(_brief(one / width) for one in tokens),
    )


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, lowest and highest."""
    return statistics.median(values), min(values), max(values)


def _spread_tokens(record: Record, start_s: float, width_s: float, tokens: list[float]) -> None:
    """Count a record's tokens where they arrived, each arrival carrying an equal share.

    Where the engine does not say when they did, they are spread evenly over their answer.
    """
    arrivals = [start_s + (record.ttft_s or 0.0)]
    for itl in record.itls_s or ((record.tpot_s,) * (record.output_tokens - 1) if record.tpot_s else ()):
        arrivals.append(arrivals[-1] + itl)
    share = record.output_tokens / len(arrivals)
    for at_s in arrivals:
        tokens[min(int(at_s / width_s), len(tokens) - 1)] += share


def _is_good(record: Record, objective: Objective) -> bool:
    limits = (
        (objective.ttft_s, record.ttft_s),
        (objective.tpot_s, record.tpot_s),
        (objective.e2e_s, record.e2e_s),
    )
    # An answer of one token has no time per further token, and so none that is too long.
    return all(limit is None or had is None or had <= limit for limit, had in limits)


def _short(value: float) -> float:
    """Six significant digits: microseconds of a second, and no noise in git."""
    return float(f"{value:.6g}")


def _brief(value: float) -> float:
    return float(f"{value:.3g}")
