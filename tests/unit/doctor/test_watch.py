"""The live table: what it shows of a machine that is a folder, at every width, and how it is drawn."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.cli import watch as module
from neuronctl.cli.watch import show_snapshots
from neuronctl.doctor.snapshot import Core, Device, Holder, HostMemory, Server, Snapshot, take_snapshot
from neuronctl.doctor.table import table
from neuronctl.doctor.utilisation import CoreUse, RuntimeUse, Utilisation
from neuronctl.doctor.watch import watch
from neuronctl.errors import UsageError
from neuronctl.host import Host, Response
from neuronctl.machine.devices import NeuronDevice, NeuronProcess
from neuronctl.machine.process import Process
from neuronctl.machine.server_process import ServerProcess, find_servers
from neuronctl.short_command import Finished

GIB = 2**30


@dataclass(frozen=True)
class World(Host):
    """A Host whose clock, web and commands are arranged; `on_sleep` may end the watching."""

    commands: dict[str, Finished] = field(default_factory=dict)
    web: dict[str, Response] = field(default_factory=dict)
    clock: list[float] = field(default_factory=lambda: [0.0])
    asked: list[str] = field(default_factory=list)
    on_sleep: Callable[[], None] = lambda: None

    def run(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Finished:
        self.asked.append(Path(argv[0]).name)
        return self.commands[Path(argv[0]).name]

    def http(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 5.0,
    ) -> Response:
        assert 0 < timeout_s <= 0.5
        self.asked.append(url)
        if url not in self.web:
            self.clock[0] += timeout_s
        return self.web.get(url, Response(0, "timed out"))

    def monotonic(self) -> float:
        return self.clock[0]

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.clock[0] += seconds
        self.on_sleep()

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def has_process(self, pid: int, *words: str, parent: int = 1, state: str = "S") -> None:
        self.write(f"proc/{pid}/stat", f"{pid} (python) {state} {parent} 1 1\n")
        self.write(f"proc/{pid}/status", "Name:\tpython\nUid:\t0\t0\t0\t0\n")
        self.write(f"proc/{pid}/cmdline", "\0".join(words) + "\0")


@pytest.fixture
def world(tmp_path: Path) -> World:
    host = World(environ={"PATH": str(tmp_path / "bin"), "TERM": "xterm"}, cwd=tmp_path, root=tmp_path)
    host.write("proc/meminfo", "MemTotal: 16777216 kB\nMemFree: 1 kB\nMemAvailable: 12582912 kB\n")
    return host


TWO = (NeuronDevice(0, (0, 1), None, (NeuronProcess(70, "python"),)), NeuronDevice(1, (2, 3), None, ()))


def by_core(pid: int, percents: Mapping[int, float | None], size: int | None = None) -> RuntimeUse:
    return RuntimeUse(pid, {core: CoreUse(percent, size) for core, percent in percents.items()})


def percents(snapshot: Snapshot) -> list[list[float | None]]:
    return [[core.percent for core in device.cores] for device in snapshot.devices]


def test_who_uses_which_core_and_memory(world: World) -> None:
    world.has_process(70, "/opt/venv/bin/python", "--secret=x")
    use = Utilisation((by_core(70, {1: 50.0}, GIB), by_core(71, {1: 70.0, 2: 5.0}, GIB)), 32 * GIB, 2)
    seen = take_snapshot(world, TWO, use)
    assert percents(seen) == [[0.0, 100.0], [5.0, 0.0]]
    assert [device.memory_used_bytes for device in seen.devices] == [2 * GIB, GIB]
    assert {device.memory_total_bytes for device in seen.devices} == {32 * GIB}
    assert [(holder.pid, holder.cores) for holder in seen.devices[0].holders] == [(70, (1,)), (71, (1,))]
    assert seen.host_memory == HostMemory(4 * GIB, 16 * GIB)
    text = table(seen, 120)
    assert "70 (python, root) on 1, 71 (not visible from here) on 1" in text
    assert "secret" not in text
    assert "2.0 of 32.0" in text
    assert "4.0 of 16.0 GiB used" in text


def test_without_neuron_monitor_nothing_is_said_to_be_idle(world: World) -> None:
    seen = take_snapshot(world, TWO, Utilisation(trouble="ended with 1"))
    assert percents(seen) == [[None, None], [None, None]]
    assert seen.devices[0].holders == (Holder(70, None),)
    assert "neuron-monitor ended with 1" in table(seen, 120)
    assert percents(take_snapshot(world, TWO, None)) == [[None, None], [None, None]]


def test_cores_are_idle_where_the_report_is_complete_and_does_not_name_them(world: World) -> None:
    assert percents(take_snapshot(world, TWO, Utilisation()))[0] == [0.0, 0.0]
    renamed = Utilisation((by_core(70, {0: None}),))
    assert percents(take_snapshot(world, TWO, renamed)) == [[None, None], [None, None]]


def test_the_memory_of_a_process_that_tells_only_its_sum(world: World) -> None:
    def used(*runtimes: RuntimeUse, devices: Sequence[NeuronDevice] = TWO) -> list[int | None]:
        seen = take_snapshot(world, devices, Utilisation(tuple(runtimes)))
        return [device.memory_used_bytes for device in seen.devices]

    inside = replace(by_core(70, {0: 1.0}), device_bytes=7)
    across = replace(by_core(70, {1: 1.0, 2: 1.0}), device_bytes=7)
    assert used(inside) == [7, None]
    assert used(across) == [None, None]
    assert used(RuntimeUse(70, {}, 7), devices=TWO[:1]) == [7]


def test_the_memory_by_sysfs_where_nobody_else_says(world: World) -> None:
    folder = "sys/devices/virtual/neuron_device/neuron1/neuron_core0/stats/memory_usage/device_mem/tensors"
    world.write(f"{folder}/total", str(3 * GIB))
    seen = take_snapshot(world, TWO, Utilisation(trouble="x"))
    assert [device.memory_used_bytes for device in seen.devices] == [None, 3 * GIB]


def test_the_limit_of_a_container(world: World) -> None:
    world.write("sys/fs/cgroup/memory.max", "max\n")
    world.write("sys/fs/cgroup/memory.current", str(GIB))
    assert take_snapshot(world, (), None).host_memory == HostMemory(4 * GIB, 16 * GIB)
    world.write("sys/fs/cgroup/memory.max", str(2 * GIB))
    assert take_snapshot(world, (), None).host_memory == HostMemory(GIB, 2 * GIB)
    world.write("proc/meminfo", "nothing: of use\n")
    world.write("sys/fs/cgroup/memory.max", "max")
    assert take_snapshot(world, (), None).host_memory is None


def test_the_group_that_leaves_the_least_and_no_cache_of_files(world: World) -> None:
    world.write("proc/self/cgroup", "0::/pod/one\n")
    world.write("sys/fs/cgroup/pod/memory.max", str(2 * GIB))
    world.write("sys/fs/cgroup/pod/memory.current", str(2 * GIB))
    world.write("sys/fs/cgroup/pod/memory.stat", f"inactive_file {GIB}\n")
    world.write("sys/fs/cgroup/pod/one/memory.max", str(8 * GIB))
    world.write("sys/fs/cgroup/pod/one/memory.current", "0")
    assert take_snapshot(world, (), None).host_memory == HostMemory(GIB, 2 * GIB)


def test_version_1_of_control_groups(world: World) -> None:
    world.write("proc/self/cgroup", "4:cpu,memory:/docker/abc\n")
    world.write("sys/fs/cgroup/memory/memory.limit_in_bytes", str(2 * GIB))
    world.write("sys/fs/cgroup/memory/memory.usage_in_bytes", str(2 * GIB))
    world.write("sys/fs/cgroup/memory/memory.stat", f"total_inactive_file {GIB}\n")
    assert take_snapshot(world, (), None).host_memory == HostMemory(GIB, 2 * GIB)


API = ("python", "-m", "vllm.entrypoints.openai.api_server", "--model", "m", "--port", "8123")


def test_servers_by_their_command_lines(world: World) -> None:
    world.has_process(10, "python", "/venv/bin/neuronctl", "serve", "p.yaml")
    world.has_process(11, *API, parent=10)
    world.has_process(12, *API, parent=11)
    world.has_process(13, "/venv/bin/python", "/venv/bin/vllm", "serve", "m", "--port=9000", "--host", "::")
    world.has_process(
        14, "python", "-c", "from vllm.entrypoints.launchers.api_server.entry import main; main()"
    )
    world.has_process(15, *API, state="Z")
    world.has_process(16, "vim", "vllm-serve.txt")
    world.has_process(17, "python", "-m", "neuronctl", "doctor", "--watch")
    world.has_process(18, "python", "-m", "vllm.entrypoints.openai.api_server", "--port", "many")
    found = [(one.process.pid, one.kind, one.port, one.address) for one in find_servers(world)]
    assert found == [
        (10, "neuronctl", None, "127.0.0.1"),
        (11, "vllm", 8123, "127.0.0.1"),
        (13, "vllm", 9000, "[::1]"),
        (14, "vllm", 8000, "127.0.0.1"),
        (18, "vllm", None, "127.0.0.1"),
    ]


@pytest.mark.parametrize(
    "wrapper",
    [
        "tini --",
        "sudo -E",
        "timeout 60",
        "vim",
        "python -m pdb",
        "strace -f",
        "sh -c",
        "/usr/bin/python3.11 run.py",
        "python -X dev",
    ],
)
def test_what_only_starts_or_names_a_server_is_none(world: World, wrapper: str) -> None:
    world.has_process(20, *wrapper.split(), "vllm", "serve", "m")
    world.has_process(21, "/sdk/bin/python3.11", "-I", "/sdk/bin/vllm", "serve", "m", parent=20)
    world.has_process(22, *wrapper.split(), "neuronctl", "serve", "p.yaml")
    world.has_process(23, "python3", "-m", "neuronctl", "serve", "p.yaml", parent=22)
    found = [(one.process.pid, one.kind) for one in find_servers(world)]
    if wrapper.endswith("dev"):  # an option of Python's own, and so the server itself
        assert found == [(20, "vllm"), (22, "neuronctl")]
    else:
        assert found == [(21, "vllm"), (23, "neuronctl")]


@pytest.mark.parametrize("line", ["", "python", "python -m", "python -c", "python -X", "vllm", "python -W x"])
def test_command_lines_that_end_early(world: World, line: str) -> None:
    world.has_process(20, *line.split())
    assert find_servers(world) == ()


def test_how_servers_are(world: World) -> None:
    world.has_process(10, "neuronctl", "serve", "p.yaml")
    world.has_process(11, *API)
    world.has_process(12, "vllm", "serve", "m", "--port", "1")
    world.has_process(13, "vllm", "serve", "m", "--ssl-certfile", "x")
    world.has_process(14, "vllm", "serve", "m", "--port", "99999")
    world.web["http://127.0.0.1:8123/health"] = Response(200, "")
    world.web["http://127.0.0.1:1/health"] = Response(503, "")
    health = [server.health for server in take_snapshot(world, (), None).servers]
    assert health == [
        None,
        "healthy",
        "/health says 503",
        "not asked: it speaks HTTPS",
        "its port is unknown",
    ]


def test_servers_that_hang_do_not_hold_up_the_table(world: World) -> None:
    for pid in range(10, 20):
        world.has_process(pid, "vllm", "serve", "m", "--port", str(pid))
    health = [server.health for server in take_snapshot(world, (), None).servers]
    assert health.count("no answer") == 3
    assert health.count("not asked: others took too long") == 7
    assert world.clock[0] <= 1.5


def test_files_that_hang_are_named_and_the_rest_is_shown(world: World) -> None:
    for path in ("proc/meminfo", "proc/70/stat", "proc/77/cmdline"):
        world.write(path, "").unlink()
        os.mkfifo(world.root / path)
    seen = take_snapshot(world, TWO, None)
    assert [device.index for device in seen.devices] == [0, 1]
    assert seen.devices[0].holders == (Holder(70, None),)
    assert (seen.host_memory, seen.servers) == (None, ())
    assert [note.partition(" did not answer in ")[0] for note in seen.notes] == [
        "/proc/meminfo",
        "/proc/70/stat",
        "/proc/77/cmdline",
    ]


def test_a_machine_with_nothing(world: World) -> None:
    text = table(take_snapshot(world, (), None), 80)
    assert "host memory" in text
    assert "no Neuron device is here" in text
    assert "no server" in text


SEEN = Snapshot(
    0.0,
    HostMemory(GIB, 2 * GIB),
    tuple(
        Device(
            index,
            tuple(Core(4 * index + core, None if core == 1 else 33.3) for core in range(4)),
            (
                Holder(9, Process(9, "python", "somebody-with-a-long-name", 1, "S"), (4 * index,)),
                Holder(12, None),
            ),
            None if index else GIB,
            96 * GIB,
        )
        for index in range(16)
    ),
    (Server(ServerProcess(Process(5, "vllm", "root", 1, "S"), "vllm", 8000, "127.0.0.1", False), "healthy"),),
    ("Utilisation is unknown: neuron-monitor is neither in PATH nor in /opt/aws/neuron/bin.",),
)


@given(st.integers(min_value=-5, max_value=250))
def test_no_line_is_wider_than_the_window(width: int) -> None:
    text = table(SEEN, width)
    assert max(map(len, text.split("\n"))) <= max(20, width)
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [40, 59, 60, 80, 200])
def test_every_fact_is_shown_in_a_window_of_any_use(width: int) -> None:
    text = " ".join(table(SEEN, width).split())
    for fact in (
        "60-63",
        "33 ? 33 33",
        "1.0 of 96.0",
        "? of 96.0",
        "healthy",
        "8000",
        "neuron-monitor is neither",
    ):
        assert fact in text, (fact, width)
    assert width == 60 or "12 (not visible from here)" in text or width == 80


def show(
    world: World,
    out: TextIO,
    *,
    most: int = 1,
    as_json: bool = False,
    interval_s: float = 2,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Watch until so many snapshots have been taken."""
    taken = islice(watch(world, interval_s=interval_s), most)
    snapshots = (one for one in taken)
    show_snapshots(snapshots, out, environ=environ or world.environ, as_json=as_json)


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def sized(monkeypatch: pytest.MonkeyPatch, *sizes: tuple[int, int]) -> None:
    left = list(sizes)
    monkeypatch.setattr(module, "_size", lambda stream: left.pop(0) if len(left) > 1 else left[0])


