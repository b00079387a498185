"""Checks of the disks: room where the store, the hub's cache and temporary files live, and file servers.

Nothing here asks for facts of the machine as a whole before the places have answered: where a server of files
hangs, finding those out hangs as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from neuronctl.doctor.check import CannotTell, Seen, Trouble, check
from neuronctl.doctor.facts import FACTS_S, Facts
from neuronctl.errors import NeuronctlError
from neuronctl.machine.amount import say_bytes
from neuronctl.machine.mounts import Mount, find_mount, read_mounts
from neuronctl.machine.room import Room, Silence, measure_rooms
from neuronctl.result import Finding
from neuronctl.rules.artifacts import network_filesystem

STORE, HUB, TEMPORARY = "store", "hub's cache", "temporary files"
_KEYS = {STORE: "store", HUB: "hub_cache", TEMPORARY: "temporary_files"}
# Less than the check may take, so that the places that do answer are told.
_ANSWER_S = 2.0
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
    places, unknown = _places(facts)
    mounts = read_mounts(facts.host)
    rooms = measure_rooms(places, _ANSWER_S)
    findings = [NOT_REACHED(f"the {name} has no place: {why}", fix) for name, why, fix in unknown]
    said = []
    for group in _by_file_system(rooms):
        findings += _judge(group)
        said.append(f"{_and(group)}: {_free(next(iter(group.values())))}")
    for name, room in rooms.items():
        if isinstance(room, Silence):
            findings.append(_silent(name, room, places[name], mounts))
            said.append(f"{name}: {'no answer' if room.hangs else room.why}")
    data = {_KEYS[name]: _as_data(places[name], room, mounts) for name, room in rooms.items()}
    return Seen("; ".join(said) or "no place is known", tuple(findings), data=data)


BUCKET = Trouble(
    "disk.bucket",
    "warning",
    "The store or the hub's cache lies in a bucket of objects that is mounted as a folder: both build on "
    "renaming and links, which are missing there or cost a copy.",
    "awslabs/mountpoint-s3, doc/SEMANTICS.md (no rename in general purpose buckets, no symbolic links)",
)
NETWORK = Trouble(
    "disk.network",
    "info",
    "The store or the hub's cache is on a network file system: weights are read over the network at each "
    "start, and if its server hangs, so does everything here.",
    "g2 (the native plugin moves its work folder off NFS); NFS, hard mounts (IBM, Hard-mounted and "
    "soft-mounted file problems)",
)
LOCAL_LOCKS = Trouble(
    "disk.local-locks",
    "warning",
    "A network file system is mounted so that a lock holds on this machine only: two machines may then "
    "compile or download the same thing at once.",
    "mount.lustre(8): localflock; Linux, fs/nfs/file.c (NFS_MOUNT_LOCAL_FLOCK); gh:tox-dev/filelock#6 "
    "(nolock)",
)
NO_LOCKS = Trouble(
    "disk.no-locks",
    "warning",
    "The hub's cache is on a Lustre file system, such as FSx, that is mounted without locks, which the hub's "
    "client takes.",
    "Linux, drivers/staging/lustre/README.txt (ENOSYS); AWS, FSx for Lustre: mount -o relatime,flock",
)


@check(
    "network folders",
    "Whether the store or the hub's cache is on a network file system",
    finds=(BUCKET, NETWORK, LOCAL_LOCKS, NO_LOCKS),
    rules=(network_filesystem,),
    timeout_s=FACTS_S,
)
def network_folders(facts: Facts) -> Seen:
    """The kind of file system under NEURONCTL_HOME and the hub's cache, and how it treats locks.

    By the kernel's list of mounts: NFS (EFS is one), Lustre (FSx), CIFS, buckets and other things through
    FUSE. A network file system is no fault. What is on it is read over the network at each start, and locks
    must hold on all machines that share it; that the store can be locked at all, the check `store` tries.
    """
    mounts = read_mounts(facts.host)
    if not mounts:
        raise CannotTell("/proc/self/mounts cannot be read")
    places, _ = _places(facts)
    places.pop(TEMPORARY)
    rooms = measure_rooms(places, _ANSWER_S)
    on: dict[Mount, list[str]] = {}
    for name, path in places.items():
        if (mount := find_mount(_real(path, rooms[name]), mounts)) is not None:
            on.setdefault(mount, []).append(name)
    findings = [one for mount, names in on.items() if mount.is_network for one in _far(mount, names)]
    far = [f"{_and(names)} on {mount.kind}" for mount, names in on.items() if mount.is_network]
    near = [f"{_and(names)} on {mount.kind}" for mount, names in on.items() if not mount.is_network]
    said = "; ".join(far) if far else f"none: {', '.join(near)}"
    kinds = {_KEYS[name]: mount.kind for mount, names in on.items() for name in names}
    return Seen(said, tuple(findings), data={"file_systems": kinds})


def _places(facts: Facts) -> tuple[dict[str, Path], list[tuple[str, str, str | None]]]:
    """The places by their names, and those that have none: name, why, what to do."""
    from neuronctl.model.hub_place import hub_cache

    host = facts.host
    temporary = facts.environ.get("TMPDIR")
    wanted: dict[str, Callable[[], Path]] = {
        STORE: lambda: host.neuronctl_home,
        HUB: lambda: hub_cache(host),
        TEMPORARY: lambda: host.expand(temporary) if temporary else host.path("/tmp"),
    }
    places: dict[str, Path] = {}
    unknown: list[tuple[str, str, str | None]] = []
    for name, find in wanted.items():
        try:
            places[name] = find()
        except NeuronctlError as error:  # a user without a home
            unknown.append((name, error.what, error.fix))
    return places, unknown


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
                f"the {_folder_of(name)} {room.path} cannot be written: {room.closed}", fix=_elsewhere([name])
            )
    # What cannot be written has no free space, and that is not what is wrong with it.
    open_ones = [name for name, room in rooms.items() if room.closed is None]
    if not open_ones:
        return
    room = rooms[open_ones[0]]
    where = f"where the {_and(map(_folder_of, open_ones))} live{'s' * (len(open_ones) == 1)}"
    where += f" ({room.folder})"
    fix = f"free some space, or {_elsewhere(open_ones)}"
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
            f"{_elsewhere(open_ones)}",
        )


def _silent(name: str, silence: Silence, path: Path, mounts: Sequence[Mount]) -> Finding:
    mount = find_mount(str(path), mounts)
    on = f" ({mount})" if mount is not None else ""
    message = f"the {_folder_of(name)} {path}{on} {silence.why}"
    if not silence.hangs:
        return NOT_REACHED(message, fix=_elsewhere([name]))
    free = f"sudo umount -f -l {mount.point} lets go of it; or " if mount and mount.is_network else ""
    return NO_ANSWER(message, fix=f"see whether its server runs; {free}{_elsewhere([name])}")


def _far(mount: Mount, names: Sequence[str]) -> Iterator[Finding]:
    """What to say of a network file system on which `names` are."""
    whose = f"the {_and(map(_folder_of, names))}"
    lies = "lie" if len(names) > 1 else "lies"
    if mount.is_bucket:
        yield BUCKET(
            f"{whose} {lies} in a bucket ({mount}), which lacks what a folder has",
            fix=_elsewhere(names),
        )
        return
    yield NETWORK(
        f"{whose} {lies} on a network file system ({mount})",
        fix=f"where starts are slow, {_elsewhere(names)}",
    )
    if mount.local_locks:
        yield LOCAL_LOCKS(
            f"{mount} has the option {mount.local_locks}: a lock in {whose} holds on this machine only",
            fix=f"mount it without {mount.local_locks} (Lustre: with flock), or let only one machine write",
        )
    if mount.has_no_locks and HUB in names:
        yield NO_LOCKS(
            f"{mount} is mounted without locks, which downloads into the {_folder_of(HUB)} take",
            fix=f"sudo mount -o remount,flock {mount.point}, or mount it anew with -o relatime,flock",
        )


def _real(path: Path, room: Room | Silence) -> str:
    return str(room.path if isinstance(room, Room) else path)


def _folder_of(name: str) -> str:
    return {TEMPORARY: "folder of temporary files"}.get(name, name)


def _and(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _elsewhere(names: Sequence[str]) -> str:
    """What to type so that these places lie on another disk."""
    variables = {STORE: "NEURONCTL_HOME", HUB: "HF_HOME", TEMPORARY: "TMPDIR"}
    return "use another disk: export " + " ".join(f"{variables[name]}=/path/to/folder" for name in names)


def _as_data(path: Path, room: Room | Silence, mounts: Sequence[Mount]) -> dict[str, object]:
    mount = find_mount(_real(path, room), mounts)
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


CHECKS = (disks, network_folders)
