"""Condition: what a gate fails on, as it is typed: `ttft_p95>+10%`, `ttft_p95@c16>200ms`, `error_rate>0`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from neuronctl.bench.measures import MEASURES, Measure
from neuronctl.bench.schema import Load
from neuronctl.errors import UsageError
from neuronctl.profile.suggest import nearest_word

_SHAPE = re.compile(r"(?P<measure>[^@<>]*)(?:@(?P<where>.*))?(?P<operator>[<>])(?P<value>[^<>]*)", re.DOTALL)
_VALUE = re.compile(r"(?P<sign>[+-]?)(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>[^\d.\s].*)?")
# What an absolute value may be given in, and how much of the measure's own unit that is.
_UNITS = {
    "s": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6},
    "share": {"": 1.0, "%": 0.01},
    "1/s": {"": 1.0, "/s": 1.0},
    "tokens/s": {"": 1.0, "tokens/s": 1.0},
}
_EXAMPLES = {"s": "200ms or 0.2s", "share": "0.01 or 1%", "1/s": "5", "tokens/s": "500"}


@dataclass(frozen=True)
class Condition:
    """Fails where `measure` is beyond `value`, at the points that have each word of `where` in their names.

    `value` is a part of the baseline's (0.1: a tenth more) where `is_relative`, else in the measure's unit.
    """

    text: str
    measure: str
    where: tuple[str, ...]
    operator: Literal[">", "<"]
    value: float
    is_relative: bool

    def selects(self, load: Load) -> bool:
        """Whether the point of this load is meant."""
        return set(self.where) <= set(load.name.split())

    def is_exceeded_by(self, value: float) -> bool:
        """Whether a measure or a change is beyond the limit."""
        return value > self.value if self.operator == ">" else value < self.value


def parse_conditions(texts: Iterable[str]) -> tuple[Condition, ...]:
    """All conditions of an option that may be repeated, each time with one or several between commas."""
    return tuple(parse_condition(part) for text in texts for part in text.split(","))


def parse_condition(text: str) -> Condition:
    """One condition. Raises UsageError that names the place in the text and what was probably meant."""
    text = text.strip()
    # The arrow in the name of a load may be typed: `@128->16`.
    plain = text.replace("->", " →")
    found = _SHAPE.fullmatch(plain)
    if found is None:
        raise _refused(text, len(text) + 1, "expected MEASURE > VALUE or MEASURE < VALUE")
    measure = _measure(text, found)
    where = found["where"]
    if where is not None and not where.strip():
        raise _refused(text, found.start("where") + 1, "expected a point behind @", "name one as c16")
    value, is_relative = _value(text, found, measure)
    operator: Literal[">", "<"] = ">" if measure.better == "lower" else "<"
    if operator != found["operator"]:
        sign = ("+" if operator == ">" else "-") if is_relative else ""
        raise _refused(
            text,
            found.start("operator") + 1,
            f"{measure.name} is better when it is {measure.better}: this fails on what is good",
            f"{measure.name}{operator}{sign}{found['value'].strip().lstrip('+-')}",
        )
    words = tuple((where or "").replace("→", " →").split())
    return Condition(text, measure.name, words, operator, value, is_relative)


def _measure(text: str, found: re.Match[str]) -> Measure:
    name = found["measure"].strip()
    if name in MEASURES:
        return MEASURES[name]
    what = f"unknown measure `{name}`" if name else "expected a measure"
    near = nearest_word(name.lower(), MEASURES) if name else None
    fix = f"did you mean {near}?" if near else f"one of {', '.join(MEASURES)}"
    raise _refused(text, found.start("measure") + 1, what, fix)


def _value(text: str, found: re.Match[str], measure: Measure) -> tuple[float, bool]:
    """The number, and whether it is relative."""
    at = found.start("value") + 1
    said = found["value"].strip()
    example = _EXAMPLES[measure.unit]
    parts = _VALUE.fullmatch(said)
    if parts is None or not math.isfinite(float(parts["number"])):
        raise _refused(text, at, f"`{said}` is not a value", f"+10% or -5%, or {example}")
    number, unit = float(parts["number"]), (parts["unit"] or "").strip()
    if parts["sign"]:
        right = "+" if found["operator"] == ">" else "-"
        if unit != "%":
            raise _refused(
                text, at, "a value with a sign is relative to the baseline", f"{right}10%, or {example}"
            )
        if parts["sign"] != right:
            raise _refused(
                text, at, f"{found['operator']}{parts['sign']} fails on what did not change", f"{right}10%"
            )
        return (number if right == "+" else -number) / 100, True
    units = _UNITS[measure.unit]
    if unit not in units:
        fix = f"{example}, or {'+' if measure.better == 'lower' else '-'}10% against a baseline"
        raise _refused(
            text, at, f"`{said}` has no unit" if not unit else f"{measure.name} is not in `{unit}`", fix
        )
    return number * units[unit], False


def _refused(text: str, letter: int, what: str, fix: str | None = None) -> UsageError:
    return UsageError(
        f"{what} (in `{text}`, letter {letter})",
        fix=fix or "--fail-on 'ttft_p95>+10%', --fail-on 'ttft_p95@c16>200ms'",
        code="bench.condition",
    )
