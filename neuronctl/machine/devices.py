"""The Neuron devices that this process can see, by neuron-ls, else by sysfs and `/dev`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from neuronctl.host import Host
from neuronctl.machine.catalog import Chip, chips
from neuronctl.machine.neuron_tool import NOT_INSTALLED, find_neuron_tool, why_not_found
from neuronctl.machine.reading import NoAnswer, answered, list_folder, read_number, read_text

NEURON_LS_S = 10.0
# Where the driver shows its devices; which of them there is depends on its version.
SYSFS = ("/sys/devices/virtual/neuron_device", "/sys/class/neuron_device")
_ERROR_COUNTERS = ("mem_ecc_uncorrected", "sram_ecc_uncorrected")
# 16 devices with a process each take 10 kB; what is far above is no answer of neuron-ls.
_LONGEST_ANSWER = 4_000_000
_MOST_DEVICES = 1024
# What is above is no number of neuron-ls: far more than any device, machine or kernel has.
_MOST_CORES = 64
_LARGEST_CORE = 65_535
_LARGEST_DEVICE = 9999
_LARGEST_LNC = 8
_LARGEST_PID = 2**31


@dataclass(frozen=True)
class NeuronProcess:
    """A process that holds a device. `command` may be empty, as for one in another container."""

    pid: int
    command: str


@dataclass(frozen=True)
class NeuronDevice:
    """One chip. `core_ids` are logical cores, counted over the devices that are visible here.

    `lnc` is None where the tool names none, as on trn1 and inf2. neuron-ls tells which processes hold a
    device, not which of its cores.
    """

    index: int
    core_ids: tuple[int, ...]
    lnc: int | None
    processes: tuple[NeuronProcess, ...]

    def at_lnc(self, lnc: int | None) -> NeuronDevice:
        """The same device with its physical cores counted `lnc` to a logical core."""
        told = self.lnc or 1
        physical = len(self.core_ids) * told
        if lnc is None or lnc == told or not self.core_ids or physical % lnc:
            return self
        first = self.core_ids[0] * told // lnc
        return replace(self, core_ids=tuple(range(first, first + physical // lnc)), lnc=lnc)


@dataclass(frozen=True)
class Listing:
    """What neuron-ls told; all empty where it told nothing. Only newer tools name the instance type.

    `trouble` says in a clause why there is no answer that can be used, as "did not answer in 10 s"; `kind` is
    what it comes down to: the tool is not installed, may not be run, hangs, or says something that is no
    list.
    """

    devices: tuple[NeuronDevice, ...] = ()
    instance_name: str | None = None
    trouble: str | None = None
    kind: Literal["missing", "closed", "hangs", "bad"] | None = None


def device_indexes(host: Host) -> tuple[int, ...]:
    """The N of every `/dev/neuronN`, in order. Raises NoAnswer."""
    names = (re.fullmatch(r"neuron([0-9]{1,4})", name, re.ASCII) for name in list_folder(host, "/dev"))
    return tuple(sorted(int(match[1]) for match in names if match))


def ask_neuron_ls(host: Host, *, timeout_s: float = NEURON_LS_S) -> Listing:
    """Run `neuron-ls --json-output`, which takes all of `timeout_s` where the driver hangs."""
    program = find_neuron_tool(host, "neuron-ls")
    if program is None:
        trouble = why_not_found(host, "neuron-ls")
        return Listing(trouble=trouble, kind="missing" if trouble == NOT_INSTALLED else "closed")
    done = host.run([program, "--json-output"], timeout_s=timeout_s)
    if done.returncode == 0:
        return read_neuron_ls(done.stdout)
    return Listing(trouble=done.why, kind="hangs" if done.hangs else "bad")


def read_neuron_ls(text: str) -> Listing:
    """The devices in an answer of `neuron-ls --json-output`; the trouble where it is no such answer.

    Keys that are missing or unknown are passed over: tools of different ages print different ones
    (aws-neuron-sdk, tools/neuron-sys-tools/neuron-ls.rst:213-272, and captures). With a number that cannot
    be, or without any cores, nothing of the answer is believed.
    """
    import json

    if not text.strip():
        return Listing(trouble="printed nothing", kind="bad")
    if len(text) > _LONGEST_ANSWER:
        return Listing(trouble=f"printed {len(text)} characters, which is no answer of its", kind="bad")
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return Listing(trouble=f"printed something that is no JSON: {_plain(text)[:60]}", kind="bad")
    is_list = isinstance(answer, list) and all(isinstance(element, dict) for element in answer)
    if not is_list or not 0 < len(answer) <= _MOST_DEVICES:
        return Listing(trouble="printed JSON that is no list of devices", kind="bad")
    devices: list[NeuronDevice] = []
    next_core = 0
    for position, element in enumerate(answer):
        try:
            device = _device(element, position, next_core)
        except _OddNumberError as error:
            return Listing(trouble=f"printed {error} for the device at place {position}", kind="bad")
        devices.append(device)
        next_core = max([next_core, *(core + 1 for core in device.core_ids)])
    name = answer[0].get("instance_type")
    return Listing(
        devices=tuple(sorted(devices, key=lambda device: device.index)),
        instance_name=name if isinstance(name, str) else None,
    )


def infer_lnc(device: NeuronDevice, chip: Chip | None) -> NeuronDevice:
    """The device with the LNC that its count of cores implies, where the tool named none and it varies."""
    if device.lnc or chip is None or len(chip.lnc_supported) == 1 or not device.core_ids:
        return device
    lnc, rest = divmod(chip.physical_cores, len(device.core_ids))
    return replace(device, lnc=lnc) if not rest and lnc in chip.lnc_supported else device


def chip_of(host: Host, indexes: tuple[int, ...]) -> Chip | None:
    """The chip by sysfs' `device_name`, None where it cannot be read or is not in the catalog.

    Raises NoAnswer. Not by `arch_type`, which is NDv3 on Inferentia2 and on Trainium2.
    """
    for index in indexes:
        for base in SYSFS:
            path = f"{base}/neuron{index}/info/architecture/device_name"
            if name := read_text(host, path, 100).strip():
                return next((chip for chip in chips() if chip.device_name == name), None)
    return None


def read_sysfs(
    host: Host, indexes: tuple[int, ...], *, chip: Chip | None, lnc: int
) -> tuple[NeuronDevice, ...]:
    """The devices without neuron-ls: what sysfs lets us read (before driver 2.28 only root may), else the
    chip's facts. No node of it tells who holds a device."""
    counts: Mapping[int, int | None] = {}
    with suppress(NoAnswer):  # the chip's facts are as good
        counts = answered(
            host, SYSFS[0], lambda: {one: first_number(host, one, "core_count") for one in indexes}
        )
    devices: list[NeuronDevice] = []
    next_core = 0
    for index in indexes:
        physical = counts.get(index) or (chip.physical_cores if chip else 0)
        logical = physical // lnc if physical <= 64 else 0
        devices.append(
            NeuronDevice(
                index=index,
                core_ids=tuple(range(next_core, next_core + logical)),
                lnc=lnc,
                processes=(),
            )
        )
        next_core += logical
    return tuple(devices)


