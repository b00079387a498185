"""Held: which locks of a store somebody holds now. Looks only: no lock file is made or signed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from neuronctl.artifacts.layout import Layout, is_key
from neuronctl.artifacts.lock import Holder, read_holder

_SUFFIX = ".lock"


@dataclass(frozen=True)
class Held:
    """A key that is being worked on, and by whom."""

    key: str
    holder: Holder


def held_locks(layout: Layout) -> list[Held]:
    """All that are held at this moment, sorted by key. Raises OSError."""
    try:
        names = sorted(os.listdir(layout.locks))
    except FileNotFoundError:
        return []
    keys = [name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)]
    return [Held(key, read_holder(layout.lock(key))) for key in keys if is_key(key) and is_held(layout, key)]


def is_held(layout: Layout, key: str) -> bool:
    """Whether somebody works on `key` now. Raises OSError."""
    return _is_locked(layout.lock(key))


def _is_locked(path: Path) -> bool:
    import fcntl

    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # it may be a pipe
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who look do not take each other for a builder; let go of at once.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
