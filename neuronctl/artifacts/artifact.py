"""Artifact: one compiled output in the store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuronctl.artifacts.manifest import Manifest


@dataclass(frozen=True)
class Artifact:
    """A compiled output: its key, its manifest, and `path`, the folder of both manifest and tree."""

    key: str
    path: Path
    manifest: Manifest

    @property
    def tree(self) -> Path:
        """The folder a backend loads. Its files are shared and read-only; nothing may be added to it."""
        return self.path / "tree"


@dataclass(frozen=True)
class Damaged:
    """A folder in the place of an artifact whose manifest cannot be used."""

    key: str
    path: Path
    reason: str
