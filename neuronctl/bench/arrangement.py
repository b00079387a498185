"""Arrangement: the points of a result in series, along a part of the load that varies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from neuronctl.bench.schema import Load, Point
from neuronctl.bench.shown import whole

Along = Literal["concurrency", "rate", "input"]

AXIS: dict[Along, str] = {
    "concurrency": "requests at once",
    "rate": "requests sent a second",
    "input": "tokens of the prompt",
}

_LEVEL: dict[Along, Callable[[Load], float | None]] = {
    "concurrency": lambda load: load.concurrency,
    "rate": lambda load: load.rate_rps,
    "input": lambda load: load.input_tokens,
}
_WORDS: tuple[tuple[Along | None, Callable[[Load], str]], ...] = (
    ("concurrency", lambda load: f"{load.concurrency or '∞'} at once"),
    ("rate", lambda load: "unpaced" if load.rate_rps is None else f"{load.rate_rps:g}/s"),
    (None, lambda load: f"{load.prefix_tokens} shared"),
    ("input", lambda load: "any prompt" if load.input_tokens is None else f"{load.input_tokens} in"),
    (None, lambda load: "any answer" if load.output_tokens is None else f"{load.output_tokens} out"),
)
_LABEL: dict[Along, Callable[[Load], str]] = {
    "concurrency": lambda load: f"c{load.concurrency or '∞'}",
    "rate": lambda load: "unpaced" if load.rate_rps is None else f"{load.rate_rps:g}/s",
    "input": lambda load: "" if load.input_tokens is None else f"{load.input_tokens} in",
}


@dataclass(frozen=True)
class Place:
    """Where a point belongs: in which series, how far along it, and what is written beside it.

    `at` is None where the load leaves that part open.
    """

    point: Point
    series: str
    label: str
    at: float | None


@dataclass(frozen=True)
class Arrangement:
    """All points, each series in the order of its axis; `series` by name, one empty name for a single one."""

    along: Along
    places: tuple[Place, ...]
    series: tuple[str, ...]


def levels(points: Sequence[Point], along: Along) -> set[float]:
    """The different values of this part of the load."""
    return {level for point in points if (level := _LEVEL[along](point.load)) is not None}


def arrange(
    points: Sequence[Point], along: Along | None = None, *, answers_matter: bool = True
) -> Arrangement:
    """The points along a part of their load, without one along the first that varies.

    Where the length of answers does not matter, those of different lengths are in one series.
    """
    chosen = along or _varied(points)
    told = [
        words
        for part, words in (_WORDS if answers_matter else _WORDS[:-1])
        if part != chosen and len({words(point.load) for point in points}) > 1
    ]
    places = [
        Place(
            point,
            ", ".join(words(point.load) for words in told),
            _LABEL[chosen](point.load),
            _LEVEL[chosen](point.load),
        )
        for point in points
    ]
    series = tuple(dict.fromkeys(place.series for place in places))
    places.sort(key=lambda place: (series.index(place.series), place.at is None, place.at or 0))
    return Arrangement(chosen, tuple(places), series)


def _varied(points: Sequence[Point]) -> Along:
    found = (along for along in _LEVEL if len(levels(points, along)) > 1)
    return next(found, "concurrency")


def say_load(load: Load) -> str:
    """The load in words: `8 at once, 128 tokens in, 16 out`."""
    said = [f"{load.concurrency} at once" if load.concurrency else "no limit of concurrency"]
    if load.rate_rps is not None:
        said.append(f"{load.rate_rps:g} sent a second")
    if load.prefix_tokens:
        said.append(f"{whole(load.prefix_tokens)} tokens shared")
    if load.input_tokens is not None:
        said.append(f"{whole(load.input_tokens)} tokens in")
    if load.output_tokens is not None:
        said.append(f"{whole(load.output_tokens)} out")
    return ", ".join(said)
