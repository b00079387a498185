"""Rules about what is on this machine: devices, who holds them, driver, kernel and libraries.

None of them is about a machine that is only assumed (`--target`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from neuronctl.errors import MachineUnfit
from neuronctl.machine.cores import CoreSet, partition
from neuronctl.machine.detect import Machine
from neuronctl.machine.devices import NeuronDevice
from neuronctl.neuron.outlook import Outlook
from neuronctl.profile.variable import variable_place
from neuronctl.rules.place import variable_key
from neuronctl.rules.rule import NEURON, Remark, rule
from neuronctl.rules.situation import Situation
from neuronctl.stack.drivers import Fault, driver_faults
from neuronctl.stack.version import at_least, release

_TROUBLESHOOT = "sdk:neuron-runtime/nrt-troubleshoot.rst"
# With these the native plugin needs no device (reference: env_vars).
_WITHOUT_DEVICE = ("VLLM_NEURON_CPU_COMPILE", "VLLM_NEURON_CPU_MODE")


def wants_device(situation: Situation) -> bool:
    """Whether this very machine must have a Neuron device."""
    if situation.machine.assumed:
        return False
    if situation.backend != "native":
        return True
    return all(situation.environment.get(name, "") in ("", "0") for name in _WITHOUT_DEVICE)


@rule(
    "devices.driver-missing",
    "error",
    f"{_TROUBLESHOOT}:72-75",
    backends=NEURON,
    covers=("driver-missing",),
)
def driver_missing(situation: Situation) -> Remark | None:
    """There is neither a Neuron device nor a driver.

    Without a device the plugin over NxD Inference does not even register, and vLLM starts on the processor.
    A plan for another machine is made with --target.
    """
    machine = situation.machine
    if machine.devices or machine.driver is not None or not wants_device(situation):
        return None
    if not machine.unanswered.keys().isdisjoint(("devices", "driver")):
        return None
    install = "install aws-neuronx-dkms, then sudo modprobe neuron"
    if machine.in_container:
        install += (
            ", both on this container's host: a container cannot bring a driver; then give it a device, "
        )
        install += "docker run --device=/dev/neuron0 …"
    if machine.instance_name is None:
        return Remark(
            "this machine has no Neuron device and no Neuron driver",
            fix="add --target inf2.48xlarge to plan or compile for a machine that is not here; "
            f"on a Neuron instance {install}",
        )
    name, missing = machine.instance_name, "no Neuron driver is loaded: there is no /dev/neuron*"
    elsewhere = "--target plans and compiles for another machine"
    if machine.instance is None:
        return Remark(
            f"{name} is no Neuron instance that is known, and {missing}",
            fix=f"serve on an instance that has Neuron devices, such as inf2.xlarge; {elsewhere}",
        )
    return Remark(f"{name} is a Neuron instance, and {missing}", fix=f"{install}; or {elsewhere}")


@rule(
    "devices.not-contiguous",
    "error",
    "sdk:deploy/troubleshooting.rst:49-74",
    backends=NEURON,
    covers=("non-contiguous-devices",),
)
def not_contiguous(situation: Situation) -> Remark | None:
    """The server's cores lie on devices whose numbers do not follow each other.

    The runtime refuses them ("Neuron cores are not contiguous"). It happens where a container is given
    single devices, and in Kubernetes without Neuron's scheduler extension.
    """
    outlook = situation.outlook
    if outlook is None or outlook.assigned is None or len(situation.machine.devices) < 2:
        return None
    used = [device.index for device, _ in _used_devices(situation, outlook, outlook.assigned)]
    if len(used) < 2 or used[-1] - used[0] + 1 == len(used):
        return None
    return Remark(
        f"{len(outlook.assigned)} cores need {len(used)} devices, and those that are visible here are "
        f"not contiguous: {', '.join(map(str, used))}",
        fix="pass devices without a gap (docker --device, AWS_NEURON_VISIBLE_DEVICES); in Kubernetes use "
        "Neuron's scheduler extension",
    )


@rule(
    "devices.cores-in-use",
    "error",
    f"{_TROUBLESHOOT}:124-145",
    backends=NEURON,
    covers=("cores-in-use", "visible-cores-overlap", "zombie-workers"),
)
def cores_in_use(situation: Situation) -> Remark | None:
    """Another process holds cores that this server would take.

    A core belongs to one process until that ends. neuron-ls tells who holds a device, not which cores of
    it; here the server wants all cores of such a device. vLLM's workers are named VLLM::…, so that pkill -f
    vllm misses them, and are reported to free their cores 30 to 45 s after their end.
    """
    return _busy(situation, whole=True)


@rule(
    "devices.shared",
    "warning",
    f"{_TROUBLESHOOT}:124-145; sdk:neuron-runtime/guides/configuration-guide.rst:99-122",
    backends=NEURON,
    covers=("visible-cores-overlap",),
)
def shared(situation: Situation) -> Remark | None:
    """Another process holds a device of which this server would take some of the cores.

    neuron-ls does not tell which cores of the device it holds: if they are the same, this server fails.
    """
    return _busy(situation, whole=False)


def _busy(situation: Situation, *, whole: bool) -> Remark | None:
    """What to say of devices that others hold: those whose cores are all wanted (`whole`), or some."""
    outlook, machine = situation.outlook, situation.machine
    if outlook is None or outlook.assigned is None or machine.assumed:
        return None
    if not any(device.processes for device in machine.devices):
        return None
    busy = [
        (device, len(cores) == len(device.at_lnc(outlook.lnc).core_ids))
        for device, cores in _used_devices(situation, outlook, outlook.assigned)
        if device.processes
    ]
    # What is certain is said; what is only likely is not added to it.
    if not busy or any(all_wanted for _, all_wanted in busy) is not whole:
        return None
    devices = [device for device, all_wanted in busy if all_wanted is whole]
    numbers = ", ".join(str(device.index) for device in devices)
    held = f"device {numbers} is held" if len(devices) == 1 else f"devices {numbers} are held"
    message = f"the cores {outlook.assigned} are wanted, and {held} by {_holders(devices, machine)}"
    if not whole:
        message += "; which cores of it, neuron-ls does not tell"
    return Remark(message, fix=_free_fix(situation, outlook, devices))


def _used_devices(
    situation: Situation, outlook: Outlook, wanted: CoreSet
) -> list[tuple[NeuronDevice, CoreSet]]:
    """The devices that have some of the wanted cores, in order, with those cores."""
    used = [
        (device, wanted.intersection(CoreSet(device.at_lnc(outlook.lnc).core_ids)))
        for device in situation.machine.devices
    ]
    return [(device, cores) for device, cores in used if cores]


def _holders(devices: Iterable[NeuronDevice], machine: Machine) -> str:
    """Who holds them. Only the program's name: a command line may hold a key."""
    unnamed = "of another container" if machine.in_container else "whose name is not told"
    names = {
        process.pid: process.command.split()[0].rpartition("/")[2] if process.command else unnamed
        for device in devices
        for process in device.processes
    }
    said = [f"process {pid} ({name})" for pid, name in sorted(names.items())]
    return ", ".join(said[:3]) + (f" and {len(said) - 3} more" if len(said) > 3 else "")


