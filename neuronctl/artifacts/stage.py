"""Stage: the folder in which one build happens, out of every reader's sight."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from neuronctl.artifacts.layout import Layout, is_key
from neuronctl.artifacts.tree import folders, nodes, remove
from neuronctl.errors import CompileFailed
from neuronctl.host import Host

_ASIDE = "old-"


@dataclass(frozen=True)
class Stage:
    """A build in progress, in the folder `root`.

    `path` is the tree to fill; `work` a folder for what the build needs and nobody keeps, at the same path
    for each build of one key, since compilers take that for a part of what they compile (reference:
    known_issues, workdir-cache-key). Both are on the store's disk, and both are gone when the build ends.
    """

    root: Path
    work: Path

    @property
    def folder(self) -> Path:
        """What becomes the artifact's folder."""
        return self.root / "artifact"

    @property
    def path(self) -> Path:
        return self.folder / "tree"

    @property
    def links(self) -> Path:
        """An empty folder for the store's own use while it publishes."""
        return self.root / "links"

    def clear(self) -> None:
        """Begin again: an empty tree. Raises OSError."""
        remove(self.path)
        self.path.mkdir(parents=True)


def open_stage(layout: Layout, key: str) -> Stage:
    """A new stage for `key`. Raises OSError."""
    return make_stage(layout.staging / f"{key}.{os.urandom(6).hex()}", layout.staging / f"{key}.work")


def make_stage(root: Path, work: Path) -> Stage:
    """A new stage in `root`, which must not be there. Raises OSError."""
    stage = Stage(root, work)
    for folder in (stage.path, stage.links):
        folder.mkdir(parents=True)
    stage.work.mkdir(parents=True, exist_ok=True)
    return stage


def close_stage(stage: Stage) -> None:
    """Remove what is left of a stage. What resists is left to the next build of this key."""
    for folder in (stage.root, stage.work):
        with suppress(OSError):
            remove(folder)


def aside(layout: Layout, key: str) -> Path:
    """A name for an old artifact of `key` while a new one takes its place."""
    return layout.staging / f"{key}.{_ASIDE}{os.urandom(6).hex()}"


def sweep(layout: Layout, key: str) -> None:
    """Remove the stages that dead builders of `key` left, and put back an artifact they had set aside.

    The caller holds the key's lock: nobody else's build of this key can be alive. Raises OSError only
    where the artifact cannot be put back.
    """
    with os.scandir(layout.staging) as entries:
        left = [Path(entry.path) for entry in entries if entry.name.startswith(f"{key}.")]
    for folder in left:
        if folder.name.startswith(f"{key}.{_ASIDE}") and not os.path.lexists(layout.artifact(key)):
            folder.rename(layout.artifact(key))
            continue
        # A child that outlived its builder may still be adding files; they harm nobody.
        with suppress(OSError):
            remove(folder)


def sweep_dead(layout: Layout, host: Host) -> None:
    """Remove what builders of any key left that are dead: their locks are free. Nothing is waited for."""
    from neuronctl.artifacts.lock import lock
    from neuronctl.errors import NeuronctlError

    with suppress(OSError):
        keys = {name.partition(".")[0] for name in os.listdir(layout.staging)}
        for key in filter(is_key, keys):
            with suppress(OSError, NeuronctlError), lock(layout.lock(key), host, what="sweep", timeout_s=0):
                sweep(layout, key)


def tidy(stage: Stage) -> None:
    """Make the stage's tree one of plain files that nobody else can reach.

    A symbolic link to a file inside becomes a copy, a file with other names elsewhere too; sockets and
    named pipes go, because they died with the process that made them. Raises CompileFailed for what
    cannot be kept: a link that leaves the stage or leads to a folder, a device, a name that is not
    UTF-8, or no file at all. Raises OSError.
    """
    home = os.path.realpath(stage.path)
    kept = 0
    for folder in folders(stage.path):
        mode = os.lstat(folder).st_mode
        if mode & 0o700 != 0o700:
            folder.chmod(stat.S_IMODE(mode) | 0o700)
    for node in nodes(stage.path):
        path = stage.path / node.path
        mode = node.facts.st_mode
        if stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode):
            path.unlink()
            continue
        kept += 1
        if not _is_text(node.path):
            raise _unkeepable(f"the name {os.fsencode(node.path)!r} is not UTF-8")
        if node.is_file:
            if node.facts.st_nlink > 1:
                _copy_over(path, path, stage)
        elif stat.S_ISLNK(mode):
            real = Path(os.path.realpath(path))
            if not real.is_relative_to(home) or not real.is_file():
                raise _unkeepable(f"{node.path} is a symbolic link to {path.readlink()}")
            _copy_over(real, path, stage)
        else:
            raise _unkeepable(f"{node.path} is {node.kind}")
    if not kept:
        raise CompileFailed(
            "The build ended without an error and without a single file.",
            code="compile.no-output",
            fix="Read the compile log: the output may have gone to another folder.",
        )


def _copy_over(source: Path, target: Path, stage: Stage) -> None:
    import shutil

    passing = stage.links / "copy"
    shutil.copy2(source, passing)
    passing.rename(target)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unkeepable(why: str) -> CompileFailed:
    return CompileFailed(
        f"The build's output cannot be kept: {why}. An artifact has only plain files of its own.",
        code="compile.output-unkeepable",
    )
