"""Archive: named texts in one compressed file, written whole or not at all, and never over another file."""

from __future__ import annotations

import errno
import gzip
import io
import os
import secrets
import shlex
import tarfile
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from neuronctl.errors import MachineUnfit, NeuronctlError, UsageError

_TAR = (".tar.gz", ".tgz")
_ZIP = (".zip",)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_WHY = {
    errno.ENOSPC: ("no space is left there", "name a file on another disk, or free some space"),
    errno.EDQUOT: ("the disk quota is used up", "name a file on another disk, or free some space"),
    errno.EFBIG: ("the limit on file sizes is reached", "raise it: ulimit -f unlimited"),
    errno.EROFS: ("it is read-only there", "name a file in a folder that you may write to, as /tmp"),
    errno.EACCES: ("permission is denied", "name a file in a folder that you may write to, as /tmp"),
    errno.EPERM: ("the operation is not permitted", "name a file in a folder that you may write to, as /tmp"),
    errno.ENAMETOOLONG: ("the name is too long", "name a shorter one"),
}


def check_archive(path: Path) -> None:
    """UsageError where no archive may be written to `path`: before the work, not after it."""
    name = path.name.lower()
    if name == "-":
        raise UsageError(
            "a bundle cannot be written to stdout, where the answer is",
            fix="name a file: --bundle neuronctl.tar.gz",
            code="usage.bundle-name",
        )
    if path.is_dir():
        raise UsageError(
            f"{path} is a folder, and a bundle is a file",
            fix=f"name a file in it: --bundle {shlex.quote(str(path / 'neuronctl.tar.gz'))}",
            code="usage.bundle-name",
        )
    if not name.endswith(_TAR + _ZIP):
        raise UsageError(
            f"{path.name} names no kind of archive that neuronctl writes",
            fix=f"name it {path.name}.tar.gz, or {path.name}.zip",
            code="usage.bundle-name",
        )
    if os.path.lexists(path):
        raise _exists(path)
    if not path.parent.is_dir():
        raise UsageError(
            f"{path.parent} is no folder",
            fix=f"mkdir -p {shlex.quote(str(path.parent))}",
            code="usage.bundle-folder",
        )


def write_archive(path: Path, members: Mapping[str, bytes], *, now: float) -> None:
    """Write `members` by name, in their order, into a tar.gz or zip, by the end of `path`'s name.

    Only its owner may read it. UsageError where there is something at `path` already, MachineUnfit where the
    disk refuses; nothing is left then.
    """
    check_archive(path)
    # Named before it is made: whenever a ^C comes, it is known what to remove.
    aside = path.parent / f".neuronctl-bundle-{secrets.token_hex(6)}"
    try:
        with open(os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            (_write_zip if path.name.lower().endswith(_ZIP) else _write_tar)(file, members, now)
            file.flush()
            os.fsync(file.fileno())  # a network's file system may say only now that the disk is full
        _publish(aside, path)
    except OSError as error:
        raise _refused(path, error) from None
    finally:
        with suppress(OSError):
            os.unlink(aside)


def _publish(aside: Path, path: Path) -> None:
    """By a link and not a rename: a file that came to be meanwhile stays."""
    try:
        os.link(aside, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):  # a file system without links, as of a USB stick
            raise _exists(path) from None
        os.rename(aside, path)


def _write_tar(file: io.BufferedWriter, members: Mapping[str, bytes], now: float) -> None:
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=int(now)) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, content in members.items():
            member = tarfile.TarInfo(name)  # without the user's name
            member.size, member.mode, member.mtime = len(content), 0o600, int(now)
            tar.addfile(member, io.BytesIO(content))


def _write_zip(file: io.BufferedWriter, members: Mapping[str, bytes], now: float) -> None:
    year, *rest = time.gmtime(now)[:6]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            # The format knows no year before 1980 nor after 2107.
            member = zipfile.ZipInfo(name, (min(max(year, 1980), 2107), *rest))  # type: ignore[arg-type]
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o600 << 16
            archive.writestr(member, content)


def _exists(path: Path) -> UsageError:
    return UsageError(
        f"{path} exists already, and neuronctl writes over no file",
        fix=f"name another file, or remove it: rm {shlex.quote(str(path))}",
        code="usage.bundle-exists",
    )


def _refused(path: Path, error: OSError) -> NeuronctlError:
    why, fix = _WHY.get(error.errno or 0, (error.strerror or str(error), "name another file"))
    return MachineUnfit(
        f"the bundle {path} cannot be written: {why}",
        fix=fix,
        code="bundle.not-written",
        details={"path": str(path), "errno": errno.errorcode.get(error.errno or 0, "")},
    )
