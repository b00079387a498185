"""Rows as aligned columns, the text of their cells, and text set in."""

from __future__ import annotations

from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]], *, widest: int | None = None) -> str:
    """`rows` as text, each column as wide as its widest cell, but not wider than `widest` for a long one."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    widths = [min(width, widest or width) for width in widths]
    lines = []
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def cell(value: object) -> str:
    """A value as a cell shows it: text as it is, anything else as JSON."""
    import json

    return value if isinstance(value, str) else json.dumps(value, default=str)


def indented(text: str) -> list[str]:
    """The lines of `text`, two spaces in."""
    return ["  " + line for line in text.splitlines()]
