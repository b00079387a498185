"""Cage: the container that this process runs in, by the marks that runtimes leave."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from neuronctl.host import Host
from neuronctl.machine.reading import read_text

# Names of control groups under version 1, where the container sees the host's: /docker/<id>, /kubepods/…
_GROUPS = {
    "docker": "docker",
    "libpod": "podman",
    "containerd": "containerd",
    "crio": "CRI-O",
    "lxc": "lxc",
    "garden": "garden",
}


@dataclass(frozen=True)
class Cage:
    """A container. `runtime` made it and `orchestrator` started it, None where nothing names them."""

    runtime: str | None
    orchestrator: str | None


def find_cage(host: Host) -> Cage | None:
    """The container that this is; None where no mark of one is found.

    Sources: docker and podman leave a file each; systemd, Container Interface (the variable `container`, and
    /run/systemd/container for those who do not inherit it); Kubernetes, and ECS, set variables of their own.
    """
    runtime = _runtime(host)
    orchestrator = None
    if "KUBERNETES_SERVICE_HOST" in host.environ:
        orchestrator = "Kubernetes"
    elif any(name.startswith("ECS_CONTAINER_METADATA_URI") for name in host.environ):
        orchestrator = "ECS"
    return Cage(runtime, orchestrator) if runtime or orchestrator else None


def _runtime(host: Host) -> str | None:
    if os.path.exists(host.path("/run/.containerenv")):
        return "podman"
    if os.path.exists(host.path("/.dockerenv")):
        return "docker"
    named = host.environ.get("container") or read_text(host, "/run/systemd/container", 100)
    if re.fullmatch(r"[a-z][a-z0-9-]{1,40}", named.strip()):
        return named.strip()
    groups = read_text(host, "/proc/1/cgroup", 1 << 16) + read_text(host, "/proc/self/cgroup", 1 << 16)
    return next((name for word, name in _GROUPS.items() if re.search(rf"[/:-]{word}[-/]", groups)), None)
