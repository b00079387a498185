"""Holder: a process that holds a Neuron device or a port, and how somebody on this machine can end it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
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
    """`process` is None where the number is of another container, and means nothing here.

    `container` is the start of the id of the container that it runs in, None where that is our own, or none.
    """

    pid: int
    process: Process | None
    container: str | None = None

    def __str__(self) -> str:
        if self.process is None:
            return f"{self.pid} (of another container)"
        return f"{self.process} of container {self.container}" if self.container else str(self.process)


def find_holder(host: Host, told: NeuronProcess) -> Holder:
    """Who is behind a number that neuron-ls tells.

    In a container it tells those of the host (reference: neuron_ls), which may be the number of quite another
    process in here, so that the name has to be the same as well.
    """
    process = read_process(host, told.pid)
    if process is not None and find_cage(host) is not None:
        program = os.path.basename(told.command.split(" ")[0])[:40]
        process = process if program == process.name else None
    return Holder(told.pid, None) if process is None else as_holder(host, process)


def as_holder(host: Host, process: Process) -> Holder:
    """A process that /proc shows, with the container it runs in."""
    theirs = _container(host, str(process.pid))
    return Holder(process.pid, process, None if theirs == _container(host, "self") else theirs)


def how_to_end(holders: Iterable[Holder]) -> str:
    """What to type to end them, by where they run."""
    all_of_them = list(holders)
    own = [str(one.pid) for one in all_of_them if one.process is not None and one.container is None]
    containers = dict.fromkeys(one.container for one in all_of_them if one.container is not None)
    others = [str(one.pid) for one in all_of_them if one.process is None]
    ways = []
    if own:
        ways.append(f"kill {' '.join(own[:_SHOWN])}")
    if containers:
        names = ", ".join(list(containers)[:_SHOWN])
        ways.append(f"stop container {names} (docker ps or crictl ps tells which that is)")
    if others:
        ways.append(f"end {', '.join(others[:_SHOWN])} on the host: from in here nobody can")
    return "; ".join(ways)


def _container(host: Host, process: str) -> str | None:
    """The start of the id of the container that a process runs in, by its control groups."""
    groups = ""
    with suppress(NoAnswer):  # then its number is told alone
        groups = read_text(host, f"/proc/{process}/cgroup", 1 << 16)
    found = re.search(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", groups)
    return found.group()[:12] if found else None