def _free_fix(situation: Situation, outlook: Outlook, devices: Sequence[NeuronDevice]) -> str:
    taken = CoreSet(
        tuple(
            core
            for device in situation.machine.devices
            if device.processes
            for core in device.at_lnc(outlook.lnc).core_ids
        )
    )
    free = (outlook.granted or CoreSet()).difference(taken)
    pids = sorted({process.pid for device in devices for process in device.processes})
    # neuron-ls knows no command of a process of another container.
    hidden = {
        process.pid
        for device in devices
        for process in device.processes
        if not process.command and situation.machine.in_container
    }
    stop = f"end {'process' if len(pids) == 1 else 'processes'} {' '.join(map(str, pids[:8]))}"
    if hidden:
        stop += " on the host" if hidden.issuperset(pids) else " (those of another container on the host)"
    if any(process.command.startswith("VLLM::") for device in devices for process in device.processes):
        stop += " and wait until neuron-ls shows none (reported: up to 45 s)"
    try:
        group = partition(free, len(outlook.assigned or ()), 1)[0]
    except MachineUnfit:
        return stop
    # The native plugin does not start where the runtime's own variable is set.
    native = outlook.generation == "native"
    variable = "NEURON_VISIBLE_DEVICES" if native else "NEURON_RT_VISIBLE_CORES"
    place = variable_place(situation.profile, variable)
    take = f"export {variable}={group}"
    if place is not None:  # the profile's own wins over the shell's
        take = f"set {place.key}: '{group}'" + (f" in {place.file}:{place.line}" if place.file else "")
    return f"take cores that are free: {take}; or {stop}"


