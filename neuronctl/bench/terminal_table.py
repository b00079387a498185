"""The table of points in a terminal: as many columns as there is room for, the most asked for first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from neuronctl.bench.column import COST, FAILED, GOODPUT, OUTPUT, PER_CORE, Column, times
from neuronctl.bench.grid import Paint, cut, wide
from neuronctl.bench.schema import BenchResult, Point
from neuronctl.bench.shown import clean

_TTFT, _ITL, _TPOT, _E2E = (times(name) for name in ("ttft", "itl", "tpot", "e2e"))
_BETWEEN_GROUPS = "   "


@dataclass(frozen=True)
class _Shown:
    """A column of the table; those with the highest `rank` go first where there is no room."""

    group: str
    head: str
    rank: int
    tell: Callable[[Point], str]
    dim: bool = False
    words: bool = False


def table(result: BenchResult, width: int, paint: Paint) -> Iterator[str]:
    """Lines of at most `width`; in a very narrow terminal a few lines for each point."""
    points = result.points
    if not points:
        return
    columns = [column for column in _COLUMNS if any(column.tell(point) for point in points)]
    while columns[1:]:
        lines = _lines(columns, points, paint)
        if max(map(wide, lines)) <= width:
            yield from lines
            break
        least = max(column.rank for column in columns)
        if least == 0:
            yield from _listed(columns, points, width, paint)
            break
        columns = [column for column in columns if column.rank < least]
    else:
        yield from (cut(clean(point.load.name), width) for point in points)
    if max(len(point.runs) for point in points) > 1:
        yield paint(cut("medians of the runs; “runs”: from the lowest to the highest", width), "dim")


def _lines(columns: Sequence[_Shown], points: Sequence[Point], paint: Paint) -> list[str]:
    """Two lines of heads, and a line for each point."""
    lines = ["", "", *("" for _ in points)]
    for number, (group, members) in enumerate(groupby(columns, key=lambda one: one.group)):
        block = _block(group, list(members), points, paint)
        gap = _BETWEEN_GROUPS if number else ""
        lines = [line + gap + part for line, part in zip(lines, block, strict=True)]
    return [line.rstrip() for line in lines]


def _block(group: str, columns: Sequence[_Shown], points: Sequence[Point], paint: Paint) -> list[str]:
    """The columns of one group, all lines of the same width."""
    cells = [[column.head, *(column.tell(point) for point in points)] for column in columns]
    sizes = [max(map(wide, column)) for column in cells]
    missing = wide(group) - (sum(sizes) + 2 * (len(sizes) - 1))
    sizes[0] += max(missing, 0)
    whole = sum(sizes) + 2 * (len(sizes) - 1)
    lines = [paint(group.center(whole), "dim") if group else " " * whole]
    for row in range(len(points) + 1):
        parts = []
        for column, texts, size in zip(columns, cells, sizes, strict=True):
            space = " " * (size - wide(texts[row]))
            text = texts[row] + space if column.words else space + texts[row]
            parts.append(paint(text, "dim") if row == 0 or column.dim else text)
        lines.append("  ".join(parts))
    return lines


def _listed(columns: Sequence[_Shown], points: Sequence[Point], width: int, paint: Paint) -> Iterator[str]:
    for point in points:
        yield paint(cut(columns[0].tell(point), width), "bold")
        for column in columns[1:]:
            if said := column.tell(point):
                yield cut(f"  {column.group} {column.head}: {said}".replace("  :", ":"), width)


def _of(column: Column, rank: int, *, group: str | None = None, head: str | None = None) -> _Shown:
    def tell(point: Point) -> str:
        found = column.of(point)
        return "" if found is None else column.say(found.median)

    return _Shown(group or column.group, head or column.head, rank, tell)


def _spread(column: Column, rank: int, *, group: str | None = None) -> _Shown:
    def tell(point: Point) -> str:
        found = column.of(point)
        if found is None or not found.shows:
            return ""
        return f"{column.say(found.low)}–{column.say(found.high)}"

    return _Shown(group or column.group, "runs", rank, tell, dim=True)


def _failed(point: Point) -> str:
    found = FAILED.of(point)
    return "" if found is None or found.high == 0 else FAILED.say(found.median)


_OUTPUT = "output tokens/s"
_COLUMNS = (
    _Shown("", "load", 0, lambda point: clean(point.load.name), words=True),
    _of(OUTPUT, 0, group=_OUTPUT, head="median"),
    _spread(OUTPUT, 1, group=_OUTPUT),
    _of(PER_CORE, 6, group=_OUTPUT, head="a core"),
    _of(_TTFT[0], 0),
    _spread(_TTFT[0], 5),
    _of(_TTFT[1], 8),
    _of(_TTFT[2], 2),
    _of(_ITL[0], 7),
    _of(_ITL[2], 7),
    _of(_TPOT[0], 0),
    _spread(_TPOT[0], 6),
    _of(_TPOT[2], 3),
    _of(_E2E[0], 2),
    _of(_E2E[2], 4),
    _of(GOODPUT, 4, group="good", head="/s"),
    _of(COST, 5, group="1M out", head="costs"),
    replace(_of(FAILED, 0, group="", head="failed"), tell=_failed),
    _Shown(" ", "edge", 3, lambda point: clean(point.load.edge or ""), words=True),
)
