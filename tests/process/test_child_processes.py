"""Real children: started as asked, always drained, and never left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from neuronctl.child import Child, Ended, Launch
from neuronctl.errors import StackUnfit
from neuronctl.host import Host

ROOT = Path(__file__).parents[2]
SURVIVAL_S = 10.0

STUBBORN = """
import os, signal, sys, time
for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(s, signal.SIG_IGN)
print("pid", os.getpid(), flush=True)
time.sleep(600)
"""

FAMILY = f"""
import subprocess, sys, time
stubborn = {STUBBORN!r}
for options in ({{}}, {{"start_new_session": True, "env": {{}}}}):
    subprocess.Popen([sys.executable, "-S", "-c", stubborn], **options)
# A process whose parent ends at once and that forgets its session and its environment.
orphan = "import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', sys.argv[1]], " \\
    "start_new_session=True, env={{}})"
subprocess.run([sys.executable, "-S", "-c", orphan, stubborn], check=True)
"""


def launch(tmp_path: Path, code: str, *arguments: str, **env: str) -> Launch:
    argv = (sys.executable, "-S", "-c", code, *arguments)
    return Launch(argv, {"PATH": os.defpath, **env}, tmp_path, tmp_path / "child.log")


def until(true: Callable[[], object], timeout_s: float = SURVIVAL_S) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.01)
    return bool(true())


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def own_children() -> list[int]:
    mine = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            mine.append(int(file.parent.name))
    return mine


class Collected:
    """What a child printed, and how it ended."""

    def __init__(self) -> None:
        self.output = b""
        self.ended: Ended | None = None
        self.output_at_end: bytes | None = None

    def take(self, block: bytes) -> None:
        self.output += block

    def end(self, ended: Ended) -> None:
        self.ended = ended
        self.output_at_end = self.output

    def pids(self) -> list[int]:
        words = [line.split() for line in self.output.decode().splitlines()]
        return [int(w[1]) for w in words if len(w) == 2 and w[0] == "pid"]

    def start(self, what: Launch) -> Child:
        return Child.start(what, Host(), on_output=self.take, on_end=self.end)


def run(what: Launch) -> Collected:
    collected = Collected()
    with collected.start(what) as child:
        assert child.wait(30) is not None
    return collected


def test_a_child_gets_what_was_asked_for_and_nothing_else(tmp_path: Path) -> None:
    code = """
import json, os, signal, sys
fds = sorted(int(fd) for fd in os.listdir('/proc/self/fd'))
print(json.dumps(dict(argv=sys.argv[1:], env=dict(os.environ), cwd=os.getcwd(), stdin=sys.stdin.read(),
    sid=os.getsid(0), pid=os.getpid(), fds=fds[:-1], int=signal.getsignal(2) is signal.default_int_handler,
    term=signal.getsignal(15) == signal.SIG_DFL, hup=signal.getsignal(1) == signal.SIG_DFL)))