def count_hardware_errors(host: Host, indexes: tuple[int, ...]) -> int:
    """Errors in device memory and SRAM that ECC could not correct, as far as sysfs shows them.

    Driver 2.31 moved nodes of its tree (aws-neuron-sdk 2.33, tools/neuron-sys-tools/neuron-sysfs-user-guide);
    where a counter is not found it counts as none (`silent_devices` names those). Raises NoAnswer.
    """
    return answered(host, SYSFS[0], lambda: _count_hardware_errors(host, indexes)) if indexes else 0


def _count_hardware_errors(host: Host, indexes: tuple[int, ...]) -> int:
    return sum(_errors(host, index, counter) or 0 for index in indexes for counter in _ERROR_COUNTERS)


def _errors(host: Host, index: int, counter: str) -> int | None:
    """What the counter says, which is a file or the file `total` of a folder."""
    for path in (f"stats/hardware/{counter}/total", f"stats/hardware/{counter}"):
        if (number := first_number(host, index, path)) is not None:
            return number
    return None


def silent_devices(host: Host, indexes: tuple[int, ...]) -> tuple[int, ...]:
    """The devices whose errors are not all known: a counter is there and says no number, or none is there.

    Before driver 2.28 only root may read them. Raises NoAnswer.
    """
    return answered(host, SYSFS[0], lambda: tuple(index for index in indexes if _is_silent(host, index)))


def _is_silent(host: Host, index: int) -> bool:
    unread = [counter for counter in _ERROR_COUNTERS if _errors(host, index, counter) is None]
    return len(unread) == len(_ERROR_COUNTERS) or any(_is_there(host, index, counter) for counter in unread)


def _is_there(host: Host, index: int, counter: str) -> bool:
    """Whether a tree has this counter, or may have it where we may not look."""
    for base in SYSFS:
        try:
            os.stat(host.path(f"{base}/neuron{index}/stats/hardware/{counter}"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            pass
        return True
    return False


def first_number(host: Host, index: int, path: str) -> int | None:
    """The number in the first of the trees that has this file of device `index`; None where none has."""
    for base in SYSFS:
        if (number := read_number(host, f"{base}/neuron{index}/{path}")) is not None:
            return number
    return None


class _OddNumberError(Exception):
    """What stands where a number should be, as the object of "printed"."""


def _device(element: Mapping[str, object], position: int, next_core: int) -> NeuronDevice:
    """One element of the answer. Raises _OddNumberError."""
    cores = _core_ids(element)
    if not cores:  # older tools name only how many there are
        count = _number(element, "nc_count", _MOST_CORES) or 0
        cores = tuple(range(next_core, next_core + count))
    if not cores:
        raise _OddNumberError("no cores")
    index = _number(element, "neuron_device", _LARGEST_DEVICE)
    listed = element.get("neuron_processes")
    return NeuronDevice(
        index=position if index is None else index,
        core_ids=cores,
        lnc=_number(element, "logical_neuroncore_config", _LARGEST_LNC) or None,
        processes=tuple(
            NeuronProcess(pid, _plain(each.get("command")))
            for each in (listed if isinstance(listed, list) else [])
            if isinstance(each, dict) and (pid := _number(each, "pid", _LARGEST_PID))
        ),
    )


def _core_ids(element: Mapping[str, object]) -> tuple[int, ...]:
    name = "neuroncore_ids"
    listed = element.get(name)
    if listed is None:
        return ()
    if not isinstance(listed, list):
        raise _odd(name, listed)
    if len(listed) > _MOST_CORES:
        raise _OddNumberError(f"{len(listed)} {name}")
    ids = (_number({name: each}, name, _LARGEST_CORE) for each in listed)
    return tuple(number for number in ids if number is not None)


def _number(element: Mapping[str, object], name: str, most: int) -> int | None:
    """The whole number from 0 to `most` under `name`; None where there is none."""
    value = element.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise _odd(name, value)
    return value


def _odd(name: str, value: object) -> _OddNumberError:
    return _OddNumberError(f"{name} {_plain(repr(value))[:30]}")


def _plain(value: object) -> str:
    """What may be shown on a terminal: another user's process chose its command's characters."""
    text = value[:500] if isinstance(value, str) else ""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()
