"""What doctor says of memory, shared memory, limits, kernel, EFA and clock."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from neuronctl.doctor.checks import host as checks
from neuronctl.doctor.checks import memory
from neuronctl.doctor.checks.clock import local_clock
from neuronctl.doctor.facts import Facts, Once
from neuronctl.doctor.run import run_checks
from neuronctl.errors import StackUnfit
from neuronctl.machine.catalog import find_instance
from neuronctl.machine.clock import clock_fault
from neuronctl.pipeline import Request
from neuronctl.result import Finding
from neuronctl.stack.assume import assume_stack
from tests.doctor_sample import ids, look, write
from tests.plan_sample import neuron_plan, only, sample_host, sample_machine, sample_stack

GIB = 1 << 30
STACKS = {"cpu": sample_stack(), "nxdi": assume_stack("sdk-2.28"), "native": assume_stack("sdk-2.32")}


def meminfo(root: Path, total_gib: float = 32, free_gib: float = 30, more: str = "") -> None:
    total, free = int(total_gib * 2**20), int(free_gib * 2**20)
    write(root, "/proc/meminfo", f"MemTotal: {total} kB\nMemAvailable: {free} kB\n{more}")


# Memory


def test_memory_is_told_with_what_is_free_and_swap(tmp_path: Path) -> None:
    meminfo(tmp_path, more="SwapTotal: 2097152 kB\nSwapFree: 1048576 kB\n")
    outcome = look(memory.memory, tmp_path)
    assert (outcome.status, outcome.says) == ("ok", "32.0 GiB, 30.0 GiB free; 2.0 GiB swap")
    assert outcome.data["total_bytes"] == 32 * GIB
    assert outcome.data["swap_free_bytes"] == GIB
    assert outcome.data["limit_bytes"] is None


@pytest.mark.parametrize("text", [None, "", "MemTotal: many kB\n", "MemTotal:\n"])
def test_memory_that_cannot_be_read_is_no_pass(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        write(tmp_path, "/proc/meminfo", text)
    assert look(memory.memory, tmp_path).status == "cannot-tell"


@pytest.mark.parametrize(
    ("backend", "free_gib", "is_low"),
    [("cpu", 2.0, True), ("cpu", 3.0, False), ("nxdi", 5.9, True), ("nxdi", 6.0, False), ("native", 3, True)],
)
def test_host_memory_low(tmp_path: Path, backend: str, free_gib: float, is_low: bool) -> None:
    meminfo(tmp_path, free_gib=free_gib)
    outcome = look(memory.memory, tmp_path, stack=STACKS[backend])
    assert ids(outcome) == ["host.memory-low"] * is_low
    assert outcome.status == ("warning" if is_low else "ok")


def test_a_stack_that_cannot_be_asked_does_not_hide_the_memory(tmp_path: Path) -> None:
    meminfo(tmp_path)

    def refuse() -> Any:
        raise StackUnfit("no such Python")

    facts = Facts(sample_host(tmp_path))
    facts.machine = Once(sample_machine)
    facts.stack = Once(refuse)
    (outcome,) = run_checks((memory.memory,), facts)
    assert outcome.status == "ok"


V2, V1 = "/sys/fs/cgroup", "/sys/fs/cgroup/memory"


def test_the_limit_of_a_control_group_leaves_what_is_not_file_cache(tmp_path: Path) -> None:
    meminfo(tmp_path)
    write(tmp_path, "/proc/self/cgroup", "0::/\n")
    write(tmp_path, f"{V2}/memory.max", f"{8 * GIB}\n")
    write(tmp_path, f"{V2}/memory.current", f"{7 * GIB}\n")
    write(tmp_path, f"{V2}/memory.stat", f"anon 1\ninactive_file {6 * GIB}\n")
    outcome = look(memory.memory, tmp_path)
    assert outcome.says == "32.0 GiB, 30.0 GiB free; limited to 8.0 GiB, of which 7.0 GiB are left; no swap"
    assert outcome.findings == ()


def test_the_tightest_group_above_counts_and_the_fix_is_its_limit(tmp_path: Path) -> None:
    meminfo(tmp_path)
    write(tmp_path, "/proc/self/cgroup", "0::/user.slice/session\n")
    write(tmp_path, f"{V2}/user.slice/session/memory.max", "max\n")
    write(tmp_path, f"{V2}/user.slice/memory.max", f"{4 * GIB}\n")
    write(tmp_path, f"{V2}/user.slice/memory.current", f"{3 * GIB}\n")
    finding = only(list(look(memory.memory, tmp_path).findings))
    assert finding.id == "host.memory-low"
    assert finding.message.startswith("1.0 GiB of memory are free")
    assert "limit" in (finding.fix or "")


def test_version_1_of_control_groups(tmp_path: Path) -> None:
    meminfo(tmp_path)
    # The path is the host's; in the container the mount's root is the group itself.
    write(tmp_path, "/proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/abc\n0::/\n")
    write(tmp_path, f"{V1}/memory.limit_in_bytes", f"{16 * GIB}\n")
    write(tmp_path, f"{V1}/memory.usage_in_bytes", f"{2 * GIB}\n")
    write(tmp_path, f"{V1}/memory.stat", f"cache 5\ntotal_inactive_file {GIB}\n")
    write(tmp_path, f"{V1}/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    outcome = look(memory.memory, tmp_path)
    assert outcome.data["limit_left_bytes"] == 15 * GIB
    assert only(list(outcome.findings)).id == "host.killed-for-memory"
    assert "2 processes" in outcome.findings[0].message


@pytest.mark.parametrize("limit", ["max", "9223372036854771712", str(32 * GIB), "-1", "", "much"])
def test_a_limit_beyond_the_machine_is_none(tmp_path: Path, limit: str) -> None:
    meminfo(tmp_path)
    write(tmp_path, "/proc/self/cgroup", "0::/../above\n")
    write(tmp_path, f"{V2}/memory.max", limit)
    write(tmp_path, f"{V2}/memory.events", "oom_kill 3\n")
    outcome = look(memory.memory, tmp_path)
    assert outcome.data["limit_bytes"] is None
    assert outcome.findings == ()


def test_host_killed_for_memory_is_not_said_of_nobody(tmp_path: Path) -> None:
    meminfo(tmp_path)
    write(tmp_path, "/proc/self/cgroup", "0::/\n")
    write(tmp_path, f"{V2}/memory.max", str(16 * GIB))
    write(tmp_path, f"{V2}/memory.events", "low 4\noom_kill 0\n")
    assert look(memory.memory, tmp_path).findings == ()


@pytest.mark.parametrize(("free_gib", "is_taken"), [(2, True), (100, False)])
def test_host_memory_taken(tmp_path: Path, free_gib: int, is_taken: bool) -> None:
    meminfo(tmp_path, total_gib=384, free_gib=free_gib)
    plan = neuron_plan(tmp_path, machine={"assumed": False})
    assert plan.outlook is not None and plan.outlook.estimate is not None
    outcome = look(memory.compile_memory, tmp_path, stack=STACKS["nxdi"], plan=plan)
    assert ids(outcome) == ["host.memory-taken"] * is_taken
    assert outcome.data["needed_bytes"] == plan.outlook.estimate.host_bytes


def test_a_machine_that_is_too_small_as_a_whole_is_told_by_the_plan_alone(tmp_path: Path) -> None:
    meminfo(tmp_path, total_gib=4, free_gib=2)
    plan = neuron_plan(tmp_path, machine={"assumed": False, "memory_bytes": 4 * GIB})
    assert look(memory.compile_memory, tmp_path, stack=STACKS["nxdi"], plan=plan).findings == ()


def test_without_a_profile_nothing_is_said_of_its_compile(tmp_path: Path) -> None:
    assert look(memory.compile_memory, tmp_path).status == "not-here"


def test_idle_huge_pages_are_given_back_before_anybody_is_ended(tmp_path: Path) -> None:
    pages = "HugePages_Total: 7000\nHugePages_Free: 6900\nHugepagesize: 2048 kB\n"
    meminfo(tmp_path, total_gib=16, free_gib=2, more=pages)
    finding = only(list(look(memory.memory, tmp_path, stack=STACKS["nxdi"]).findings))
    assert "huge pages that nobody uses hold 13.5 GiB" in finding.message
    assert finding.fix == "give the idle huge pages back, on the host: sudo sysctl vm.nr_hugepages=100"
    meminfo(tmp_path, total_gib=16, free_gib=2, more=pages.replace("6900", "1000"))
    finding = only(list(look(memory.memory, tmp_path, stack=STACKS["nxdi"]).findings))
    assert "ps aux" in str(finding.fix), "they are too few"


def test_of_a_profile_for_the_processor_the_least_is_told_once(tmp_path: Path) -> None:
    meminfo(tmp_path, free_gib=2)
    request = Request("p.yaml")
    assert look(memory.memory, tmp_path, request=request).findings == ()
    plan = replace(neuron_plan(tmp_path, machine={"assumed": False}), outlook=None)
    assert ids(look(memory.compile_memory, tmp_path, request=request, plan=plan)) == ["host.memory-low"]


def test_huge_pages_are_told_and_never_found_fault_with(tmp_path: Path) -> None:
    pages = "HugePages_Total: 512\nHugePages_Free: 500\nHugepagesize: 2048 kB\n"
    meminfo(tmp_path, more=pages)
    write(tmp_path, "/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
    outcome = look(memory.huge_pages, tmp_path)
    assert (outcome.status, outcome.says) == (
        "ok",
        "1.0 GiB reserved, 1000 MiB of it free; transparent ones: madvise",
    )
    meminfo(tmp_path, more=pages.replace("512", "0").replace("500", "0"))
    assert look(memory.huge_pages, tmp_path).says.startswith("none reserved")
    meminfo(tmp_path)
    assert look(memory.huge_pages, tmp_path).status == "cannot-tell"


# Shared memory


@pytest.fixture
def shm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes /dev/shm of so many MiB, so many of them free."""

    def make(size_mib: int, free_mib: int) -> None:
        (tmp_path / "dev" / "shm").mkdir(parents=True, exist_ok=True)
        room = SimpleNamespace(f_blocks=size_mib, f_bavail=free_mib, f_frsize=1 << 20)
        monkeypatch.setattr(os, "statvfs", lambda path: room)

    return make


