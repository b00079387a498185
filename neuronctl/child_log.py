"""The log file of a child: limited in size, rotated, and never a reason to stop reading the child."""

from __future__ import annotations

import os
from pathlib import Path

MAX_BYTES = 20 * 1024 * 1024
FILES = 3


class ChildLog:
    """Appends to `path`; at `max_bytes` it becomes `path.1`, `path.1` becomes `path.2`, and so on.

    At most `files` files are kept. A write that fails (disk full, read-only) is dropped and counted, the
    next one is tried again; when writing works again the gap is noted in the file. `problem` is the last
    failure in words, None when all is well. Files are readable by the owner only: a server's log may carry
    what its users asked.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, files: int = FILES) -> None:
        self.path = path
        self.problem: str | None = None
        self.lost_bytes = 0
        self._max_bytes = max_bytes
        self._files = files
        self._fd: int | None = None
        self._size = 0
        self._gap = 0
        try:
            self._open()
        except OSError as error:
            self._remember(error)

    def write(self, block: bytes) -> None:
        """Append; never raises for what the disk does."""
        try:
            if self._fd is None:
                self._open()
            if self._size and self._size + len(block) > self._max_bytes:
                self._rotate()
            if self._gap:
                self._put(b"[neuronctl: %d bytes of output could not be written here]\n" % self._gap)
                self._gap = 0
                self.problem = None
            self._put(block)
        except OSError as error:
            self._remember(error)
            self._gap += len(block)
            self.lost_bytes += len(block)

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _remember(self, error: OSError) -> None:
        self.problem = f"{self.path}: {error.strerror or error}"

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _put(self, block: bytes) -> None:
        assert self._fd is not None
        while block:
            written = os.write(self._fd, block)
            self._size += written
            block = block[written:]

    def _rotate(self) -> None:
        self.close()
        for number in range(self._files - 1, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = self.path if number == 1 else self.path.with_name(f"{self.path.name}.{number - 1}")
            if newer.exists():
                newer.replace(older)
        self._open()
