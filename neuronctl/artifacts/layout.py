"""Layout: where each thing is in a store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from neuronctl.errors import UsageError
from neuronctl.model.plain_file import NoPlainFile, read_plain

# The signature is fixed by the Cache Directory Tagging Specification (bford.info/cachedir): backup
# programs leave a folder out that carries it.
_TAG = b"""Signature: 8a477f597d28d172789f06886806bc55
# This folder holds what neuronctl can compile again.
"""
_KEY_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_KEY_LENGTH = 200  # a file name may have 255 bytes, and ours append a time or a random word


@dataclass(frozen=True)
class Layout:
    """The folders of the store at `root`. Asking for a path creates nothing; `prepare` does."""

    root: Path

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def staging(self) -> Path:
        return self.root / "staging"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    def blob(self, digest: str) -> Path:
        """Where the content with this BLAKE3 (64 hex digits) is kept."""
        return self.blobs / digest[:2] / digest

    def artifact(self, key: str) -> Path:
        """Where the artifact of `key` is; UsageError when `key` cannot be one."""
        return self.artifacts / checked(key)

    def lock(self, key: str) -> Path:
        """The lock file of `key`; UsageError when `key` cannot be one."""
        return self.locks / f"{checked(key)}.lock"

    def prepare(self) -> None:
        """Create the folders, and tag the store as a cache."""
        for folder in (self.blobs, self.artifacts, self.staging, self.quarantine, self.locks):
            folder.mkdir(parents=True, exist_ok=True)
        tag = self.root / "CACHEDIR.TAG"
        try:
            if read_plain(tag) == _TAG:
                return
        except FileNotFoundError:
            pass
        except NoPlainFile:  # the store works without
            return
        tag.write_bytes(_TAG)


def is_key(text: str) -> bool:
    """Whether `text` can be a key: a plain name of letters, digits, `-` and `_`.

    No dot and no slash, because a key becomes a folder's name, and what follows a dot there (a time, a
    random word) is not part of it.
    """
    return 0 < len(text) <= _KEY_LENGTH and _KEY_LETTERS.issuperset(text) and not text.startswith("-")


def checked(key: str) -> str:
    """`key` itself; UsageError when it cannot be one."""
    if not is_key(key):
        raise UsageError(
            f"{key[:80]!r} is not an artifact key: keys are letters, digits, '-' and '_'.",
            fix="neuronctl cache list",
        )
    return key


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut. File systems that cannot do it are left alone."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        import errno

        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(fd)
