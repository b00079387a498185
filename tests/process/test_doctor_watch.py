"""The live table beside a real child for neuron-monitor: good, silent, dying, flooding, stubborn."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.process.neuron_machine import GIB, make_root
from tests.process.terminal import PROJECT, until

WATCH = """
import os, sys
from pathlib import Path
from neuronctl.cli.watch import show_snapshots
from neuronctl.doctor.watch import watch
from neuronctl.host import Host
snapshots = watch(Host(root=Path(sys.argv[1])), interval_s=0.2)
show_snapshots(snapshots, sys.stdout, environ=os.environ, **eval(sys.argv[2]))
"""
REPORT = json.dumps(
    {
        "neuron_runtime_data": [
            {
                "pid": 1,
                "report": {
                    "neuroncore_counters": {"neuroncores_in_use": {"1": {"neuroncore_utilization": 76.5}}},
                    "memory_used": {"neuron_runtime_used_bytes": {"neuron_device": 3 * GIB}},
                },
            }
        ],
        "neuron_hardware_info": {"neuron_device_memory_size": 32 * GIB, "error": ""},
    }
)
MONITORS = {
    "good": f"while :; do echo '{REPORT}'; sleep 0.1; done",
    "partly": f"while :; do echo garbage; echo '{REPORT}'; sleep 0.1; done",
    "garbage": "while :; do echo '{not json'; sleep 0.1; done",
    "silent": "exec sleep 1000",
    "dying": "exit 3",
    "flooding": 'exec yes \'{"a": "0123456789012345678901234567890123456789"}\'',
    "endless": "exec cat /dev/zero",
    "stubborn": f"trap '' TERM; echo '{REPORT}'; (trap '' TERM; sleep 1000) & while :; do sleep 1000; done",
}


@dataclass
class Watched:
    """A machine with one device, and the watching of it."""

    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = make_root(self.folder / "root")
        (self.folder / "tmp").mkdir()

    def monitor(self, kind: str) -> None:
        program = self.root / "bin" / "neuron-monitor"
        noted = self.folder / "given"
        program.write_text(f'#!/bin/sh\n# {self.folder}\ncat "$2" > {noted}\n{MONITORS[kind]}\n')
        program.chmod(0o755)

    def start(self, stdout: int, options: str = "{}") -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", WATCH, str(self.root), options],
            env={
                "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
                "PYTHONPATH": str(PROJECT),
                "HOME": str(self.folder),
                "TMPDIR": str(self.folder / "tmp"),
                "TERM": "xterm",
                "LANG": "C.UTF-8",
                "WATCH_OF_A_TEST": str(self.folder),
            },
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        self.started.append(process)
        return process

    def left(self) -> list[int]:
        """Processes of this test that are alive."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                ours = os.fsencode(f"WATCH_OF_A_TEST={self.folder}") in (folder / "environ").read_bytes()
                if ours and (folder / "stat").read_bytes().rpartition(b")")[2].split()[0] not in b"ZX":
                    found.append(int(folder.name))
        return found

    def ends(self, process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> None:
        """It ends by this signal without a word, and leaves nothing."""
        process.send_signal(number)
        _, told = process.communicate(timeout=15)
        assert (process.returncode, told) == (0, b"")
        assert self.left() == []
        assert list((self.folder / "tmp").iterdir()) == []


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    one = Watched(tmp_path)
    try:
        yield one
    finally:
        for pid in one.left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in one.started:
            process.wait(10)
            if process.stderr:
                process.stderr.close()


def lines(watched: Watched, word: str, options: str = "{}") -> tuple[subprocess.Popen[bytes], str]:
    """Watch into a file until `word` is in it."""
    out = watched.folder / "out"
    with out.open("wb") as file:
        process = watched.start(file.fileno(), options)
    until(lambda: word in out.read_text() or process.poll() is not None, word)
    assert process.poll() is None, (out.read_text(), process.communicate()[1])
    return process, out.read_text()


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("good", "0 76"),
        ("partly", "0 76"),
        ("garbage", "neuron-monitor printed something that is no JSON"),
        ("silent", "neuron-monitor has not told anything yet"),
        ("dying", "neuron-monitor ended with 3"),
        ("flooding", "neuron-monitor printed JSON that is no report"),
        ("endless", "neuron-monitor has not told anything yet"),
        ("stubborn", "0 76"),
    ],
)
def test_the_table_goes_on_whatever_neuron_monitor_does(watched: Watched, kind: str, word: str) -> None:
    watched.monitor(kind)
    process, _ = lines(watched, word)
    out = watched.folder / "out"
    before = out.read_text().count("host memory")
    until(lambda: out.read_text().count("host memory") > before + 2, "more tables")
    watched.ends(process)


