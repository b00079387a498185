"""Plain file: one that can be read to its end. A pipe or a device would keep us waiting, or never end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

# Far above any configuration, tokenizer or index.
LARGEST_TEXT_BYTES = 100_000_000


class NoPlainFile(OSError):
    """What is there is no file, or too large for what it is called; `strerror` says so."""


def open_plain(path: Path) -> BinaryIO:
    """Open a file to read it. Raises OSError, NoPlainFile for a folder, a pipe, a socket or a device."""
    # Not even opened: that alone is an act for some devices, and waits for the other end of a pipe.
    if not stat.S_ISREG(path.stat().st_mode):
        kind = "a folder" if path.is_dir() else "a pipe, a socket or a device"
        raise NoPlainFile(errno.EINVAL, f"it is {kind}, not a file", str(path))
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def read_plain(path: Path) -> bytes:
    """The whole of a small file. Raises OSError, NoPlainFile also for one that is not small."""
    with open_plain(path) as stream:
        content = stream.read(LARGEST_TEXT_BYTES + 1)
    if len(content) > LARGEST_TEXT_BYTES:
        raise NoPlainFile(errno.EFBIG, f"it has more than {LARGEST_TEXT_BYTES // 1_000_000} MB", str(path))
    return content
