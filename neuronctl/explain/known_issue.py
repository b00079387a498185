"""Known issues: what goes wrong with vLLM on Neuron, why, and what helps."""

from __future__ import annotations

from functools import cache

import msgspec

from neuronctl.explain.data import read_data


class KnownIssue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One known issue.

    `sees` is what shows, `affects` what it happens with. `basis` says how well it is known, `source` who says
    so (`source_prefixes` explains them). Where something is not known, it says so.
    """

    id: str
    area: str
    sees: str
    why: str
    affects: str
    fix: str
    basis: str
    source: tuple[str, ...]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sources: dict[str, str]
    issues: tuple[KnownIssue, ...]


@cache
def _file() -> _File:
    return read_data("known_issues", _File)


@cache
def known_issues() -> dict[str, KnownIssue]:
    """All known issues by their ids."""
    return {issue.id: issue for issue in _file().issues}


def source_prefixes() -> dict[str, str]:
    """What the part of a source before its colon stands for."""
    return _file().sources
