"""Checks of the store of compiled artifacts: can it be used, and is what is in it whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from neuronctl.errors import ArtifactDamaged, MachineUnfit, NeuronctlError, Place
from neuronctl.host import Host
from neuronctl.machine.amount import say_bytes, say_duration
from neuronctl.result import Finding

# Content is read only where times differ; more than this is left to `neuronctl cache verify`.
_READ_AT_MOST_BYTES = 64 << 20
_NAMED = 3
_REASON_LENGTH = 300

UNREADABLE_STORE = Trouble(
    "store.unreadable",
    "error",
    "This user cannot look into the store, or something stands on the way to it, as a link to a folder that "
    "is not there: nothing that is compiled is found, and nothing can be compiled.",
    "neuronctl/artifacts/obstacle.py; Linux, errno(3): EACCES, ENOTDIR, ELOOP, EIO, ESTALE",
)
FULL = Trouble(
    "store.full",
    "warning",
    "Nothing more can be written into the store: no space is left, or the quota is used up. What is compiled "
    "can be served, and nothing new can be compiled.",
    "neuronctl/artifacts/disk.py; Linux, errno(3): ENOSPC, EDQUOT, EFBIG",
)
NOT_WRITABLE = Trouble(
    "store.not-writable",
    "warning",
    "The store cannot be written. What is compiled can be served, and nothing new can be compiled: an error "
    "where nothing is compiled, and none where a folder of the user's own takes the store's place.",
    "neuronctl/artifacts/build.py; Linux, errno(3): EROFS, EACCES",
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


@check(
    "store",
    "Whether the store can be used",
    finds=(UNREADABLE_STORE, FULL, NOT_WRITABLE, NO_LOCKS, NO_LINKS),
)
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
        trouble = FULL if trial.refusal.error_code == FULL.id else NOT_WRITABLE
        is_useless = _is_useless(facts)
        left = "Nothing is compiled, and nothing can be" if is_useless else _SERVABLE
        finding = trouble(
            f"{trial.refusal.what.rstrip('.')}. {left}", fix=(trial.refusal.fix or "").rstrip(".")
        )
        finding = replace(finding, severity="error") if is_useless else finding
        return Seen(f"{where}: cannot be written", (finding,), data={**data, "writable": False})
    findings: list[Finding] = []
    if trial.no_compile is not None:
        finding = NO_LOCKS(trial.no_compile.what, fix=trial.no_compile.fix)
        findings.append(replace(finding, severity="error") if _is_useless(facts) else finding)
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


_SERVABLE = "What is compiled can be served, and nothing new compiled"


def _is_useless(facts: Facts) -> bool:
    """Whether a store into which nothing can be compiled has nothing to serve either.

    Of a profile its check `artifact` says it: it may name a folder of its own.
    """
    if facts.request is not None or facts.environ.get("NEURON_COMPILED_ARTIFACTS"):
        return False
    try:
        return not Store.open(facts.host).artifacts()
    except NeuronctlError:
        return False


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
            raise CannotTell(error.what.rstrip("."), told_by="store") from None
        finding = UNREADABLE(error.what.rstrip("."), fix=(error.fix or "").rstrip("."))
        return Seen("one cannot be read", (finding,))
    if not found:
        raise NotHere("nothing is compiled yet")
    looked = _look_at(found, store.root)
    findings = []
    if looked.damaged:
        findings.append(_damaged(looked.damaged))
    if looked.unreadable:
        findings.append(_unreadable(looked.unreadable))
    if looked.unverified:
        findings.append(_unverified(looked.unverified))
    whole = [one for one in found if isinstance(one, Artifact)]
    untested = [one.key for one in whole if not one.manifest.smoke]
    if untested:
        findings.append(_untested(untested))
    size_bytes = sum(one.manifest.size_bytes for one in whole)
    data: dict[str, object] = {
        "artifacts": len(found),
        "size_bytes": size_bytes,
        "damaged": len(looked.damaged),
        "damage": [{"key": one.key, "path": str(one.path), "why": one.reason} for one in looked.damaged],
        "unreadable": [one.key for one, _ in looked.unreadable],
        "other_times": [one.key for one, _ in looked.unverified],
        "untested": untested,
    }
    count = len(looked.damaged)
    says = f"{len(found)}, {say_bytes(size_bytes)}" + (f", {count} damaged" if count else "")
    return Seen(says, tuple(findings), data=data, remedies=_set_aside(looked.damaged))


@dataclass
class _Looked:
    """What is wrong with artifacts: the damaged, files that may not be read, bytes that were not."""

    damaged: list[Damaged] = field(default_factory=list)
    unreadable: list[tuple[Artifact, str]] = field(default_factory=list)
    unverified: list[tuple[Artifact, int]] = field(default_factory=list)


def _look_at(found: Sequence[Artifact | Damaged], root: Path) -> _Looked:
    looked = _Looked()
    left_bytes = _READ_AT_MOST_BYTES
    for one in found:
        if isinstance(one, Damaged):
            looked.damaged.append(one)
            continue
        to_read = _bytes_with_other_times(one)
        if to_read > left_bytes:
            looked.unverified.append((one, to_read))
            continue
        left_bytes -= to_read
        with using(root):
            try:
                problems = verify_quick(one)
            except PermissionError as error:
                looked.unreadable.append((one, str(error.filename or one.path)))
                continue
        if problems:
            looked.damaged.append(Damaged(one.key, one.path, _words(problems)))
    return looked


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


def _damaged(damaged: Sequence[Damaged]) -> Finding:
    if len(damaged) == 1:
        [one] = damaged
        fix = f"neuronctl cache verify {one.key}  (tells all); the next compile of it puts it into quarantine"
        if not is_key(one.key):
            fix = f"move it away: {one.path}"
        what = f"artifact {one.key} is damaged: {_brief(one.reason)}"
        return DAMAGED(what, fix=fix, place=Place(file=str(one.path)))
    fix = "neuronctl doctor --fix  (puts them into quarantine)"
    if strange := [str(one.path) for one in damaged if not is_key(one.key)]:
        away = f"move away what is no artifact: {_some(strange)}"
        fix = away if len(strange) == len(damaged) else f"{fix}; {away}"
    said = _some([f"{one.key} ({_brief(one.reason)})" for one in damaged])
    folder = Place(file=str(damaged[0].path.parent))
    return DAMAGED(f"{len(damaged)} artifacts are damaged: {said}", fix=fix, place=folder)


def _brief(reason: str) -> str:
    """Its first line: somebody may have put a log there."""
    line = next(iter(reason.strip().splitlines()), "")
    return (f"{line[:_REASON_LENGTH]}…" if len(line) > _REASON_LENGTH else line).rstrip(".")


def _words(problems: Sequence[Problem]) -> str:
    return _some([str(one) for one in problems], "; ")


def _some(words: Sequence[str], parting: str = ", ") -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return parting.join(words[:_NAMED]) + more


def _unreadable(found: Sequence[tuple[Artifact, str]]) -> Finding:
    keys = [one.key for one, _ in found]
    first, file = found[0]
    alone = len(found) == 1
    folder = first.path if alone else first.path.parent
    return UNREADABLE(
        f"artifact{'' if alone else 's'} {_some(keys)} {'has' if alone else 'have'} files that this user may "
        f"not read: {file}" + ("" if alone else ", …"),
        fix=f"let {'its owner' if alone else 'their owners'} type chmod -R a+rX {folder}, or use a store of "
        "your own: NEURONCTL_HOME=/path/to/folder",
        place=Place(file=str(folder)),
    )


def _unverified(found: Sequence[tuple[Artifact, int]]) -> Finding:
    keys = [one.key for one, _ in found]
    first = found[0][0]
    alone = len(found) == 1
    size_bytes = sum(to_read for _, to_read in found)
    return UNVERIFIED(
        f"{say_bytes(size_bytes)} of artifact{'' if alone else 's'} {_some(keys)} have other times than when "
        f"they were stored; {'its' if alone else 'their'} next use reads them all",
        fix="neuronctl cache verify" + (f" {first.key}" if alone else ""),
        place=Place(file=str(first.path if alone else first.path.parent)),
    )


def _untested(keys: Sequence[str]) -> Finding:
    return UNTESTED(
        f"no smoke test is recorded for {_some(keys)}: each start asks the server first",
        fix="compile on a machine with a device, and the answers are kept with the artifact",
    )


def _set_aside(damaged: Sequence[Damaged]) -> tuple[Remedy, ...]:
    keys = [one.key for one in damaged if is_key(one.key)]
    if not keys:
        return ()
    what = f"artifact {keys[0]}" if len(keys) == 1 else f"artifacts {_some(keys)}"
    return (
        Remedy(DAMAGED.id, f"put the damaged {what} into quarantine", act=partial(_quarantine_all, keys)),
    )


def _quarantine_all(keys: Sequence[str], host: Host) -> str:
    """Each that can be is moved; what came in between is told. Raises NeuronctlError where none could."""
    said: list[str] = []
    failed: list[NeuronctlError] = []
    for key in keys:
        try:
            said.append(_quarantine(key, host))
        except NeuronctlError as error:
            failed.append(error)
    if not said:
        raise failed[0]
    return _some(said + [error.what.rstrip(".") for error in failed], "; ")


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
        raise CannotTell(error.what.rstrip("."), told_by="store") from None
    if not found:
        return Seen("empty", data={"quarantined": 0})
    size_bytes = sum(size_of(one.path) for one in found)
    last = found[-1]
    says = f"{len(found)}, {say_bytes(size_bytes)}"
    which = "the last" if len(found) > 1 else "it"
    finding = QUARANTINED(
        f"{says} in {store.layout.quarantine}; {which} is {last.key} since {last.at}: {_brief(last.reason)}",
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
    return LEFT_OVER(
        f"dead builders of {_some(keys)} left {say_bytes(size_bytes)} in {staging}",
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
