"""Leftovers: what builders left in a store that are dead, and what a folder takes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from neuronctl.artifacts.held import is_held
from neuronctl.artifacts.layout import Layout, is_key
from neuronctl.artifacts.tree import nodes


@dataclass(frozen=True)
class Leftover:
    """A folder of a build that is dead; `size_bytes` is what its files say they hold."""

    key: str
    path: Path
    size_bytes: int


def leftovers(layout: Layout) -> list[Leftover]:
    """Those whose key nobody works on, sorted by name; `sweep_dead` removes them. Raises OSError."""
    try:
        names = sorted(os.listdir(layout.staging))
    except FileNotFoundError:
        return []
    of_key = {name: name.partition(".")[0] for name in names}
    keys = {key for key in of_key.values() if is_key(key)}
    dead = {key for key in keys if not is_held(layout, key)}
    return [
        Leftover(key, layout.staging / name, size_of(layout.staging / name))
        for name, key in of_key.items()
        if key in dead
    ]


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder; what vanishes meanwhile, or cannot be listed, counts as nothing."""
    try:
        return sum(node.facts.st_size for node in nodes(folder))
    except OSError:
        return 0
