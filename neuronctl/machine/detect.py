"""What this machine is, as far as planning needs to know."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from neuronctl.errors import UsageError
from neuronctl.host import Host
from neuronctl.machine.cage import find_cage
from neuronctl.machine.catalog import InstanceType, chips, find_instance, known_instance
from neuronctl.machine.control_group import limiting_groups
from neuronctl.machine.cores import CoreSet
from neuronctl.machine.devices import (
    NeuronDevice,
    ask_neuron_ls,
    chip_of,
    count_hardware_errors,
    device_indexes,
    infer_lnc,
    read_sysfs,
)
from neuronctl.machine.driver import configured_lnc, has_library, installed_driver, loaded_driver
from neuronctl.machine.efa import has_efa
from neuronctl.machine.identity import identify_instance
from neuronctl.machine.memory import read_memory
from neuronctl.machine.mounts import find_mount, read_mounts
from neuronctl.machine.reading import NoAnswer, answered, read_text
from neuronctl.machine.room import free_bytes

T = TypeVar("T")
# dlc:2.32.0 vllm/inference/0.24.0.1.1.0/Dockerfile.neuronx:254-258
_AWS_ENTRY_POINT = "/usr/local/bin/vllm_entrypoint.py"


@dataclass(frozen=True)
class Machine:
    """Facts about the hardware.

    `cpu_flags` are the instruction sets that code compiled for this CPU may use; `cores` are those this
    process may run on, not all that exist; `compiler` is the C++ compiler that torch.compile calls (`CXX`,
    else g++), by the name and size of its file, empty where there is none; `memory_bytes` is the smallest
    of the machine's memory and the limits of its control groups, None where none can be read.

    `instance_name` is the EC2 type as found, `instance` what the catalog knows of it, `instance_source` who
    named it: `--target`, `DMI`, `neuron-ls` or `IMDSv2`. `devices` are those visible here, in a container
    fewer than the instance has. `lnc` is how many physical cores make one logical core, `lnc_source` who says
    so. `driver` is the version that is loaded, `driver_installed` the one on disk. `kernel` is its release.
    `disk_free_bytes` is counted where neuronctl keeps its artifacts, `filesystem` is the type of file system
    there. `has_efa` says whether there is an EFA; `has_runtime` and `has_collectives` whether libnrt and
    libnccom are installed. `hardware_errors` counts uncorrected memory errors of the devices.
    `listing_trouble` is why neuron-ls, which is asked where there is a device, told nothing, `listing_kind`
    what that comes down to (Listing). `in_aws_image` says whether this is a container of AWS's vLLM image, by
    its entry point, `in_container` whether it is a container at all.
    `unanswered` maps the names of those fields that are empty because what tells them hangs, or tells
    nothing that can be understood, to a sentence about it.
    `assumed` means that the machine is another one (`--target`): then nothing was read here, and what the
    catalog does not state is empty.
    """

    architecture: str
    cpu_model: str
    cpu_flags: tuple[str, ...]
    cores: int
    memory_bytes: int | None
    compiler: str
    instance: InstanceType | None = None
    instance_name: str | None = None
    instance_source: str | None = None
    devices: tuple[NeuronDevice, ...] = ()
    lnc: int | None = None
    lnc_source: str | None = None
    driver: str | None = None
    driver_installed: str | None = None
    kernel: str = ""
    disk_free_bytes: int | None = None
    filesystem: str | None = None
    has_efa: bool | None = None
    has_runtime: bool | None = None
    has_collectives: bool | None = None
    hardware_errors: int = 0
    listing_trouble: str | None = None
    listing_kind: Literal["missing", "closed", "hangs", "bad"] | None = None
    in_aws_image: bool = False
    in_container: bool = False
    unanswered: Mapping[str, str] = field(default_factory=dict)
    assumed: bool = False

    @property
    def is_neuron(self) -> bool:
        """Whether it was made for Neuron: it has a device or a driver, or is of such a type."""
        return bool(self.devices or self.driver or self.instance is not None)

    @property
    def core_ids(self) -> CoreSet:
        """The logical cores at `lnc`: of the visible devices, else those the instance type has; else none."""
        if self.devices:
            return CoreSet(tuple(core for each in self.devices for core in each.at_lnc(self.lnc).core_ids))
        if self.instance is not None:
            return CoreSet(tuple(range(self.instance.logical_cores.get(self.lnc or 0, 0))))
        return CoreSet()


def detect_machine(host: Host, target: str | None = None) -> Machine:
    """The facts of this machine, or of the instance type `target`; a fact that cannot be read is empty.

    Where there is neither `/dev/neuron*` nor a loaded driver, no process is run. The network is asked only
    where there are devices, or on a machine of Amazon's, and neither the firmware nor neuron-ls names the
    type. UsageError where the catalog does not know `target`.
    """
    if target is not None:
        return _assume(find_instance(target))
    asked = _Questions()
    model, flags = asked.ask("cpu_model", lambda: _cpu(host)) or ("", ())
    indexes = asked.ask("devices", lambda: device_indexes(host)) or ()
    listing = ask_neuron_ls(host) if indexes else None
    told = listing.instance_name if listing else None
    found = asked.ask("instance_name", lambda: identify_instance(host, told=told, has_devices=bool(indexes)))
    name, name_source = found or (None, None)
    instance = known_instance(name) if name else None
    devices = listing.devices if listing else ()
    lnc, lnc_source = None, None
    if indexes:
        chip = next((each for each in chips() if instance and each.name == instance.chip), None)
        chip = chip or asked.ask("lnc", lambda: chip_of(host, indexes))
        default = chip.lnc_default if chip else None
        devices = tuple(infer_lnc(each, chip) for each in devices)
        lnc, lnc_source = _lnc(host, devices, default, asked)
        devices = devices or read_sysfs(host, indexes, chip=chip, lnc=lnc or 1)
    elif instance is not None:
        lnc, lnc_source = _lnc(host, (), instance.lnc_default, asked)
    driver, home = asked.ask("driver", lambda: loaded_driver(host)), _home(host)
    return Machine(
        architecture=os.uname().machine,
        cpu_model=model,
        cpu_flags=flags,
        cores=_cores(),
        memory_bytes=asked.ask("memory_bytes", lambda: _memory(host)),
        compiler=_compiler(host),
        instance=instance,
        instance_name=name,
        instance_source=name_source,
        devices=devices,
        lnc=lnc,
        lnc_source=lnc_source,
        driver=driver,
        driver_installed=asked.ask("driver_installed", lambda: installed_driver(host)) if driver else None,
        kernel=os.uname().release,
        disk_free_bytes=asked.ask("disk_free_bytes", lambda: _free_bytes(host, home)),
        filesystem=asked.ask("filesystem", lambda: _filesystem(host, home)),
        has_efa=asked.ask("has_efa", lambda: has_efa(host)),
        has_runtime=asked.ask("has_runtime", lambda: has_library(host, "libnrt.so")),
        has_collectives=asked.ask("has_collectives", lambda: has_library(host, "libnccom.so")),
        hardware_errors=asked.ask("hardware_errors", lambda: count_hardware_errors(host, indexes)) or 0,
        listing_trouble=listing.trouble if listing else None,
        listing_kind=listing.kind if listing else None,
        in_aws_image=os.path.isfile(host.path(_AWS_ENTRY_POINT)),
        in_container=asked.ask("in_container", lambda: find_cage(host)) is not None,
        unanswered=asked.unanswered,
    )


class _Questions:
    """Asks for one fact after the other; `unanswered` says of which there was no answer, and why."""

    def __init__(self) -> None:
        self.unanswered: dict[str, str] = {}

    def ask(self, name: str, find: Callable[[], T]) -> T | None:
        """What `find` gives; None where it cannot, which is told under `name`, a field of the machine."""
        try:
            return find()
        except NoAnswer as silence:
            self.unanswered[name] = silence.what
        except OSError as error:
            self.unanswered[name] = f"{error.filename or 'a file'} cannot be read: {error.strerror}"
        return None


def _assume(instance: InstanceType) -> Machine:
    return Machine(
        architecture="",
        cpu_model="",
        cpu_flags=(),
        cores=instance.vcpus or 1,
        memory_bytes=instance.host_memory_bytes,
        compiler="",
        instance=instance,
        instance_name=instance.name,
        instance_source="--target",
        lnc=instance.lnc_default,
        lnc_source="default",
        assumed=True,
    )


def _lnc(
    host: Host, devices: tuple[NeuronDevice, ...], default: int | None, asked: _Questions
) -> tuple[int | None, str | None]:
    """The LNC in force and who says so.

    The variable wins over what the Neuron config says too (neuronx-distributed-inference,
    models/config.py:729-759). A value of it that is no digit from 1 to 9 is passed over: that is for a rule
    to refuse.
    """
    said = host.environ.get("NEURON_LOGICAL_NC_CONFIG", "").strip()
    if len(said) == 1 and said in "123456789":
        return int(said), "NEURON_LOGICAL_NC_CONFIG"
    if told := next((device.lnc for device in devices if device.lnc), None):
        return told, "neuron-ls"
    if configured := asked.ask("lnc", lambda: configured_lnc(host)):
        return configured, "/opt/aws/neuron/logical_nc_config"
    return (default, "default") if default else (None, None)


def _home(host: Host) -> Path | None:
    """neuronctl's own folder, which is made when it is first needed; None where it has no place."""
    try:
        return host.neuronctl_home
    except UsageError:
        return None


def _free_bytes(host: Host, home: Path | None) -> int | None:
    return answered(host, str(home), lambda: free_bytes(home)) if home else None


def _filesystem(host: Host, home: Path | None) -> str | None:
    if home is None:
        return None
    mount = answered(host, str(home), lambda: find_mount(os.path.realpath(home), read_mounts(host)))
    return mount.kind if mount else None


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


def _cpu(host: Host) -> tuple[str, tuple[str, ...]]:
    """The first core's model name and flags (x86: `flags`, Arm: `Features`)."""
    model = ""
    flags: tuple[str, ...] = ()
    # Only the first core: the file of a machine with 192 of them takes long to read.
    first_core = read_text(host, "/proc/cpuinfo", 16_384).partition("\n\n")[0]
    for line in first_core.splitlines():
        name, _, value = line.partition(":")
        match name.strip():
            case "model name":
                model = value.strip()
            case "flags" | "Features":
                flags = tuple(sorted(value.split()))
    return model, flags


def _memory(host: Host) -> int | None:
    def least() -> int | None:
        total = read_memory(host).total_bytes
        limits = [group.limit_bytes for group in limiting_groups(host, total)]
        return min(limits if total is None else [total, *limits], default=None)

    return answered(host, "/proc/meminfo", least)
