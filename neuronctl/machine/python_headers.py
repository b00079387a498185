"""Python headers: Python.h of an interpreter, which is not run for it."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

from neuronctl.host import Host
from neuronctl.machine.reading import read_text

# A build without the global lock, and one for debugging, have a letter after their version.
_BUILDS = ("", "t", "d", "td")


def header_folders(host: Host, python: Path, version: str) -> tuple[Path, ...]:
    """The folders where `sysconfig` of this interpreter would say that Python.h is, the likeliest first.

    Of our own interpreter it is asked. Another one's is found beside the interpreter that a virtual
    environment stands on: pyvenv.cfg names its folder, else the links do.
    """
    if python == Path(sys.executable):
        return (Path(sysconfig.get_path("include")),)
    short = ".".join(version.split(".")[:2])
    bases = []
    for line in read_text(host, str(python.parent.parent / "pyvenv.cfg"), 1 << 14).splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "home" and value.strip():
            bases.append(Path(value.strip()).parent)
    bases.append(Path(os.path.realpath(python)).parent.parent)
    return tuple(
        dict.fromkeys(base / "include" / f"python{short}{build}" for base in bases for build in _BUILDS)
    )
