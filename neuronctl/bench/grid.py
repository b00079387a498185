"""Grid: cells as columns, by the room that letters take in a terminal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

# Gives a text a colour: the text, and the colour's name as cli/render.py knows it.
Paint = Callable[[str, str], str]

_PAINTED = re.compile(r"\x1b\[[0-9;]*m")


def plain(text: str, colour: str) -> str:
    """No colour at all."""
    return text


def wide(text: str) -> int:
    """How many columns a text takes: Chinese letters and emoji two, accents of their own none."""
    return sum(map(_columns, _PAINTED.sub("", text)))


def cut(text: str, width: int) -> str:
    """A text that is not painted, no wider than this."""
    if wide(text) <= width:
        return text
    kept, taken = "", 1
    for letter in text:
        taken += _columns(letter)
        if taken > width:
            break
        kept += letter
    return kept + "…"


def grid(rows: Sequence[Sequence[str]], *, gap: int = 2, right: Sequence[int] = ()) -> list[str]:
    """Rows as lines; the columns of these numbers end below each other, the others begin so."""
    sizes = [max(map(wide, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for place, (cell, size) in enumerate(zip(row, sizes, strict=True)):
            space = " " * (size - wide(cell))
            cells.append(space + cell if place in right else cell + space)
        lines.append((" " * gap).join(cells).rstrip())
    return lines


def _columns(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
