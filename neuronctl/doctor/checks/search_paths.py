"""Check of the paths that are searched before what is installed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from neuronctl.doctor.check import Seen, Trouble, check
from neuronctl.doctor.facts import Facts
from neuronctl.doctor.said import Said, find_said, is_set
from neuronctl.result import Finding
from neuronctl.stack.installation import IMPORT_NAMES

_LIBRARIES = "/opt/aws/neuron/lib"

LIBRARY_HIDDEN = Trouble(
    "environment.library-hidden",
    "warning",
    "LD_LIBRARY_PATH finds another runtime or collectives library before the installed one.",
    "ld.so(8): LD_LIBRARY_PATH is searched before /etc/ld.so.cache",
)
PACKAGE_HIDDEN = Trouble(
    "environment.package-hidden",
    "warning",
    "PYTHONPATH holds a package that hides the serving Python's own.",
    "https://docs.python.org/3/library/sys_path_init.html: PYTHONPATH comes before what is installed",
)


@check(
    "search paths",
    "Whether LD_LIBRARY_PATH or PYTHONPATH hides what is installed",
    finds=(LIBRARY_HIDDEN, PACKAGE_HIDDEN),
)
def search_paths(facts: Facts) -> Seen:
    """LD_LIBRARY_PATH and PYTHONPATH, each of which is searched before what is installed.

    A libnrt.so or libnccom.so of another SDK is loaded in place of the one that AWS's package installed; a
    copy of vLLM, torch or one of Neuron's packages, in place of the one whose version is checked.
    """
    said = find_said(facts)
    found: list[Finding] = []
    if is_set(said, "LD_LIBRARY_PATH"):
        found += _hidden_libraries(said["LD_LIBRARY_PATH"], facts)
    if is_set(said, "PYTHONPATH"):
        found += _hidden_packages(said["PYTHONPATH"], facts)
    here = [said[name] for name in ("LD_LIBRARY_PATH", "PYTHONPATH") if is_set(said, name)]
    data: dict[str, object] = {one.name: one.value for one in here}
    return Seen(", ".join(f"{one.name}={one.shown}" for one in here) or "neither is set", tuple(found), data)


def _hidden_libraries(one: Said, facts: Facts) -> Iterator[Finding]:
    own = _folder(_LIBRARIES, facts)
    installed = _names_in(own)
    for library in ("libnrt.so", "libnccom.so"):
        if not _has(installed, library):
            continue
        for folder in one.value.split(":"):
            path = _folder(folder, facts)
            if not _has(_names_in(path), library):
                continue
            if path != own:
                yield LIBRARY_HIDDEN(
                    f"LD_LIBRARY_PATH finds {library} in {folder or 'the current folder'} before "
                    f"{_LIBRARIES}",
                    fix=f"put {_LIBRARIES} first in LD_LIBRARY_PATH, or take that folder out of it",
                    place=one.place,
                )
            break


def _has(names: Iterable[str], library: str) -> bool:
    return any(name == library or name.startswith(f"{library}.") for name in names)


def _hidden_packages(one: Said, facts: Facts) -> Iterator[Finding]:
    packages = ("vllm", "torch", "transformers", *IMPORT_NAMES.values())
    for folder in one.value.split(":"):
        if not folder:
            continue
        names = _names_in(_folder(folder, facts))
        hidden = [each for each in packages if each in names or f"{each}.py" in names]
        if hidden:
            yield PACKAGE_HIDDEN(
                f"PYTHONPATH has {folder}, whose {', '.join(hidden)} is imported instead of what is "
                "installed",
                fix=f"{one.removal}, or take {folder} out of it",
                place=one.place,
            )


def _folder(said: str, facts: Facts) -> str:
    """The folder that an entry of a search path means; an empty one is the current folder."""
    path = facts.host.path(said) if said.startswith("/") else facts.host.cwd / said
    return os.path.realpath(path)


def _names_in(folder: str) -> frozenset[str]:
    """The names in a folder; none where it cannot be read, and then nothing is loaded from it either."""
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


CHECKS = (search_paths,)
