"""Trial: whether a store can be written, and what its file system can do, by files that go at once."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from neuronctl.artifacts.disk import using
from neuronctl.errors import MachineUnfit


@dataclass(frozen=True)
class Trial:
    """What was tried in `place`.

    `refusal` is why nothing can be written there; the rest is not known then. `unlinked` is why a file cannot
    have two names, `unlocked` why it cannot be locked against others. None where it can.
    """

    place: Path
    refusal: MachineUnfit | None = None
    unlinked: str | None = None
    unlocked: str | None = None


def try_out(place: Path) -> Trial:
    """Write, link and lock a file in a new folder of `place`, and remove it. Raises odd OSErrors."""
    try:
        with using(place):
            folder = _make_folder(place)
    except MachineUnfit as refusal:
        return Trial(place, refusal)
    try:
        file = folder / "file"
        try:
            with using(place):
                file.write_bytes(b"neuronctl\n")
        except MachineUnfit as refusal:
            return Trial(place, refusal)
        return Trial(place, None, _try_link(file), _try_lock(file))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
