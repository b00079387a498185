"""Terminal: a result as text of any width: what must be known, a line for each load, small pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from neuronctl.bench.bars import bar, places, spark
from neuronctl.bench.column import OUTPUT, Column, measured
from neuronctl.bench.grid import Paint, cut, grid, plain, wide
from neuronctl.bench.schema import BenchResult, Point, Startup
from neuronctl.bench.shown import clean, duration, milliseconds
from neuronctl.bench.spread import median_run
from neuronctl.bench.terminal_table import table
from neuronctl.machine.amount import say_bytes

_NARROWEST = 40
_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}
# More bars than these are no picture any more, and the table says the same.
_MOST_BARS = 24
_BAR, _LEAST_BAR, _SPARK, _GAP = 24, 6, 20, 3
_TTFT = measured("", "", "ttft_p50", milliseconds)


def terminal_text(result: BenchResult, width: int, *, paint: Paint = plain) -> str:
    """All of it, no line wider than the terminal, which is taken for 40 letters where it is less.

    `paint` gives a text a colour of the terminal's.
    """
    width = max(width, _NARROWEST)
    parts = [
        _head(result, width, paint),
        _remarks(result, width, paint),
        table(result, width, paint),
        _bars(result, width, paint),
        *(_startup(one, width, paint) for one in result.startup),
        _rest(result, width),
    ]
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(part)))


def _head(result: BenchResult, width: int, paint: Paint) -> Iterator[str]:
    target = result.target
    name = cut(clean(result.name), width - len("  partial"))
    yield paint(name, "bold") + (paint("  partial", "red") if result.status == "partial" else "")
    known = [target.model, target.url, target.backend, target.instance]
    known += [f"{target.cores} cores" if target.cores else None, f"sent by {result.engine.name}"]
    yield from _wrapped(clean(", ".join(one for one in known if one)), width)


def _remarks(result: BenchResult, width: int, paint: Paint) -> Iterator[str]:
    told = [(one.severity, one.id, one.text) for one in result.remarks]
    if result.status == "partial" and not any(id_ == "partial" for _, id_, _ in told):
        told.insert(0, ("error", "partial", result.why_partial or "not all was measured"))
    for severity, id_, text in told:
        first, *others = _wrapped(clean(f"{severity} {id_}: {text}"), width, "  ")
        yield paint(severity, _COLOURS[severity]) + first.removeprefix(severity)
        yield from others


def _bars(result: BenchResult, width: int, paint: Paint) -> Iterator[str]:
    """Throughput and latency beside each other, and where there is room how the throughput came about."""
    points = [point for point in result.points if OUTPUT.of(point) and _TTFT.of(point)]
    if not 1 < len(points) <= _MOST_BARS:
        return
    names = [clean(point.load.name) for point in points]
    values = [_medians(column, points) for column in (OUTPUT, _TTFT)]
    said = [[OUTPUT.say(pace) for pace in values[0]], [_TTFT.say(time) for time in values[1]]]
    # What each line holds beside its two bars, and the room that leaves for one of them.
    fixed = (
        max(wide(name) for name in ("load", *names)) + 2 * _GAP + sum(max(map(wide, one)) + 1 for one in said)
    )
    lines = [_spark(point) for point in points]
    has_spark = any(lines) and width >= fixed + 2 * _BAR + _GAP + _SPARK
    room = (width - fixed - (_GAP + _SPARK if has_spark else 0)) // 2
    if room < _LEAST_BAR:
        return
    columns = [
        [
            paint(bar(one / (max(found) or 1), min(room, _BAR)), "cyan") + " " + text
            for one, text in zip(found, texts, strict=True)
        ]
        for found, texts in zip(values, said, strict=True)
    ]
    heads = ["load", "output tokens/s", "TTFT p50, ms"] + ["tokens/s over time"] * has_spark
    rows = [
        [name, *cells] + [paint(line, "cyan")] * has_spark
        for name, *cells, line in zip(names, *columns, lines, strict=True)
    ]
    drawn = grid([[paint(head, "dim") for head in heads], *rows], gap=_GAP)
    if max(map(wide, drawn)) <= width:  # the heads may need more than short bars
        yield from drawn


def _medians(column: Column, points: list[Point]) -> list[float]:
    return [spread.median for point in points if (spread := column.of(point)) is not None]


def _spark(point: Point) -> str:
    run = median_run(point)
    return spark(run.timeline.tokens_per_s, _SPARK) if run and run.timeline else ""


def _startup(one: Startup, width: int, paint: Paint) -> Iterator[str]:
    """Where the time of a start went: bars that begin where the one before them ends."""
    yield f"{one.kind} start: ready after {duration(one.ready_s)}"
    phases = [(clean(phase.name), phase.took_s) for phase in one.phases]
    names = [cut(name, width // 3) for name, _ in phases]
    took = [duration(seconds) for _, seconds in phases]
    room = width - max(map(wide, names), default=0) - max(map(len, took), default=0) - 6
    drawn = places([seconds for _, seconds in phases], min(room, 60))
    yield from grid(
        [
            [f"  {name}", text, paint(picture, "cyan")]
            for name, text, picture in zip(names, took, drawn, strict=True)
        ],
        gap=2,
    )


def _rest(result: BenchResult, width: int) -> Iterator[str]:
    if result.server_memory_bytes is not None:
        yield f"server memory: {say_bytes(result.server_memory_bytes)} at most"
    if result.client_delay:
        told = ", ".join(
            f"{milliseconds(one.ttft_s)} ms at c{one.concurrency}" for one in result.client_delay
        )
        yield from _wrapped(f"the client itself adds to TTFT: {told}", width, "  ")


def _wrapped(text: str, width: int, hanging: str = "") -> list[str]:
    """Lines of words; what is wider than it is long, as Chinese is, is cut where it has to be."""
    lines = textwrap.wrap(text, width, subsequent_indent=hanging, break_on_hyphens=False) or [""]
    return [cut(line, width) for line in lines]