def test_without_a_terminal_each_table_stands_below_the_last(world: World) -> None:
    out = io.StringIO()
    show(world, out, interval_s=2, most=3)
    assert out.getvalue().count("host memory") == 3
    assert "\x1b" not in out.getvalue()
    assert world.clock[0] == 4


def test_json_is_one_object_a_line(world: World) -> None:
    world.has_process(11, *API)
    out = Screen()
    show(world, out, as_json=True, most=2)
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    told = json.loads(lines[0])
    assert told["host_memory"]["total_bytes"] == 16 * GIB
    assert told["servers"][0]["process"]["port"] == 8123


def test_on_a_terminal_it_is_drawn_in_place_and_the_cursor_comes_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sized(monkeypatch, (80, 24))
    out = Screen()
    show(world, out, most=2)
    drawn = out.getvalue()
    assert drawn.startswith("\x1b[?25l")
    assert drawn.endswith("\x1b[?25h")
    assert drawn.count("\x1b[H") == 3
    assert "\x1b[2J" not in drawn


def test_a_dumb_terminal_gets_plain_lines(world: World) -> None:
    out = Screen()
    show(world, out, environ={"TERM": "dumb"})
    assert "\x1b" not in out.getvalue()


def test_it_follows_the_size_of_the_window(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sized(monkeypatch, (80, 24), (20, 3))
    out = Screen()
    show(world, out, most=2)
    first, second = out.getvalue().split("\x1b[H")[2:]
    assert "more lines" not in first
    assert "… 3 more lines" in second
    assert second.count("\n") == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError])
