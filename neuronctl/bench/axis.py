"""Axis: from where to where a chart's axis goes, straight or by powers, and where a value lies on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

# Values that are further apart than this are shown by powers of ten: the small ones would all be at the edge.
_APART = 50.0


@dataclass(frozen=True)
class Axis:
    """`base` is None for a straight axis. `ticks`, where given, are the only ones."""

    title: str
    low: float
    high: float
    base: int | None = None
    ticks: tuple[float, ...] = ()

    def share(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        if self.base is None:
            return (value - self.low) / (self.high - self.low)
        return math.log(value / self.low) / math.log(self.high / self.low)

    def channel(self, field: str, **more: Any) -> dict[str, Any]:
        """The axis as an encoding of Vega-Lite for this field of the data."""
        scale: dict[str, Any] = {"domain": [self.low, self.high], "nice": False, "zero": False}
        if self.base is not None:
            scale |= {"type": "log", "base": self.base}
        axis: dict[str, Any] = {"tickCount": 6}
        if self.ticks:
            axis = {"values": list(self.ticks), "format": ",~r"}
        if self.high >= 1e5:
            axis["format"] = "~s"
        elif self.high < 1e-3:
            axis |= {"format": "~e", "tickCount": 4}
        elif self.base is not None:
            axis["format"] = ",~r"
        # Where each value has its tick nobody needs to be told.
        told = self.base is None or self.ticks
        title = self.title if told else f"{self.title} (log scale)"
        return {
            "field": field,
            "type": "quantitative",
            "scale": scale,
            "axis": axis | more,
            "title": title,
        }


def amount_axis(title: str, values: Iterable[float]) -> Axis:
    """The axis of a measured amount: from zero, or by powers where values are far apart."""
    sizes = list(values)
    high = max(sizes, default=0.0)
    low = min(sizes, default=0.0)
    if low > 0 and high / low > _APART:
        return Axis(title, low / 1.5, high * 1.5, base=10)
    return Axis(title, 0.0, high * 1.12 if high > 0 else 1.0)


def load(title: str, values: Sequence[float]) -> Axis:
    """The axis of what was asked for: a tick for each value, and doublings equally far apart."""
    ticks = tuple(sorted(set(values)))
    low, high = ticks[0], ticks[-1]
    if low > 0 and high / low >= 8:
        return Axis(title, low / 1.25, high * 1.4, base=2, ticks=ticks)
    return Axis(title, 0.0, high * 1.12 if high > 0 else 1.0, ticks=ticks)
