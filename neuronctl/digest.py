"""Digests: the BLAKE3 of files, using all the cores this process may run on."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blake3 import blake3

_CHUNK = 4 << 20
# Below this a file is hashed by one thread, and below this in total no thread pool is worth its import.
_LARGE = 64 << 20
_POOL_FROM = 2 << 20
# Fresh memory for each file would cost a twentieth of the speed (benchmarks/identity.py).
_OF_THREAD = threading.local()


def digest(path: Path, *, threads: int = 1, durable: bool = False) -> str:
    """The BLAKE3 of a file's content, 64 hex digits. Raises OSError.

    Reads in chunks and not through a memory map, where a file that shrinks or a bad sector would end
    the process with SIGBUS. `durable` also waits until the content is on the disk.
    """
    from blake3 import blake3

    hasher = blake3(max_threads=threads)
    # O_NONBLOCK: opening a named pipe must not wait for a writer. A symbolic link is not a file's content.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        size_bytes = os.fstat(fd).st_size
        with open(fd, "rb", buffering=0, closefd=False) as file:
            chunk_bytes = max(1, min(_CHUNK, size_bytes + 1))
            if threads > 1:
                _update_ahead(hasher, file, chunk_bytes)
            else:
                buffer = _buffer(chunk_bytes)
                while count := file.readinto(buffer):
                    hasher.update(buffer[:count])
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    return hasher.hexdigest()


def digests(files: Sequence[tuple[Path, int]], *, durable: bool = False) -> list[str | OSError]:
    """The BLAKE3 of each file in `files` (path, size in bytes), in order; the OSError where one failed."""
    cores = _cores()
    large = sum(size >= _LARGE for _, size in files)
    threads = max(1, cores // max(1, large))

    def one(file: tuple[Path, int]) -> str | OSError:
        path, size = file
        try:
            return digest(path, threads=threads if size >= _LARGE else 1, durable=durable)
        except OSError as error:
            return error

    if len(files) < 2 or (sum(size for _, size in files) < _POOL_FROM and not durable):
        return [one(file) for file in files]

    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(max_workers=min(len(files), max(cores, 4 if durable else 1)))
    try:
        return list(pool.map(one, files))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _update_ahead(hasher: blake3, file: io.FileIO, chunk_bytes: int) -> None:
    """Hash what `file` holds, and read the next chunk while all threads hash the one before it.

    By turns they would wait for each other: a single large file is hashed half as fast again this way, but
    where each thread has a file of its own, they fill each other's waits already (benchmarks/identity.py).
    """
    from concurrent.futures import ThreadPoolExecutor

    buffer, spare = memoryview(bytearray(chunk_bytes)), memoryview(bytearray(chunk_bytes))
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(file.readinto, buffer)
        while count := coming.result():
            coming = reader.submit(file.readinto, spare)
            hasher.update(buffer[:count])
            buffer, spare = spare, buffer


def _buffer(size_bytes: int) -> memoryview:
    """Memory that this thread fills file after file."""
    held: memoryview | None = getattr(_OF_THREAD, "buffer", None)
    if held is None or len(held) < size_bytes:
        held = _OF_THREAD.buffer = memoryview(bytearray(size_bytes))
    return held[:size_bytes]


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1
