"""Snapshot: what this machine's devices, memory and servers do at one moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from neuronctl.doctor.utilisation import RuntimeUse, Utilisation, read_sysfs_memory
from neuronctl.host import Host
from neuronctl.machine.catalog import Chip
from neuronctl.machine.control_group import read_control_group
from neuronctl.machine.devices import NeuronDevice
from neuronctl.machine.memory import read_memory
from neuronctl.machine.process import Process, read_process
from neuronctl.machine.reading import NoAnswer
from neuronctl.machine.server_process import ServerProcess, find_servers

T = TypeVar("T")
_HEALTH_S = 0.5
# Servers that do not answer must not hold up the table: asked for this long together.
_ALL_HEALTH_S = 1.5


@dataclass(frozen=True)
class Core:
    """A logical core; `percent` of the time that it computed, None where nobody says."""

    id: int
    percent: float | None


@dataclass(frozen=True)
class Holder:
    """A process that holds a device; `cores` are those of it that it uses, empty where nobody says.

    `process` is None where it cannot be seen from here, as one in another container.
    """

    pid: int
    process: Process | None
    cores: tuple[int, ...] = ()


@dataclass(frozen=True)
class Device:
    """A Neuron device; its memory in bytes and its holders, None where nobody says."""

    index: int
    cores: tuple[Core, ...]
    holders: tuple[Holder, ...] | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None


@dataclass(frozen=True)
class HostMemory:
    """In bytes: the machine's, or that of the control group where its limit leaves less.

    Used is what nobody else could have now: file cache is not.
    """

    used_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Server:
    """A server and how it is: healthy, or what it said; None for a neuronctl that watches over one."""

    process: ServerProcess
    health: str | None


@dataclass(frozen=True)
class Snapshot:
    """All of it, at `at` seconds since the epoch. `notes` are sentences: what could not be told, and why."""

    at: float
    host_memory: HostMemory | None
    devices: tuple[Device, ...]
    servers: tuple[Server, ...]
    notes: tuple[str, ...] = ()


def take_snapshot(
    host: Host,
    devices: Sequence[NeuronDevice],
    use: Utilisation | None,
    *,
    chip: Chip | None = None,
    notes: Sequence[str] = (),
    are_holders_known: bool = True,
) -> Snapshot:
    """What is seen now: `devices` by neuron-ls or sysfs, `use` by neuron-monitor, None without it.

    Without neuron-ls (`are_holders_known`) only those processes are holders that neuron-monitor names.
    """
    told = list(notes)
    if use is not None and use.trouble:
        told.append(f"Utilisation is unknown: neuron-monitor {use.trouble}.")
    memory = _unless_silent(lambda: _host_memory(host), told)
    seen = tuple(_device(host, device, devices, use, chip, told) for device in devices)
    if not are_holders_known:
        seen = tuple(replace(device, holders=device.holders or None) for device in seen)
    servers = _unless_silent(lambda: _servers(host), told) or ()
    return Snapshot(host.now(), memory, seen, servers, tuple(dict.fromkeys(told)))


def _unless_silent(look: Callable[[], T], notes: list[str]) -> T | None:
    """What `look` gives; None where a file that it reads hangs, which goes to the notes."""
    try:
        return look()
    except NoAnswer as silence:
        notes.append(f"{silence.what}.")
        return None


def _device(
    host: Host,
    device: NeuronDevice,
    devices: Sequence[NeuronDevice],
    reported: Utilisation | None,
    chip: Chip | None,
    notes: list[str],
) -> Device:
    use = reported or Utilisation()
    mine = set(device.core_ids)
    # A report names the cores that were active (neuroncores_in_use), so the others were not: unless it lacks
    # the percents of a process, as where a field has another name.
    is_complete = reported is not None and reported.trouble is None and all(map(_has_percents, use.runtimes))
    idle = 0.0 if is_complete else None
    cores = []
    for core in device.core_ids:
        said = [one.cores[core].percent for one in use.runtimes if core in one.cores]
        percents = [percent for percent in said if percent is not None]
        cores.append(Core(core, min(100.0, sum(percents)) if percents else None if said else idle))
    using: dict[int, tuple[int, ...]] = {each.pid: () for each in device.processes}
    using |= {
        runtime.pid: used
        for runtime in use.runtimes
        if (used := tuple(core for core in runtime.cores if core in mine))
    }
    used_bytes = _memory_used(device, devices, use)
    if used_bytes is None:
        used_bytes = _unless_silent(lambda: read_sysfs_memory(host, device.index), notes)
    return Device(
        index=device.index,
        cores=tuple(cores),
        holders=tuple(
            Holder(pid, _unless_silent(partial(read_process, host, pid), notes), used)
            for pid, used in sorted(using.items())
        ),
        memory_used_bytes=used_bytes,
        memory_total_bytes=use.device_bytes or (chip.memory_bytes if chip else None),
    )


def _has_percents(runtime: RuntimeUse) -> bool:
    return any(core.percent is not None for core in runtime.cores.values())


def _memory_used(device: NeuronDevice, devices: Sequence[NeuronDevice], use: Utilisation) -> int | None:
    """Told by core; of a process that only tells its sum, where all of it lies on this device."""
    mine = set(device.core_ids)
    total: int | None = None
    for runtime in use.runtimes:
        parts = {
            core: one.memory_bytes for core, one in runtime.cores.items() if one.memory_bytes is not None
        }
        if parts:
            size = sum(size for core, size in parts.items() if core in mine)
        elif len(devices) == 1 or (runtime.cores and mine.issuperset(runtime.cores)):
            size = runtime.device_bytes or 0
        elif mine.isdisjoint(runtime.cores):
            continue
        else:
            return None
        total = (total or 0) + size
    return total


def _host_memory(host: Host) -> HostMemory | None:
    memory = read_memory(host)
    total, free = memory.total_bytes, memory.available_bytes
    group = read_control_group(host, total)
    if group is not None and group.used_bytes is not None and (free is None or group.left_bytes < free):
        return HostMemory(group.used_bytes, group.limit_bytes)
    if total is None or free is None:
        return None
    return HostMemory(max(0, total - free), total)


def _servers(host: Host) -> tuple[Server, ...]:
    deadline = host.monotonic() + _ALL_HEALTH_S
    return tuple(Server(one, _health(host, one, deadline)) for one in find_servers(host))


def _health(host: Host, server: ServerProcess, deadline: float) -> str | None:
    if server.kind == "neuronctl":
        return None
    if server.port is None or not 0 < server.port < 65_536:
        return "its port is unknown"
    if server.has_tls:
        return "not asked: it speaks HTTPS"
    left_s = deadline - host.monotonic()
    if left_s <= 0:
        return "not asked: others took too long"
    answer = host.http(
        "GET", f"http://{server.address}:{server.port}/health", timeout_s=min(_HEALTH_S, left_s)
    )
    if answer.status == 200:
        return "healthy"
    return f"/health says {answer.status}" if answer.status else "no answer"
