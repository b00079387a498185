"""Utilisation: how busy the cores are and whose memory fills the devices, by neuron-monitor or by sysfs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from neuronctl.host import Host
from neuronctl.machine.devices import SYSFS
from neuronctl.machine.reading import answered, list_folder, read_number

_LARGEST = 2**60
_MOST = 4096


@dataclass(frozen=True)
class CoreUse:
    """One process on one core: `percent` of the time that the core computed, `memory_bytes` on its device."""

    percent: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class RuntimeUse:
    """One process that uses Neuron: its cores by their id, and its device memory on all of them."""

    pid: int
    cores: Mapping[int, CoreUse] = field(default_factory=dict)
    device_bytes: int | None = None


@dataclass(frozen=True)
class Utilisation:
    """What one line of neuron-monitor tells; a field that is missing or makes no sense is empty.

    `device_bytes` is the size of one device's memory, `cores_per_device` counts logical cores. `trouble` says
    in a clause why nothing, or not all, could be told.
    """

    runtimes: tuple[RuntimeUse, ...] = ()
    device_bytes: int | None = None
    cores_per_device: int | None = None
    trouble: str | None = None


def read_monitor(line: str) -> Utilisation:
    """One line of neuron-monitor, of whatever version (aws-neuron-sdk, tools/neuron-sys-tools/
    neuron-monitor-user-guide.rst, and captures). Never raises.

    The memory of a process on all devices is called `neuron_device`, and `device` by some tools.
    """
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return Utilisation(trouble="printed something that is no JSON")
    if not isinstance(told, dict):
        return Utilisation(trouble="printed JSON that is no report")
    hardware = _mapping(told.get("neuron_hardware_info"))
    said = hardware.get("error")
    listed = told.get("neuron_runtime_data")
    trouble = _plain(said) if isinstance(said, str) and said.strip() else None
    if trouble is None and "neuron_runtime_data" not in told and "neuron_hardware_info" not in told:
        trouble = "printed JSON that is no report"
    return Utilisation(
        runtimes=tuple(
            runtime
            for each in (listed[:_MOST] if isinstance(listed, list) else ())
            if (runtime := _runtime(each)) is not None
        ),
        device_bytes=_whole(hardware.get("neuron_device_memory_size")) or None,
        cores_per_device=_whole(hardware.get("neuroncore_per_device_count")) or None,
        trouble=trouble,
    )


def read_sysfs_memory(host: Host, index: int) -> int | None:
    """Bytes in use in the memory of device `index`: of all its cores and kinds together; None where unknown.

    `total` is what is in use now (aws-neuron-sdk, tools/neuron-sys-tools/neuron-sysfs-user-guide.rst); one
    capture has 0 there and the bytes in `present`. Driver 2.31 moved nodes of this tree. Raises NoAnswer.
    """
    return answered(host, f"{SYSFS[0]}/neuron{index}", lambda: _sum_sysfs_memory(host, index))


def _sum_sysfs_memory(host: Host, index: int) -> int | None:
    for base in SYSFS:
        device = f"{base}/neuron{index}"
        cores = [name for name in list_folder(host, device) if name.startswith("neuron_core")]
        sums: dict[str, list[int]] = {"total": [], "present": []}
        for core in cores[:64]:
            folder = f"{device}/{core}/stats/memory_usage/device_mem"
            for kind in list_folder(host, folder)[:64]:
                for value, numbers in sums.items():
                    if (number := read_number(host, f"{folder}/{kind}/{value}")) is not None:
                        numbers.append(number)
        if sums["total"]:
            return sum(sums["total"]) or sum(sums["present"])
    return None


def _runtime(value: object) -> RuntimeUse | None:
    entry = _mapping(value)
    pid = _whole(entry.get("pid"))
    if not pid:
        return None
    report = _mapping(entry.get("report"))
    busy = _mapping(_mapping(report.get("neuroncore_counters")).get("neuroncores_in_use"))
    used = _mapping(report.get("memory_used")).get("neuron_runtime_used_bytes")
    sizes = _mapping(used)
    filled = _mapping(_mapping(sizes.get("usage_breakdown")).get("neuroncore_memory_usage"))
    cores: dict[int, CoreUse] = {}
    for name in [*busy, *filled][: 2 * _MOST]:
        core = _core(name)
        if core is not None and core not in cores:
            cores[core] = CoreUse(_percent(busy.get(name)), _sum(filled.get(name)))
    total = next(
        (size for key in ("neuron_device", "device") if (size := _whole(sizes.get(key))) is not None),
        _whole(used),
    )
    return RuntimeUse(pid, dict(sorted(cores.items())), total)


def _core(name: object) -> int | None:
    if isinstance(name, str) and name.isascii() and name.isdecimal() and len(name) < 6:
        return int(name)
    return None


def _percent(value: object) -> float | None:
    said = _mapping(value).get("neuroncore_utilization")
    if isinstance(said, bool) or not isinstance(said, (int, float)):
        return None
    if not 0 <= said < _LARGEST or not math.isfinite(said):
        return None
    return min(100.0, float(said))


def _sum(value: object) -> int | None:
    """A core's memory: its parts together. A newer tool may give the sum itself."""
    if not isinstance(value, Mapping):
        return _whole(value)
    parts = [size for each in list(value.values())[:_MOST] if (size := _whole(each)) is not None]
    return sum(parts) if parts else None


def _whole(value: object) -> int | None:
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST:
        return value
    return None


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text[:200]).strip()
