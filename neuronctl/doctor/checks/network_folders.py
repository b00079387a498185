"""Check of the kinds of file systems under the store and the hub's cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from neuronctl.doctor.check import CannotTell, Seen, Trouble, check
from neuronctl.doctor.facts import FACTS_S, Facts
from neuronctl.doctor.place import (
    ANSWER_S,
    HUB,
    KEYS,
    TEMPORARY,
    elsewhere,
    find_places,
    folder_of,
    join,
    real_path,
)
from neuronctl.machine.mounts import Mount, find_mount, read_mounts
from neuronctl.machine.room import measure_rooms
from neuronctl.result import Finding
from neuronctl.rules.artifacts import network_filesystem

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
    places, _ = find_places(facts)
    places.pop(TEMPORARY)
    rooms = measure_rooms(places, ANSWER_S)
    on: dict[Mount, list[str]] = {}
    for name, path in places.items():
        if (mount := find_mount(real_path(path, rooms[name]), mounts)) is not None:
            on.setdefault(mount, []).append(name)
    findings = [one for mount, names in on.items() if mount.is_network for one in _far(mount, names)]
    far = [f"{join(names)} on {mount.kind}" for mount, names in on.items() if mount.is_network]
    near = [f"{join(names)} on {mount.kind}" for mount, names in on.items() if not mount.is_network]
    said = "; ".join(far) if far else f"none: {', '.join(near)}"
    kinds = {KEYS[name]: mount.kind for mount, names in on.items() for name in names}
    return Seen(said, tuple(findings), data={"file_systems": kinds})


def _far(mount: Mount, names: Sequence[str]) -> Iterator[Finding]:
    """What to say of a network file system on which `names` are."""
    whose = f"the {join(map(folder_of, names))}"
    lies = "lie" if len(names) > 1 else "lies"
    if mount.is_bucket:
        yield BUCKET(
            f"{whose} {lies} in a bucket ({mount}), which lacks what a folder has",
            fix=elsewhere(names),
        )
        return
    yield NETWORK(
        f"{whose} {lies} on a network file system ({mount})",
        fix=f"where starts are slow, {elsewhere(names)}",
    )
    if mount.local_locks:
        yield LOCAL_LOCKS(
            f"{mount} has the option {mount.local_locks}: a lock in {whose} holds on this machine only",
            fix=f"mount it without {mount.local_locks} (Lustre: with flock), or let only one machine write",
        )
    if mount.has_no_locks and HUB in names:
        yield NO_LOCKS(
            f"{mount} is mounted without locks, which downloads into the {folder_of(HUB)} take",
            fix=f"sudo mount -o remount,flock {mount.point}, or mount it anew with -o relatime,flock",
        )


CHECKS = (network_folders,)
