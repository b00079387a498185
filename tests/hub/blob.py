"""Blob: the content of one file, in memory or on disk, with the identifiers that git and Git LFS give it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Content = bytes | str | Path
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Blob:
    """Some bytes. A file on disk is read as it is asked for, so it may be larger than memory."""

    data: bytes | Path
    size: int
    git_id: str
    sha256: str

    def read(self, start: int, length: int) -> bytes:
        """At most `length` bytes from `start`."""
        if isinstance(self.data, bytes):
            return self.data[start : start + length]
        with self.data.open("rb") as file:
            file.seek(start)
            return file.read(length)

    @cached_property
    def pointer(self) -> bytes:
        """What git holds in place of the content where Git LFS stores it."""
        version = "version https://git-lfs.github.com/spec/v1"
        return f"{version}\noid sha256:{self.sha256}\nsize {self.size}\n".encode()


def make_blob(content: Content) -> Blob:
    """Hash a content; a text is UTF-8, a Path is a file that must not change afterwards."""
    if isinstance(content, str):
        content = content.encode()
    size = content.stat().st_size if isinstance(content, Path) else len(content)
    git, sha256 = hashlib.sha1(b"blob %d\0" % size), hashlib.sha256()
    if isinstance(content, Path):
        with content.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                git.update(chunk)
                sha256.update(chunk)
    else:
        git.update(content)
        sha256.update(content)
    return Blob(content, size, git.hexdigest(), sha256.hexdigest())


def git_object_id(kind: str, body: bytes) -> str:
    """The id that git gives to an object of a kind (blob, tree, commit)."""
    return hashlib.sha1(f"{kind} {len(body)}\0".encode() + body).hexdigest()
