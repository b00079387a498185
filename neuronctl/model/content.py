"""Content: whether a file in the hub's cache is what its name says, which is the digest of its content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import Protocol

from neuronctl.host import Host
from neuronctl.model.listing import HubFile
from neuronctl.model.size import size_in_words
from neuronctl.result import Progress, Tell

_BLOCK_BYTES = 4 << 20
_TELL_EVERY_S = 0.5


class Digest(Protocol):
    """What hashlib makes."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Add to it."""

    def hexdigest(self) -> str:
        """As the name of a blob."""


def new_digest(file: HubFile) -> Digest:
    """The digest that names a file's content: SHA-256 outside git, else git's own of its size and content."""
    if file.is_lfs:
        return hashlib.sha256()
    return hashlib.sha1(f"blob {file.size_bytes}\0".encode(), usedforsecurity=False)


def is_right(path: Path, file: HubFile) -> bool:
    """Whether a file has the content that the hub tells of. Raises OSError."""
    digest = new_digest(file)
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest() == file.blob


def find_wrong(folder: Path, files: Mapping[str, HubFile], host: Host, *, tell: Tell) -> list[str]:
    """Of these files of a folder those with other content than the hub has, or that cannot be read.

    They are read on all cores, and how far that is is told.
    """
    total = sum(file.size_bytes or 0 for file in files.values())
    read: dict[str, int] = dict.fromkeys(files, 0)
    over = Event()

    def is_wrong(name: str) -> bool:
        digest = new_digest(files[name])
        try:
            for block in _blocks(folder / name):
                if over.is_set():
                    break
                digest.update(block)
                read[name] += len(block)
        except OSError:
            return True
        return digest.hexdigest() != files[name].blob

    began = host.monotonic()
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        # The largest first: at the end all are busy.
        names = sorted(files, key=lambda name: files[name].size_bytes or 0, reverse=True)
        asked = {name: pool.submit(is_wrong, name) for name in names}
        left = set(asked.values())
        while left:
            _, left = wait(left, timeout=_TELL_EVERY_S, return_when=FIRST_COMPLETED)
            took_s = host.monotonic() - began
            if took_s >= _TELL_EVERY_S:
                done = sum(read.values())
                told = f"{size_in_words(done)} of {size_in_words(total)}, {done / took_s / 1e6:.0f} MB/s"
                tell(Progress(f"comparing with the hub's checksums: {told}", took_s))
        return sorted(name for name, one in asked.items() if one.result())
    finally:
        over.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(_BLOCK_BYTES):
            yield block
