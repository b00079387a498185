"""Labels: on which side of its mark a label finds room, on a plane of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Spot = tuple[float, float]
Side = Literal["below right", "above left", "right", "above right", "left", "below left"]
# A curve mostly rises or flattens: what is below it on the right is free more often.
SIDES: tuple[Side, ...] = ("below right", "above left", "right", "above right", "left", "below left")

# Of a label of 12 pixels: how wide a letter is, how high a line; and how far from its mark it stands.
_LETTER, _LINE, GAP = 6.8, 12.0, 6.0
# How finely a line is followed.
_STEPS = 40


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, spot: Spot) -> bool:
        return self.left < spot[0] < self.right and self.top < spot[1] < self.bottom


def place(
    marks: Sequence[Spot], texts: Sequence[str], lines: Sequence[Sequence[Spot]], size: Spot
) -> list[Side | None]:
    """A side for each label where it covers no mark, line, label or border; None where none is free."""
    dots = [_Box(x - 4, y - 4, x + 4, y + 4) for x, y in marks]
    on_lines = [spot for line in lines for spot in _followed(line)]
    paper = _Box(0, 0, *size)
    taken: list[_Box] = []
    sides: list[Side | None] = []
    for spot, text, own in zip(marks, texts, dots, strict=True):
        others = [dot for dot in dots if dot is not own] + taken
        free = (
            (side, box)
            for side in SIDES
            if text
            and _within(box := _box(spot, side, len(text) * _LETTER), paper)
            and not any(box.meets(other) for other in others)
            and not any(box.holds(one) for one in on_lines)
        )
        found = next(free, None)
        sides.append(found[0] if found else None)
        taken += [found[1]] if found else []
    return sides


def _within(box: _Box, paper: _Box) -> bool:
    return (
        box.left >= paper.left
        and box.top >= paper.top
        and box.right <= paper.right
        and box.bottom <= paper.bottom
    )


def _box(spot: Spot, side: Side, long: float) -> _Box:
    x, y = spot
    left = x - GAP - long if side.endswith("left") else x + GAP
    top = y - _LINE / 2
    if side.startswith("above"):
        top = y - GAP / 2 - _LINE
    elif side.startswith("below"):
        top = y + GAP / 2
    return _Box(left, top, left + long, top + _LINE)


def _followed(line: Sequence[Spot]) -> list[Spot]:
    """Spots on a line through these, close to each other."""
    return [
        (x + (next_x - x) * step / _STEPS, y + (next_y - y) * step / _STEPS)
        for (x, y), (next_x, next_y) in pairwise(line)
        for step in range(_STEPS)
    ]
