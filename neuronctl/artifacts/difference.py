"""Differences between two sets of key inputs, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = "(not set)"


@dataclass(frozen=True)
class Difference:
    """One field that differs: its path with dots, our value and theirs; ABSENT on a side without it."""

    path: str
    ours: object
    theirs: object


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[Difference, ...]:
    """The fields that differ, sorted by path. Lists are compared whole; both sides are plain JSON data."""
    left, right = dict(_leaves(ours)), dict(_leaves(theirs))
    return tuple(
        Difference(path, left.get(path, ABSENT), right.get(path, ABSENT))
        for path in sorted(left.keys() | right.keys())
        if not _same(left.get(path, ABSENT), right.get(path, ABSENT))
    )


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def _same(left: Any, right: Any) -> bool:
    # Python holds True == 1 and 1 == 1.0, JSON and so the key do not.
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same(left[name], right[name]) for name in left)
    return bool(left == right)
