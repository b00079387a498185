"""Exchange: put a new folder in an old one's place so that a reader always sees one of them whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

_AT_FDCWD = -100  # linux/fcntl.h
_RENAME_EXCHANGE = 2  # linux/fs.h


def swap(one: Path, other: Path) -> bool:
    """Exchange two names in one step (renameat2, Linux); False where system or file system cannot.

    Raises OSError for other refusals.
    """
    import ctypes

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    names = os.fsencode(one), os.fsencode(other)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    # EXDEV: layered file systems answer so for folders.
    if code in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EXDEV):
        return False
    raise OSError(code, os.strerror(code), str(other))


def replace(new: Path, old: Path, aside: Path, *, swap: Callable[[Path, Path], bool] = swap) -> Path:
    """Put the folder `new` where the folder `old` is; returns where the old one went.

    Where names cannot be exchanged the old folder is first renamed to `aside`, and for a moment neither
    is there; whoever finds `aside` and no artifact puts it back.
    """
    if swap(new, old):
        return new
    old.rename(aside)
    try:
        new.rename(old)
    except BaseException:
        aside.rename(old)
        raise
    return aside
