"""Where the linker finds a library of Neuron's."""

from __future__ import annotations

from pathlib import Path

from neuronctl.host import Host


def library_folders(host: Host) -> tuple[Path, ...]:
    """Where a library of Neuron's may lie, in the order of the linker: LD_LIBRARY_PATH, then AWS's folder."""
    said = host.environ.get("LD_LIBRARY_PATH", "").split(":")
    return (*(host.cwd / each for each in said if each), host.path("/opt/aws/neuron/lib"))
