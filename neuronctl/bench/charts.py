"""Charts: from a result to specifications of Vega-Lite, as plain data. What was not measured is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from neuronctl.bench.arrangement import AXIS, Along, Arrangement, arrange, levels, say_load
from neuronctl.bench.axis import Axis, amount_axis
from neuronctl.bench.axis import load as load_axis
from neuronctl.bench.drawing import Row, Spec, plane, strips, two_lines, waterfall
from neuronctl.bench.look import Look
from neuronctl.bench.schema import BenchResult, Distribution, Startup
from neuronctl.bench.shown import clean, duration, milliseconds, number, whole
from neuronctl.bench.spread import Spread, median_run, over_runs

_NAMES = {"ttft": "time to first token", "itl": "time between tokens", "tpot": "time per output token"} | {
    "e2e": "time to last token"
}
Times = Literal["ttft", "itl", "tpot", "e2e"]


@dataclass(frozen=True)
class Chart:
    """A chart: `part` of the report, `name` for files, `title` and `note` for readers, what to draw."""

    part: Literal["throughput", "distribution", "startup", "timeline"]
    name: str
    title: str
    note: str
    spec: Spec


def charts(result: BenchResult, look: Look) -> list[Chart]:
    """All charts that the result has data for."""
    made: list[Chart | None] = [throughput_against(result, name, look) for name in ("ttft", "tpot", "e2e")]
    made += [throughput_by_load(result, look), good_answers(result, look), by_prompt(result, look)]
    made += [distribution(result, name, look) for name in ("ttft", "itl")]
    made += [startup(result, number, look) for number in range(len(result.startup))]
    made += [timeline(result, number, look) for number in range(len(result.points))]
    return [chart for chart in made if chart is not None]


def throughput_against(result: BenchResult, times: Times, look: Look) -> Chart | None:
    """What more throughput costs in time: one point for each load, p50 with its runs' spread, and p99."""
    arranged = arrange(result.points)
    rows: list[Row] = []
    tails: list[Row] = []
    for place in arranged.places:
        tokens, middle, tail = (
            over_runs(place.point, name) for name in ("output_throughput", f"{times}_p50", f"{times}_p99")
        )
        if tokens is None or middle is None:
            continue
        name = place.point.load.name
        said = f"{name}: {_said(tokens, number)} output tokens/s"
        row = {"series": clean(place.series), "label": place.label, "order": len(rows)}
        row |= _values("x", tokens) | _values("y", middle, 1000)
        rows.append(row | {"said": f"{said}, {times} p50 {_said(middle, milliseconds)} ms"})
        if tail is not None:
            row = row | _values("y", tail, 1000) | {"label": ""}
            tails.append(row | {"said": f"{said}, {times} p99 {_said(tail, milliseconds)} ms"})
    if not rows:
        return None
    x = amount_axis("output tokens a second", _all(rows, "x"))
    y = amount_axis(f"{_NAMES[times]}, ms", _all([*rows, *tails], "y"))
    spread = _spread_words(rows)
    return Chart(
        "throughput",
        f"throughput-{times}",
        f"Throughput against {_NAMES[times]}",
        f"Filled: half of the requests took no longer; hollow: 99 of 100 did not. {spread}".strip(),
        plane(arranged.series, x, y, rows, look, hollow=tails),
    )


def throughput_by_load(result: BenchResult, look: Look) -> Chart | None:
    """What each load brings, where there are several."""
    arranged = arrange(result.points)
    rows = _by_load(arranged, "output_throughput", lambda spread: f"{_said(spread, number)} output tokens/s")
    if not _several(rows) or not any(row["y"] for row in rows):
        return None
    return Chart(
        "throughput",
        f"throughput-by-{arranged.along}",
        f"Throughput by {_short(arranged.along)}",
        _spread_words(rows),
        plane(
            arranged.series,
            load_axis(AXIS[arranged.along], [row["x"] for row in rows]),
            amount_axis("output tokens a second", _all(rows, "y")),
            rows,
            look,
        ),
    )


