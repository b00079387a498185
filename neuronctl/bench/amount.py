"""Amount: a measure and a change of it, as a person reads them."""

from __future__ import annotations

from neuronctl.bench.measures import MEASURES
from neuronctl.bench.shown import duration, share, whole


def amount(measure: str, value: float) -> str:
    """`51.2 ms`, `12 %`, `209 tokens/s`, `4.88/s`."""
    unit = MEASURES[measure].unit
    if unit == "s":
        return duration(value)
    if unit == "share":
        return share(value)
    return f"{whole(value)} tokens/s" if unit == "tokens/s" else f"{whole(value)}/s"


def signed(change: float) -> str:
    """`+10 %`, `-4.2 %`, `+1,200 %`."""
    percent = round(change * 100, 1)
    return f"{percent:+g} %" if abs(percent) < 1000 else f"{percent:+,.0f} %"