@pytest.mark.parametrize(
    ("backend", "size", "free", "found"),
    [
        ("native", 64, 64, ["host.shm-small"]),
        ("cpu", 64, 64, ["host.shm-for-one-worker"]),
        ("nxdi", 64, 64, []),  # one process drives all its cores
        ("native", 160, 160, []),
        ("native", 8192, 100, ["host.shm-small"]),
        ("native", 0, 0, []),  # tmpfs with size=0: no limit
    ],
)
def test_host_shm_small(
    tmp_path: Path, shm: Any, backend: str, size: int, free: int, found: list[str]
) -> None:
    shm(size, free)
    outcome = look(checks.shared_memory, tmp_path, stack=STACKS[backend])
    assert ids(outcome) == found
    assert outcome.data["size_bytes"] == (size << 20 or None)


@pytest.mark.parametrize(
    ("engine", "found"),
    [
        ("{tensor_parallel_size: 2}", "host.shm-small"),
        ("{pipeline_parallel_size: 2}", "host.shm-small"),
        ("{tensor_parallel_size: 1}", "host.shm-for-one-worker"),
        ("{}", "host.shm-for-one-worker"),
        ("nonsense", "host.shm-for-one-worker"),
    ],
)
def test_a_default_container_is_fit_for_one_worker(tmp_path: Path, shm: Any, engine: str, found: str) -> None:
    shm(64, 64)
    write(tmp_path, "/p.yaml", f"model: {{id: org/small}}\nbackend: cpu\nengine: {engine}\n")
    outcome = look(checks.shared_memory, tmp_path, request=Request("./p.yaml"))
    assert ids(outcome) == [found]
    assert outcome.status == ("warning" if found == "host.shm-small" else "info")


