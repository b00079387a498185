"""Transfer: files of a repository into the hub's cache; runs in a child process of its own.

huggingface_hub speaks to the hub, locks, and links what is there into the snapshot. What is ours is what its
newer versions do not do: a file whose transfer was broken off is taken up where it ended, in another process
too, and its content is compared with what the hub says it is before anybody can see it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import msgspec

from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host
from neuronctl.model.hub_error import Asked, in_plain_words
from neuronctl.model.listing import HubFile, Listing
from neuronctl.model.patience import Patience

AT_ONCE = 8
# Pauses before a transfer is taken up again that brings nothing new.
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
# What the hub may ask for instead.
_LONGEST_PAUSE_S = 600.0
# Beyond this the hub sends a file only by its own protocol (huggingface_hub/constants.py), which the client
# then uses; what is broken off begins anew.
LARGEST_PLAIN_BYTES = 50 * 1000**3
_BLOCK_BYTES = 4 << 20
# The client hands on what it receives in pieces of 10 MiB, and what is in a piece when it ends is lost.
PIECE_BYTES = 1 << 20


class Order(msgspec.Struct, frozen=True):
    """What to bring where: the files of `listing`; `folder` is its place in the hub's cache `cache`."""

    listing: Listing
    endpoint: str
    cache: str
    folder: str

    def write(self, path: Path) -> None:
        """Hand it to the child."""
        path.write_bytes(msgspec.json.encode(self))

    @classmethod
    def read(cls, path: Path) -> Order:
        """What write() wrote."""
        return msgspec.json.decode(path.read_bytes(), type=cls)


def main() -> None:
    """The child: `order.json` and a file for the error, if there is one."""
    from huggingface_hub import constants

    order = Order.read(Path(sys.argv[1]))
    constants.DOWNLOAD_CHUNK_SIZE = PIECE_BYTES
    try:
        _bring_all(order)
    except Exception as error:
        plain = error if isinstance(error, ModelNotResolved) else _plain(error, order)
        told = {"code": plain.error_code, "what": plain.what, "fix": plain.fix}
        Path(sys.argv[2]).write_text(json.dumps(told), encoding="utf-8")
        _log(f"{type(error).__name__}: {error}")
        # Other threads may be in the middle of a file: what they have is taken up the next time.
        os._exit(1)


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _plain(error: Exception, order: Order) -> ModelNotResolved:
    return in_plain_words(error, Asked(order.listing.repo_id, order.listing.commit), Host())


def _bring_all(order: Order) -> None:
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    # The largest first: at the end all are busy.
    files = order.listing.files
    names = sorted(files, key=lambda name: files[name].size_bytes or 0, reverse=True)
    pool = ThreadPoolExecutor(AT_ONCE)
    running = [pool.submit(_bring, name, order) for name in names]
    done, _ = wait(running, return_when=FIRST_EXCEPTION)
    for one in done:
        one.result()


def _bring(name: str, order: Order) -> None:
    """One file: its blob, and the link to it in the snapshot."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    listing, folder = order.listing, Path(order.folder)
    file = listing.files[name]
    blob = folder / "blobs" / file.blob
    # Of what a mirror tells nothing, the client finds it out, and receives it in its own way.
    if file.blob and file.size_bytes is not None and file.size_bytes <= LARGEST_PLAIN_BYTES:
        lock = Path(order.cache) / ".locks" / folder.name / f"{file.blob}.lock"  # the client's own
        lock.parent.mkdir(parents=True, exist_ok=True)
        blob.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if not blob.is_file() or blob.stat().st_size != file.size_bytes:
                _receive(name, file.size_bytes, blob, order)
    hf_hub_download(
        listing.repo_id, name, revision=listing.commit, cache_dir=order.cache, endpoint=order.endpoint
    )


def _receive(name: str, size_bytes: int, blob: Path, order: Order) -> None:
    """The content of one blob, compared with its name before it gets it. Raises what the client raises."""
    part = _Part(blob.with_name(f"{blob.name}.incomplete"), order.listing.files[name])
    try:
        if part.received >= size_bytes and not part.is_right():
            part.start_anew()
        for _ in range(2):
            _take_up(name, size_bytes, part, order)
            if part.is_right():
                part.become(blob)
                return
            part.start_anew()
        raise ModelNotResolved(
            f"{name} of {order.listing.repo_id} was received twice, and is not what the hub says it is",
            fix="a proxy or a mirror (HF_ENDPOINT) may change it; try again without",
            code="model.wrong-checksum",
        )
    finally:
        part.close()


def _take_up(name: str, size_bytes: int, part: _Part, order: Order) -> None:
    """Receive until all is there, again and again as long as that brings something."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    listing = order.listing
    url = hf_hub_url(listing.repo_id, name, revision=listing.commit, endpoint=order.endpoint)
    patience = Patience(_PAUSES_S, longest_s=_LONGEST_PAUSE_S, received=part.received)
    while part.received < size_bytes:
        try:
            http_get(
                url,
                part,  # type: ignore[arg-type]
                resume_size=part.received,
                headers=build_hf_headers(),
                expected_size=size_bytes,
                displayed_filename=name,
            )
        except Exception as error:
            pause_s = patience.pause_s(error, part.received)
            if pause_s is None:
                raise
            _log(f"{name}: {type(error).__name__}: {error}; again in {pause_s:.0f} s")
            time.sleep(pause_s)


class _Part:
    """A file that is not whole yet, with the digest of what it holds; the client writes into it."""

    def __init__(self, path: Path, file: HubFile) -> None:
        self.path = path
        self.file = file
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self.stream = os.fdopen(fd, "r+b", buffering=0)
        self.truncate(os.fstat(self.stream.fileno()).st_size)

    def start_anew(self) -> None:
        """Forget what is there."""
        self.stream.seek(0)
        self.truncate(0)

    def write(self, block: bytes) -> int:
        """Add to it."""
        view = memoryview(block)
        while view:
            count = self.stream.write(view) or 0
            self.digest.update(view[:count])
            self.received += count
            view = view[count:]
        return len(block)

    def truncate(self, size: int | None = None) -> int:
        """Cut it, and read what is left, so that the digest is of that; writing goes on at its end."""
        size = self.stream.tell() if size is None else size
        self.stream.truncate(size)
        self.digest = hashlib.sha256()
        if not self.file.is_lfs:  # git's name for content is the digest of its size and it
            self.digest = hashlib.sha1(f"blob {self.file.size_bytes}\0".encode(), usedforsecurity=False)
        self.stream.seek(0)
        self.received = 0
        while block := self.stream.read(_BLOCK_BYTES):
            self.digest.update(block)
            self.received += len(block)
        return size

    def seek(self, offset: int, whence: int = 0) -> int:
        """As a file has it; the client seeks before it cuts."""
        return self.stream.seek(offset, whence)

    def tell(self) -> int:
        """As a file has it."""
        return self.stream.tell()

    def is_right(self) -> bool:
        """Whether the content is what the blob's name says."""
        return self.digest.hexdigest() == self.file.blob

    def become(self, blob: Path) -> None:
        """Put it in the blob's place, once it is on the disk."""
        os.fsync(self.stream.fileno())
        os.replace(self.path, blob)

    def close(self) -> None:
        """Close it; what is there stays for the next time."""
        self.stream.close()
