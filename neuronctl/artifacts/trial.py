"""Trial: whether a store can be written, and what its file system can do, by files that go at once."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from neuronctl.artifacts.disk import demand_way, using
from neuronctl.artifacts.layout import Layout
from neuronctl.errors import MachineUnfit
from neuronctl.machine.room import nearest_existing


@dataclass(frozen=True)
class Trial:
    """What was tried of a store in `place`: its folder, or the nearest above it that is there.

    `closed` is why not even what is compiled can be found, `refusal` why nothing can be written; what comes
    after it is not known then. `unlinked` is why a file cannot have two names, `unlocked` why it cannot be
    locked against others. None where it can.
    """

    place: Path
    closed: MachineUnfit | None = None
    refusal: MachineUnfit | None = None
    unlinked: str | None = None
    unlocked: str | None = None

    @property
    def no_compile(self) -> MachineUnfit | None:
        """Why nothing can be compiled into the store; None where it can."""
        if self.unlocked is None:
            return self.closed or self.refusal
        return MachineUnfit(
            f"files in {self.place} cannot be locked ({self.unlocked}), without which nothing is compiled",
            fix="mount it with locks (Lustre: -o flock; NFS: without nolock), or keep the store on another "
            "disk: NEURONCTL_HOME=/path/to/folder",
        )


def try_out(root: Path) -> Trial:
    """Look into the store at `root`, and write, link and lock a file there that goes at once.

    Raises OSErrors that disk.py has no words for.
    """
    place = nearest_existing(root)
    try:
        with using(root):
            _look_into(Layout(root))
    except MachineUnfit as closed:
        return Trial(place, closed=closed)
    try:
        with using(root):
            folder = _make_folder(place)
    except MachineUnfit as refusal:
        return Trial(place, refusal=refusal)
    try:
        file = folder / "file"
        try:
            with using(place):
                file.write_bytes(b"neuronctl\n")
            with using(root):
                _demand_folders(Layout(root))
        except MachineUnfit as refusal:
            return Trial(place, refusal=refusal)
        return Trial(place, unlinked=_try_link(file), unlocked=_try_lock(file))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def try_beside(folder: Path) -> MachineUnfit | None:
    """Why nothing could be compiled into `folder`, which the user named: no way to it, no writing, no locks.

    It is filled aside and renamed: files are made beside it. Raises OSErrors that disk.py has no words for.
    """
    try:
        place = nearest_existing(folder.parent)
        with using(folder, named=True):
            made = _make_folder(place)
    except MachineUnfit as refusal:
        return refusal
    try:
        file = made / "file"
        with using(folder, named=True):
            file.write_bytes(b"neuronctl\n")
        unlocked = _try_lock(file)
    except MachineUnfit as refusal:
        return refusal
    finally:
        shutil.rmtree(made, ignore_errors=True)
    if unlocked is None:
        return None
    return MachineUnfit(
        f"files in {place} cannot be locked ({unlocked}), without which nothing is compiled into {folder}",
        fix="mount it with locks (Lustre: -o flock; NFS: without nolock), or name another folder",
    )


def _look_into(layout: Layout) -> None:
    """List the artifacts, if there are any. Raises OSError, MachineUnfit."""
    demand_way(layout.artifacts)
    with suppress(FileNotFoundError):
        os.scandir(layout.artifacts).close()


def _demand_folders(layout: Layout) -> None:
    """Raise MachineUnfit or OSError where a build would fail for a folder of the store, as another user's."""
    for folder in (layout.blobs, layout.artifacts, layout.staging, layout.quarantine, layout.locks):
        demand_way(folder)
        if folder.exists() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def _make_folder(place: Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=".trial-", dir=place))
    except OSError as error:  # said of the place: nobody knows the folder
        raise OSError(error.errno, error.strerror, str(place)) from None


def _try_link(file: Path) -> str | None:
    try:
        os.link(file, file.with_name("link"), follow_symlinks=False)
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


def _try_lock(file: Path) -> str | None:
    """A lock belongs to an open file (flock(2)), so a second one of our own is refused as another's is."""
    import fcntl

    first, second = (os.open(file, os.O_RDWR | os.O_CLOEXEC) for _ in range(2))
    try:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        return "a lock does not keep others out"
    except OSError as error:
        return error.strerror or type(error).__name__
    finally:
        os.close(first)
        os.close(second)
