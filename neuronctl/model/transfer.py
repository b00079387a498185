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
from dataclasses import asdict, dataclass
from pathlib import Path

from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host
from neuronctl.model.hub_error import Asked, asked_to_wait_s, in_plain_words, is_final

AT_ONCE = 8
# How often a transfer is taken up again that brings nothing new, and how long that waits at first.
MOST_TRIES = 6
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
# A hub that asks for more patience is told about instead.
LONGEST_ASKED_S = 600.0
# Beyond this the hub sends a file only by its own protocol (huggingface_hub/constants.py), which the client
# then uses; what is broken off begins anew.
LARGEST_PLAIN_BYTES = 50 * 1000**3
_BLOCK_BYTES = 4 << 20
# The client hands on what it receives in pieces of 10 MiB, and what is in a piece when it ends is lost.
PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Wanted:
    """A file: its name in the repository, its size, and the blob that its content is (see HubFile)."""

    name: str
    size_bytes: int
    blob: str
    is_lfs: bool


@dataclass(frozen=True)
class Order:
    """What to bring where: `folder` is the repository's in the hub's cache `cache`."""

    repo_id: str
    commit: str
    endpoint: str
    cache: str
    folder: str
    files: tuple[Wanted, ...]

    def write(self, path: Path) -> None:
        """Hand it to the child."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Order:
        """What write() wrote."""
        said = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**said, "files": tuple(Wanted(**one) for one in said["files"])})


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
    return in_plain_words(error, Asked(order.repo_id, order.commit), Host())


def _bring_all(order: Order) -> None:
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    # The largest first: at the end all are busy.
    files = sorted(order.files, key=lambda one: one.size_bytes, reverse=True)
    pool = ThreadPoolExecutor(AT_ONCE)
    running = [pool.submit(_bring, one, order) for one in files]
    done, _ = wait(running, return_when=FIRST_EXCEPTION)
    for one in done:
        one.result()


def _bring(file: Wanted, order: Order) -> None:
    """One file: its blob, and the link to it in the snapshot."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    folder = Path(order.folder)
    blob = folder / "blobs" / file.blob
    # A mirror may tell no digests.
    if file.blob and file.size_bytes <= LARGEST_PLAIN_BYTES:
        lock = Path(order.cache) / ".locks" / folder.name / f"{file.blob}.lock"  # the client's own
        lock.parent.mkdir(parents=True, exist_ok=True)
        blob.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if not blob.is_file() or blob.stat().st_size != file.size_bytes:
                _receive(file, blob, order)
    hf_hub_download(
        order.repo_id, file.name, revision=order.commit, cache_dir=order.cache, endpoint=order.endpoint
    )


def _receive(file: Wanted, blob: Path, order: Order) -> None:
    """The content of one blob, compared with its name before it gets it. Raises what the client raises."""
    part = _Part(blob.with_name(f"{file.blob}.incomplete"), file)
    try:
        if part.received >= file.size_bytes and not part.is_right():
            part.start_anew()
        for _ in range(2):
            _take_up(file, part, order)
            if part.is_right():
                part.become(blob)
                return
            part.start_anew()
        raise ModelNotResolved(
            f"{file.name} of {order.repo_id} was received twice, and is not what the hub says it is",
            fix="a proxy or a mirror (HF_ENDPOINT) may change it; try again without",
            code="model.wrong-checksum",
        )
    finally:
        part.close()


def _take_up(file: Wanted, part: _Part, order: Order) -> None:
    """Receive until all is there, again and again as long as that brings something."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = hf_hub_url(order.repo_id, file.name, revision=order.commit, endpoint=order.endpoint)
    tries, wait_s, before = 0, FIRST_WAIT_S, part.received
    while part.received < file.size_bytes:
        try:
            http_get(
                url,
                part,  # type: ignore[arg-type]
                resume_size=part.received,
                headers=build_hf_headers(),
                expected_size=file.size_bytes,
                displayed_filename=file.name,
            )
        except Exception as error:
            if is_final(error):
                raise
            if part.received > before:
                tries, wait_s = 0, FIRST_WAIT_S
            before = part.received
            tries += 1
            asked_s = asked_to_wait_s(error)
            if tries >= MOST_TRIES or (asked_s or 0.0) > LONGEST_ASKED_S:
                raise
            pause_s = asked_s if asked_s is not None else wait_s
            _log(f"{file.name}: {type(error).__name__}: {error}; again in {pause_s:.0f} s")
            time.sleep(pause_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)


class _Part:
    """A file that is not whole yet, with the digest of what it holds; the client writes into it."""

    def __init__(self, path: Path, file: Wanted) -> None:
        self.path = path
        self.file = file
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self.stream = os.fdopen(fd, "r+b", buffering=0)
        self.name = str(path)
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

    def flush(self) -> None:
        """As a file has it."""

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


if __name__ == "__main__":
    main()
