"""Amount: a number of bytes in words."""

from __future__ import annotations

_GIB = 1 << 30
_MIB = 1 << 20


def say_bytes(size_bytes: int) -> str:
    """`15.9 GiB`, or `64 MiB` where it is less than one GiB."""
    return f"{size_bytes / _GIB:.1f} GiB" if size_bytes >= _GIB else f"{size_bytes // _MIB} MiB"
