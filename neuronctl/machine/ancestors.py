"""Ancestors: which processes a process comes from, from /proc alone."""

from __future__ import annotations

from collections.abc import Iterator

from neuronctl.host import Host
from neuronctl.machine.process import Process, read_process

# No machine has families that long; a number that is used again could make a circle.
_GENERATIONS = 64


def ancestors(host: Host, pid: int) -> Iterator[Process]:
    """Its parent first, as far as they are alive and in the same container.

    The last is process 1: in a container that is the program it was made for, as `neuronctl serve`.
    """
    process = read_process(host, pid)
    for _ in range(_GENERATIONS):
        if process is None or process.parent < 1:
            return
        process = read_process(host, process.parent)
        if process is not None:
            yield process
