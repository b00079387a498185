"""Checks of the store of compiled artifacts: can it be used, and is what is in it whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from neuronctl.artifacts.artifact import Artifact, Damaged
from neuronctl.artifacts.disk import using
from neuronctl.artifacts.held import Held, held_locks
from neuronctl.artifacts.layout import is_key
from neuronctl.artifacts.leftover import Leftover, leftovers, size_of
from neuronctl.artifacts.store import Store
from neuronctl.artifacts.verify import Problem, verify_quick
from neuronctl.doctor.check import CannotTell, NotHere, Remedy, Seen, Trouble, check
from neuronctl.doctor.facts import Facts
from neuronctl.errors import ArtifactDamaged, MachineUnfit, Place
from neuronctl.host import Host
from neuronctl.machine.amount import say_bytes, say_duration
from neuronctl.result import Finding

# Content is read only where times differ; more than this is left to `neuronctl cache verify`.
_READ_AT_MOST_BYTES = 64 << 20
_NAMED = 4

UNREADABLE_STORE = Trouble(
    "store.unreadable",
    "error",
    "This user cannot look into the store: nothing that is compiled is found, and nothing can be compiled.",
    "neuronctl/artifacts/store.py; Linux, errno(3): EACCES, ENOTDIR, EIO, ESTALE",
)
NOT_WRITABLE = Trouble(
    "store.not-writable",
    "warning",
    "The store cannot be written. What is compiled can be served, and nothing new can be compiled.",
    "neuronctl/artifacts/build.py; Linux, errno(3): EROFS, EACCES, ENOSPC, EDQUOT",
)
NO_LOCKS = Trouble(
    "store.no-locks",
    "warning",
    "The store's file system has no locks that keep others out, without which nothing is compiled into it.",
    "Linux, flock(2): ENOLCK; mount.lustre(8): flock, noflock (ENOSYS)",
)
NO_LINKS = Trouble(
    "store.no-hard-links",
    "info",
    "The store's file system has no hard links: each compiled file is kept twice.",
    "neuronctl/artifacts/blobs.py (put: a copy where link(2) is refused)",
)


@check("store", "Whether the store can be used", finds=(UNREADABLE_STORE, NOT_WRITABLE, NO_LOCKS, NO_LINKS))
def store(facts: Facts) -> Seen:
    """Where compiled artifacts are kept: whether this user can read, write, link and lock files there.

    It is tried with small files in the store's folder, or in the nearest one above it that is there, and they
    are removed at once. Builders of one key keep each other out by flock(2), which some network file systems
    lack, or have only by an option of the mount.
    """
    root = Store.open(facts.host).root
    try:
        trial = facts.store_trial()
    except OSError as error:
        raise CannotTell(f"{root} cannot be tried: {error.strerror or type(error).__name__}") from None
    place = trial.place
    data: dict[str, object] = {"root": str(root), "exists": place == root, "tried_in": str(place)}
    where = str(root) if place == root else f"{root}, not made yet"
    if trial.closed is not None:
        finding = UNREADABLE_STORE(trial.closed.what.rstrip("."), fix=(trial.closed.fix or "").rstrip("."))
        return Seen(f"{root}: cannot be looked into", (finding,), data={**data, "writable": False})
    if trial.refusal is not None:
        finding = NOT_WRITABLE(
            f"{trial.refusal.what.rstrip('.')}. What is compiled can be served, and nothing new compiled",
            fix=(trial.refusal.fix or "").rstrip("."),
        )
        return Seen(f"{where}: cannot be written", (finding,), data={**data, "writable": False})
    findings: list[Finding] = []
    if trial.no_compile is not None:
        findings.append(NO_LOCKS(trial.no_compile.what, fix=trial.no_compile.fix))
    if trial.unlinked:
        findings.append(
            NO_LINKS(
                f"a file in {place} cannot have a second name ({trial.unlinked}): each compiled file is kept "
                "twice",
                fix="keep the store on a disk with hard links, such as ext4 or xfs: "
                "NEURONCTL_HOME=/path/to/folder",
            )
        )
    data |= {"writable": True, "hard_links": not trial.unlinked, "locks": not trial.unlocked}
    return Seen(where, tuple(findings), data=data)


DAMAGED = Trouble(
    "store.damaged-artifact",
    "warning",
    "An artifact is not what its manifest says. It is not loaded: its next use compiles it again.",
    "neuronctl/artifacts/verify.py",
)
UNREADABLE = Trouble(
    "store.unreadable-artifact",
    "warning",
    "This user may not read an artifact, as one that another user compiled.",
    "Linux, errno(3): EACCES",
)
UNVERIFIED = Trouble(
    "store.other-times",
    "info",
    "The files of an artifact have other times than when they were stored, as in a store that was copied: "
    "its next use reads all of them.",
    "neuronctl/artifacts/verify.py (verify_quick)",
)
UNTESTED = Trouble(
    "store.untested-artifact",
    "info",
    "No smoke test is recorded for an artifact, as where it was compiled without a device: each start asks "
    "the server first.",
    "neuronctl/launching.py",
)


@check("artifacts", "Whether what is compiled is whole", finds=(DAMAGED, UNREADABLE, UNVERIFIED, UNTESTED))
def artifacts(facts: Facts) -> Seen:
    """Each artifact's manifest, and the names, sizes and times of its files against it.

    Content is read only where a time differs, and not much of it; `neuronctl cache verify` reads everything.
    """
    store = Store.open(facts.host)
    try:
        found = store.artifacts()
    except MachineUnfit as error:
        if not _is_in_artifact(error, store):
            raise CannotTell(error.what.rstrip(".")) from None  # the check of the store says so
        finding = UNREADABLE(error.what.rstrip("."), fix=(error.fix or "").rstrip("."))
        return Seen("one cannot be read", (finding,))
    if not found:
        raise NotHere("nothing is compiled yet")
    findings: list[Finding] = []
    remedies: list[Remedy] = []
    left_bytes = _READ_AT_MOST_BYTES
    for one in found:
        if isinstance(one, Damaged):
            findings.append(_damaged(one.key, one.path, one.reason))
            remedies += [_set_aside(one.key)] if is_key(one.key) else []
            continue
        to_read = _bytes_with_other_times(one)
        if to_read > left_bytes:
            findings.append(_unverified(one, to_read))
            continue
        left_bytes -= to_read
        with using(store.root):
            try:
                problems = verify_quick(one)
            except PermissionError as error:
                findings.append(_unreadable(one, error.filename))
                continue
        if problems:
            findings.append(_damaged(one.key, one.path, _words(problems)))
            remedies.append(_set_aside(one.key))
    whole = [one for one in found if isinstance(one, Artifact)]
    untested = [one.key for one in whole if not one.manifest.smoke]
    if untested:
        findings.append(_untested(untested))
    damaged = sum(finding.id == DAMAGED.id for finding in findings)
    size_bytes = sum(one.manifest.size_bytes for one in whole)
    data: dict[str, object] = {
        "artifacts": len(found),
        "size_bytes": size_bytes,
        "damaged": damaged,
        "untested": untested,
    }
    says = f"{len(found)}, {say_bytes(size_bytes)}" + (f", {damaged} damaged" if damaged else "")
    return Seen(says, tuple(findings), data=data, remedies=tuple(remedies))


def _is_in_artifact(error: MachineUnfit, store: Store) -> bool:
    """Whether one artifact is what the disk refused, and not the store."""
    path = Path(str(error.details.get("path", "")))
    return store.layout.artifacts in path.parents


def _bytes_with_other_times(artifact: Artifact) -> int:
    """How much of it a quick verification would read."""
    size_bytes = 0
    for entry in artifact.manifest.files:
        try:
            facts = os.lstat(artifact.tree / entry.path)
        except OSError:  # the verification says so
            continue
        if facts.st_mtime_ns != entry.mtime_ns and facts.st_size == entry.size_bytes:
            size_bytes += facts.st_size
    return size_bytes


def _damaged(key: str, path: Path, why: str) -> Finding:
    fix = f"neuronctl cache verify {key}  (tells all); the next compile of it puts it into quarantine"
    if not is_key(key):
        fix = f"move it away: {path}"
    return DAMAGED(f"artifact {key} is damaged: {why.rstrip('.')}", fix=fix, place=Place(file=str(path)))


def _words(problems: Sequence[Problem]) -> str:
    said = "; ".join(map(str, problems[:_NAMED]))
    return said + (f" and {len(problems) - _NAMED} more" if len(problems) > _NAMED else "")


def _unreadable(artifact: Artifact, file: object) -> Finding:
    return UNREADABLE(
        f"artifact {artifact.key} has files that this user may not read: {file or artifact.path}",
        fix=f"let its owner type chmod -R a+rX {artifact.path}, or use a store of your own: "
        "NEURONCTL_HOME=/path/to/folder",
        place=Place(file=str(artifact.path)),
    )


def _unverified(artifact: Artifact, size_bytes: int) -> Finding:
    return UNVERIFIED(
        f"{say_bytes(size_bytes)} of artifact {artifact.key} have other times than when they were stored; "
        "its next use reads them all",
        fix=f"neuronctl cache verify {artifact.key}",
        place=Place(file=str(artifact.path)),
    )


def _untested(keys: Sequence[str]) -> Finding:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return UNTESTED(
        f"no smoke test is recorded for {', '.join(keys[:_NAMED])}{more}: each start asks the server first",
        fix="compile on a machine with a device, and the answers are kept with the artifact",
    )


def _set_aside(key: str) -> Remedy:
    return Remedy(
        DAMAGED.id, f"put the damaged artifact {key} into quarantine", act=partial(_quarantine, key)
    )


def _quarantine(key: str, host: Host) -> str:
    """Look again, and move what is still damaged. Raises LockTimedOut where somebody compiles it now."""
    store = Store.open(host)
    try:
        seen = store.find(key)
    except ArtifactDamaged as error:
        moved = store.quarantine(key, error.what, lock_timeout_s=0.0)
        return _moved(key, moved)
    problems = [] if seen is None else verify_quick(seen)
    if seen is None or not problems:
        return f"{key} is no longer damaged, or gone"
    reason = "It failed the verification by neuronctl doctor."
    return _moved(key, store.quarantine(key, reason, seen=seen, problems=problems, lock_timeout_s=0.0))


def _moved(key: str, to: Path | None) -> str:
    return f"{key} is now in {to}" if to else f"{key} has been replaced by now"


QUARANTINED = Trouble(
    "store.quarantined",
    "info",
    "Artifacts that failed are kept in quarantine with the reason, until somebody removes them.",
    "neuronctl/artifacts/quarantine.py",
)


@check("quarantine", "What failed, and was put aside", finds=(QUARANTINED,))
def quarantine(facts: Facts) -> Seen:
    """How many artifacts are in quarantine, how large they are, and why.

    They are in nobody's way: they are kept to be looked at, or sent to those who can tell why they failed.
    """
    store = Store.open(facts.host)
    try:
        found = store.quarantined()
    except MachineUnfit as error:  # the check of the store says so
        raise CannotTell(error.what.rstrip(".")) from None
    if not found:
        return Seen("empty", data={"quarantined": 0})
    size_bytes = sum(size_of(one.path) for one in found)
    last = found[-1]
    says = f"{len(found)}, {say_bytes(size_bytes)}"
    which = "the last" if len(found) > 1 else "it"
    finding = QUARANTINED(
        f"{says} in {store.layout.quarantine}; {which} is {last.key} since {last.at}: "
        f"{last.reason.rstrip('.')}",
        fix=f"when nobody needs them any more: rm -r {store.layout.quarantine}/*",
    )
    data: dict[str, object] = {
        "quarantined": len(found),
        "size_bytes": size_bytes,
        "artifacts": [{"key": one.key, "at": one.at, "reason": one.reason} for one in found],
    }
    return Seen(says, (finding,), data=data)


LEFT_OVER = Trouble(
    "store.left-over",
    "info",
    "Builders that were killed left folders behind. The next compile removes them.",
    "neuronctl/artifacts/stage.py (sweep_dead)",
)
BUSY = Trouble(
    "store.busy",
    "info",
    "A key of the store is being worked on: who wants it too has to wait.",
    "neuronctl/artifacts/lock.py",
)


@check("builds", "What is being compiled, and what dead compiles left", finds=(LEFT_OVER, BUSY))
def builds(facts: Facts) -> Seen:
    """The locks of the store that are held now, by whom and since when, and stages whose lock nobody holds.

    A lock goes with the process that has it, however that ends, so a free lock means that a stage's builder
    is dead. On a network file system the holder may be another machine.
    """
    host = facts.host
    layout = Store.open(host).layout
    try:
        held, left = held_locks(layout), leftovers(layout)
    except FileNotFoundError:  # somebody removes the store
        raise CannotTell(f"{layout.root} changed meanwhile") from None
    except OSError as error:
        raise CannotTell(
            f"{error.filename or layout.locks}: {error.strerror or type(error).__name__}"
        ) from None
    findings = [_busy(one, host.now()) for one in held]
    remedies: tuple[Remedy, ...] = ()
    size_bytes = sum(one.size_bytes for one in left)
    if left:
        findings.append(_left_over(left, size_bytes, layout.staging))
        remedies = (Remedy(LEFT_OVER.id, "remove what dead builders left in the store", act=_sweep),)
    data: dict[str, object] = {
        "busy": [
            {
                "key": one.key,
                "pid": one.holder.pid,
                "machine": one.holder.machine,
                "since": one.holder.since,
                "what": one.holder.what,
            }
            for one in held
        ],
        "left_over": [str(one.path) for one in left],
        "left_over_bytes": size_bytes,
    }
    says = f"{len(held)} under way" if held else "none under way"
    return Seen(
        says + (f", {say_bytes(size_bytes)} left over" if left else ""), tuple(findings), data, remedies
    )


def _busy(held: Held, now: float) -> Finding:
    since = f" for {say_duration(max(0.0, now - held.holder.since))}" if held.holder.since else ""
    return BUSY(f"{held.key} is held{since} by {held.holder}", fix="wait until it has ended")


def _left_over(left: Sequence[Leftover], size_bytes: int, staging: Path) -> Finding:
    keys = sorted({one.key for one in left})
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return LEFT_OVER(
        f"dead builders of {', '.join(keys[:_NAMED])}{more} left {say_bytes(size_bytes)} in {staging}",
        fix="the next compile removes it, whatever it compiles; or neuronctl doctor --fix",
    )


def _sweep(host: Host) -> str:
    from neuronctl.artifacts.stage import sweep_dead

    layout = Store.open(host).layout
    with using(layout.root):
        before = leftovers(layout)
        sweep_dead(layout, host)
        still = {one.path for one in leftovers(layout)}
    gone = [one for one in before if one.path not in still]
    return f"{len(gone)} folders, {say_bytes(sum(one.size_bytes for one in gone))}"


CHECKS = (store, artifacts, quarantine, builds)
