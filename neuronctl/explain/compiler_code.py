"""Compiler codes: what AWS documents about NCC_…, the errors of neuronx-cc."""

from __future__ import annotations

from functools import cache

import msgspec

from neuronctl.explain.data import read_data


class CompilerCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One documented code, such as NCC_EARG001: what it means, what to do, and its page."""

    code: str
    means: str
    fix: str
    source: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    basis: str
    codes: tuple[CompilerCode, ...]


@cache
def compiler_codes() -> dict[str, CompilerCode]:
    """The documented codes."""
    return {code.code: code for code in read_data("compiler_codes", _File).codes}