def test_however_it_ends_the_cursor_comes_back(
    world: World, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def stop() -> None:
        raise error

    sized(monkeypatch, (80, 24))
    out = Screen()
    if error is KeyboardInterrupt:
        show(replace(world, on_sleep=stop), out, most=2)
    else:
        with pytest.raises(error):
            show(replace(world, on_sleep=stop), out, most=2)
    assert out.getvalue().endswith("\x1b[?7h\x1b[?25h")


@pytest.mark.parametrize("interval_s", [0, -1, 0.1, float("nan"), float("inf")])
def test_an_interval_that_is_none(world: World, interval_s: float) -> None:
    with pytest.raises(UsageError, match="interval"):
        watch(world, interval_s=interval_s)


def test_a_neuron_ls_that_hangs_is_not_asked_each_time(world: World) -> None:
    world.write("dev/neuron0", "")
    world.write("bin/neuron-ls", "").chmod(0o755)
    world.commands["neuron-ls"] = Finished(None, "", "", "did not answer in 10 s")
    out = io.StringIO()
    show(world, out, interval_s=10, most=8)
    assert world.asked.count("neuron-ls") == 2
    assert out.getvalue().count("neuron-ls did not answer in 10 s") == 8
    assert "neuron-monitor is neither in PATH" in out.getvalue()
    assert out.getvalue().count("in use by") == 8


def test_devices_by_neuron_ls(world: World) -> None:
    world.write("dev/neuron0", "")
    world.write("bin/neuron-ls", "").chmod(0o755)
    listing = [
        {"neuron_device": 0, "nc_count": 2, "neuroncore_ids": [0, 1], "neuron_processes": [{"pid": 5}]}
    ]
    world.commands["neuron-ls"] = Finished(0, json.dumps(listing), "")
    out = io.StringIO()
    show(world, out, most=1)
    assert "5 (not visible from here)" in out.getvalue()
    assert "neuron-ls" not in out.getvalue()


def test_a_terminal_without_a_size() -> None:
    read, write = os.pipe()
    try:
        with open(write, "w") as stream:
            assert module._size(stream) == (80, 24)
    finally:
        os.close(read)
