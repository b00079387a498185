"""The folder for raw files: what an engine wrote, its log, prompts made for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuronctl.errors import MachineUnfit


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Make the folder; what its disk refuses meanwhile is raised as MachineUnfit."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise MachineUnfit(
            f"the raw files cannot be written to {folder}: {error.strerror or error}",
            fix="--raw FOLDER, where there is room",
            code="bench.raw-not-written",
        ) from error
