"""What a disk refuses: the OSErrors of a full, read-only or forbidden store, said in plain words."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuronctl.errors import MachineUnfit
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
_BROKEN = {
    errno.ENOENT: "it vanished while in use",
    errno.ESTALE: "it vanished while in use",
    errno.ENOTDIR: "a file stands where a folder should be",
    errno.EISDIR: "a folder stands where a file should be",
    errno.EEXIST: "a file stands where a folder should be",
    errno.EIO: "the disk reports an error",
    errno.ENOLCK: "its file system has no locks",
    # What flock answers on Lustre that was mounted without -o flock (mount.lustre(8)).
    errno.ENOSYS: "its file system lacks an operation the store needs",
    errno.EOPNOTSUPP: "its file system lacks an operation the store needs",
}


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
    why = (_FULL | _CLOSED | _BROKEN).get(error.errno)
    if why is None:
        return None
    full = error.errno in _FULL
    free = free_bytes(root)
    whose = "The folder for compiled output" if is_named else "The store"
    what = f"{whose} cannot be used: {named or root}: {why}"
    if free is not None and full:
        what += f"; {free / 1e9:.2f} GB free"
    fix = "Free some space" if full else "Make it readable and writable for this user"
    way_out = "keep the store on another disk: NEURONCTL_HOME=/path/to/folder"
    return MachineUnfit(
        what + ".",
        fix=f"{fix}, or {'name another folder' if is_named else way_out}",
        code="store.full" if full else "store.unusable",
        details={"path": named or str(root), "free_bytes": free, "errno": errno.errorcode[error.errno]},
    )
