"""Verification: whether an artifact's files are what its manifest says. Reads only.

Raises PermissionError for what this user may not read: that is no damage.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from neuronctl.artifacts.tree import nodes
from neuronctl.digest import digests

if TYPE_CHECKING:
    from neuronctl.artifacts.artifact import Artifact
    from neuronctl.artifacts.manifest import FileEntry


@dataclass(frozen=True)
class Problem:
    """Something in an artifact that is not as its manifest says; `path` is relative to the artifact."""

    path: str
    kind: Literal["missing", "extra", "size", "content", "manifest"]
    detail: str

    def __str__(self) -> str:
        return f"{self.path}: {self.detail}"


def verify_quick(artifact: Artifact) -> list[Problem]:
    """Compare names, sizes and times; costs a look at each file.

    Only a file whose time differs is read: a copied store has other times and the same content.
    """
    return _verify(artifact, full=False)


def verify_full(artifact: Artifact) -> list[Problem]:
    """Compare names, sizes and the content of every file."""
    return _verify(artifact, full=True)


def _verify(artifact: Artifact, *, full: bool) -> list[Problem]:
    problems: list[Problem] = []
    if artifact.manifest.key != artifact.key:
        problems.append(
            Problem("manifest.json", "manifest", f"it belongs to the key {artifact.manifest.key!r}")
        )
    try:
        found = {node.path: node for node in nodes(artifact.tree)}
    except FileNotFoundError:
        found = {}
    except PermissionError:
        raise  # no damage, and no reason to compile again
    except OSError as error:
        return [*problems, Problem("tree", "content", f"it cannot be listed: {error.strerror}")]

    to_hash: list[FileEntry] = []
    for entry in artifact.manifest.files:
        path = f"tree/{entry.path}"
        node = found.pop(entry.path, None)
        if node is None:
            problems.append(Problem(path, "missing", "it is missing"))
        elif not node.is_file:
            problems.append(Problem(path, "content", f"it is {node.kind}, not a file"))
        elif node.facts.st_size != entry.size_bytes:
            problems.append(
                Problem(path, "size", f"it has {node.facts.st_size} bytes instead of {entry.size_bytes}")
            )
        elif entry.executable and not node.facts.st_mode & 0o111:
            problems.append(Problem(path, "content", "it is no longer executable"))
        elif not os.access(artifact.tree / entry.path, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(artifact.tree / entry.path))
        elif full or node.facts.st_mtime_ns != entry.mtime_ns:
            to_hash.append(entry)
    problems += [
        Problem(f"tree/{path}", "extra", f"it is {node.kind} that the manifest does not name")
        for path, node in found.items()
    ]
    problems += _wrong_content(artifact.tree, to_hash)
    return problems


def _wrong_content(tree: Path, entries: list[FileEntry]) -> list[Problem]:
    problems: list[Problem] = []
    hashes = digests([(tree / entry.path, entry.size_bytes) for entry in entries])
    for entry, actual in zip(entries, hashes, strict=True):
        if isinstance(actual, OSError):
            detail = f"it cannot be read: {actual.strerror}"
        elif actual != entry.blake3:
            detail = "its content has changed"
        else:
            continue
        problems.append(Problem(f"tree/{entry.path}", "content", detail))
    return problems
