"""A comparison as a terminal shows it, and as data."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from neuronctl.bench.amount import amount, signed
from neuronctl.bench.change import Change, Verdict
from neuronctl.bench.compare import Comparison, PointChange
from neuronctl.bench.shown import clean

# Shown whatever became of them; of the others, what is better or worse.
_ALWAYS = (
    "ttft_p50",
    "ttft_p95",
    "itl_p95",
    "tpot_p50",
    "e2e_p95",
    "output_throughput",
    "goodput",
    "error_rate",
)
_HEAD = ("", "A", "B", "change", "noise", "")
# Left out of a narrow terminal, the first one first.
_DROPPED = ("noise", "A", "B")
_NARROWEST = 40
_MARKS: dict[Verdict, str] = {"worse": "worse", "better": "better", "within noise": "=", "cannot tell": "?"}
_MEANING: dict[Verdict, str] = {
    "worse": "worse",
    "better": "better",
    "within noise": "within noise (=)",
    "cannot tell": "cannot be told (?)",
}


def comparison_data(comparison: Comparison) -> dict[str, object]:
    """All of it, each measure at each point."""
    data: dict[str, object] = msgspec.to_builtins(comparison)
    return data


def comparison_text(comparison: Comparison, width: int) -> str:
    """What changed: the measures that matter most, and all that are better or worse."""
    width = max(width, _NARROWEST)
    parts = ["\n".join(_head(comparison, width))]
    parts += ["\n".join(_point(point, width)) for point in comparison.points]
    parts.append("\n".join(_end(comparison, width)))
    return "\n\n".join(part for part in parts if part)


def _head(comparison: Comparison, width: int) -> Iterator[str]:
    yield from _wrapped(f"A: {comparison.a}; B: {comparison.b}", width)
    for warning in comparison.warnings:
        yield from _wrapped(f"! {warning.severity}: {warning.text}", width)
    for one in comparison.differences:
        yield from _wrapped(f"- {one.name}: {one.a} in A, {one.b} in B", width)


def _point(point: PointChange, width: int) -> Iterator[str]:
    yield clean(point.name)
    yield from _table([_cells(change) for change in _shown(point)], width)


def _shown(point: PointChange) -> list[Change]:
    """The measures that matter most; of the others, what moved as none of these moved that is alike."""
    told = {(_kind(one.measure), one.verdict) for one in point.changes if one.measure in _ALWAYS}
    return [
        one
        for one in point.changes
        if one.measure in _ALWAYS
        or (one.verdict in ("better", "worse") and (_kind(one.measure), one.verdict) not in told)
    ]


def _kind(measure: str) -> str:
    """`ttft` of ttft_p95; what is not a time is a throughput."""
    first = measure.partition("_")[0]
    return first if first in ("ttft", "itl", "tpot", "e2e") else "throughput"


def _cells(change: Change) -> tuple[str, ...]:
    noise = change.noise
    return (
        change.measure,
        "-" if change.a is None else amount(change.measure, change.a),
        "-" if change.b is None else amount(change.measure, change.b),
        "-" if change.change is None else signed(change.change),
        "" if noise is None else f"±{signed(noise).lstrip('+')}",
        _MARKS[change.verdict],
    )


def _end(comparison: Comparison, width: int) -> Iterator[str]:
    for name, points in (("A", comparison.only_a), ("B", comparison.only_b)):
        if points:
            yield from _wrapped(f"! only in {name}: {', '.join(points)}", width)
    if not comparison.points:
        yield from _wrapped("the two results have no load in common: there is nothing to compare", width)
        return
    changes = [change for point in comparison.points for change in point.changes]
    counted = Counter(change.verdict for change in changes)
    said = ", ".join(f"{counted[verdict]} {words}" for verdict, words in _MEANING.items() if counted[verdict])
    yield from _wrapped(f"of {len(changes)} numbers (all with --json): {said}", width)
    for why in dict.fromkeys(change.why for change in changes if change.why):
        yield from _wrapped(f"? {why}", width)
    if counted["better"] or counted["worse"]:
        yield from _wrapped(
            "Noise is what repeats of the same would stay under 19 times of 20, in each direction: of many "
            "numbers a few change by chance.",
            width,
        )


def _table(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Columns, numbers to the right, set in by two; without some where all are too wide."""
    columns = {name or str(place): place for place, name in enumerate(_HEAD)}
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
    for dropped in _DROPPED:
        if sum(2 + widths[place] for place in columns.values()) > width:
            del columns[dropped]
    for row in (_HEAD, *rows):
        cells = (
            row[place].ljust(widths[place]) if not _HEAD[place] else row[place].rjust(widths[place])
            for place in columns.values()
        )
        yield ("  " + "  ".join(cells)).rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(clean(text), width, subsequent_indent="  ")
