"""What a disk refuses: the OSErrors of a full, read-only or forbidden store, said in plain words."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuronctl.artifacts.obstacle import Obstacle, find_obstacle
from neuronctl.errors import MachineUnfit
from neuronctl.machine.amount import say_bytes
from neuronctl.machine.room import free_bytes

# EFBIG: a file size limit (`ulimit -f`) ends a write as a full disk does.
_FULL = {
    errno.ENOSPC: "no space is left",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the limit on file sizes is reached",
}
_CLOSED = {
    errno.EROFS: "it is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "the operation is not permitted",
}
_VANISHED = ("it vanished while in use", "Try again")
_IN_THE_WAY = ("a file stands where a folder should be", "Move it away")
_LACKING = (
    "its file system lacks an operation the store needs",
    "Mount it with locks (Lustre: -o flock)",
)
# With what to do about it.
_BROKEN = {
    errno.ENOENT: _VANISHED,
    errno.ESTALE: _VANISHED,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.EISDIR: ("a folder stands where a file should be", "Move it away"),
    errno.ENXIO: ("a socket or a device stands where a file should be", "See what it is: ls -l"),
    errno.ELOOP: ("a symbolic link leads back to itself", "Remove it"),
    errno.EIO: ("the disk reports an error", "See what the kernel says of it: dmesg"),
    errno.ENOLCK: ("its file system has no locks", "Mount it with locks (NFS: without nolock)"),
    # What flock answers on Lustre that was mounted without -o flock (mount.lustre(8)).
    errno.ENOSYS: _LACKING,
    errno.EOPNOTSUPP: _LACKING,
}
_WORDS = {
    **{number: (why, "Free some space") for number, why in _FULL.items()},
    **{number: (why, "Make it readable and writable for this user") for number, why in _CLOSED.items()},
    **_BROKEN,
}
# With these, the name that was refused stands there itself; with the others the way to it may be at fault.
_THERE = (errno.ENOTDIR, errno.EEXIST, errno.ELOOP)
_ON_THE_WAY = (errno.ENOENT, errno.EACCES)


@contextmanager
def using(root: Path, *, foreign: bool = False, named: bool = False) -> Iterator[None]:
    """Turn what the disk under the store `root` refuses into MachineUnfit, with a way out.

    `named`: it is no store, but a folder that the user named for compiled output.

    `foreign` is for code that is not the store's own, which also touches other places: only a refused
    write that names no file, or one inside the store, is then the store's trouble.
    """
    try:
        yield
    except OSError as error:
        unfit = _unfit(error, root, foreign, named)
        if unfit is None:
            raise
        raise unfit from error


def _unfit(error: OSError, root: Path, foreign: bool, is_named: bool) -> MachineUnfit | None:
    if error.errno is None:
        return None
    named = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes, os.PathLike)) else None
    if foreign:
        inside = named is not None and Path(named).is_relative_to(root)
        expected = _FULL | _CLOSED if inside else _FULL if named is None else {}
        if error.errno not in expected:
            return None
    known = _WORDS.get(error.errno)
    if known is None:
        return None
    why: str = known[0]
    fix: str | None = known[1]
    path = Path(named or root)
    full = error.errno in _FULL
    free = free_bytes(root)
    said = f"{path}: {why}" + (f"; {say_bytes(free)} free" if full and free else "")
    if (obstacle := _obstacle(error.errno, path)) is not None:
        said = obstacle.why
    elif error.errno in _CLOSED and not path.is_relative_to(root if is_named else root.parent.parent):
        fix = None  # what lies above its place is not this user's to open
    first = obstacle.fix if obstacle is not None else fix
    return MachineUnfit(
        f"{_whose(is_named)} cannot be used: {said}.",
        fix=_fix(first, is_named),
        code="store.full" if full else "store.unusable",
        details={"path": str(path), "free_bytes": free, "errno": errno.errorcode[error.errno]},
    )


def _obstacle(number: int, path: Path) -> Obstacle | None:
    if number in _THERE:
        return find_obstacle(path)
    return find_obstacle(path.parent) if number in _ON_THE_WAY else None


def _whose(is_named: bool) -> str:
    return "The folder for compiled output" if is_named else "The store"


def _fix(first: str | None, is_named: bool) -> str:
    """What to do about it, and where to go otherwise."""
    return f"{first}, or {_way_out(is_named)}" if first else _way_out(is_named)


def _way_out(is_named: bool) -> str:
    if is_named:
        return "name another folder"
    return "keep the store on another disk: NEURONCTL_HOME=/path/to/folder"


def demand_way(folder: Path) -> None:
    """Raise MachineUnfit where something on the way to a folder of the store keeps it from being there."""
    if (obstacle := find_obstacle(folder)) is not None:
        raise MachineUnfit(
            f"{_whose(is_named=False)} cannot be used: {obstacle.why}.",
            fix=_fix(obstacle.fix, is_named=False),
            code="store.unusable",
            details={"path": str(folder)},
        )
