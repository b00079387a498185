"""Tail: the end of a file that may be large, strange or gone, without what was cut in two."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from neuronctl.doctor.wide_text import encoding_of, read_wide

# What is packed cannot be looked through for secrets.
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf": "7z",
}
_NO_LETTER = re.compile("[\x01-\x07\x0e-\x1a\x1c-\x1f\x7f]")
_HEAD_BYTES = 8


@dataclass(frozen=True)
class Tail:
    """The last part of a file. `cut_bytes` is how much stands before it, 0 where it is the whole file."""

    text: str
    cut_bytes: int


def read_tail(path: Path, most_bytes: int) -> Tail:
    """At most `most_bytes` of the end of a regular file, from the beginning of a line.

    A symbolic link is not followed, and a pipe not waited for. Raises OSError, for what is packed or no text
    as well. A line longer than that is cut at a blank; one without any is left out, because half of a secret
    looks like none.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError("it is no ordinary file")
        head = file.read(_HEAD_BYTES)
        start = max(0, facts.st_size - most_bytes)
        start += -start % 4  # where a letter of UTF-16 or UTF-32 begins
        file.seek(start)
        data = file.read(most_bytes)
    for mark, packer in _PACKED.items():
        if head.startswith(mark):
            raise OSError(f"it is packed with {packer}, and was not looked through")
    encoding = encoding_of(head, data)
    text = read_wide(data, encoding)
    if len(_NO_LETTER.findall(text)) > len(text) / 20:
        raise OSError("it is no text")
    if not start:
        return Tail(text, 0)
    at = text.find("\n")
    if not 0 <= at < len(text) - 1:
        at = text.find(" ")
    kept = text[at + 1 :] if at >= 0 else ""
    lone = "surrogatepass" if encoding else "surrogateescape"
    return Tail(kept, facts.st_size - len(kept.encode(encoding or "utf-8", lone)))