@rule(
    "devices.driver-too-new",
    "error",
    "sdk:release-notes/components/runtime.rst:329",
    backends=NEURON,
    covers=("driver-too-new",),
)
def driver_too_new(situation: Situation) -> list[Remark] | None:
    """The host's driver is too new for the runtime of the image: nrt_init() fails.

    Drivers used to go with older runtimes; 2.29 broke with that and wants runtime 2.33. An image brings its
    runtime and never a driver.
    """
    return _driver_remarks(situation, "driver-too-new")


@rule(
    "devices.driver-too-old",
    "error",
    "sdk:release-notes/components/runtime.rst:435,981; sdk:release-notes/components/containers.rst:72-75",
    backends=NEURON,
    covers=("driver-too-old",),
)
def driver_too_old(situation: Situation) -> list[Remark] | None:
    """The host's driver is too old for the runtime: applications fail to initialize.

    It happens where a new image runs on a host that was not updated.
    """
    return _driver_remarks(situation, "driver-too-old")


@rule(
    "devices.kernel-6.18",
    "warning",
    "sdk:release-notes/components/runtime.rst:745-752",
    backends=NEURON,
    covers=("kernel-6.18",),
)
def kernel_6_18(situation: Situation) -> list[Remark] | None:
    """Linux 6.18 wants a driver that was made fit for it; what goes wrong without is not stated."""
    return _driver_remarks(situation, "kernel-6.18")


def _driver_remarks(situation: Situation, issue: str) -> list[Remark] | None:
    faults = _faults(situation, situation.machine.driver)
    return [Remark(fault.message, fix=fault.fix) for fault in faults if fault.issue == issue] or None


def _faults(situation: Situation, driver: str | None) -> tuple[Fault, ...]:
    """What would be wrong with this driver here: with the runtime, the kernel and the instance's family."""
    machine = situation.machine
    family = machine.instance.family if machine.instance is not None else None
    return driver_faults(driver, situation.stack.runtime, machine.kernel, family) if driver else ()


def _waiting_driver(situation: Situation) -> str | None:
    """The driver on disk, where another one is loaded."""
    machine = situation.machine
    return None if machine.driver in (None, machine.driver_installed) else machine.driver_installed


@rule(
    "devices.driver-not-reloaded",
    "warning",
    f"{_TROUBLESHOOT}:95-121",
    backends=NEURON,
    covers=("driver-not-reloaded",),
)
def driver_not_reloaded(situation: Situation) -> Remark | None:
    """The driver that runs is another one than that on disk.

    After an update the old one stays loaded as long as a process uses it; modinfo tells of the new one.
    Nothing is said where that one does not fit this machine either.
    """
    waiting = _waiting_driver(situation)
    if waiting is None or _faults(situation, waiting):
        return None
    return Remark(
        f"driver {waiting} is installed, and {situation.machine.driver} is still loaded",
        fix="stop all Neuron processes, then sudo rmmod neuron; sudo modprobe neuron; or restart the machine",
    )


@rule(
    "devices.driver-on-disk-unfit",
    "warning",
    f"{_TROUBLESHOOT}:95-121; the rules between driver, runtime and kernel (compat.yaml)",
    backends=NEURON,
)
def driver_on_disk_unfit(situation: Situation) -> list[Remark] | None:
    """The driver on disk, which is loaded at the next start, goes with runtime or kernel less than it must.

    Where the loaded one has the same fault, only that is told.
    """
    waiting, loaded = _waiting_driver(situation), situation.machine.driver
    now = {fault.rule for fault in _faults(situation, loaded)}
    stay = "" if now else "; until then neither restart the machine nor load the driver anew"
    return [
        Remark(
            f"driver {loaded} is loaded, and {waiting} on disk takes its place at the next start: "
            f"{fault.message}",
            fix=fault.fix + stay,
        )
        for fault in _faults(situation, waiting)
        if fault.rule not in now
    ] or None


