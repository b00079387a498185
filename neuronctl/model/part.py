"""Part: a file that is not whole yet, with the digest of what it holds."""

from __future__ import annotations

import os
from pathlib import Path

from neuronctl.model.content import new_digest
from neuronctl.model.listing import HubFile

_BLOCK_BYTES = 4 << 20


class Part:
    """What was received of a file so far, at `path`; what another process left there is taken up."""

    def __init__(self, path: Path, file: HubFile) -> None:
        self.path = path
        self.file = file
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._stream = os.fdopen(fd, "r+b", buffering=0)
        self._digest = new_digest(file)
        self.received = 0
        while block := self._stream.read(_BLOCK_BYTES):
            self._digest.update(block)
            self.received += len(block)

    def start_anew(self) -> None:
        """Forget what is there."""
        self._stream.seek(0)
        self._stream.truncate()
        self._digest = new_digest(self.file)
        self.received = 0

    def write(self, block: bytes) -> None:
        """Add to it."""
        view = memoryview(block)
        while view:
            count = self._stream.write(view) or 0
            self._digest.update(view[:count])
            self.received += count
            view = view[count:]

    def is_right(self) -> bool:
        """Whether the content is what the hub tells of."""
        return self._digest.hexdigest() == self.file.blob

    def become(self, blob: Path) -> None:
        """Put it in the blob's place, once it is on the disk."""
        os.fsync(self._stream.fileno())
        os.replace(self.path, blob)

    def close(self) -> None:
        """Close it; what is there stays for the next time, unless that is nothing."""
        self._stream.close()
        if self.received == 0:
            self.path.unlink(missing_ok=True)
