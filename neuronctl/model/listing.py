"""Listing: what a hub repository holds at a commit."""

from __future__ import annotations

import re

import msgspec

_COMMIT = re.compile(r"[0-9a-f]{40}")
MAIN = "main"


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


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a whole commit, which can never mean another model."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None
