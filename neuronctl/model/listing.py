"""Listing: what a hub repository holds at a commit, and what neuronctl remembers of it between runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import TypeVar

import msgspec

from neuronctl.host import Host
from neuronctl.whole_file import write_whole

_COMMIT = re.compile(r"[0-9a-f]{40}")
MAIN = "main"
T = TypeVar("T")


class HubFile(msgspec.Struct, frozen=True):
    """A file of a repository.

    `blob` names its content, in the hub's cache too: the SHA-256 of what is stored outside git (`is_lfs`),
    else git's own SHA-1. A mirror of the hub may tell no sizes (None) and no names of contents (empty).
    """

    size_bytes: int | None
    blob: str
    is_lfs: bool = False


class TensorRow(msgspec.Struct, frozen=True, array_like=True):
    """A tensor as a safetensors header has it: dtype in the format's words (`BF16`), shape, its file."""

    dtype: str
    shape: tuple[int, ...]
    file: str


class Listing(msgspec.Struct, frozen=True):
    """A repository at a commit, as the hub tells it. `gated` is False, "auto" or "manual"."""

    repo_id: str
    commit: str
    files: dict[str, HubFile]
    gated: bool | str = False


class _Refs(msgspec.Struct, frozen=True):
    commits: dict[str, str] = {}


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a whole commit, which can never mean another model."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


class HubMemory:
    """What neuronctl remembers of one repository, under `$NEURONCTL_HOME/hub`.

    Listings and tensors by commit, and which commit a branch or tag was when it was looked up or compiled.
    What cannot be read is not remembered; where nothing can be written, nothing is.
    """

    def __init__(self, repo_id: str, host: Host) -> None:
        self.folder = host.neuronctl_home / "hub" / f"models--{repo_id.replace('/', '--')}"

    def listing(self, commit: str) -> Listing | None:
        """The files of a commit."""
        return self._read(f"{commit}.json", Listing)

    def tensors(self, commit: str) -> dict[str, TensorRow] | None:
        """The tensors of a commit, by name."""
        return self._read(f"{commit}.tensors.json", dict[str, TensorRow])

    def commit_of(self, revision: str | None) -> str | None:
        """The commit that a branch or tag was; None means the branch `main`."""
        refs = self._read("refs.json", _Refs)
        return refs.commits.get(revision or MAIN) if refs else None

    def remember(self, listing: Listing, tensors: Mapping[str, TensorRow] | None = None) -> None:
        """Keep a listing, and the tensors where they are known."""
        self._write(f"{listing.commit}.json", listing)
        if tensors is not None:
            self._write(f"{listing.commit}.tensors.json", tensors)

    def remember_commit(self, revision: str | None, commit: str) -> None:
        """Keep which commit a branch or tag is."""
        if is_commit(revision) or self.commit_of(revision) == commit:
            return
        refs = self._read("refs.json", _Refs) or _Refs()
        self._write("refs.json", _Refs({**refs.commits, revision or MAIN: commit}))

    def _read(self, name: str, kind: type[T]) -> T | None:
        try:
            return msgspec.json.decode((self.folder / name).read_bytes(), type=kind)
        except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return None

    def _write(self, name: str, value: object) -> None:
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / name, msgspec.json.encode(value))