print('to stderr', file=sys.stderr)
"""
    words = ("$HOME; echo *", "", "ü\n", "\udcff")
    found = run(launch(tmp_path, code, *words, NAME="a=b", ODD="\udcfe"))
    lines = found.output.decode().splitlines()
    assert "to stderr" in lines
    said = json.loads(next(line for line in lines if line.startswith("{")))
    assert said["argv"] == list(words)
    assert said["env"].pop("NEURONCTL_RUN_ID")
    said["env"].pop("LC_CTYPE", None)  # Python itself sets it in the C locale
    assert said["env"] == {"PATH": os.defpath, "NAME": "a=b", "ODD": "\udcfe"}
    assert said["cwd"] == str(tmp_path)
    assert said["stdin"] == ""
    assert said["sid"] == said["pid"]
    assert said["fds"] == [0, 1, 2]
    assert said["int"] and said["term"] and said["hup"]


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("", Ended(0, None)),
        ("import sys; sys.exit(7)", Ended(7, None)),
        ("import os; os._exit(255)", Ended(255, None)),
        ("import os; os.kill(os.getpid(), 15)", Ended(None, 15)),
        ("import os; os.kill(os.getpid(), 9)", Ended(None, 9)),
    ],
)
def test_how_it_ended_is_known(tmp_path: Path, code: str, ended: Ended) -> None:
    assert run(launch(tmp_path, code)).ended == ended


def test_all_output_comes_before_the_end_also_a_line_without_end(tmp_path: Path) -> None:
    found = run(launch(tmp_path, "import os; os.write(1, b'x\\n' * 300_000 + b'last words')"))
    assert found.output_at_end is not None
    assert found.output_at_end.count(b"x\n") == 300_000
    assert found.output_at_end.endswith(b"last words\n")
    assert (tmp_path / "child.log").read_bytes() == found.output


def test_a_begun_line_is_shown_when_nothing_follows(tmp_path: Path) -> None:
    collected = Collected()
    with collected.start(launch(tmp_path, "import os, time; os.write(1, b'Password: '); time.sleep(600)")):
        assert until(lambda: collected.output == b"Password: ")


def test_secrets_are_in_no_log_and_no_repr(tmp_path: Path) -> None:
    secret = "sk-very-secret-1234"
    what = launch(tmp_path, "import os; print('key', os.environ['OPENAI_API_KEY'])", OPENAI_API_KEY=secret)
    found = run(what)
    assert found.output == b"key ***\n"
    assert secret not in (tmp_path / "child.log").read_text()
    assert secret not in repr(what)


@pytest.mark.parametrize(
    "argv", [("/no/such/program",), ("no-such-program-anywhere",), ("/etc",), ("/etc/passwd",)]
)
def test_what_cannot_be_started_is_said_and_leaves_nothing(tmp_path: Path, argv: tuple[str, ...]) -> None:
    fds = len(os.listdir("/proc/self/fd"))
    with pytest.raises(StackUnfit, match=argv[0]):
        Child.start(Launch(argv, {"PATH": os.defpath}, tmp_path, tmp_path / "log"), Host())
    assert len(os.listdir("/proc/self/fd")) == fds
    assert own_children() == []


def test_a_missing_working_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(StackUnfit, match="gone"):
        Child.start(Launch((sys.executable,), {}, tmp_path / "gone", tmp_path / "log"), Host())


def test_nothing_is_kept_open_after_a_child(tmp_path: Path) -> None:
    run(launch(tmp_path, "print(1)"))
    fds = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        run(launch(tmp_path, "print(1)"))
    assert len(os.listdir("/proc/self/fd")) == fds
    assert own_children() == []


def test_the_ladder_ends_a_child_that_ignores_signals(tmp_path: Path) -> None:
    collected = Collected()
    with collected.start(launch(tmp_path, STUBBORN)) as child:
        assert until(collected.pids)
        begun = time.monotonic()
        assert child.stop(int_s=0.2, term_s=0.2, kill_s=10) == Ended(None, signal.SIGKILL)
        assert 0.4 <= time.monotonic() - begun < 5


def test_a_signal_goes_to_the_group(tmp_path: Path) -> None:
    member = "import os, time; print('pid', os.getpid(), flush=True); time.sleep(600)"
    code = f"""
import subprocess, sys
found = subprocess.Popen([sys.executable, '-S', '-c', {member!r}]).wait()
print('member ended with', found, flush=True)
import time; time.sleep(600)
"""
    ignoring = "import signal; signal.signal(15, lambda *_: None)\n" + code
    collected = Collected()
    with collected.start(launch(tmp_path, ignoring)) as child:
        assert until(collected.pids)
        child.signal(signal.SIGTERM)
        assert until(lambda: b"member ended with -15" in collected.output)


def test_no_descendant_outlives_the_child(tmp_path: Path) -> None:
    collected = Collected()
    code = FAMILY + "\nimport sys, time\nsys.stdin.read()\ntime.sleep(600)"
    with collected.start(launch(tmp_path, code)) as child:
        assert until(lambda: len(collected.pids()) == 3), collected.output
        pids = collected.pids()
        assert all(alive(pid) for pid in pids)
        child.signal(signal.SIGTERM)
        ended = child.wait(10)
    assert ended == Ended(None, signal.SIGTERM)
    assert not any(alive(pid) for pid in pids)
    assert own_children() == []


def test_shared_memory_of_a_killed_child_is_cleaned_up(tmp_path: Path) -> None:
    code = """
from multiprocessing.shared_memory import SharedMemory
import time
memory = SharedMemory(create=True, size=4096)
print("shared", memory.name, flush=True)
time.sleep(600)
"""
    collected = Collected()
    with collected.start(launch(tmp_path, code)) as child:
        assert until(lambda: collected.output.endswith(b"\n"))
        segment = Path("/dev/shm") / collected.output.split()[1].decode()
        assert segment.exists()
        child.signal(signal.SIGKILL)
        assert child.wait(10) == Ended(None, signal.SIGKILL)
    assert not segment.exists()


def test_a_listener_that_fails_does_not_stop_the_child(tmp_path: Path) -> None:
    def broken(block: bytes) -> None:
        raise ValueError("a fault of ours")

    what = launch(tmp_path, "import os; os.write(1, b'x\\n' * 2_000_000)")
    with Child.start(what, Host(), on_output=broken) as child:
        assert child.wait(30) == Ended(0, None)
    assert what.log.read_bytes().count(b"x\n") == 2_000_000
    assert b"a fault of ours" in what.log.read_bytes()


def test_closing_kills_at_once(tmp_path: Path) -> None:
    collected = Collected()
    child = collected.start(launch(tmp_path, FAMILY + "\nimport time; time.sleep(600)"))
    assert until(lambda: len(collected.pids()) == 3)
    begun = time.monotonic()
    child.close()
    assert time.monotonic() - begun < 5
    assert not any(alive(pid) for pid in [child.pid, *collected.pids()])


DRIVER = """
import sys
def show(block):
    sys.stdout.buffer.write(block)
    sys.stdout.flush()