@rule(
    "devices.fork-unsafe-kernel",
    "warning",
    f"{_TROUBLESHOOT}:755-767",
    backends=NEURON,
    covers=("kernel-lt-5.15-efa",),
)
def fork_unsafe_kernel(situation: Situation) -> Remark | None:
    """On Linux before 5.15 EFA wants FI_EFA_FORK_SAFE=1, else several machines cannot work together."""
    machine = situation.machine
    if not machine.has_efa or not machine.kernel or at_least(machine.kernel, "5.15"):
        return None
    variable = "FI_EFA_FORK_SAFE"
    if not release(machine.kernel) or situation.environment.get(variable) == "1":
        return None
    return Remark(
        f"Linux {machine.kernel} is older than 5.15 and {variable} is not 1: the runtime turns off work over "
        "several machines",
        fix=f"set env.{variable}: '1'",
        key=variable_key(situation, variable),
    )


@rule(
    "devices.runtime-missing",
    "error",
    "reference: env_vars (the runtime of both plugins is libnrt); neuron_ls (runtime_version)",
    backends=NEURON,
)
def runtime_missing(situation: Situation) -> Remark | None:
    """All that runs on a Neuron device does so through libnrt.so, which is not installed here.

    It is looked for in LD_LIBRARY_PATH, in AWS's folder, and in the linker's own list (ld.so.conf). Where
    nrtpy is installed nothing is said: whether that package brings a runtime of its own is not known.
    """
    machine = situation.machine
    if machine.has_runtime is not False or machine.assumed or not machine.devices:
        return None
    if "nrtpy" in situation.stack.other_versions:
        return None
    return Remark(
        "the runtime, libnrt.so, is neither in LD_LIBRARY_PATH, in /opt/aws/neuron/lib nor in the linker's "
        "list: nothing runs on a Neuron device",
        fix="install aws-neuronx-runtime-lib; in a container take one of AWS's images",
    )


@rule(
    "devices.collectives-missing",
    "error",
    f"{_TROUBLESHOOT}:488-500",
    backends=NEURON,
    covers=("collectives-missing",),
)
def collectives_missing(situation: Situation) -> Remark | None:
    """Several cores work together through libnccom.so, which is not installed here."""
    outlook, machine = situation.outlook, situation.machine
    if machine.has_collectives is not False or machine.assumed or not machine.devices:
        return None
    if outlook is None or outlook.tensor_parallel_size < 2:
        return None
    return Remark(
        f"tensor parallel size {outlook.tensor_parallel_size} needs libnccom.so, which is neither in "
        "/opt/aws/neuron/lib nor where libraries are looked for",
        fix="install aws-neuronx-collectives",
    )


@rule(
    "devices.no-efa",
    "error",
    "sdk:deploy/environments/quickstart-deploy-dlc.rst:111-112",
    backends=("native",),
    covers=("efa-missing-native",),
)
def no_efa(situation: Situation) -> Remark | None:
    """The native plugin refuses to start without an EFA device unless it is told to.

    Such are instances without a network interface of that kind, and containers that were not given it.
    neuronctl sets NEURON_SKIP_EFA_AFFINITY=1 for them, unless the profile or the shell says otherwise.
    """
    machine, variable = situation.machine, "NEURON_SKIP_EFA_AFFINITY"
    if machine.has_efa is not False or not machine.devices or machine.assumed:
        return None
    said = situation.environment.get(variable, "").strip() or None
    if said not in (None, "0"):
        return None
    return Remark(
        f"there is no EFA device (/sys/class/infiniband shows none) and {variable} is {said or 'empty'}",
        fix=f"set env.{variable}: '1'",
        key=variable_key(situation, variable),
    )


@rule(
    "devices.hardware-errors",
    "warning",
    f"{_TROUBLESHOOT}:319-480",
    backends=NEURON,
    covers=("hw-error",),
)
def hardware_errors(situation: Situation) -> Remark | None:
    """Devices counted errors in their memory that could not be corrected."""
    errors = situation.machine.hardware_errors
    if not errors:
        return None
    return Remark(
        f"the Neuron devices counted {errors} uncorrected memory errors",
        fix="sudo rmmod neuron; sudo modprobe neuron; if they come again replace the instance",
    )


RULES = (
    driver_missing,
    not_contiguous,
    cores_in_use,
    shared,
    driver_too_new,
    driver_too_old,
    kernel_6_18,
    driver_not_reloaded,
    driver_on_disk_unfit,
    fork_unsafe_kernel,
    runtime_missing,
    collectives_missing,
    no_efa,
    hardware_errors,
)
