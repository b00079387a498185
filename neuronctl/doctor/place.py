"""Places: where neuronctl keeps what is large, and how they are called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from neuronctl.doctor.facts import Facts
from neuronctl.errors import NeuronctlError
from neuronctl.machine.room import Room, Silence

STORE, HUB, TEMPORARY = "store", "hub's cache", "temporary files"
KEYS = {STORE: "store", HUB: "hub_cache", TEMPORARY: "temporary_files"}
# Less than the check may take, so that the places that do answer are told.
ANSWER_S = 2.0


def find_places(facts: Facts) -> tuple[dict[str, Path], list[tuple[str, str, str | None]]]:
    """The places by their names, and those that have none: name, why, what to do."""
    from neuronctl.model.hub_place import hub_cache

    host = facts.host
    temporary = facts.environ.get("TMPDIR")
    wanted: dict[str, Callable[[], Path]] = {
        STORE: lambda: host.neuronctl_home,
        HUB: lambda: hub_cache(host),
        TEMPORARY: lambda: host.expand(temporary) if temporary else host.path("/tmp"),
    }
    places: dict[str, Path] = {}
    unknown: list[tuple[str, str, str | None]] = []
    for name, find in wanted.items():
        try:
            places[name] = find()
        except NeuronctlError as error:  # a user without a home
            unknown.append((name, error.what, error.fix))
    return places, unknown


def real_path(path: Path, room: Room | Silence) -> str:
    """The place with its links followed, where it has answered."""
    return str(room.path if isinstance(room, Room) else path)


def folder_of(name: str) -> str:
    """A place as one speaks of its folder."""
    return {TEMPORARY: "folder of temporary files"}.get(name, name)


def join(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def elsewhere(names: Sequence[str]) -> str:
    """What to type so that these places lie on another disk."""
    variables = {STORE: "NEURONCTL_HOME", HUB: "HF_HOME", TEMPORARY: "TMPDIR"}
    return "use another disk: export " + " ".join(f"{variables[name]}=/path/to/folder" for name in names)
