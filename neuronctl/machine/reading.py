"""Reading one fact from one small file of the machine; what cannot be read is empty.

A driver, a file system in user space (lxcfs shows /proc/meminfo by one) or a server of files may hang, and
whoever reads with it. So everything here has a limit, after which the fact is lost and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from neuronctl.errors import MachineUnfit
from neuronctl.host import Host
from neuronctl.time_limit import TimeUp, within

T = TypeVar("T")
# A read takes some microseconds; a machine whose memory is used up may take long to begin with it.
READ_S = 2.0
# For looking through all processes: a large machine has tens of thousands, each with its open files.
SCAN_S = 4.0


class NoAnswer(MachineUnfit):
    """A file or a tool of the machine tells nothing; `why` is the end of a sentence about it."""

    code = "machine.no-answer"

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} {why}", fix="see what hangs: neuronctl doctor --all")


# What was asked and has not answered yet: it is not waited for a second time.
_silent: set[tuple[Path, str]] = set()
_lock = threading.Lock()
# In a thread that has a limit: the names of what it looks at just now, the innermost last.
_limited = threading.local()


def answered(host: Host, name: str, make: Callable[[], T], *, limit_s: float = READ_S) -> T:
    """What `make` gives, which looks at files of the machine. Raises NoAnswer after `limit_s`.

    `name` says what is looked at. Inside of `make` this, and all that is here, has no limit of its own: so
    many files cost one thread.
    """
    if (reads := getattr(_limited, "reads", None)) is not None:
        reads.append(name)
        try:
            return make()
        finally:
            reads.pop()
    key = (host.root, name)
    reads = [name]
    has_ended: list[bool] = []

    def look() -> T:
        _limited.reads = reads
        try:
            return make()
        finally:
            _limited.reads = None
            with _lock:
                has_ended.append(True)
                _silent.discard(key)

    if key not in _silent:
        try:
            return within(limit_s, look)
        except TimeUp:
            with _lock:
                if not has_ended:
                    _silent.add(key)
    raise NoAnswer(reads[-1], f"did not answer in {limit_s:g} s")


def read_text(host: Host, path: str, most: int = -1) -> str:
    """The file's text, at most `most` characters of it; empty where it cannot be read. Raises NoAnswer."""

    def read() -> str:
        try:
            with host.path(path).open(encoding="utf-8", errors="replace") as file:
                return file.read(most)
        except OSError:
            return ""

    return answered(host, path, read)


def read_number(host: Host, path: str) -> int | None:
    """The whole number that the file holds, None where it holds none or cannot be read. Raises NoAnswer."""
    text = read_text(host, path, 32).strip()
    # `isdecimal` alone takes digits of other scripts.
    return int(text) if text.isascii() and text.isdecimal() else None


def list_folder(host: Host, path: str) -> tuple[str, ...]:
    """The names in a folder, sorted; none where it cannot be read. Raises NoAnswer."""

    def read() -> tuple[str, ...]:
        try:
            return tuple(sorted(entry.name for entry in host.path(path).iterdir()))
        except OSError:
            return ()

    return answered(host, path, read)
