"""Error codes: what each failure of neuronctl means, and what to do about it."""

from __future__ import annotations

from functools import cache

import msgspec

from neuronctl.explain.data import read_data


class ErrorCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One code, as `errors[].code` shows it, and the exit numbers that it comes with."""

    code: str
    exits: tuple[int, ...]
    means: str
    fix: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    codes: tuple[ErrorCode, ...]


@cache
def error_codes() -> dict[str, ErrorCode]:
    """All codes of neuronctl's own errors, sorted."""
    return {code.code: code for code in read_data("error_codes", _File).codes}
