"""Trees of files: listing and removing them without following a symbolic link."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Node:
    """Something in a tree that is not a folder: its path from the root, with `/`, and its own lstat."""

    path: str
    facts: os.stat_result

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.facts.st_mode)

    @property
    def kind(self) -> str:
        """What it is, in words."""
        mode = self.facts.st_mode
        if stat.S_ISREG(mode):
            return "a file"
        if stat.S_ISLNK(mode):
            return "a symbolic link"
        if stat.S_ISSOCK(mode):
            return "a socket"
        if stat.S_ISFIFO(mode):
            return "a named pipe"
        return "a device"


def nodes(root: Path) -> list[Node]:
    """All that is below `root`, sorted by path, folders themselves left out. Raises OSError."""
    found: list[Node] = []
    waiting = [("", str(root))]
    while waiting:
        prefix, folder = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((f"{prefix}{entry.name}/", entry.path))
                else:
                    found.append(Node(prefix + entry.name, entry.stat(follow_symlinks=False)))
    found.sort(key=lambda node: node.path)
    return found


def folders(root: Path) -> list[Path]:
    """`root` and every folder below it. Raises OSError."""
    found = [root]
    for folder in found:  # grows while it is walked
        with os.scandir(folder) as entries:
            found += [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    return found


def remove(root: Path) -> None:
    """Remove `root` and all below it, read-only folders too; what is gone already is fine.

    Raises OSError, for instance where another process keeps adding files.
    """
    try:
        mode = os.lstat(root).st_mode
        if not stat.S_ISDIR(mode):
            root.unlink()
            return
        if mode & 0o700 != 0o700:
            root.chmod(0o700)
        with os.scandir(root) as entries:
            content = [(Path(entry.path), entry.is_dir(follow_symlinks=False)) for entry in entries]
    except FileNotFoundError:
        return
    for path, is_folder in content:
        if is_folder:
            remove(path)
        else:
            with suppress(FileNotFoundError):
                path.unlink()
    with suppress(FileNotFoundError):
        root.rmdir()
