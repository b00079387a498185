"""A result as a terminal shows it: what must be known, a line for each load, where the start went."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from neuronctl.bench.arrangement import say_load
from neuronctl.bench.schema import BenchResult, Point, Startup
from neuronctl.bench.shown import clean, dollars, duration, milliseconds, number, share
from neuronctl.bench.spread import Spread, over_runs

_MARKS = {"error": "✗", "warning": "!", "info": "·"}
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_NARROWEST = 40
# Left out of a narrow terminal, the first one first.
_DROPPED = ("e2e p50", "TTFT p99", "ITL p99", "req/s", "ITL p50", "$/M tokens")


def terminal_text(result: BenchResult, width: int) -> str:
    """All of it, no line wider than the terminal (but at least 40)."""
    width = max(width, _NARROWEST)
    parts = [
        "\n".join(_head(result, width)),
        "\n".join(_remarks(result, width)),
        "\n".join(_loads(result, width)),
        "\n".join(_edges(result, width)),
        *("\n".join(_startup(one, width)) for one in result.startup),
        "\n".join(_rest(result, width)),
    ]
    return "\n\n".join(part for part in parts if part)


def _head(result: BenchResult, width: int) -> Iterator[str]:
    target = result.target
    where = ", ".join(
        filter(None, (target.backend, target.instance, f"{result.engine.name} {result.engine.version}"))
    )
    yield from textwrap.wrap(clean(f"{result.name}: {target.model} at {target.url} ({where})"), width)


def _remarks(result: BenchResult, width: int) -> Iterator[str]:
    for remark in result.remarks:
        text = f"{_MARKS[remark.severity]} {clean(remark.text)}"
        yield from textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)


def _loads(result: BenchResult, width: int) -> Iterator[str]:
    """The table: medians over the runs, and of throughput the spread and a bar."""
    table = [_row(point) for point in result.points]
    if not table:
        return
    names = [name for name in table[0] if any(row[name] for row in table)]
    for dropped in ("", *_DROPPED):
        names = [name for name in names if name != dropped]
        lines = _columns([names, *([row[name] for name in names] for row in table)])
        if max(map(len, lines)) <= width:
            break
    yield from textwrap.wrap("times in ms; medians of the runs, ± half of what lies between them", width)
    most = max(
        (found.median for point in result.points if (found := over_runs(point, "output_throughput"))),
        default=0,
    )
    room = min(24, width - max(map(len, lines)) - 2)
    yield lines[0][:width]
    for line, point in zip(lines[1:], result.points, strict=True):
        found = over_runs(point, "output_throughput")
        bar = _bar(found.median / most, room) if found and most and room >= 6 else ""
        yield f"{line:{max(map(len, lines))}}  {bar}".rstrip()[:width]


def _row(point: Point) -> dict[str, str]:
    def time(name: str) -> str:
        found = over_runs(point, name)
        return milliseconds(found.median) if found else "–"

    pace, answers = over_runs(point, "output_throughput"), over_runs(point, "request_throughput")
    good, wrong = over_runs(point, "goodput"), over_runs(point, "error_rate")
    return {
        "load": point.load.name,
        "TTFT p50": time("ttft_p50"),
        "TTFT p99": time("ttft_p99"),
        "ITL p50": time("itl_p50"),
        "ITL p99": time("itl_p99"),
        "e2e p50": time("e2e_p50"),
        "req/s": number(answers.median) if answers else "–",
        "good/s": number(good.median) if good else "",
        "errors": share(wrong.median) if wrong and wrong.high else "",
        "$/M tokens": dollars(point.usd_per_million_tokens) if point.usd_per_million_tokens else "",
        "tokens/s": _with_spread(pace) if pace else "–",
    }


def _with_spread(found: Spread) -> str:
    half = (found.high - found.low) / 2
    return f"{number(found.median)} ±{number(half)}" if found.shows else number(found.median)


def _edges(result: BenchResult, width: int) -> Iterator[str]:
    """Which points lie at the edge of a compiled size."""
    for point in result.points:
        if point.load.edge:
            yield f"{point.load.name}: {clean(point.load.edge)}"[:width]


def _startup(one: Startup, width: int) -> Iterator[str]:
    """Where the time of a start went, as bars that begin where the one before ends."""
    yield f"{one.kind} start: ready after {duration(one.ready_s)}"
    whole = sum(phase.took_s for phase in one.phases)
    if not whole:
        return
    wide = max(len(phase.name) for phase in one.phases)
    room = min(40, width - wide - 16)
    begin = 0.0
    for phase in one.phases:
        bar = ""
        if room >= 8:
            before = int(begin / whole * room)
            bar = " " * before + (_bar(phase.took_s / whole, room) or "▏")
        begin += phase.took_s
        yield f"  {clean(phase.name):{wide}}  {duration(phase.took_s):>12}  {bar}".rstrip()[:width]
    if one.first_answer_s is not None:
        yield f"  the first answer then took {duration(one.first_answer_s)}"


def _rest(result: BenchResult, width: int) -> Iterator[str]:
    if result.server_memory_bytes:
        yield f"server memory: {result.server_memory_bytes / 2**30:.1f} GiB at most"
    if per_core := [one for one in result.points if one.output_tokens_per_s_per_core]:
        best = max(per_core, key=lambda one: one.output_tokens_per_s_per_core or 0)
        pace = number(best.output_tokens_per_s_per_core or 0)
        yield f"tokens a second and core: {pace} at most ({say_load(best.load)})"
    if result.client_delay:
        told = ", ".join(
            f"{milliseconds(max(0.0, one.ttft_s))} ms at {one.concurrency} at once"
            for one in result.client_delay
        )
        text = f"the client itself adds to TTFT: {told} (measured against a server of known times)"
        yield from textwrap.wrap(text, width)


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{cell:<{wide}}" if number_ == 0 else f"{cell:>{wide}}"
            for number_, (cell, wide) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _bar(part: float, room: int) -> str:
    eighths = max(0, round(part * room * 8))
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()
