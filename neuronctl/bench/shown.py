"""Shown: numbers and names of a result as a person reads them, on paper and in a terminal."""

from __future__ import annotations

import math
import re

# What a terminal obeys, what no XML may hold, and what turns the direction of the text around it.
_OBEYED = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def clean(text: str) -> str:
    """`text` in one line, with \ufffd for what is not a letter but an order."""
    return _OBEYED.sub("\ufffd", text)


def number(value: float) -> str:
    """Three digits that count, and thousands apart: `0.0512`, `5.12`, `51.2`, `5,120`."""
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e9 or size < 1e-4:
        return f"{value:.3g}"
    places = 2 - math.floor(math.log10(size))
    # 9.996 is 10.0 and not 10.00.
    places = 2 - math.floor(math.log10(round(size, places)))
    return f"{value:,.{max(places, 0)}f}"


def whole(value: float) -> str:
    """A number that has no fraction without one: `16`, `2,048`; any other as `number` shows it."""
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e9 else number(value)


def milliseconds(value_s: float) -> str:
    """Seconds as milliseconds, without the unit."""
    return number(value_s * 1000)


def duration(value_s: float) -> str:
    """`51.2 ms`, `4.2 s`, `45 s`, `15 min 30 s`, `2 h 5 min`."""
    if abs(value_s) < 0.9995:
        return f"{milliseconds(value_s)} ms"
    if value_s < 9.95:
        return f"{value_s:.1f} s"
    minutes, seconds = divmod(round(value_s), 60)
    if minutes == 0:
        return f"{seconds} s"
    if minutes < 60:
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    hours, minutes = divmod(round(value_s / 60), 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def dollars(value: float) -> str:
    """`$1.25`, `$0.0312`, `$1,250`."""
    return f"${value:,.2f}" if 0.1 <= value < 1000 else f"${number(value)}"


def share(value: float) -> str:
    """`0 %`, `0.4 %`, `12 %`."""
    percent = value * 100
    return f"{percent:.0f} %" if percent == 0 or percent >= 10 else f"{percent:.2g} %"