def hide(block):
    pass
from pathlib import Path
from neuronctl.child import Child, Launch
from neuronctl.host import Host
where = Path(sys.argv[1])
what = Launch((sys.executable, "-S", "-c", sys.argv[2]), {}, where, where / "driver.log")
child = Child.start(what, Host(), on_output=show)
print("child", child.pid, flush=True)
child.wait()
for line in open("/proc/self/status"):
    if line.startswith("VmHWM:"): print("peak_kib", line.split()[1], flush=True)
"""


def drive(tmp_path: Path, code: str) -> subprocess.Popen[str]:
    """Another process in which neuronctl's code runs a child."""
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path), code],
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd=ROOT,
    )


def test_nothing_outlives_a_neuronctl_that_is_killed(tmp_path: Path) -> None:
    with drive(tmp_path, FAMILY + "\nimport time; time.sleep(600)") as driver:
        assert driver.stdout is not None
        pids: dict[str, list[int]] = {"pid": [], "child": []}
        while len(pids["pid"]) + len(pids["child"]) < 4:
            word, number = driver.stdout.readline().split()
            pids[word].append(int(number))
        everybody = pids["pid"] + pids["child"]
        assert all(alive(pid) for pid in everybody)
        driver.kill()
        assert until(lambda: not any(alive(pid) for pid in everybody)), [p for p in everybody if alive(p)]


def test_nothing_outlives_a_guard_that_is_killed(tmp_path: Path) -> None:
    family = f"""
import subprocess, sys, time
for own in (False, True):
    subprocess.Popen([sys.executable, "-S", "-c", {STUBBORN!r}], start_new_session=own)
time.sleep(600)
"""
    collected = Collected()
    with collected.start(launch(tmp_path, family)) as child:
        assert until(lambda: len(collected.pids()) == 2)
        (guard,) = own_children()
        os.kill(guard, signal.SIGKILL)
        assert child.wait(SURVIVAL_S) == Ended(None, None)
        assert not any(alive(pid) for pid in [child.pid, *collected.pids()])


def test_the_kernel_ends_a_child_that_has_lost_both_neuronctl_and_guard(tmp_path: Path) -> None:
    code = "import os, time; print('guard', os.getppid(), flush=True); time.sleep(600)"
    with drive(tmp_path, code) as driver:
        assert driver.stdout is not None
        numbers: dict[str, int] = {}
        while len(numbers) < 2:
            word, number = driver.stdout.readline().split()
            numbers[word] = int(number)
        os.kill(numbers["guard"], signal.SIGSTOP)  # so that it can do nothing about what follows
        driver.kill()
        os.kill(numbers["guard"], signal.SIGKILL)
        assert until(lambda: not alive(numbers["child"]))


FLOOD = """
import os, time
piece = {piece}
end = time.monotonic() + 1.5
while time.monotonic() < end: os.write(2, piece)
print("flood over")
"""


@pytest.mark.parametrize(
    "piece", ["b'a line of some text again and again\\n' * 2000", "bytes(range(128, 256)) * 1000"]
)
def test_a_flood_costs_no_memory_and_little_disk(tmp_path: Path, piece: str) -> None:
    quiet = DRIVER.replace("on_output=show", "on_output=hide")
    done = subprocess.run(
        [sys.executable, "-c", quiet, str(tmp_path), FLOOD.format(piece=piece)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=60,
    )
    peak_kib = int(done.stdout.split("peak_kib")[1])
    written = sum(file.stat().st_size for file in tmp_path.glob("driver.log*"))
    assert written > 5_000_000, "there was no flood"
    assert written <= 3 * 20 * 1024 * 1024
    assert peak_kib < 60_000


def test_a_full_disk_does_not_stop_the_child(tmp_path: Path) -> None:
    what = launch(tmp_path, "import os; os.write(1, b'x\\n' * 2_000_000)")
    what.log.symlink_to("/dev/full")
    collected = Collected()
    with collected.start(what) as child:
        assert child.wait(30) == Ended(0, None)
    assert collected.output.count(b"x\n") == 2_000_000
    assert child.log.problem is not None


def test_peak_memory_covers_the_tree(tmp_path: Path) -> None:
    eater = "import sys; data = bytearray(b'x') * 80_000_000; print('ate', flush=True); sys.stdin.read()"
    code = f"""
import subprocess, sys, time
both = [subprocess.Popen([sys.executable, '-S', '-c', {eater!r}], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE) for _ in range(2)]
for one in both: one.stdout.readline()
time.sleep(600)
"""
    with Collected().start(launch(tmp_path, code)) as child:
        assert until(lambda: child.peak_memory_bytes > 160_000_000), child.peak_memory_bytes
    assert child.peak_memory_bytes < 400_000_000
