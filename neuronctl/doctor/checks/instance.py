"""Checks of the instance and its Neuron devices: what is there, what may be used, what is broken."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from neuronctl.doctor.check import CannotTell, NotHere, Remedy, Seen, Trouble, check
from neuronctl.doctor.facts import FACTS_S, Facts
from neuronctl.errors import MachineUnfit
from neuronctl.host import Host
from neuronctl.machine.cage import find_cage
from neuronctl.machine.detect import Machine
from neuronctl.machine.devices import device_indexes, silent_devices
from neuronctl.machine.holder import Holder, find_holder, how_to_end
from neuronctl.machine.process import Process, read_process
from neuronctl.machine.server_process import find_servers
from neuronctl.result import Finding
from neuronctl.rules import container, devices, machine
from neuronctl.stack.libraries import library_version

_TROUBLESHOOT = "sdk:neuron-runtime/nrt-troubleshoot.rst"


def _neuron_machine(facts: Facts) -> Machine:
    """This machine.

    Raises NotHere where nobody means to run on a Neuron device, CannotTell where what would tell that hangs.
    """
    found = facts.machine()
    if facts.backend == "cpu" and not found.is_neuron:
        _demand(found, "devices", "driver", "instance_name")
        raise NotHere("this is no Neuron machine, and the cpu backend is meant")
    return found


def _demand(found: Machine, *fields: str) -> None:
    """Raise CannotTell where one of these facts has not been told."""
    for name in fields:
        if name in found.unanswered:
            raise CannotTell(found.unanswered[name])


@check(
    "instance",
    "Which instance this is",
    rules=(
        machine.unknown_instance,
        machine.native_unsupported,
        machine.disputed_support,
        machine.trn3_unlisted,
    ),
    timeout_s=FACTS_S,
)
def instance(facts: Facts) -> Seen:
    """The instance type, by the firmware's tables, neuron-ls or EC2's metadata service, and its family.

    The type decides which plugin may run, for which chip is compiled, and how many cores there are.
    """
    found = facts.machine()
    data: dict[str, object] = {
        "instance_type": found.instance_name,
        "named_by": found.instance_source,
        "target": found.instance.compiler_target if found.instance else None,
        "architecture": found.architecture,
        "vcpus": found.cores,
    }
    if found.instance_name is None:
        _demand(found, "instance_name")
        return Seen(f"no EC2 type is known: {found.cores} processors, {found.architecture}", data=data)
    if found.instance is None:
        return Seen(f"{found.instance_name} ({found.instance_source}), in no catalog of Neuron's", data=data)
    chip = f"{found.instance.devices} x {found.instance.chip}"
    says = f"{found.instance_name} ({found.instance_source}): {chip}, target {found.instance.compiler_target}"
    return Seen(says, data=data)


DRIVER_HIDDEN = Trouble(
    "devices.driver-version-hidden",
    "warning",
    "There are devices, and the driver's version cannot be read, so that it is not compared.",
    "neuronctl: /sys/module/neuron/version is where Linux shows a module's version",
)
DISK_UNKNOWN = Trouble(
    "devices.driver-on-disk-unknown",
    "warning",
    "modinfo does not tell which driver is on disk: whether a newer one waits to be loaded stays unknown.",
    f"{_TROUBLESHOOT}:95-121",
)
RUNTIME_HIDDEN = Trouble(
    "devices.runtime-version-hidden",
    "info",
    "The runtime's version is not in the name of libnrt.so, so that it is not compared with the driver.",
    "neuronctl: AWS's package names the file libnrt.so.VERSION",
)


@check(
    "driver",
    "The Neuron driver and the runtime",
    finds=(DRIVER_HIDDEN, DISK_UNKNOWN, RUNTIME_HIDDEN),
    rules=(
        devices.driver_missing,
        devices.runtime_missing,
        devices.driver_too_old,
        devices.driver_too_new,
        devices.driver_not_reloaded,
        devices.driver_on_disk_unfit,
        devices.kernel_6_18,
    ),
    timeout_s=FACTS_S,
)
def driver(facts: Facts) -> Seen:
    """The driver that is loaded, against the one on disk, the runtime library, and the kernel.

    The loaded one is what `/sys/module/neuron/version` says, the one on disk what modinfo says; the runtime
    is libnrt.so: the one that LD_LIBRARY_PATH leads to, else that of AWS's package. Which of them go together
    is in the table of versions (compat.yaml). A container uses its host's driver: it cannot bring one.
    """
    found = _neuron_machine(facts)
    _demand(found, "driver")
    runtime = library_version(facts.host, "libnrt.so", "aws-neuronx-runtime-lib")
    data: dict[str, object] = {
        "loaded": found.driver,
        "installed": found.driver_installed,
        "runtime": runtime,
        "kernel": found.kernel,
    }
    if found.driver is None and found.devices:
        hidden = DRIVER_HIDDEN(
            "/dev/neuron* is here, and /sys/module/neuron/version tells no version",
            fix="see what is there: cat /sys/module/neuron/version; for the one on disk: modinfo neuron",
        )
        return Seen("one is loaded, which is not known", (hidden,), data=data)
    if found.driver is None:
        return Seen("none is loaded", data=data)
    findings: list[Finding] = []
    if runtime is None and found.has_runtime:
        findings.append(RUNTIME_HIDDEN("libnrt.so is here, and the name of its file tells no version"))
    says = f"{found.driver} is loaded"
    if found.driver_installed:
        same = found.driver_installed == found.driver
        says += ", as on disk" if same else f", {found.driver_installed} is on disk"
    elif (silence := found.unanswered.get("driver_installed")) is not None:
        findings.append(
            DISK_UNKNOWN(
                f"which driver is on disk is not known: {silence}", fix="see what it says: modinfo neuron"
            )
        )
        says += ", which one is on disk is not known"
    if found.has_runtime is False:
        says += "; no runtime is found"
    else:
        says += f"; runtime {runtime}" if runtime else "; which runtime is not known"
    return Seen(says, tuple(findings), data=data)


_ANOTHER_HOST = (
    "dmesg | grep -i neuron tells whether a device failed; stop and start the instance to get another host"
)
_WITHOUT_GAP = (
    "pass devices without a gap (docker --device, AWS_NEURON_VISIBLE_DEVICES); in Kubernetes use Neuron's "
    "scheduler extension"
)
FEWER = Trouble(
    "devices.some-missing",
    "warning",
    "Fewer devices are visible than the instance type has, outside of a container.",
    "reference: instances",
)
GAPS = Trouble(
    "devices.gaps",
    "warning",
    "The visible devices do not follow each other: a server over several of them does not start.",
    "sdk:deploy/troubleshooting.rst:49-74",
)
FORBIDDEN = Trouble(
    "devices.no-access",
    "error",
    "This user may not open the devices.",
    "aws-neuron-driver preinstall:1 (a rule of udev gives everybody access)",
)


@check(
    "devices",
    "The Neuron devices that are visible here",
    finds=(FEWER, GAPS, FORBIDDEN),
    rules=(container.no_device,),
    timeout_s=FACTS_S,
)
def visible_devices(facts: Facts) -> Seen:
    """Every /dev/neuronN, against what the instance type has; whether it may be opened, and has a gap.

    In a container only those devices are visible that it was given. Without any the plugin over NxD Inference
    does not even register, and vLLM starts on the processor.
    """
    import os

    found = _neuron_machine(facts)
    host, indexes = facts.host, device_indexes(facts.host)
    data: dict[str, object] = {"devices": list(indexes)}
    if not indexes:
        return Seen("no /dev/neuron*", data=data)
    findings: list[Finding] = []
    expected = found.instance.devices if found.instance and not found.instance.ultraserver else None
    in_container = find_cage(facts.host) is not None
    if expected is not None and len(indexes) < expected and not in_container:
        missing = sorted(set(range(expected)) - set(indexes))
        findings.append(
            FEWER(
                f"{len(indexes)} of the {expected} devices of {found.instance_name} are visible; not there: "
                f"{', '.join(map(str, missing[:16]))}",
                fix=_ANOTHER_HOST,
            )
        )
    physical = sorted(_physical(facts, index) for index in indexes)
    if physical[-1] - physical[0] + 1 != len(physical):
        findings.append(
            GAPS(
                f"the visible devices have gaps: {', '.join(map(str, physical))}",
                fix=_WITHOUT_GAP if in_container else _ANOTHER_HOST,
            )
        )
    closed = [
        index for index in indexes if not os.access(host.path(f"/dev/neuron{index}"), os.R_OK | os.W_OK)
    ]
    if closed:
        findings.append(
            FORBIDDEN(
                f"this user may not open /dev/neuron{closed[0]}"
                + (f" and {len(closed) - 1} more" if len(closed) > 1 else ""),
                fix="sudo chmod 666 /dev/neuron*  (for good: aws-neuronx-dkms brings a rule for udev)",
            )
        )
    where = "in this container " if in_container else ""
    of = f" of {expected}" if expected else ""
    return Seen(f"{len(indexes)}{of} visible {where}".strip(), tuple(findings), data=data)


NEURON_LS = Trouble(
    "devices.neuron-ls",
    "warning",
    "neuron-ls does not tell about the devices: which cores are in use stays unknown.",
    "reference: neuron_ls (no_device)",
)
UNLISTED = Trouble(
    "devices.not-listed",
    "warning",
    "neuron-ls lists fewer devices than /dev has: no server can use the cores of the others.",
    "reference: neuron_ls (it lists each device that the driver tells of)",
)


@check("neuron-ls", "What neuron-ls tells", finds=(NEURON_LS, UNLISTED), timeout_s=FACTS_S)
def neuron_ls(facts: Facts) -> Seen:
    """Whether neuron-ls answers, in time and in JSON, and of each device.

    It is ended after 10 s, or when it floods.

    Without it the devices are counted from /dev and sysfs, and nobody tells who uses them. One that hangs is
    mostly a driver that hangs.
    """
    found = _neuron_machine(facts)
    indexes = device_indexes(facts.host)
    if not indexes:
        raise NotHere("there is no device to ask about")
    data: dict[str, object] = {"trouble": found.listing_trouble}
    if found.listing_trouble is None:
        says = f"tells of {_count(len(found.devices), 'device')}"
        if len(found.devices) >= len(indexes):
            return Seen(says, data=data)
        absent = [index for index in indexes if index not in {one.index for one in found.devices}]
        message = f"neuron-ls {says}, and /dev has {len(indexes)}; not listed: {_devices(absent)}"
        return Seen(f"{says} of {len(indexes)}", (UNLISTED(message, fix=_ANOTHER_HOST),), data=data)
    fix = "see what it says: neuron-ls --json-output; then dmesg | grep -i neuron"
    if found.listing_kind == "missing":
        fix = "install aws-neuronx-tools, or put /opt/aws/neuron/bin into PATH"
    elif found.listing_kind == "closed":
        fix = "sudo chmod a+x that file, or install aws-neuronx-tools again"
    elif found.listing_kind == "hangs":
        fix = "dmesg | grep -i neuron; a driver that hangs is loaded anew with sudo rmmod neuron; "
        fix += "sudo modprobe neuron, or by a restart of the instance"
    finding = NEURON_LS(f"neuron-ls {found.listing_trouble}", fix=fix)
    return Seen(finding.message, (finding,), data=data)


HELD = Trouble(
    "devices.held",
    "info",
    "Processes hold devices. Their cores are free again when they end.",
    f"{_TROUBLESHOOT}:124-145",
)
ALL_HELD = Trouble(
    "devices.all-held",
    "warning",
    "Every visible device is held by some process: another server finds no free core.",
    f"{_TROUBLESHOOT}:124-145",
)
ORPHANED = Trouble(
    "devices.orphaned-workers",
    "warning",
    "Workers of a server that has ended still hold devices.",
    "pub:58037814155; pub:58435212539 (reported)",
)


@check("cores in use", "Who holds the Neuron cores", finds=(HELD, ALL_HELD, ORPHANED), timeout_s=FACTS_S)
def cores_in_use(facts: Facts) -> Seen:
    """Which processes hold devices, with their names and owners, and workers that their server left behind.

    neuron-ls tells who holds a device, not which cores of it. In a container it tells the numbers that the
    host has for processes: those of other containers have no name here, and are ended on the host. vLLM's
    workers are named VLLM::…; one whose parent has ended is an orphan.
    """
    found = _neuron_machine(facts)
    if not found.devices:
        raise NotHere("there is no device")
    if found.listing_trouble is not None:
        raise CannotTell(f"neuron-ls {found.listing_trouble}")
    if not found.core_ids:
        raise CannotTell("neuron-ls tells of no core")
    held = {
        device.index: sorted({process.pid for process in device.processes})
        for device in found.devices
        if device.processes
    }
    pids = sorted({pid for each in held.values() for pid in each})
    told = {process.pid: process for device in found.devices for process in device.processes}
    known = {pid: find_holder(facts.host, told[pid]) for pid in pids}
    data: dict[str, object] = {
        "cores": len(found.core_ids),
        "lnc": found.lnc,
        "held": {str(index): each for index, each in held.items()},
        "processes": [_holder_data(holder) for holder in known.values()],
    }
    free = len(found.devices) - len(held)
    if not pids:
        return Seen(f"nobody holds any of {_count(len(found.core_ids), 'core')}", data=data)
    orphans = [
        one.process
        for one in known.values()
        if one.process is not None and one.container is None and _is_orphan(one.process, facts.host)
    ]
    findings = [_orphaned(orphans)] if orphans else []
    who = ", ".join(str(known[pid]) for pid in pids[:4])
    who += f" and {len(pids) - 4} more" if len(pids) > 4 else ""
    verb = "is" if len(held) == 1 else "are"
    message = f"{_devices(held)} (of {len(found.devices)}) {verb} held by process {who}"
    rest = [known[pid] for pid in pids if pid not in {one.pid for one in orphans}]
    stop = f"end them if nobody needs them: {how_to_end(rest)}"
    if rest:
        findings.append((HELD if free else ALL_HELD)(message, fix=stop))
    remedies = tuple(
        Remedy("devices.orphaned-workers", f"end the orphaned worker {one}", act=partial(_end_orphan, one))
        for one in orphans
    )
    return Seen(message, tuple(findings), data=data, remedies=remedies)


def _holder_data(holder: Holder) -> dict[str, object]:
    """A holder for machines: the name, owner and container as far as they are known."""
    data: dict[str, object] = {"pid": holder.pid}
    if holder.process is not None:
        data |= {"name": holder.process.name, "owner": holder.process.owner}
    return data | ({"container": holder.container} if holder.container else {})


def _is_orphan(process: Process, host: Host) -> bool:
    """Whether whoever started this worker has ended. In a container the server may be process 1 itself."""
    if not process.name.startswith("VLLM::") or process.parent != 1 or process.state == "Z":
        return False
    return all(server.process.pid != 1 for server in find_servers(host))


def _end_orphan(process: Process, host: Host) -> str:
    """End it, unless its number is another process' by now, or it has ended. Raises MachineUnfit."""
    import os
    import signal

    now = read_process(host, process.pid)
    if now is None or now.name != process.name or not _is_orphan(now, host):
        return "it has ended by itself"
    try:
        os.kill(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        return "it has ended by itself"
    except PermissionError:
        raise MachineUnfit(
            f"process {process} is another user's",
            fix=f"sudo kill {process.pid}",
            code="machine.not-ours",
        ) from None
    return "asked to end; its cores are free when neuron-ls shows it no more"


def _orphaned(orphans: list[Process]) -> Finding:
    pids = " ".join(str(one.pid) for one in orphans)
    return ORPHANED(
        f"{len(orphans)} worker{'s' if len(orphans) > 1 else ''} of a server that has ended "
        f"still hold{'' if len(orphans) > 1 else 's'} devices: {', '.join(map(str, orphans[:4]))}",
        fix=f"kill {pids}; then wait until neuron-ls shows none (reported: up to 45 s)",
    )


_LNC_VARIABLE = "NEURON_LOGICAL_NC_CONFIG"
_LNC_FILE = "/opt/aws/neuron/logical_nc_config"
LNC_PLACES = Trouble(
    "machine.lnc-places",
    "warning",
    "Two places say a different LNC for this machine.",
    "sdk:about-neuron/arch/neuron-features/logical-neuroncore-config.rst:41; "
    "sdk:deploy/eks/prerequisites.rst:51-60",
)
LNC_UNKNOWN = Trouble(
    "machine.lnc-impossible",
    "error",
    "The LNC that is set is none that the chip has.",
    "sdk:compiler/error-codes/EARG001.rst",
)


@check(
    "LNC", "How many physical cores make a logical one", finds=(LNC_PLACES, LNC_UNKNOWN), timeout_s=FACTS_S
)
def lnc(facts: Facts) -> Seen:
    """NEURON_LOGICAL_NC_CONFIG, the devices and /opt/aws/neuron/logical_nc_config, against each other.

    The variable wins: whoever sets it means it, so that only the file may contradict it. What is compiled for
    one LNC does not load with another, and the number of cores changes with it. Inferentia2 and Trainium1
    have LNC 1 only.
    """
    from neuronctl.machine.driver import configured_lnc

    found = _neuron_machine(facts)
    if found.instance is None and not found.devices:
        raise NotHere("the chip is not known")
    listed = None if found.listing_trouble else next((one.lnc for one in found.devices if one.lnc), None)
    said = {
        _LNC_VARIABLE: facts.environ.get(_LNC_VARIABLE, "").strip() or None,
        "neuron-ls": str(listed or "") or None,
        _LNC_FILE: str(configured_lnc(facts.host) or "") or None,
    }
    places = {place: value for place, value in said.items() if value is not None}
    data: dict[str, object] = {"lnc": found.lnc, "from": found.lnc_source, "said": places}
    supported = found.instance.lnc_supported if found.instance else (1, 2)
    # Only the first place is followed; one that is passed over does no harm but to whoever believes it.
    in_force = next(iter(places), None)
    wrong = {
        place: value
        for place, value in places.items()
        if place == in_force and value not in map(str, supported)
    }
    findings = [
        LNC_UNKNOWN(
            f"{place} says LNC {value[:20]}, and {found.instance_name or 'Neuron'} has LNC "
            f"{' or '.join(map(str, supported))} only",
            fix=f"unset {place}" if place == _LNC_VARIABLE else f"set it to {supported[-1]} in {place}",
        )
        for place, value in wrong.items()
    ]
    wins = places.get(in_force or "", "")
    if not wrong and places.get(_LNC_FILE, wins) != wins:
        findings.append(_lnc_disputed(str(in_force), wins, places[_LNC_FILE], supported))
    if found.lnc is None:
        _demand(found, "lnc")
    cores = f", {len(found.core_ids)} logical cores" if found.core_ids else ""
    return Seen(f"{found.lnc} ({found.lnc_source}){cores}", tuple(findings), data=data)


def _lnc_disputed(place: str, wins: str, file: str, supported: Collection[int]) -> Finding:
    """Of what is in force, and a file that says something else. An LNC that the chip lacks is no way out."""
    fix = f"let them agree: {_LNC_VARIABLE}={wins} in {_LNC_FILE}"
    if file in map(str, supported):
        fix += f", or export {_LNC_VARIABLE}={file}"
    message = (
        f"{place} says {wins}, {_LNC_FILE} says {file}: the first wins, and what was compiled for the other "
    )
    return LNC_PLACES(f"{message}does not load", fix=fix)


@check(
    "device memory errors",
    "Memory errors that the devices counted",
    rules=(devices.hardware_errors,),
    timeout_s=FACTS_S,
)
def memory_errors(facts: Facts) -> Seen:
    """What ECC could not correct in the devices' memory and SRAM, by the driver's counters in sysfs.

    A counter that cannot be read, or says no number, is told: errors may be behind it.
    Before driver 2.28 only root may read most of that tree, and 2.31 moved some of it.
    """
    found = _neuron_machine(facts)
    indexes = device_indexes(facts.host)
    if not indexes:
        raise NotHere("there is no device")
    _demand(found, "hardware_errors")
    silent = silent_devices(facts.host, indexes)
    unread = f"the counters of {_devices(silent)} in sysfs say nothing to this user" if silent else ""
    if silent and not found.hardware_errors:
        raise CannotTell(unread)
    data: dict[str, object] = {"uncorrected": found.hardware_errors, "unread": list(silent)}
    says = str(found.hardware_errors or "none")
    return Seen(f"{says}, and {unread}" if silent else says, data=data)


COLLECTIVES = Trouble(
    "devices.collectives-not-installed",
    "warning",
    "libnccom.so is not installed: a server of more than one core does not start.",
    f"{_TROUBLESHOOT}:488-500",
)


@check(
    "collectives",
    "What several cores work together with",
    finds=(COLLECTIVES,),
    timeout_s=FACTS_S,
)
def collectives(facts: Facts) -> Seen:
    """libnccom.so, without which no server can use more than one core."""
    found = _neuron_machine(facts)
    if not found.devices:
        raise NotHere("there is no device")
    _demand(found, "has_collectives")
    version = facts.usable_stack.collectives if facts.usable_stack else None
    data: dict[str, object] = {"installed": found.has_collectives, "version": version}
    if found.has_collectives is False:
        finding = COLLECTIVES(
            "libnccom.so is neither in /opt/aws/neuron/lib nor where libraries are looked for: no server can "
            "use more than one core",
            fix="install aws-neuronx-collectives",
        )
        return Seen("libnccom.so is not installed", (finding,), data=data)
    return Seen(f"libnccom.so {version}" if version else "libnccom.so is installed", data=data)


def _physical(facts: Facts, index: int) -> int:
    """The number that the host gives the device: in Kubernetes a node may be renamed, its minor number stays.

    Source: optimum-neuron, optimum/neuron/models/inference/backend/neuron_device_memory.py:34-52.
    """
    import os
    import stat

    try:
        facts_of_node = facts.host.path(f"/dev/neuron{index}").stat()
    except OSError:
        return index
    return os.minor(facts_of_node.st_rdev) if stat.S_ISCHR(facts_of_node.st_mode) else index


def _devices(indexes: Collection[int]) -> str:
    """These devices by their numbers, as the object of a sentence."""
    return f"device{'' if len(indexes) == 1 else 's'} {', '.join(map(str, indexes))}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


CHECKS = (
    instance,
    driver,
    visible_devices,
    neuron_ls,
    cores_in_use,
    lnc,
    collectives,
    memory_errors,
)
