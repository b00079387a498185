"""Neuron software outside of Python: the runtime's libraries, and which compiler would be called."""

from __future__ import annotations

import os
import re
from pathlib import Path

from neuronctl.host import Host
from neuronctl.linker import library_folders
from neuronctl.stack.version import release

_DPKG_STATUS = "/var/lib/dpkg/status"


def library_version(host: Host, library: str, package: str) -> str | None:
    """The version of a library such as `libnrt.so`, None where it is not installed or does not say.

    By the name of its file in the first folder that has it, else by what dpkg says of its package; what
    another package manager knows is not asked, because that takes a process.
    """
    for folder in library_folders(host):
        try:
            names = [each for each in os.listdir(folder) if each == library or each.startswith(f"{library}.")]
        except OSError:
            continue
        if names:
            return _named_version(library, names, folder)
    return _dpkg_version(host, package)


def _named_version(library: str, names: list[str], folder: Path) -> str | None:
    """The highest version in the names of these files, and of what they are links to."""
    named = re.compile(re.escape(library) + r"\.(\d+\.\d+(?:\.\d+)*)")
    meant = [os.path.basename(os.path.realpath(folder / name)) for name in names]
    versions = [found.group(1) for name in (*names, *meant) if (found := named.fullmatch(name))]
    return max(versions, key=release, default=None)


def _dpkg_version(host: Host, package: str) -> str | None:
    try:
        text = host.path(_DPKG_STATUS).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    _, found, rest = f"\n{text}".partition(f"\nPackage: {package}\n")
    paragraph = rest.partition("\n\n")[0]
    if not found or "Status: install ok installed" not in paragraph:
        return None
    version = re.search(r"^Version: (?:\d+:)?([\d.]+)", paragraph, re.MULTILINE)
    return version.group(1) if version else None


def serving_compiler(host: Host, python: Path) -> tuple[Path | None, bool]:
    """The `neuronx-cc` that PATH finds, and whether the serving Python's own folder has another one.

    An older compiler in `~/.local/bin` that comes first makes a compile fail with [NCC_INLA001]
    (pub:66828044719).
    """
    import shutil

    found = shutil.which("neuronx-cc", path=host.environ.get("PATH"))
    if found is None:
        return None, False
    path, own = host.cwd / found, python.parent / "neuronx-cc"
    return path, os.path.exists(own) and os.path.realpath(own) != os.path.realpath(path)