def test_a_dev_shm_that_is_not_there_cannot_be_mounted_anew(tmp_path: Path) -> None:
    write(tmp_path, "/proc/self/stat", "")
    (finding,) = look(checks.shared_memory, tmp_path, stack=STACKS["native"]).findings
    assert "there is no /dev/shm" in finding.message
    assert "sudo mount -t tmpfs -o size=4g tmpfs /dev/shm" in str(finding.fix)
    assert "remount" not in str(finding.fix)


def test_what_helps_a_small_dev_shm(tmp_path: Path, shm: Any) -> None:
    shm(64, 64)
    docker = look(checks.shared_memory, tmp_path).findings[0]
    assert "64 MiB" in docker.message and "--shm-size" in (docker.fix or "")
    kubernetes = look(checks.shared_memory, tmp_path, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}).findings[0]
    assert "emptyDir" in (kubernetes.fix or "")
    shm(4096, 10)
    assert "left there" in (look(checks.shared_memory, tmp_path).findings[0].fix or "")


def test_the_size_of_vllms_chunks_is_the_users(tmp_path: Path, shm: Any) -> None:
    shm(64, 64)
    assert look(checks.shared_memory, tmp_path, {"VLLM_MQ_MAX_CHUNK_BYTES_MB": "4"}).findings == ()
    assert ids(look(checks.shared_memory, tmp_path, {"VLLM_MQ_MAX_CHUNK_BYTES_MB": "x"})) != []


