"""Core sets: which logical cores, as `NEURON_RT_VISIBLE_CORES` spells them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, pairwise

from neuronctl.errors import MachineUnfit, Place, UsageError
from neuronctl.profile.variable import removal

# Far above the 1152 cores of the largest UltraServer, and small enough to write out.
_LARGEST_ID = 65_535
_PART = re.compile(r"([0-9]+)(?:\s*-\s*([0-9]+))?", re.ASCII)


@dataclass(frozen=True)
class CoreSet:
    """Logical core ids of one machine, sorted, each once; `str` gives the shortest spelling, `0-3,8`."""

    ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(sorted(set(self.ids))))
        if self.ids and self.ids[0] < 0:
            raise ValueError(f"a core id is never negative: {self.ids[0]}")

    def __str__(self) -> str:
        return ",".join(
            str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}"
            for run in (each.ids for each in self.runs)
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[int]:
        return iter(self.ids)

    def __contains__(self, core: object) -> bool:
        return core in self.ids

    @property
    def runs(self) -> tuple[CoreSet, ...]:
        """The longest stretches without a gap, in order."""
        starts = [0, *(at for at, (one, next_) in enumerate(pairwise(self.ids), 1) if next_ != one + 1)]
        if not self.ids:
            return ()
        return tuple(CoreSet(self.ids[start:end]) for start, end in pairwise([*starts, len(self.ids)]))

    @property
    def is_contiguous(self) -> bool:
        """Whether there is a core and no gap."""
        return bool(self.ids) and self.ids[-1] - self.ids[0] + 1 == len(self.ids)

    def intersection(self, other: CoreSet) -> CoreSet:
        """The cores in both."""
        return CoreSet(tuple(set(self.ids) & set(other.ids)))

    def difference(self, other: CoreSet) -> CoreSet:
        """The cores here and not in `other`."""
        return CoreSet(tuple(set(self.ids) - set(other.ids)))


def parse_cores(text: str, *, place: Place | None = None) -> CoreSet:
    """Read `0-3,8`: ids and inclusive ranges, separated by commas, each core once.

    UsageError says which part is wrong and at which character (1-based). `place` is where it was said.
    """
    ids: set[int] = set()
    column = 1
    for part in text.split(","):
        said = part.strip()
        at = column + len(part) - len(part.lstrip())
        column += len(part) + 1
        ids |= _part(said, at, ids, text, place)
    return CoreSet(tuple(ids))


def granted_cores(
    environ: Mapping[str, str],
    machine_cores: CoreSet,
    *,
    machine: str = "this machine",
    places: Mapping[str, Place | None] | None = None,
) -> CoreSet:
    """The cores of the machine that the environment lets us use; nothing may ever run on others.

    `NEURON_RT_VISIBLE_CORES` names them and wins over `NEURON_RT_NUM_CORES`, a mere number (0 is all):
    which ones those are the runtime decides when it starts, among those that are free; we count from the
    first (aws-neuron-sdk, neuron-runtime/guides/configuration-guide.rst:27-38,149-150). UsageError, in which
    the machine is called `machine`, where it does not have them; `places` maps those variables that a profile
    sets to where it does.
    """
    said = places or {}
    named = environ.get("NEURON_RT_VISIBLE_CORES", "").strip()
    if named:
        name = "NEURON_RT_VISIBLE_CORES"
        place = said.get(name) or Place(key=name)
        cores = parse_cores(named, place=place)
        if missing := cores.difference(machine_cores):
            fix = f"{removal(name, said.get(name))}, or name cores of these"
            raise _not_here(f"names the cores {missing}", machine, machine_cores, place, fix)
        return cores
    number = environ.get("NEURON_RT_NUM_CORES", "").strip()
    if not number:
        return machine_cores
    name = "NEURON_RT_NUM_CORES"
    place = said.get(name) or Place(key=name)
    if not re.fullmatch(r"[0-9]+", number, re.ASCII):
        raise _bad(f"{_short(number)} is not a number of cores", place, fix="give a number, 0 for all")
    count = int(number[-6:]) if len(number.lstrip("0")) <= 6 else _LARGEST_ID + 1
    if count > len(machine_cores):
        fix = f"{removal(name, said.get(name))}, or ask for no more than {len(machine_cores)}"
        raise _not_here(f"asks for {_short(number)} cores", machine, machine_cores, place, fix)
    return CoreSet(machine_cores.ids[:count]) if count else machine_cores


def partition(granted: CoreSet, size: int, count: int | None = None) -> tuple[CoreSet, ...]:
    """`count` disjoint groups of `size` cores without a gap, all inside `granted`; None: as many as fit.

    Groups begin at a multiple of `size`, so that they do not cross devices needlessly, unless fewer would
    fit so. MachineUnfit where `count` do not fit.
    """
    if size < 1 or (count is not None and count < 1):
        raise ValueError(f"a group of {size} cores, {count} times")
    fit = sum(len(run) // size for run in granted.runs)
    wanted = fit if count is None else count
    if wanted > fit:
        raise MachineUnfit(
            f"{wanted} × {size} cores without a gap do not fit into the {len(granted)} granted"
            f" ({granted or 'none'}): {fit} × {size} do",
            code="machine.too-few-cores",
            fix="lower server.replicas or engine.tensor_parallel_size, or grant more cores"
            " (NEURON_RT_VISIBLE_CORES)",
            details={"granted": str(granted), "size": size, "count": wanted, "fit": fit},
        )
    aligned = tuple(islice(_groups(granted, size, is_aligned=True), wanted))
    return aligned if len(aligned) == wanted else tuple(islice(_groups(granted, size), wanted))


def _groups(granted: CoreSet, size: int, *, is_aligned: bool = False) -> Iterator[CoreSet]:
    """Groups of `size` from each run, from its start or from the first multiple of `size` in it."""
    for run in granted.runs:
        ids = run.ids[-run.ids[0] % size :] if is_aligned else run.ids
        for at in range(0, len(ids) - size + 1, size):
            yield CoreSet(ids[at : at + size])


def _part(said: str, at: int, before: set[int], text: str, place: Place | None) -> set[int]:
    """The ids of one part of a list; `before` are those of the parts before it."""
    here = f"{_short(said)} at character {at} of {_short(text)}"
    if not said:
        raise _bad(f"a core is missing at character {at} of {_short(text)}", place)
    match = _PART.fullmatch(said)
    if match is None:
        raise _bad(f"{here} is neither a core nor a range", place)
    # By length first: Python refuses to read a number of thousands of digits.
    if any(len(each.lstrip("0")) > 5 or int(each[-5:]) > _LARGEST_ID for each in match.groups() if each):
        raise _bad(f"{here}: no machine has that many cores", place)
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise _bad(f"{here} runs backwards", place)
    ids = set(range(first, last + 1))
    if twice := ids & before:
        raise _bad(f"{here} names core {min(twice)} a second time", place)
    return ids


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _not_here(what: str, machine: str, machine_cores: CoreSet, place: Place, fix: str) -> UsageError:
    has = f"has the cores {machine_cores}" if machine_cores else "has no Neuron cores"
    return _bad(f"the variable {what}, and {machine} {has}", place, fix=fix)


def _bad(what: str, place: Place | None, fix: str = "write cores as 0-3 or 0-3,8") -> UsageError:
    return UsageError(what, code="usage.bad-cores", place=place, fix=fix)
