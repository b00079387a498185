"""Bars: small pictures made of letters."""

from __future__ import annotations

import math
from collections.abc import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"


def bar(share: float, room: int) -> str:
    """A bar of this share of the room; what is more than nothing can be seen."""
    eighths = round(min(max(share, 0.0), 1.0) * room * 8)
    if share > 0:
        eighths = max(eighths, 1)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def spark(values: Sequence[float], room: int) -> str:
    """A line of values as heights, each place the mean of those that fall into it."""
    if not values or max(values) <= 0:
        return ""
    room = min(room, len(values))
    means = []
    for place in range(room):
        part = values[place * len(values) // room : (place + 1) * len(values) // room]
        means.append(sum(part) / len(part))
    most = max(means)
    return "".join(_HEIGHTS[min(math.floor(mean / most * len(_HEIGHTS)), 7)] for mean in means)


def places(lengths: Sequence[float], room: int) -> list[str]:
    """A bar for each length, that begins where the one before it ends."""
    whole = sum(lengths)
    if whole <= 0 or room < 1:
        return [""] * len(lengths)
    drawn = []
    before = 0.0
    for length in lengths:
        # The last place is left for what is too short to have one of its own.
        begin = min(int(before / whole * room), room - 1)
        drawn.append(" " * begin + bar(min(length / whole, 1 - begin / room), room))
        before += length
    return drawn
