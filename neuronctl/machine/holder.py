"""Holder: a process that holds a Neuron device or a port, and how somebody on this machine can end it."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass

from neuronctl.host import Host
from neuronctl.machine.cage import find_cage
from neuronctl.machine.devices import NeuronProcess
from neuronctl.machine.process import Process, read_process
from neuronctl.machine.reading import NoAnswer, read_text

_SHOWN = 8


@dataclass(frozen=True)
class Holder:
    """`process` is None where /proc does not show it: in a container (`is_caged`) it is another one's, or the
    host's; elsewhere it is another user's that is hidden, or has just ended. `told` is its program by
    neuron-ls.

    `container` is the start of the id of the container that it runs in, None where that is our own, or none.
    """

    pid: int
    process: Process | None
    container: str | None = None
    is_caged: bool = False
    told: str = ""

    def __str__(self) -> str:
        if self.process is None:
            if self.is_caged:
                return f"{self.pid} (of another container)"
            return f"{self.pid} ({self.told + ', ' if self.told else ''}which /proc does not show)"
        return f"{self.process} of container {self.container}" if self.container else str(self.process)


def find_holder(host: Host, told: NeuronProcess) -> Holder:
    """Who is behind a number that neuron-ls tells.

    In a container it tells those of the host (reference: neuron_ls), which may be the number of quite another
    process in here, so that the name has to be the same as well.
    """
    process, is_caged = read_process(host, told.pid), find_cage(host) is not None
    program = os.path.basename(told.command.split(" ")[0])[:40]
    if process is not None and is_caged:
        process = process if program == process.name else None
    if process is None:
        return Holder(told.pid, None, is_caged=is_caged, told=program)
    return as_holder(host, process)


def as_holder(host: Host, process: Process) -> Holder:
    """A process that /proc shows, with the container it runs in."""
    theirs = _container(host, str(process.pid))
    return Holder(process.pid, process, None if theirs == _container(host, "self") else theirs)


def how_to_end(holders: Iterable[Holder]) -> str:
    """What to type to end them, by where they run."""
    all_of_them = list(holders)
    own = [str(one.pid) for one in all_of_them if one.process is not None and one.container is None]
    containers = dict.fromkeys(one.container for one in all_of_them if one.container is not None)
    unseen = [one for one in all_of_them if one.process is None]
    hidden = [str(one.pid) for one in unseen if not one.is_caged]
    others = [str(one.pid) for one in unseen if one.is_caged]
    ways = []
    if own:
        ways.append(f"kill {' '.join(own[:_SHOWN])}")
    if hidden:
        ways.append(f"sudo kill {' '.join(hidden[:_SHOWN])} (if neuron-ls still shows {_them(hidden)})")
    if containers:
        names = ", ".join(list(containers)[:_SHOWN])
        ways.append(f"stop container {names} (docker ps or crictl ps tells which that is)")
    if others:
        ways.append(f"end {', '.join(others[:_SHOWN])} on the host: from in here nobody can")
    return "; ".join(ways)


def _them(pids: Collection[str]) -> str:
    return "it" if len(pids) == 1 else "them"


def _container(host: Host, process: str) -> str | None:
    """The start of the id of the container that a process runs in, by its control groups."""
    groups = ""
    with suppress(NoAnswer):  # then its number is told alone
        groups = read_text(host, f"/proc/{process}/cgroup", 1 << 16)
    found = re.search(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", groups)
    return found.group()[:12] if found else None
