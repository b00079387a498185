"""`neuronctl compile` with a stand-in engine: what is published, what is not, and the number it ends with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.terminal import Said, Terminal, until


def nothing_published(terminal: Terminal) -> None:
    assert terminal.artifacts() == []
    assert terminal.staging() == []
    assert list((terminal.store / "blobs").rglob("*.*")) == []


def works_afterwards(terminal: Terminal) -> None:
    assert terminal.run("compile", "p.yaml", "--json").expect(0).envelope["data"]["outcome"] == "compiled"
    terminal.run("cache", "verify").expect(0, "whole")


def test_compile_once_then_hit(terminal: Terminal) -> None:
    terminal.run("compile", "p.yaml", "--check").expect(10, "no artifact", "neuronctl compile p.yaml")
    first = terminal.run("compile", "p.yaml").expect(0, "compiled in", "Paris", "neuronctl serve p.yaml")
    assert "nothing is compiled yet" in first.err
    second = terminal.run("compile", "--profile", "./p.yaml", "--json").expect(0)
    assert second.envelope["data"]["outcome"] == "hit"
    assert len(terminal.logs()) == 1
    terminal.run("compile", "p.yaml", "--check").expect(0, "hit")
    other = terminal.run("compile", "p.yaml", "--check", "--json", "--set", "engine.max_model_len=64").expect(
        10
    )
    assert [one["field"] for one in other.envelope["data"]["differs"]] == ["engine.max_model_len"]


def test_policies(compiled: Terminal) -> None:
    compiled.run("compile", "p.yaml", "--policy", "cached-only").expect(0, "hit")
    miss = ("--set", "engine.max_model_len=64")
    compiled.run("compile", "p.yaml", "--policy", "cached-only", *miss).expect(10)
    again = compiled.run("compile", "p.yaml", "--policy", "always", "--json").expect(0)
    assert again.envelope["data"]["outcome"] == "compiled"
    (compiled.tree() / "inductor" / "cd" / "ccd9qz.py").unlink()
    for words in (("--check",), ("--policy", "cached-only")):
        asked = compiled.run("compile", "p.yaml", "--json", *words).expect(12)
        assert "it is missing" in asked.envelope["errors"][0]["message"]
    assert compiled.quarantined() == []
    compiled.run("cache", "verify").expect(12, "damaged", "ccd9qz.py: it is missing")
    compiled.run("compile", "p.yaml").expect(0, "quarantine", "compiled in")
    assert len(compiled.quarantined()) == 1


@pytest.mark.parametrize(
    ("stand_in", "code", "says"),
    [
        ("die-at-once=3", 20, "exited with code 3 in phase start"),
        ("die-in=import", 20, "told to die in import"),
        ("die-in=load", 20, "in phase load weights"),
        ("die-in=compile", 20, "in phase compile"),
        ("die-in=listen", 20, "told to die in listen"),
        ("oom", 21, "more memory"),
        ("answer=empty", 20, "it says nothing"),
        ("answer=repeat", 20, "repeats itself"),
        ("answer=nan", 20, "not all numbers"),
        ("completions=500", 20, "status 500|answered 500"),
        ("no-cache", 20, "no compiled library"),
    ],
)
def test_engine_that_fails(terminal: Terminal, stand_in: str, code: int, says: str) -> None:
    terminal.profile("server: {ready_timeout_s: 3}")
    told = terminal.run("compile", "p.yaml", "--json", stand_in=stand_in).expect(code)
    (error,) = told.envelope["errors"]
    text = error["message"] + json.dumps(error["details"]) + str(error["fix"])
    assert any(word in text for word in says.split("|")), text
    nothing_published(terminal)
    assert Path(error["details"]["log"]) in terminal.logs()


def test_engine_that_hangs_is_ended_in_time(terminal: Terminal) -> None:
    terminal.profile("server: {ready_timeout_s: 1.5}")
    told = terminal.run("compile", "p.yaml", stand_in="hang=compile,grandchildren")
    told.expect(20, "not ready after 1.5 s, in phase compile")
    nothing_published(terminal)


def test_flood_of_output_and_processes_that_stay(terminal: Terminal) -> None:
    told = terminal.run("compile", "p.yaml", stand_in="flood=1,flood-junk=1,grandchildren")
    told.expect(0, "compiled in")
    log = terminal.logs()[0].read_bytes() + b"".join(
        path.read_bytes() for path in (terminal.store_home / "logs").glob("*.log.*")
    )
    pids = [line.split(b"grandchild ")[1].split()[0] for line in log.splitlines() if b"grandchild " in line]
    for pid in pids:
        assert not Path(f"/proc/{int(pid)}").exists()
    assert len(told.err) < 20_000


def test_argument_that_vllm_does_not_know(terminal: Terminal) -> None:
    told = terminal.run("compile", "p.yaml", "--", "--no-such-flag")
    told.expect(20, "exited with code 2", "unrecognized arguments: --no-such-flag")
    nothing_published(terminal)


def test_argument_after_the_dashes_reaches_vllm(terminal: Terminal) -> None:
    data = terminal.run("plan", "p.yaml", "--json", "--", "--block-size", "16").expect(0).envelope["data"]
    assert data["command"][-2:] == ["--block-size", "16"]
    terminal.run("compile", "p.yaml", "--", "--block-size", "16").expect(0)


def test_two_at_once_compile_once(terminal: Terminal) -> None:
    slow = "ready-after=3"
    first = terminal.start("compile", "p.yaml", "--json", stand_in=slow).until_told("compiling")
    second = terminal.start("compile", "p.yaml", "--json", stand_in=slow)
    second.until_told(f"waiting for process {first.process.pid}")
    assert "compile p" in second.told
    outcomes = [first.end(clean=False), second.end()]
    assert [said.expect(0).envelope["data"]["outcome"] for said in outcomes] == ["compiled", "hit"]
    assert len(terminal.logs()) == 1


def test_waiting_has_an_end(terminal: Terminal) -> None:
    first = terminal.start("compile", "p.yaml", stand_in="hang=load").until_told("load weights")
    second = terminal.run("compile", "p.yaml", "--lock-timeout", "0.3", "--json", clean=False).expect(43)
    assert second.envelope["errors"][0]["details"]["holder_pid"] == first.process.pid
    first.signal(signal.SIGINT)
    first.end().expect(130)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("phase", ["import", "compile"])
def test_stopped_in_a_phase(terminal: Terminal, phase: str, number: int) -> None:
    running = terminal.start("compile", "p.yaml", "--json", stand_in=f"hang={phase},grandchildren")
    until(lambda: terminal.logs() and b"grandchild" in terminal.logs()[0].read_bytes(), "the engine")
    if phase == "compile":
        running.until_told("compile 0:")
    running.signal(number)
    said = running.end().expect(130 if number == signal.SIGINT else 143)
    assert said.envelope["status"] == ("interrupted" if number == signal.SIGINT else "terminated")
    nothing_published(terminal)
    assert terminal.logs()[0].stat().st_size


def test_engine_that_ignores_signals_is_killed_when_asked_twice(terminal: Terminal) -> None:
    running = terminal.start("compile", "p.yaml", stand_in="ignore-signals,hang=load").until_told(
        "load weights"
    )
    running.signal(signal.SIGINT)
    # The second request counts when it does not come at once: the supervisor's own rule.
    for _ in range(100):
        try:
            running.process.wait(0.4)
            break
        except subprocess.TimeoutExpired:
            running.signal(signal.SIGINT)
    running.end().expect(130, "stopped by SIGINT")
    nothing_published(terminal)


def limited(terminal: Terminal, size: int, *words: str) -> Said:
    """A limit on the size of files stands for a full disk."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)\n"
        "from neuronctl.__main__ import run; sys.exit(run(sys.argv[2:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(size), *words],
        cwd=terminal.cwd,
        env=terminal.env,
        capture_output=True,
    )
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_disk_that_is_full(compiled: Terminal) -> None:
    other = ("--set", "engine.max_model_len=64")
    limited(compiled, 100_000, "compile", "p.yaml", *other).expect(30, "disk space", "NEURONCTL_HOME")
    assert compiled.staging() == []
    limited(compiled, 100_000, "serve", "p.yaml").expect(30, "the limit on file sizes", "NEURONCTL_HOME")
    compiled.run("compile", "p.yaml", *other).expect(0, "compiled in")


