"""Checks of the disks: room where the store, the hub's cache and temporary files live, and file servers.

Nothing here asks for facts of the machine as a whole before the places have answered: where a server of files
hangs, finding those out hangs as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from neuronctl.doctor.check import Seen, Trouble, check
from neuronctl.doctor.facts import Facts
from neuronctl.doctor.place import (
    ANSWER_S,
    KEYS,
    STORE,
    TEMPORARY,
    elsewhere,
    find_places,
    folder_of,
    join,
    real_path,
)
from neuronctl.machine.amount import say_bytes
from neuronctl.machine.mounts import Mount, find_mount, read_mounts
from neuronctl.machine.reading import NoAnswer
from neuronctl.machine.room import Room, Silence, measure_rooms
from neuronctl.result import Finding

# The smallest profile that is shipped for Neuron, tinyllama-tp2, takes 5.3 GB by docs/estimates.md: download,
# sharded weights, compiled graphs.
_LITTLE_BYTES = 5 << 30
# Compilers and vLLM's sockets; neuronctl gives the compile of NxD Inference a work folder in the store.
_LITTLE_TEMPORARY_BYTES = 1 << 30
# Of all inodes; where Kubernetes begins to evict pods from a node.
_FEW_FILES = 0.05

NO_ANSWER = Trouble(
    "disk.no-answer",
    "error",
    "The file system under the store, the hub's cache or the temporary files gives no answer: whatever "
    "touches it waits.",
    "NFS, hard mounts: programs hang until the server answers (IBM, Hard-mounted and soft-mounted file "
    "problems)",
)
NOT_REACHED = Trouble(
    "disk.cannot-be-looked-at",
    "warning",
    "The place of the store, the hub's cache or the temporary files cannot be looked at.",
    "Linux, statfs(2)",
)
FULL = Trouble(
    "disk.full",
    "error",
    "Nothing more can be written where the store or the temporary files live.",
    "Linux, errno(3): ENOSPC; neuronctl/artifacts/disk.py",
)
NEARLY_FULL = Trouble(
    "disk.nearly-full",
    "warning",
    "Less than 5 GiB are free where the store or the hub's cache lives, or less than 1 GiB for temporary "
    "files. The smallest profile for Neuron writes as much.",
    "docs/estimates.md (tinyllama-tp2: 5.3 GB of download, sharded weights and graphs); what is left for "
    "temporary files: neuronctl",
)
FEW_FILES = Trouble(
    "disk.few-inodes",
    "warning",
    "Less than 5 % of the file system's inodes are free: each file takes one, however small.",
    "Kubernetes, node-pressure eviction: nodefs.inodesFree<5%",
)
NOT_WRITABLE = Trouble(
    "disk.not-writable",
    "warning",
    "The hub's cache or the folder of temporary files cannot be written: read-only, or not this user's.",
    "Linux, errno(3): EROFS, EACCES",
)


@check(
    "disks",
    "Room where the store, the hub's cache and temporary files live",
    finds=(NO_ANSWER, NOT_REACHED, FULL, NEARLY_FULL, FEW_FILES, NOT_WRITABLE),
    timeout_s=4.0,
)
def disks(facts: Facts) -> Seen:
    """What is free under NEURONCTL_HOME, the hub's cache and TMPDIR (else /tmp), in bytes and in inodes.

    Places on one file system are told together. Each is asked in a thread of its own: one that gives no
    answer in two seconds is named, as where a server of files hangs, and the others are told all the same.
    That the store can really be written, the check `store` finds out.
    """
    places, unknown = find_places(facts)
    mounts: tuple[Mount, ...] = ()
    with suppress(NoAnswer):  # they only tell of what kind a place is
        mounts = read_mounts(facts.host)
    rooms = measure_rooms(places, ANSWER_S)
    findings = [NOT_REACHED(f"the {name} has no place: {why}", fix) for name, why, fix in unknown]
    said = []
    for group in _by_file_system(rooms):
        findings += _judge(group)
        said.append(f"{join(group)}: {_free(next(iter(group.values())))}")
    for name, room in rooms.items():
        if isinstance(room, Silence):
            findings.append(_silent(name, room, places[name], mounts))
            said.append(f"{name}: {'no answer' if room.hangs else room.why}")
    data = {KEYS[name]: _as_data(places[name], room, mounts) for name, room in rooms.items()}
    return Seen("; ".join(said) or "no place is known", tuple(findings), data=data)


def _by_file_system(rooms: Mapping[str, Room | Silence]) -> list[dict[str, Room]]:
    """The rooms that are known, those of one file system together."""
    groups: dict[int, dict[str, Room]] = {}
    for name, room in rooms.items():
        if isinstance(room, Room):
            groups.setdefault(room.device, {})[name] = room
    return list(groups.values())


def _free(room: Room) -> str:
    """What is free; ramfs, tmpfs with size=0 and some file systems in user space tell nothing of it."""
    if room.size_bytes == 0:
        return "no limit known"
    return f"{say_bytes(room.free_bytes)} free of {say_bytes(room.size_bytes)}"


def _judge(rooms: Mapping[str, Room]) -> Iterator[Finding]:
    """What is wrong with one file system; `rooms` are the places on it."""
    for name, room in rooms.items():
        if room.closed is not None and name != STORE:
            yield NOT_WRITABLE(
                f"the {folder_of(name)} {room.path} cannot be written: {room.closed}", fix=elsewhere([name])
            )
    # What cannot be written has no free space, and that is not what is wrong with it.
    open_ones = [name for name, room in rooms.items() if room.closed is None]
    if not open_ones:
        return
    room = rooms[open_ones[0]]
    where = f"where the {join(map(folder_of, open_ones))} live{'s' * (len(open_ones) == 1)}"
    where += f" ({room.folder})"
    fix = f"free some space, or {elsewhere(open_ones)}"
    stops = STORE in open_ones or TEMPORARY in open_ones
    is_full = room.size_bytes > 0 and room.free_bytes == 0
    if is_full or (room.files and room.free_files == 0):
        what = "byte" if is_full else "inode"
        yield (FULL if stops else NEARLY_FULL)(f"not a single {what} is free {where}", fix=fix)
        return
    little = _LITTLE_TEMPORARY_BYTES if open_ones == [TEMPORARY] else _LITTLE_BYTES
    if room.size_bytes > 0 and room.free_bytes < little:
        free, size = say_bytes(room.free_bytes), say_bytes(room.size_bytes)
        yield NEARLY_FULL(f"{free} of {size} are free {where}", fix=fix)
    if room.files and room.free_files < _FEW_FILES * room.files:
        yield FEW_FILES(
            f"{room.free_files} of {room.files} inodes are free {where}: few files more can be made, "
            "however much space there is",
            fix=f"remove folders of many small files (find FOLDER -xdev | wc -l counts), or "
            f"{elsewhere(open_ones)}",
        )


def _silent(name: str, silence: Silence, path: Path, mounts: Sequence[Mount]) -> Finding:
    mount = find_mount(str(path), mounts)
    on = f" ({mount})" if mount is not None else ""
    message = f"the {folder_of(name)} {path}{on} {silence.why}"
    if not silence.hangs:
        return NOT_REACHED(message, fix=elsewhere([name]))
    free = f"sudo umount -f -l {mount.point} lets go of it; or " if mount and mount.is_network else ""
    return NO_ANSWER(message, fix=f"see whether its server runs; {free}{elsewhere([name])}")


def _as_data(path: Path, room: Room | Silence, mounts: Sequence[Mount]) -> dict[str, object]:
    mount = find_mount(real_path(path, room), mounts)
    data: dict[str, object] = {"path": str(path), "file_system": mount.kind if mount else None}
    if isinstance(room, Silence):
        return {**data, "answered": not room.hangs, "why": room.why}
    return {
        **data,
        "answered": True,
        "size_bytes": room.size_bytes or None,
        "free_bytes": room.free_bytes if room.size_bytes else None,
        "inodes": room.files or None,
        "free_inodes": room.free_files if room.files else None,
        "writable": room.closed is None,
    }


CHECKS = (disks,)
