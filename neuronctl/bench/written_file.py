"""Written file: a file that the user asked for; what the disk refuses is told in words."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuronctl.errors import MachineUnfit, UsageError
from neuronctl.whole_file import write_whole


def write_file(path: Path, content: bytes) -> None:
    """Write it in one step; its folder is made. Raises MachineUnfit where it cannot be."""
    with _writing(path):
        write_whole(path, content)


def check_place(path: Path) -> None:
    """Raise UsageError or MachineUnfit where a file could not be written; its folder is made."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder", fix="name a file in it")
    with _writing(path), tempfile.TemporaryFile(dir=path.parent):
        pass


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise MachineUnfit(
            f"{path} cannot be written: {error.strerror or error}",
            fix="name another place",
            code="bench.not-written",
        ) from error
