"""Model files that came inside a Python package: found through the package's own list of files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from neuronctl.errors import ModelNotResolved


def find_wheel_gguf(distribution: str, version: str, site_packages: Iterable[Path]) -> Path | None:
    """The `.gguf` file of the installed `distribution` in exactly this `version`, or None.

    The folders are tried in order. Raises ModelNotResolved if the distribution is there but has no GGUF
    file, several of them, or has lost it. Source: the standard for recording installed projects (a folder
    NAME-VERSION.dist-info with the list RECORD).
    """
    for folder in site_packages:
        record = _record(folder, distribution, version)
        if record is None:
            continue
        listed = [name for name in _files(record) if name.lower().endswith(".gguf")]
        if len(listed) != 1:
            raise ModelNotResolved(
                f"{distribution} {version} lists {len(listed)} .gguf files, not one: {record}"
            )
        gguf = folder / listed[0]
        if not gguf.is_file():
            raise ModelNotResolved(
                f"{distribution} {version} has lost its file {gguf}", fix=f"install {distribution} again"
            )
        return gguf
    return None


def _record(folder: Path, distribution: str, version: str) -> Path | None:
    wanted = (_normalised(distribution), version)
    usual = folder / f"{wanted[0]}-{version}.dist-info" / "RECORD"
    if usual.is_file():
        return usual
    # Older tools keep capitals and dots in the folder's name.
    for info in folder.glob("*.dist-info"):
        name, _, its_version = info.name.removesuffix(".dist-info").rpartition("-")
        if (_normalised(name), its_version) == wanted and (info / "RECORD").is_file():
            return info / "RECORD"
    return None


def _normalised(name: str) -> str:
    words = name.lower().replace(".", "-").replace("_", "-").split("-")
    return "_".join(word for word in words if word)


def _files(record: Path) -> list[str]:
    import csv

    with record.open(encoding="utf-8", newline="") as file:
        return [row[0] for row in csv.reader(file) if row]
