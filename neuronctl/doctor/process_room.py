"""Process room: how many processes and threads may be started, by the user's and the container's limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from neuronctl.host import Host
from neuronctl.machine.reading import read_number, read_text

# Of larger limits nobody comes near, and counting takes its time.
_SMALL = 4096
_CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/pids")
# Linux, setrlimit(2), RLIMIT_NPROC: not enforced for who has one of these.
_CAPABILITIES = (21, 24)  # CAP_SYS_ADMIN, CAP_SYS_RESOURCE


@dataclass(frozen=True)
class ProcessRoom:
    """A limit on threads, each process having one at least: `name` is how it is called.

    `left` is what may be started beside what runs now, neuronctl itself not counted; it may be below 0.
    """

    name: str
    limit: int
    left: int


def process_room(host: Host, limit: int | None) -> ProcessRoom | None:
    """The limit that leaves the least; None where none is small. `limit` is that of RLIMIT_NPROC.

    Raises NoAnswer.
    """
    return min(_rooms(host, limit), key=lambda room: room.left, default=None)


def _rooms(host: Host, limit: int | None) -> Iterator[ProcessRoom]:
    if limit is not None and limit < _SMALL and not _is_free(host):
        yield ProcessRoom("ulimit -u", limit, limit - _threads_of_others(host))
    for folder in _CGROUPS:
        most, now = read_number(host, f"{folder}/pids.max"), read_number(host, f"{folder}/pids.current")
        if most is not None and most < _SMALL:
            own = _threads(host.path("/proc/self"))
            yield ProcessRoom("pids.max", most, min(most, most - (now or 0) + own))


def _threads_of_others(host: Host) -> int:
    """The threads of all other processes of this user that are seen here."""
    passed = str(os.getpid())
    threads = 0
    with suppress(OSError), os.scandir(host.path("/proc")) as entries:
        for entry in entries:
            with suppress(OSError):  # it has ended
                if entry.name.isdecimal() and entry.name != passed and entry.stat().st_uid == os.getuid():
                    threads += _threads(Path(entry.path))
    return threads


def _threads(process: Path) -> int:
    try:
        return len(os.listdir(process / "task"))
    except OSError:
        return 0


def _is_free(host: Host) -> bool:
    if os.getuid() == 0:
        return True
    for line in read_text(host, "/proc/self/status", 1 << 14).splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            with suppress(ValueError):
                return any(int(value, 16) >> bit & 1 for bit in _CAPABILITIES)
    return False
