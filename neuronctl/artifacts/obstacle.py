"""Obstacle: what stands on the way to a folder, so that it can neither be looked into nor be made."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (lambda mode: True, "a device"),
)


@dataclass(frozen=True)
class Obstacle:
    """`why` is a clause that names what stands there, `fix` what takes it away; None where nothing should."""

    why: str
    fix: str | None


def find_obstacle(folder: Path) -> Obstacle | None:
    """The first thing on the way to `folder`, which need not exist; None where nothing is.

    Looks only. A disk that reports an error is no obstacle: who uses it is told.
    """
    for place in (*reversed(folder.parents), folder):
        try:
            mode = os.stat(place).st_mode
        except FileNotFoundError:
            return _leads_nowhere(place) if place.is_symlink() else None
        except OSError as error:
            return _refused(place, error.errno)
        if not stat.S_ISDIR(mode):
            return _no_folder(place, mode)
    return None


def _leads_nowhere(link: Path) -> Obstacle:
    target = os.path.realpath(link)
    return Obstacle(
        f"{link} is a symbolic link to {target}, which is not there",
        f"mkdir -p {shlex.quote(target)}, or mount the disk that it should be on",
    )


def _refused(place: Path, number: int | None) -> Obstacle | None:
    if number == errno.ELOOP:
        return Obstacle(
            f"{place} is a symbolic link that leads back to itself", f"rm {shlex.quote(str(place))}"
        )
    if number not in (errno.EACCES, errno.ENOTDIR):
        return None
    # A link whose own way has the obstacle, or else the folder above, which was entered by its name only.
    target = Path(os.path.realpath(place))
    if target != place:
        return find_obstacle(target)
    above = place.parent
    return Obstacle(
        f"{above} may not be entered by this user: permission is denied",
        f"let its owner type: chmod a+x {shlex.quote(str(above))}",
    )


def _no_folder(place: Path, mode: int) -> Obstacle:
    if not stat.S_ISREG(mode):
        # A device, as /dev/null, is there for the whole machine: moving it away breaks others.
        what = next(word for is_one, word in _KINDS if is_one(mode))
        return Obstacle(f"{place}: {what} stands where a folder should be", None)
    name = shlex.quote(str(place))
    return Obstacle(
        f"{place}: a file stands where a folder should be", f"if nobody needs it: mv {name} {name}.old"
    )