def good_answers(result: BenchResult, look: Look) -> Chart | None:
    """How many of the answers met the objective, by load."""
    arranged = arrange(result.points)
    good = _by_load(arranged, "goodput", lambda spread: f"{_said(spread, number)} good answers/s")
    every = _by_load(arranged, "request_throughput", lambda spread: f"{_said(spread, number)} answers/s")
    if not _several(good) or not any(row["y"] for row in every):
        return None
    return Chart(
        "throughput",
        f"goodput-by-{arranged.along}",
        f"Answers that met the objective by {_short(arranged.along)}",
        f"Filled: answers that met every part of the objective; hollow: all. {_spread_words(good)}".strip(),
        plane(
            arranged.series,
            load_axis(AXIS[arranged.along], [row["x"] for row in good]),
            amount_axis("answers a second", [*_all(good, "y"), *_all(every, "y")]),
            good,
            look,
            hollow=every,
        ),
    )


def by_prompt(result: BenchResult, look: Look) -> Chart | None:
    """Time to first token by the length of the prompt, with the edges of compiled buckets."""
    if len(levels(result.points, "input")) < 2:
        return None
    arranged = arrange(result.points, "input", answers_matter=False)
    rows = _by_load(
        arranged, "ttft_p50", lambda spread: f"ttft p50 {_said(spread, milliseconds)} ms", factor=1000
    )
    if not _several(rows):
        return None
    lengths = [row["x"] for row in rows]
    x = load_axis(AXIS["input"], lengths)
    edges = [edge for edge in result.target.input_buckets if x.low < edge < x.high]
    note = f"Dashed: the edges of compiled buckets ({', '.join(map(whole, edges))})." if edges else ""
    spec = plane(arranged.series, x, amount_axis(f"{_NAMES['ttft']}, ms", _all(rows, "y")), rows, look)
    if edges:
        rule = {
            "data": {"values": [{"x": edge} for edge in edges]},
            "mark": {"type": "rule", "color": look.soft, "strokeDash": [4, 4], "aria": False},
            "encoding": {"x": x.channel("x")},
        }
        spec["layer"].insert(0, rule)
    return Chart(
        "throughput",
        "ttft-by-prompt",
        "Time to first token by length of the prompt",
        f"{note} {_spread_words(rows)}".strip(),
        spec,
    )


def distribution(result: BenchResult, times: Literal["ttft", "itl"], look: Look) -> Chart | None:
    """How a time is distributed in the median run of each point."""
    ticks: list[Row] = []
    bars: list[Row] = []
    for index, point in enumerate(result.points):
        run = median_run(point)
        found: Distribution | None = getattr(run, f"{times}_s") if run else None
        if found is None:
            continue
        row = f"{index:03d}"
        grid = [value * 1000 for value in found.grid]
        ticks += [{"row": row, "x": value} for value in grid[1:-1]]
        said = ", ".join(f"{key} {milliseconds(getattr(found, key))}" for key in ("p50", "p90", "p99"))
        bars.append(
            {
                "row": row,
                "x_low": grid[5],
                "x_high": grid[15],
                "x": found.p50 * 1000,
                "tail": found.p99 * 1000,
                "said": f"{clean(point.load.name)}: {times} {said} ms",
                "name": clean(point.load.name),
            }
        )
    if not bars:
        return None
    every = [row["x"] for row in ticks] + [row[key] for row in bars for key in ("x", "tail")]
    x = amount_axis(f"{_NAMES[times]}, ms", every)
    names = {row["row"]: row["name"] for row in bars}
    return Chart(
        "distribution",
        f"distribution-{times}",
        f"Distribution of {_NAMES[times]}",
        "Small lines: each twentieth of "
        + ("requests" if times == "ttft" else "arrivals")
        + ", from 5 to 95 of 100; bar: the middle half; dot: the median; diamond: 99 of 100. Median run.",
        strips(x, ticks, bars, names, look),
    )


