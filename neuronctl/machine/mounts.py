"""Mount: what a folder lies on, by /proc/self/mounts, which can be read while a server of files hangs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from neuronctl.host import Host
from neuronctl.machine.reading import read_text
from neuronctl.secret import hide_passwords

_NETWORK = {"nfs", "nfs4", "lustre", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "afs", "beegfs", "gpfs"}
# What goes through FUSE and yet lies on this machine. The others are seen as far away.
_LOCAL_FUSE = {"fuse.fuse-overlayfs", "fuse.lxcfs", "fuse.portal", "fuse.gvfsd-fuse", "fuse.snapfuse"}
# Buckets of objects that are shown as folders.
_BUCKETS = {
    "fuse.mount-s3",
    "fuse.mountpoint-s3",
    "fuse.s3fs",
    "fuse.goofys",
    "fuse.gcsfuse",
    "fuse.blobfuse2",
}


@dataclass(frozen=True)
class Mount:
    """One mounted file system: where, of which kind, from where, with which options."""

    point: str
    kind: str
    source: str
    options: frozenset[str]

    @property
    def is_bucket(self) -> bool:
        """Whether it shows a bucket of objects."""
        return self.kind in _BUCKETS or (self.kind.startswith("fuse") and self.source == "mountpoint-s3")

    @property
    def is_network(self) -> bool:
        """Whether the files lie on another machine, as far as the kind tells."""
        if self.is_bucket or self.kind in _NETWORK:
            return True
        return self.kind.startswith("fuse.") and self.kind not in _LOCAL_FUSE

    @property
    def local_locks(self) -> str | None:
        """The option by which a lock holds on this machine only, though others see the files; else None.

        Sources: mount.lustre(8) (localflock); nfs(5) and Linux, fs/nfs/file.c (nolock, local_lock).
        """
        options = ("localflock", "nolock", "local_lock=all", "local_lock=flock")
        return next((option for option in options if option in self.options), None)

    @property
    def has_no_locks(self) -> bool:
        """Whether files cannot be locked at all: Lustre without one of its two options for that.

        Source: Linux, drivers/staging/lustre/README.txt: without them a program gets ENOSYS.
        """
        return self.kind == "lustre" and not {"flock", "localflock"} & self.options

    def __str__(self) -> str:
        name = {"lustre": "Lustre, such as FSx"}.get(self.kind, self.kind)
        return f"{'EFS, ' if '.efs.' in self.source else ''}{name}, mounted at {self.point}"


def read_mounts(host: Host) -> tuple[Mount, ...]:
    """All that is mounted, in the order of mounting; nothing where it cannot be read."""
    mounts = []
    for line in read_text(host, "/proc/self/mounts", 1 << 20).splitlines():
        fields = [_unescape(field) for field in line.split(" ")]
        if len(fields) >= 4:
            source, point, kind, options = fields[:4]
            mounts.append(Mount(point, kind, hide_passwords(source), frozenset(options.split(","))))
    return tuple(mounts)


def find_mount(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """What `path`, absolute, lies on: the longest mount point above it, and of the same the last."""
    longest: Mount | None = None
    for mount in mounts:
        above = mount.point.rstrip("/") + "/"
        if (path + "/").startswith(above) and (
            longest is None or len(above) > len(longest.point.rstrip("/"))
        ):
            longest = mount
    return longest


def _unescape(field: str) -> str:
    """Blanks and the like are written as a backslash with three octal digits."""
    return re.sub(r"\\([0-3][0-7]{2})", lambda said: chr(int(said[1], 8)), field)
