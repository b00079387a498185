"""Amount: a number of bytes, or of seconds, in words."""

from __future__ import annotations

_UNITS = (("MiB", 1 << 20), ("KiB", 1 << 10))
_GIB = 1 << 30


def say_bytes(size_bytes: int) -> str:
    """`15.9 GiB`; `64 MiB`, `8 KiB` or `200 bytes` where it is less."""
    if size_bytes >= _GIB:
        return f"{size_bytes / _GIB:.1f} GiB"
    for name, unit in _UNITS:
        if size_bytes >= unit:
            return f"{size_bytes // unit} {name}"
    return f"{size_bytes} bytes"


def say_duration(seconds: float) -> str:
    """`45 s`, `5 minutes`, `2 hours` or `34 days`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"
