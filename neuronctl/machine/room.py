"""Room: what may still be written where a folder is or would be.

A server of files that hangs holds whoever asks in the kernel. So each place is looked at in a thread of its
own, which is left behind when its time is up.
"""

from __future__ import annotations

import errno
import os
import queue
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from neuronctl.time_limit import start_thread

_ST_RDONLY = 1  # os.ST_RDONLY, which not every system has


@dataclass(frozen=True)
class Room:
    """What the nearest folder that exists, `folder`, has for an ordinary user.

    `path` is the place that was meant, its links followed; `device` tells file systems apart. `files` and
    `free_files` count inodes, both 0 where the file system has no limit on them. `closed` says in a clause
    why nothing can be written; None where it can.
    """

    path: Path
    folder: Path
    device: int
    size_bytes: int
    free_bytes: int
    files: int
    free_files: int
    closed: str | None


@dataclass(frozen=True)
class Silence:
    """No answer: in words why, as the end of a sentence about the place; `hangs` if time ran out."""

    why: str
    hangs: bool = False


def measure_rooms(places: Mapping[str, Path], timeout_s: float) -> dict[str, Room | Silence]:
    """The room of each place, by its name; none takes longer than `timeout_s` altogether."""
    answers: queue.SimpleQueue[tuple[str, Room | Silence]] = queue.SimpleQueue()

    def look(name: str, path: Path) -> None:
        try:
            answers.put((name, measure_room(path)))
        except OSError as error:
            answers.put((name, Silence(f"cannot be looked at: {error.strerror or error}")))

    for name, path in places.items():
        start_thread(look, name, path, name=f"room of {name}")
    found: dict[str, Room | Silence] = {}
    deadline = time.monotonic() + timeout_s
    while len(found) < len(places):
        try:
            name, answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        found[name] = answer
    late = Silence(f"gave no answer in {timeout_s:g} s", hangs=True)
    return {name: found.get(name, late) for name in places}


def measure_room(path: Path) -> Room:
    """The room where `path` is or would be. Raises OSError; may never return."""
    real = Path(os.path.realpath(path))
    folder = nearest_existing(real)
    facts = os.statvfs(folder)
    return Room(
        path=real,
        folder=folder,
        device=os.stat(folder).st_dev,
        size_bytes=facts.f_blocks * facts.f_frsize,
        free_bytes=facts.f_bavail * facts.f_frsize,
        files=facts.f_files,
        free_files=facts.f_favail,
        closed=_closed(folder, facts.f_flag),
    )


def free_bytes(path: Path) -> int | None:
    """Bytes that an ordinary user may still write where `path` is or would be; None where nobody can say.

    So it is where the file system reports no blocks at all, as ramfs, which has no limit of its own.
    """
    try:
        room = measure_room(path)
    except OSError:
        return None
    return room.free_bytes if room.size_bytes else None


def nearest_existing(path: Path) -> Path:
    """The path itself, or the nearest above it that is seen to exist. Raises OSError of a disk or server."""
    while not _exists(path) and path != path.parent:
        path = path.parent
    return path


def _exists(path: Path) -> bool:
    """Unlike Path.exists it says of a folder that may not be looked into that it is not known to exist."""
    try:
        os.stat(path)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT):
            raise
        return False
    return True


def _closed(folder: Path, flags: int) -> str | None:
    if not os.path.isdir(folder):
        return f"{folder} is no folder"
    if flags & _ST_RDONLY:
        return "the file system is mounted read-only"
    return None if os.access(folder, os.W_OK | os.X_OK) else f"this user may not write to {folder}"