def startup(result: BenchResult, index: int, look: Look) -> Chart | None:
    """How the server came up: each phase begins where the one before it ended."""
    one = result.startup[index]
    rows = _phases(one)
    if not rows:
        return None
    end_s = max(one.ready_s, *(float(row["until"]) for row in rows))
    unit, unit_s = ("min", 60.0) if end_s >= 600 else ("s", 1.0)
    for row in rows:
        row |= {"since": row["since"] / unit_s, "until": row["until"] / unit_s}
    # Room at the end for what is written beside the last bar.
    x = Axis(f"{unit} since the start", 0.0, max(end_s / unit_s, 1e-9) * 1.25)
    again = [other.kind for other in result.startup[:index]].count(one.kind)
    return Chart(
        "startup",
        f"startup-{one.kind}" + (f"-{again + 1}" if again else ""),
        f"{one.kind.capitalize()} start: ready after {duration(one.ready_s)}",
        "The model was compiled first." if one.kind == "cold" else "The compiled artifact was there.",
        waterfall(x, rows, look),
    )


def timeline(result: BenchResult, index: int, look: Look) -> Chart | None:
    """The runs of one point over their time: tokens that came in, and requests being answered."""
    point = result.points[index]
    chosen = median_run(point)
    rows: list[Row] = [
        {
            "run": str(repeat),
            "chosen": run is chosen,
            "x": (place + 0.5) * run.timeline.width_s,
            "tokens": tokens,
            "busy": busy,
        }
        for repeat, run in enumerate(point.runs)
        if run.timeline is not None
        for place, (busy, tokens) in enumerate(
            zip(run.timeline.in_flight, run.timeline.tokens_per_s, strict=False)
        )
    ]
    if not rows:
        return None
    x = Axis("seconds since the first request", 0.0, max(max(row["x"] for row in rows) * 1.02, 1e-9))
    drawn = len({row["run"] for row in rows})
    return Chart(
        "timeline",
        f"timeline-{index + 1:02d}",
        clean(point.load.name),
        say_load(point.load) + (f"; {drawn} runs, the median one filled" if drawn > 1 else ""),
        two_lines(x, rows, look),
    )


def _by_load(
    arranged: Arrangement, measure: str, say: Callable[[Spread], str], factor: float = 1.0
) -> list[Row]:
    """A row for each point that has the measure and a place on the axis."""
    rows: list[Row] = []
    for place in arranged.places:
        found = over_runs(place.point, measure)
        if found is None or place.at is None:
            continue
        # The axis says what the load is.
        row: Row = {"series": clean(place.series), "label": "", "order": len(rows), "x": place.at}
        row |= {"x_low": place.at, "x_high": place.at} | _values("y", found, factor)
        rows.append(row | {"said": f"{place.point.load.name}: {say(found)}"})
    return rows


def _phases(one: Startup) -> list[Row]:
    """Where each phase begins and ends, in seconds."""
    rows: list[Row] = []
    since = 0.0
    for place, phase in enumerate(one.phases):
        name, took, until = clean(phase.name), duration(phase.took_s), since + phase.took_s
        row: Row = {"row": f"{place:03d}", "name": name, "since": since, "until": until}
        rows.append(row | {"took": took, "said": f"{name}: {took}"})
        since = until
    return rows


def _values(name: str, spread: Spread, factor: float = 1.0) -> Row:
    return {
        name: spread.median * factor,
        f"{name}_low": spread.low * factor,
        f"{name}_high": spread.high * factor,
    }


def _all(rows: Iterable[Row], name: str) -> list[float]:
    return [row[key] for row in rows for key in (name, f"{name}_low", f"{name}_high")]


def _several(rows: Sequence[Row]) -> bool:
    return len({row["x"] for row in rows}) > 1


def _said(spread: Spread, say: Callable[[float], str]) -> str:
    said = say(spread.median)
    return f"{said} (runs {say(spread.low)} to {say(spread.high)})" if spread.shows else said


def _spread_words(rows: Sequence[Row]) -> str:
    """What the whiskers are, where there are any."""
    wide = any(row[f"{axis}_low"] < row[f"{axis}_high"] for row in rows for axis in ("x", "y"))
    return "Whiskers: from the lowest to the highest run." if wide else ""


def _short(along: Along) -> str:
    return {"concurrency": "concurrency", "rate": "request rate", "input": "length of the prompt"}[along]
