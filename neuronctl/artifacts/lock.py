"""Lock: one process at a time works on one key.

The lock is flock's, held by an open file: the kernel lets go of it when its holder dies, however it
dies. The file itself is never deleted, else two processes could each lock a file of that name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from neuronctl.artifacts.disk import using
from neuronctl.errors import LockTimedOut
from neuronctl.host import Host
from neuronctl.model.plain_file import read_plain

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5

_held: set[int] = set()


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: process id, machine, since when (seconds since the epoch), and for what.

    Each is None where the holder has not written it (yet), or was killed before.
    """

    pid: int | None = None
    machine: str | None = None
    since: float | None = None
    what: str | None = None

    def __str__(self) -> str:
        text = f"process {self.pid}" if self.pid is not None else "another process"
        if self.machine:
            text += f" on {self.machine}"
        return f"{text} ({self.what})" if self.what else text


OnWait = Callable[[Holder, float], None]


@contextmanager
def lock(
    path: Path, host: Host, *, what: str, timeout_s: float, on_wait: OnWait | None = None
) -> Iterator[float]:
    """Hold the lock file `path` (its folder exists); gives the seconds waited.

    While another holds it, `on_wait(holder, waited_s)` is called a few times a second. Not re-entrant.
    Raises LockTimedOut after `timeout_s`, and MachineUnfit where the file cannot be opened or locked.
    """
    begun = host.monotonic()
    fd = _take(path, host, begun, timeout_s, on_wait)
    try:
        _sign(fd, host, what)
        yield host.monotonic() - begun
    finally:
        # A forked child that unwinds to here has lost the descriptor already, see _let_go.
        if fd in _held:
            _held.discard(fd)
            with suppress(OSError):
                os.ftruncate(fd, 0)
            os.close(fd)


def read_holder(path: Path) -> Holder:
    """Who wrote into the lock file last; an empty Holder when nobody did, or not all of it yet."""
    import json

    try:
        written = json.loads(read_plain(path))
        pid, machine, since, what = (written.get(name) for name in ("pid", "machine", "since", "what"))
    except (OSError, ValueError, AttributeError, RecursionError):
        return Holder()
    return Holder(
        pid if isinstance(pid, int) else None,
        machine if isinstance(machine, str) else None,
        float(since) if isinstance(since, (int, float)) else None,
        what if isinstance(what, str) else None,
    )


def _take(path: Path, host: Host, begun: float, timeout_s: float, on_wait: OnWait | None) -> int:
    pause_s = _FIRST_PAUSE_S
    while True:
        # O_CLOEXEC: a child that outlives its builder must not keep the lock.
        with using(path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        _held.add(fd)
        taken = False
        try:
            while not _try(fd, path):
                waited_s = host.monotonic() - begun
                if waited_s >= timeout_s:
                    raise _timed_out(path, host, waited_s)
                if on_wait is not None:
                    on_wait(read_holder(path), waited_s)
                host.sleep(max(0.0, min(pause_s, timeout_s - waited_s)))
                pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
            taken = _is_still(fd, path)
            if taken:
                return fd
        finally:
            if not taken and fd in _held:
                _held.discard(fd)
                os.close(fd)


def _try(fd: int, path: Path) -> bool:
    import fcntl

    with using(path):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _is_still(fd: int, path: Path) -> bool:
    """Whether `path` is still the locked file: somebody may have removed the store while we waited."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _sign(fd: int, host: Host, what: str) -> None:
    import json

    facts = {"pid": os.getpid(), "machine": os.uname().nodename, "since": host.now(), "what": what}
    text = json.dumps(facts).encode()
    # Only information: a full disk must not be told of here, where nothing was lost.
    with suppress(OSError):
        os.pwrite(fd, text, 0)
        os.ftruncate(fd, len(text))


def _timed_out(path: Path, host: Host, waited_s: float) -> LockTimedOut:
    holder = read_holder(path)
    held = f", who has had it for {max(0.0, host.now() - holder.since):.0f} s" if holder.since else ""
    return LockTimedOut(
        f"Waited {waited_s:.0f} s for the lock {path.name}, held by {holder}{held}.",
        fix="Wait until it has finished and try again, or end that process.",
        details={
            "lock": str(path),
            "waited_s": round(waited_s, 3),
            "holder_pid": holder.pid,
            "holder_machine": holder.machine,
            "holder_since": holder.since,
            "holder_what": holder.what,
        },
    )


def _let_go() -> None:
    """In a forked child: O_CLOEXEC acts at exec only, and a copied descriptor would keep the lock."""
    for fd in _held:
        with suppress(OSError):
            os.close(fd)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
