"""Tail: the end of a file that may be large, strange or gone, without what was cut in two."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tail:
    """The last part of a file. `cut_bytes` is how much stands before it, 0 where it is the whole file."""

    text: str
    cut_bytes: int


def read_tail(path: Path, most_bytes: int) -> Tail:
    """At most `most_bytes` of the end of a regular file, from the beginning of a line.

    A symbolic link is not followed, and a pipe not waited for. Raises OSError. A line longer than that is cut
    at a blank; one without any is left out, because half of a secret looks like none.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError("it is no ordinary file")
        start = max(0, facts.st_size - most_bytes)
        file.seek(start)
        data = file.read(most_bytes)
    if start:
        at = data.find(b"\n")
        if not 0 <= at < len(data) - 1:
            at = data.find(b" ")
        kept = data[at + 1 :] if at >= 0 else b""
        start += len(data) - len(kept)
        data = kept
    return Tail(data.decode("utf-8", "surrogateescape"), start)
