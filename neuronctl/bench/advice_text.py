"""Advice as a terminal shows it, and as data."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

import yaml

from neuronctl.bench.proposal import Advice

_NARROWEST = 40
_NOTHING = (
    "Nothing that was measured speaks for another setting. Advice on buckets and length wants the lengths of "
    "your own requests (--prompts FILE); advice on the batch wants three points that differ in how many "
    "requests are sent at once."
)
_END = "Each is meant by itself: put one into the profile, compile, measure, and ask again."


def advice_data(found: Sequence[Advice]) -> dict[str, object]:
    """All of it, with each setting as YAML too."""
    return {
        "advice": [
            {
                "id": one.id,
                "text": one.text,
                "setting": one.setting,
                "yaml": None if one.setting is None else setting_yaml(one.setting),
                "gain": one.gain,
                "cost": one.cost,
                "basis": one.basis,
            }
            for one in found
        ]
    }


def advice_text(found: Sequence[Advice], width: int) -> str:
    """What to try, the first thing first."""
    width = max(width, _NARROWEST)
    if not found:
        return textwrap.fill(_NOTHING, width)
    parts = ["\n".join(_advice(number, one, width)) for number, one in enumerate(found, 1)]
    return "\n\n".join([*parts, textwrap.fill(_END, width)])


def setting_yaml(setting: Mapping[str, object]) -> str:
    """A setting as lines of a profile, a list in one line."""
    text: str = yaml.safe_dump(dict(setting), default_flow_style=None, sort_keys=False, width=10_000)
    return text


def _advice(number: int, one: Advice, width: int) -> Iterator[str]:
    yield from textwrap.wrap(f"{number}. {one.id}: {one.text}.", width, subsequent_indent="   ")
    if one.setting is not None:
        yield textwrap.indent(setting_yaml(one.setting).rstrip(), "       ")
    for name, text in (("gain", one.gain), ("cost", one.cost), ("basis", one.basis)):
        yield from textwrap.wrap(
            f"{name}: {text}", width, initial_indent="   ", subsequent_indent="   " + " " * (len(name) + 2)
        )
