"""Build once: find, lock, find again, build aside, publish in one step."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import neuronctl
from neuronctl.artifacts.artifact import Artifact
from neuronctl.artifacts.blobs import Blobs
from neuronctl.artifacts.disk import using
from neuronctl.artifacts.layout import Layout, fsync_folder
from neuronctl.artifacts.lock import OnWait, lock
from neuronctl.artifacts.stage import Stage, aside, close_stage, open_stage, sweep, sweep_dead, tidy
from neuronctl.artifacts.store import Store
from neuronctl.artifacts.verify import Problem, verify_quick
from neuronctl.errors import ArtifactDamaged, CompileFailed

if TYPE_CHECKING:
    from neuronctl.artifacts.manifest import FileEntry, Manifest, Smoke

LOCK_TIMEOUT_S = 6 * 3600.0  # as long as a compile may take


@dataclass(frozen=True)
class Made:
    """What a build says about itself; it goes into the manifest.

    `inputs` are the key's inputs in full, plain JSON data; `phases_s` is in seconds,
    `peak_memory_bytes` of the build's processes together, None where it was not measured.
    """

    inputs: Mapping[str, Any]
    backend: str
    model: str
    profile: str
    versions: Mapping[str, str] = field(default_factory=dict)
    phases_s: Mapping[str, float] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    smoke: Sequence[Smoke] = ()


@dataclass(frozen=True)
class BuildOutcome:
    """An artifact that is quick-verified, and how it came about.

    `built` is False when it was there; `quarantined` is where a damaged predecessor went; `waited_s` is
    how long another process held the key's lock.
    """

    artifact: Artifact
    built: bool
    quarantined: Path | None = None
    waited_s: float = 0.0


def build_once(
    store: Store,
    key: str,
    build: Callable[[Stage], Made],
    *,
    what: str = "compile",
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    on_wait: OnWait | None = None,
    rebuild: bool = False,
    on_damage: Callable[[str, Path], None] = lambda why, moved: None,
) -> BuildOutcome:
    """The artifact of `key`, built by `build` unless it is there and passes the quick verification.

    `build` fills `stage.path` and ends every process that writes there before it returns. Whatever it
    raises comes through, and leaves nothing behind. `what` tells those who wait what is being done.
    `on_damage` is told why an artifact that is there cannot be used, and the folder it went to, before the
    build begins. With `rebuild` it is built in any case; the artifact that was there stays in use until the
    new one takes its place, and stays if the build fails.

    Raises LockTimedOut, MachineUnfit where the disk refuses, and CompileFailed where the output cannot
    be kept.
    """
    layout = store.layout
    if not rebuild:
        artifact = _look(store, key).artifact
        if artifact is not None:
            return BuildOutcome(artifact, built=False)
    with using(store.root):
        layout.prepare()
    sweep_dead(layout, store.host)
    with lock(layout.lock(key), store.host, what=what, timeout_s=lock_timeout_s, on_wait=on_wait) as waited_s:
        with using(store.root):
            sweep(layout, key)
            seen = _look(store, key)
            moved = _quarantine(store, key, seen) if seen.damage else None
        if moved is not None:
            on_damage("; ".join(map(str, seen.problems)) or seen.damage or "", moved)
        with using(store.root):
            if seen.artifact is not None and not rebuild:
                return BuildOutcome(seen.artifact, built=False, waited_s=waited_s)
            stage = open_stage(layout, key)
        fresh: list[str] = []
        try:
            with using(store.root, foreign=True):
                made = build(stage)
            with using(store.root):
                artifact = _publish(store, key, stage, made, fresh)
        except BaseException:
            close_stage(stage)
            Blobs(layout).discard(fresh)
            raise
        try:
            close_stage(stage)
        except KeyboardInterrupt:  # a stop that comes now must not leave it behind
            close_stage(stage)
            raise
    return BuildOutcome(artifact, built=True, quarantined=moved, waited_s=waited_s)


@dataclass(frozen=True)
class _Look:
    """What is there under a key: a usable artifact, or why the one there is not usable, or nothing."""

    artifact: Artifact | None = None
    damage: str | None = None
    problems: tuple[Problem, ...] = ()


def _look(store: Store, key: str) -> _Look:
    try:
        artifact = store.find(key)
    except ArtifactDamaged as error:
        return _Look(damage=error.what)
    if artifact is None:
        return _Look()
    with using(store.root):
        problems = tuple(verify_quick(artifact))
    if problems:
        return _Look(damage="It failed the verification before use.", problems=problems)
    return _Look(artifact)


def _quarantine(store: Store, key: str, seen: _Look) -> Path:
    from neuronctl.artifacts.quarantine import move_to_quarantine

    return move_to_quarantine(
        store.layout, key, seen.damage or "", now=store.host.now(), problems=seen.problems
    )


def _publish(store: Store, key: str, stage: Stage, made: Made, fresh: list[str]) -> Artifact:
    """Hash the stage's tree, keep its files as blobs, write the manifest, and make it the artifact.

    The digests of blobs that were not there before are added to `fresh`.
    """
    from neuronctl.artifacts.manifest import SCHEMA, Built, Manifest, decode, encode, plain

    layout = store.layout
    tidy(stage)
    files = _keep(layout, stage, fresh)
    manifest = Manifest(
        schema=SCHEMA,
        key=key,
        backend=made.backend,
        model=made.model,
        profile=made.profile,
        inputs=plain(made.inputs),
        files=files,
        built=Built(
            at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(store.host.now())),
            neuronctl=neuronctl.__version__,
            versions=dict(made.versions),
        ),
        phases_s=dict(made.phases_s),
        peak_memory_bytes=made.peak_memory_bytes,
        smoke=tuple(made.smoke),
    )
    data = encode(manifest)
    _write(stage.folder / "manifest.json", data)
    # What a later process will read is what counts, so it is read back and compared with the files: a
    # process that is still writing into the stage shows here.
    manifest = decode(data, stage.folder / "manifest.json")
    if problems := verify_quick(Artifact(key, stage.folder, manifest)):
        raise _still_changing(str(problems[0]))
    _make_durable(layout, stage, manifest)
    target = layout.artifact(key)
    if os.path.lexists(target):
        from neuronctl.artifacts.exchange import replace
        from neuronctl.artifacts.tree import remove

        old = replace(stage.folder, target, aside(layout, key))
        fsync_folder(layout.artifacts)
        if old != stage.folder:
            with suppress(OSError):  # the new one is in place; the next build sweeps this
                remove(old)
    else:
        stage.folder.rename(target)
        fsync_folder(layout.artifacts)
    return Artifact(key, target, manifest)


def _keep(layout: Layout, stage: Stage, fresh: list[str]) -> tuple[FileEntry, ...]:
    """Make a blob of each file of the stage; gives the files as the manifest names them."""
    from neuronctl.artifacts.manifest import FileEntry
    from neuronctl.artifacts.tree import nodes
    from neuronctl.digest import digests

    blobs = Blobs(layout)
    found = nodes(stage.path)
    hashes = digests([(stage.path / node.path, node.facts.st_size) for node in found], durable=True)
    entries = []
    for node, digest in zip(found, hashes, strict=True):
        if isinstance(digest, OSError):
            raise digest
        path = stage.path / node.path
        now = os.lstat(path)
        if (now.st_size, now.st_mtime_ns) != (node.facts.st_size, node.facts.st_mtime_ns):
            raise _still_changing(f"{node.path}: it changed while it was hashed")
        # Linkers mark shared libraries as executable, and loading one does not need that. A real program
        # gets a file of its own, because a blob's mode is shared by all.
        executable = bool(now.st_mode & 0o111) and not _is_library(node.path)
        if executable:
            path.chmod(0o555)
        if not layout.blob(digest).exists():
            fresh.append(digest)
        blobs.put(path, digest, stage.links, share=not executable)
        kept = os.lstat(path)
        # Of a file that is still our own the facts from before count: a later write must show.
        facts = now if os.path.samestat(now, kept) else kept
        entries.append(FileEntry(node.path, facts.st_size, digest, facts.st_mtime_ns, executable))
    return tuple(entries)


def _is_library(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.endswith(".so") or ".so." in name


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _make_durable(layout: Layout, stage: Stage, manifest: Manifest) -> None:
    """Put the names on the disk too, before the artifact can be seen."""
    from neuronctl.artifacts.tree import folders

    for folder in {layout.blob(entry.blake3).parent for entry in manifest.files}:
        fsync_folder(folder)
    for folder in folders(stage.folder):
        fsync_folder(folder)


def _still_changing(what: str) -> CompileFailed:
    return CompileFailed(
        f"The build's output kept changing while it was stored: {what}.",
        code="compile.output-unstable",
        fix="Compile again; if it happens again, a process of the build outlives it.",
    )
