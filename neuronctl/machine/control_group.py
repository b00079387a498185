"""Control group: the memory that this process, and those that share its limit, may take, and what is left.

Sources: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst; what a group could give back
at once (inactive_file) is no use of it, as Kubernetes counts too (its signal memory.available).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from neuronctl.host import Host
from neuronctl.machine.reading import answered, read_number, read_text


@dataclass(frozen=True)
class ControlGroup:
    """A group with a limit. `folder` is where its files are.

    `used_bytes` is without file cache that can be given back; None where it cannot be read. `killed` counts
    the processes that the kernel ended for want of memory, None where this kernel does not count them.
    """

    folder: str
    limit_bytes: int
    used_bytes: int | None
    killed: int | None

    @property
    def left_bytes(self) -> int:
        """What may still be taken; all of the limit where nobody knows what is used."""
        return max(0, self.limit_bytes - (self.used_bytes or 0))


def read_control_group(host: Host, total_bytes: int | None) -> ControlGroup | None:
    """Of its own group and all above that which leaves the least; None where none has a limit.

    Raises NoAnswer.
    """
    return min(limiting_groups(host, total_bytes), key=lambda group: group.left_bytes, default=None)


def limiting_groups(host: Host, total_bytes: int | None) -> tuple[ControlGroup, ...]:
    """The group of this process and those above it, as far as they have a limit.

    A limit that the machine's memory, `total_bytes`, does not reach is none: version 1 says so a huge number.
    Raises NoAnswer.
    """
    return answered(host, "/sys/fs/cgroup", lambda: _limiting_groups(host, total_bytes))


def _limiting_groups(host: Host, total_bytes: int | None) -> tuple[ControlGroup, ...]:
    groups = []
    for folder, version in _folders(host):
        names = ("memory.max", "memory.current", "inactive_file") if version == 2 else _NAMES_1
        limit = read_number(host, f"{folder}/{names[0]}")
        if limit is None or (total_bytes is not None and limit >= total_bytes):
            continue
        used = read_number(host, f"{folder}/{names[1]}")
        if used is not None:
            used = max(0, used - (_counted(host, f"{folder}/memory.stat", names[2]) or 0))
        counter = "memory.events" if version == 2 else "memory.oom_control"
        groups.append(ControlGroup(folder, limit, used, _counted(host, f"{folder}/{counter}", "oom_kill")))
    return tuple(groups)


_NAMES_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _folders(host: Host) -> Iterator[tuple[str, int]]:
    """The folders of this process's group and of those above, each with the version of control groups.

    In a container the path may be the host's, and then is not there: the mount's root is the container's own.
    """
    said = read_text(host, "/proc/self/cgroup", 1 << 16)
    # Without it the group is not known; a limit at the root of the mount holds for all that see it.
    for line in (said or "0::/\n1:memory:/").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            base, version = "/sys/fs/cgroup", 2
        elif "memory" in controllers.split(","):
            base, version = "/sys/fs/cgroup/memory", 1
        else:
            continue
        group = PurePosixPath("/" + path.lstrip("/"))
        if ".." in group.parts:  # the group lies outside of what this namespace shows
            group = PurePosixPath("/")
        for each in (group, *group.parents):
            yield base + str(each).rstrip("/"), version


def _counted(host: Host, path: str, name: str) -> int | None:
    """The number after `name` in a file of names and numbers."""
    for line in read_text(host, path, 1 << 16).splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == name and words[1].isascii() and words[1].isdecimal():
            return int(words[1])
    return None
