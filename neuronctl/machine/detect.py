"""What this machine is, as far as planning needs to know."""

from __future__ import annotations

import os
from dataclasses import dataclass

from neuronctl.host import Host


@dataclass(frozen=True)
class Machine:
    """Facts about the hardware.

    `cpu_flags` are the instruction sets that code compiled for this CPU may use; `cores` are those this
    process may run on, not all that exist; `compiler` is the C++ compiler that torch.compile calls (`CXX`,
    else g++), by the name and size of its file, empty where there is none; `memory_bytes` is the smaller of
    the machine's memory and the control group's limit, None where neither can be read.
    """

    architecture: str
    cpu_model: str
    cpu_flags: tuple[str, ...]
    cores: int
    memory_bytes: int | None
    compiler: str


def detect_machine(host: Host) -> Machine:
    """Read the machine's facts from `/proc` and the control group; a fact that cannot be read is empty."""
    model, flags = _cpu(host)
    return Machine(
        architecture=os.uname().machine,
        cpu_model=model,
        cpu_flags=flags,
        cores=_cores(),
        memory_bytes=_memory(host),
        compiler=_compiler(host),
    )


def _compiler(host: Host) -> str:
    """Not by `--version`: a look at the file costs less than a millisecond, and tells versions apart."""
    import shutil

    found = shutil.which(host.environ.get("CXX") or "g++", path=host.environ.get("PATH"))
    if found is None:
        return ""
    real = os.path.realpath(found)
    return f"{os.path.basename(real)}, {os.stat(real).st_size} bytes"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(host: Host, path: str, most: int = -1) -> str:
    try:
        with host.path(path).open(encoding="utf-8", errors="replace") as file:
            return file.read(most)
    except OSError:
        return ""


def _cpu(host: Host) -> tuple[str, tuple[str, ...]]:
    """The first core's model name and flags (x86: `flags`, Arm: `Features`)."""
    model = ""
    flags: tuple[str, ...] = ()
    # Only the first core: the file of a machine with 192 of them takes long to read.
    first_core = _read(host, "/proc/cpuinfo", 16_384).partition("\n\n")[0]
    for line in first_core.splitlines():
        name, _, value = line.partition(":")
        match name.strip():
            case "model name":
                model = value.strip()
            case "flags" | "Features":
                flags = tuple(sorted(value.split()))
    return model, flags


def _memory(host: Host) -> int | None:
    limits = []
    for line in _read(host, "/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            limits.append(int(line.split()[1]) * 1024)
    for group in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = _read(host, group).strip()
        if text.isdigit():
            limits.append(int(text))
    return min(limits, default=None)