def test_no_dev_shm(tmp_path: Path) -> None:
    assert look(checks.shared_memory, tmp_path).status == "not-here"  # no Linux
    (tmp_path / "proc" / "self").mkdir(parents=True)
    assert ids(look(checks.shared_memory, tmp_path, stack=STACKS["native"])) == ["host.shm-small"]
    assert look(checks.shared_memory, tmp_path, stack=STACKS["nxdi"]).findings == ()


# Limits


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what the process may have."""

    def set_to(files: tuple[int, int] = (1024, 1_048_576), locked: int = -1) -> None:
        told = {resource.RLIMIT_NOFILE: files, resource.RLIMIT_MEMLOCK: (locked, locked)}
        monkeypatch.setattr(resource, "getrlimit", lambda which: told.get(which, (-1, -1)))

    return set_to


@pytest.mark.parametrize(
    ("files", "is_few"),
    [((1024, 4096), True), ((1024, 65_535), False), ((1024, 1_048_576), False), ((-1, -1), False)],
)
def test_host_few_open_files(tmp_path: Path, limits: Any, files: tuple[int, int], is_few: bool) -> None:
    limits(files)
    outcome = look(checks.limits, tmp_path)
    assert ids(outcome) == ["host.few-open-files"] * is_few


@pytest.mark.parametrize(
    ("most", "now", "is_few"), [("200", 100, False), ("150", 100, True), ("max", 1, False)]
)
def test_host_few_processes(tmp_path: Path, limits: Any, most: str, now: int, is_few: bool) -> None:
    limits((-1, -1))
    write(tmp_path, "/sys/fs/cgroup/pids.max", f"{most}\n")
    write(tmp_path, "/sys/fs/cgroup/pids.current", f"{now}\n")
    outcome = look(checks.limits, tmp_path)
    assert ids(outcome) == ["host.few-processes"] * is_few
    assert ("50 more processes and threads" in outcome.says) is is_few


def test_limits_in_words(tmp_path: Path, limits: Any) -> None:
    limits((1024, 65_536), locked=8 << 20)
    outcome = look(checks.limits, tmp_path)
    assert outcome.says == "1024 open files (65536 if raised), 8 MiB locked memory"
    assert outcome.data == {
        "open_files": 1024,
        "open_files_hard": 65_536,
        "locked_bytes": 8 << 20,
        "processes": None,
        "processes_left": None,
    }
    limits((-1, -1))
    assert look(checks.limits, tmp_path).says == "any number of open files, any locked memory"


@pytest.mark.parametrize(
    ("has_efa", "locked", "capabilities", "is_little"),
    [
        (True, 8 << 20, "0000000000000000", True),
        (True, 8 << 20, "nonsense", True),
        (True, 8 << 20, "000001ffffffffff", False),  # CAP_IPC_LOCK: the limit does not apply
        (True, -1, "0000000000000000", False),
        (False, 8 << 20, "0000000000000000", False),
    ],
)
def test_host_little_locked_memory(
    tmp_path: Path, limits: Any, has_efa: bool, locked: int, capabilities: str, is_little: bool
) -> None:
    limits(locked=locked)
    write(tmp_path, "/proc/self/status", f"Name:\tpython\nCapEff:\t{capabilities}\n")
    write(tmp_path, "/sys/class/infiniband/mlx5_0/device/vendor", "0x15b3\n")
    if has_efa:
        write(tmp_path, "/sys/class/infiniband/efa_0/device/vendor", "0x1d0f\n")
    assert ids(look(checks.limits, tmp_path)) == ["host.little-locked-memory"] * is_little


# Kernel, EFA


def test_an_old_kernel_with_efa_is_told_by_the_rule(tmp_path: Path) -> None:
    outcome = look(checks.kernel, tmp_path, stack=STACKS["nxdi"], kernel="5.10.0-amzn", has_efa=True)
    assert ids(outcome) == ["devices.fork-unsafe-kernel"]
    outcome = look(checks.kernel, tmp_path, stack=STACKS["nxdi"], kernel="6.1.0", has_efa=True)
    assert (outcome.status, outcome.data) == ("ok", {"release": "6.1.0"})


def test_host_efa_not_granted(tmp_path: Path) -> None:
    write(tmp_path, "/sys/class/infiniband/mlx5_0/device/vendor", "0x15b3\n")
    write(tmp_path, "/dev/infiniband/uverbs0")
    write(tmp_path, "/sys/class/infiniband_verbs/uverbs0/ibdev", "mlx5_0\n")
    assert look(checks.efa, tmp_path, has_efa=False).status == "not-here"
    write(tmp_path, "/sys/class/infiniband/rdmap0/device/vendor", "0x1d0f\n")
    assert ids(look(checks.efa, tmp_path)) == ["host.efa-not-granted"]
    write(tmp_path, "/dev/infiniband/uverbs1")
    write(tmp_path, "/sys/class/infiniband_verbs/uverbs1/ibdev", "rdmap0\n")
    outcome = look(checks.efa, tmp_path)
    assert (outcome.status, outcome.says) == ("ok", "1 device, 1 granted")


def test_no_efa_is_a_fact_on_a_neuron_instance_and_nothing_elsewhere(tmp_path: Path) -> None:
    assert look(checks.efa, tmp_path, has_efa=False).status == "not-here"
    assert look(checks.efa, tmp_path, has_efa=None).status == "cannot-tell"
    instance = find_instance("trn1.32xlarge")
    assert look(checks.efa, tmp_path, has_efa=False, instance=instance).says.startswith("none")


# Clock

YEAR_S = 365 * 86_400.0
IN_2026 = 1_780_000_000.0


@pytest.mark.parametrize(
    ("now_s", "written_s", "is_wrong"),
    [
        (IN_2026, IN_2026 - YEAR_S, False),
        (IN_2026, IN_2026 + 3600, False),  # a file server's clock is a little ahead
        (IN_2026 - 2 * 86_400, IN_2026, True),
        (0.0, IN_2026, True),
        (IN_2026 + 9 * YEAR_S, IN_2026, False),
        (IN_2026 + 11 * YEAR_S, IN_2026, True),
        (IN_2026 + 20 * YEAR_S, 0.0, False),  # a packager set all times to 1970
        (0.0, 0.0, True),  # and the clock was never set
        (1e30, IN_2026, True),
    ],
)
def test_host_clock_wrong(now_s: float, written_s: float, is_wrong: bool) -> None:
    assert (clock_fault(now_s, written_s) is not None) is is_wrong


def test_the_clock_is_told_with_its_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    outcome = look(local_clock, tmp_path)
    finding: Finding = only(list(outcome.findings))
    assert finding.id == "host.clock-wrong"
    assert finding.message.startswith("the clock says 1970-01-01, which is before 20")


def test_a_clock_that_a_server_keeps_right(tmp_path: Path) -> None:
    assert look(local_clock, tmp_path).data["synchronized"] is None
    write(tmp_path, "/run/systemd/timesync/synchronized")
    outcome = look(local_clock, tmp_path)
    assert (outcome.status, outcome.data["synchronized"]) == ("ok", True)
    assert "by a server" in outcome.says


def test_every_check_says_so_where_nothing_can_be_read(tmp_path: Path, limits: Any) -> None:
    limits()
    facts = Facts(sample_host(tmp_path))
    facts.machine = Once(lambda: replace(sample_machine(), kernel=""))
    facts.stack = Once(sample_stack)
    for outcome in run_checks(checks.CHECKS, facts):
        assert outcome.status in ("ok", "not-here", "cannot-tell"), outcome
        assert "mistake" not in outcome.says
        assert outcome.says
