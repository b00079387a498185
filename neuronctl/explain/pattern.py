"""Patterns: what a known error looks like in a log or as an exit number."""

from __future__ import annotations

import re
from functools import cache
from typing import Literal

import msgspec

from neuronctl.explain.data import read_data
from neuronctl.explain.line import near_mark

Kind = Literal["compile", "load", "runtime", "config", "host memory"]
Rank = Literal["cause", "general", "warning"]


class Pattern(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one error is recognised, and the words for it; see the top of `patterns.yaml`."""

    id: str
    kind: Kind
    rank: Rank
    title: str
    marks: tuple[str, ...]
    issue: str | None = None
    also: tuple[str, ...] = ()
    why: str | None = None
    fix: str | None = None
    basis: str | None = None
    source: tuple[str, ...] = ()
    regex: str | None = None
    codes: tuple[str, ...] = ()
    exits: tuple[int, ...] = ()

    def match(self, text: str) -> dict[str, str] | None:
        """The parts of a line that the words of this pattern name; None where the line does not fit."""
        if not any(mark in text for mark in self.marks):
            return None
        if self.regex is None:
            return {}
        found = _compiled(self.regex).search(near_mark(text, self.marks))
        return None if found is None else {k: v for k, v in found.groupdict().items() if v is not None}


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    patterns: tuple[Pattern, ...]


@cache
def patterns() -> tuple[Pattern, ...]:
    """All patterns, what is specific before what is general."""
    return read_data("patterns", _File).patterns


@cache
def _compiled(regex: str) -> re.Pattern[str]:
    return re.compile(regex)
