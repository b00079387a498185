"""Blobs: each file's content once, named by its BLAKE3, read-only."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from neuronctl.artifacts.layout import Layout, fsync_folder
from neuronctl.digest import digest as digest_of

_READ_ONLY = 0o444
# File systems without hard links answer in all these ways; EPERM also comes from protected_hardlinks.
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES}
_ATTEMPTS = 10


@dataclass(frozen=True)
class Blobs:
    """The blobs of one store."""

    layout: Layout

    def put(self, staged: Path, digest: str, scratch: Path, *, share: bool = True) -> None:
        """Keep the content of `staged`, whose BLAKE3 is `digest` and which is on the disk already.

        Afterwards `staged` still has that content, read-only, and is one file with the blob where the
        file system has hard links. A blob that is there already is used only after hashing it: a damaged
        one is replaced. `share=False` keeps `staged` a file of its own. `scratch` is an empty folder on
        the same file system. Raises OSError; the blob is then absent or whole.
        """
        target = self.layout.blob(digest)
        if not target.parent.exists():
            target.parent.mkdir(exist_ok=True)
            fsync_folder(self.layout.blobs)
        if share:
            staged.chmod(_READ_ONLY)
        size_bytes = os.lstat(staged).st_size
        for _ in range(_ATTEMPTS):
            try:
                whole = _is_whole(target, digest, size_bytes)
                if whole and share:
                    _link_over(target, staged, scratch)
                elif not whole:
                    if os.path.lexists(target):
                        betray(target)
                    if share:
                        _link_over(staged, target, scratch)
                    else:
                        _copy_over(staged, target)
            except FileNotFoundError:  # another process removed the blob under our hands
                if not os.path.lexists(staged):
                    raise
                continue
            except OSError as error:
                if not share or error.errno not in _NO_LINK:
                    raise
                share = False
                continue
            return
        raise OSError(errno.EIO, "the blob keeps vanishing", str(target))

    def discard(self, digests: Iterable[str]) -> None:
        """Remove those of `digests` that no artifact shares, after a build that came to nothing.

        Another build that was about to share one finds it gone and keeps its own. What resists stays.
        """
        for digest in digests:
            with suppress(OSError):
                blob = self.layout.blob(digest)
                if blob.lstat().st_nlink == 1:
                    blob.unlink()

    def expel(self, digest: str, to: Path) -> None:
        """Move a damaged blob to the path `to`, and make sure all who share it notice. Raises OSError."""
        target = self.layout.blob(digest)
        betray(target)
        with suppress(FileNotFoundError):
            target.rename(to)


def betray(path: Path) -> None:
    """Change a damaged file's time: each artifact it is linked into then hashes it at its next use."""
    with suppress(OSError):
        facts = os.lstat(path)
        # Ten seconds, because some file systems keep times in steps of two.
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 10_000_000_000), follow_symlinks=False)


def _is_whole(blob: Path, digest: str, size_bytes: int) -> bool:
    try:
        facts = os.lstat(blob)
        return stat.S_ISREG(facts.st_mode) and facts.st_size == size_bytes and digest_of(blob) == digest
    except OSError:
        return False


def _link_over(source: Path, target: Path, scratch: Path) -> None:
    """Make `target` a hard link to `source` in one step, whatever `target` was."""
    passing = scratch / "link"
    with suppress(FileNotFoundError):
        passing.unlink()
    os.link(source, passing, follow_symlinks=False)
    try:
        passing.rename(target)
    finally:
        # rename does nothing when both names are the same file already
        with suppress(FileNotFoundError):
            passing.unlink()


def _copy_over(source: Path, target: Path) -> None:
    """Make `target` a read-only copy of `source` in one step."""
    import shutil

    # Beside its target: on file systems without hard links a rename between folders may be refused too.
    passing = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(source, passing, follow_symlinks=False)
        fd = os.open(passing, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        passing.chmod(_READ_ONLY)
        passing.rename(target)
    finally:
        with suppress(FileNotFoundError):
            passing.unlink()
