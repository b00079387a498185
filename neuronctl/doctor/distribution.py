"""Distributions: what is installed in folders of packages, by the names of its metadata."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path


def list_distributions(paths: Iterable[Path], note: Callable[[str], None]) -> list[str]:
    """By the names of their metadata folders, as pip lists them; nobody is asked."""
    lines: list[str] = []
    for folder in paths:
        try:
            with os.scandir(folder) as entries:
                names = sorted(
                    entry.name for entry in entries if entry.name.endswith((".dist-info", ".egg-info"))
                )
        except NotADirectoryError:
            continue
        except OSError as error:
            note(f"{folder}: {error.strerror}")
            continue
        if names:
            lines.append(f"in {folder}:")
        for name in names:
            distribution, _, version = name.rpartition(".")[0].partition("-")
            lines.append(f"  {distribution.replace('_', '-')} {version}")
    return lines