def test_what_neuron_monitor_is_asked_for(watched: Watched) -> None:
    watched.monitor("good")
    process, text = lines(watched, "3.0 of 32.0")
    watched.ends(process)
    asked = json.loads((watched.folder / "given").read_text())
    assert asked["period"] == "1s"
    assert {each["type"] for each in asked["neuron_runtimes"][0]["metrics"]} == {
        "neuroncore_counters",
        "memory_used",
    }
    assert "in use by" in text


def test_without_neuron_monitor(watched: Watched) -> None:
    process, _ = lines(watched, "neuron-monitor is neither in PATH")
    watched.ends(process)


def test_json_lines(watched: Watched) -> None:
    watched.monitor("good")
    process, _ = lines(watched, '"percent": 76.5', "{'as_json': True}")
    watched.ends(process)
    for line in (watched.folder / "out").read_text().splitlines():
        assert json.loads(line)["devices"][0]["index"] == 0


def test_neuron_monitor_ends_where_nobody_reads_any_more(watched: Watched) -> None:
    watched.monitor("stubborn")
    read, write = os.pipe()
    process = watched.start(write)
    os.close(write)
    assert os.read(read, 100)
    os.close(read)
    process.wait(15)
    assert watched.left() == []


def test_neuron_monitor_ends_when_the_table_cannot_be_written(watched: Watched) -> None:
    watched.monitor("stubborn")
    with open("/dev/full", "wb") as full:
        process = watched.start(full.fileno())
    _, told = process.communicate(timeout=15)
    assert process.returncode != 0
    assert b"No space left" in told
    assert watched.left() == []


def test_a_neuron_ls_that_fails_meanwhile(watched: Watched) -> None:
    watched.monitor("good")
    process, _ = lines(watched, "0 76")
    says = "\\033]0;mine\\007\\033[31mno"
    (watched.root / "bin" / "neuron-ls").write_text(f"#!/bin/sh\nprintf '{says}' >&2\nexit 1\n")
    until(lambda: "neuron-ls ended with 1" in (watched.folder / "out").read_text(), "its trouble")
    assert "\x1b" not in (watched.folder / "out").read_text(), "nobody else writes to the terminal"
    watched.ends(process)


def test_a_neuron_ls_that_hangs_holds_up_no_table_and_nobody_is_not_said(watched: Watched) -> None:
    (watched.root / "bin" / "neuron-ls").write_text("#!/bin/sh\nexec sleep 1000\n")
    process, text = lines(watched, "Who holds a device is unknown: neuron-ls did not answer in 2 s")
    assert "nobody" not in text
    assert "unknown\n" in text
    watched.ends(process)


def test_in_a_terminal_that_changes_its_size(watched: Watched) -> None:
    watched.monitor("good")
    ours, theirs = pty.openpty()
    shown = b""

    def resize(lines: int, columns: int) -> None:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def until_shown(word: bytes) -> None:
        nonlocal shown
        shown = b""

        def look() -> bool:
            nonlocal shown
            shown += os.read(ours, 65_536)
            return word in shown

        until(look, word.decode())

    try:
        resize(24, 120)
        process = watched.start(theirs)
        until_shown(b"0 76")
        assert b"\x1b[?25l" in shown
        resize(3, 30)
        until_shown(b"more lines")
        last = shown[shown.rindex(b"\x1b[H") :]
        assert max(len(line) for line in last.replace(b"\x1b[K", b"").split(b"\r\n")) <= 40
        process.send_signal(signal.SIGINT)
        until_shown(b"\x1b[?7h\x1b[?25h")
        assert process.wait(15) == 0
        assert watched.left() == []
    finally:
        os.close(ours)
        os.close(theirs)
