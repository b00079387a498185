"""Typed: plain data and JSON as msgspec's structs, from any thread.

msgspec learns what a type is like when it is first used. Where two threads do that at once it crashes the
process (msgspec 0.22.0, measured), and doctor's checks run side by side; so each use here is alone.
"""

from __future__ import annotations

import threading
from typing import TypeVar

import msgspec

T = TypeVar("T")
_alone = threading.Lock()


def convert(data: object, kind: type[T]) -> T:
    """The data as a `kind`, a type or an annotation. Raises msgspec.ValidationError."""
    with _alone:
        return msgspec.convert(data, kind)


def decode_json(content: bytes | str, kind: type[T]) -> T:
    """The JSON text as a `kind`. Raises msgspec.DecodeError, ValidationError, RecursionError."""
    with _alone:
        return msgspec.json.decode(content, type=kind)