def test_cache_that_is_a_file(terminal: Terminal) -> None:
    terminal.store_home.write_text("not a folder")
    asked = terminal.run("compile", "p.yaml", "--json").expect(30).envelope
    assert "NEURONCTL_HOME" in asked["errors"][0]["fix"]


@pytest.mark.parametrize("home", ["relative", "with space/ünïcode"])
def test_home_of_another_kind(terminal: Terminal, home: str) -> None:
    said = terminal.run("compile", "p.yaml", "--json", env={"NEURONCTL_HOME": home}).expect(0)
    assert Path(said.envelope["data"]["path"]).is_relative_to(terminal.cwd / home)
    terminal.run("cache", "path", env={"NEURONCTL_HOME": home}).expect(0, str(terminal.cwd / home))


@pytest.mark.parametrize("moment", range(5))
def test_killed_at_some_moment(terminal: Terminal, moment: int) -> None:
    """The moments are events of a compile, so that each is hit whatever the machine's speed."""
    words = ["nothing is compiled", "load weights", "compile 0:", "first answer", "smoke test"]
    running = terminal.start("compile", "p.yaml", stand_in="grandchildren,ready-after=0.3").until_told(
        words[moment]
    )
    running.signal(signal.SIGKILL)
    running.process.wait(10)
    until(lambda: not terminal.left(), "the end of all children", 15)
    works_afterwards(terminal)
    assert terminal.staging() == []
    assert [
        path for path in (terminal.store_home / "run").glob("*") if path.name.startswith(f"{os.getpid()}")
    ] == []


def test_the_next_command_says_what_the_user_said(terminal: Terminal) -> None:
    words = ("p.yaml", "--set", "engine.max_model_len=77", "--python", str(terminal.python))
    said = terminal.run("compile", *words, "--check").expect(10)
    again = f"compile p.yaml --set engine.max_model_len=77 --python {terminal.python}"
    assert again in said.err
    said = terminal.run("compile", *words, "--", "--max-logprobs", "5").expect(0)
    assert f"serve {again.removeprefix('compile ')} -- --max-logprobs 5" in said.out
