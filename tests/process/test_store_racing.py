"""Processes that want one key compile once, and a lock dies with its holder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import neuronctl
from neuronctl.artifacts.lock import read_holder
from neuronctl.artifacts.store import Store
from neuronctl.artifacts.verify import verify_full
from neuronctl.host import Host

ENV = os.environ | {"PYTHONPATH": str(Path(neuronctl.__file__).parents[1])}
RACERS = 5

# Whoever builds does not end before all others have said that they wait: the race is always run.
RACER = """
import json, os, sys, time
from pathlib import Path
from neuronctl.artifacts.build import Made, build_once
from neuronctl.artifacts.store import Store
from neuronctl.host import Host

root, notes, others = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
holders = set()

def build(stage):
    with (notes / "builds").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    deadline = time.monotonic() + 60
    while len(list(notes.glob("waiting.*"))) < others:
        assert time.monotonic() < deadline, "nobody waits"
        time.sleep(0.01)
    (stage.path / "by").write_text(str(os.getpid()))
    return Made({}, "cpu", "m", "p")

def on_wait(holder, waited_s):
    (notes / f"waiting.{os.getpid()}").touch()
    if holder.what is not None:
        holders.add((holder.pid, holder.what))

outcome = build_once(Store(root, Host(environ={})), "k", build, what="compile k", on_wait=on_wait)
print(json.dumps({"pid": os.getpid(), "built": outcome.built, "holders": sorted(holders),
                  "waited_s": outcome.waited_s, "by": (outcome.artifact.tree / "by").read_text()}))
"""


def test_racing_processes_build_once(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path / "store"), str(notes), str(RACERS - 1)],
            env=ENV,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(RACERS)
    ]
    answers = [json.loads(racer.communicate(timeout=90)[0]) for racer in racers]
    builder = int((notes / "builds").read_text())  # one line, or this is not a number
    assert [answer["pid"] for answer in answers if answer["built"]] == [builder]
    for answer in answers:
        assert answer["by"] == str(builder)
        if answer["pid"] != builder:
            assert answer["waited_s"] > 0
            assert [builder, "compile k"] in answer["holders"]
    artifact = Store(tmp_path / "store", Host(environ={})).find("k")
    assert artifact is not None and verify_full(artifact) == []


# A builder dies by kill -9 and leaves a child that lives on, until its stdin ends.
HOLDER = """
import os, signal, subprocess, sys
from pathlib import Path
from neuronctl.artifacts.lock import lock
from neuronctl.host import Host

with lock(Path(sys.argv[1]), Host(environ={}), what="hold", timeout_s=5):
    if sys.argv[2] == "exec":
        subprocess.Popen([sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"],
                         close_fds=False)
    elif os.fork() == 0:
        print("up", flush=True)
        sys.stdin.read()
        os._exit(0)
    signal.pause()
"""

TAKER = """
import sys
from pathlib import Path
from neuronctl.artifacts.lock import lock
from neuronctl.errors import LockTimedOut
from neuronctl.host import Host

try:
    with lock(Path(sys.argv[1]), Host(environ={}), what="take", timeout_s=float(sys.argv[2])):
        print("taken")
except LockTimedOut as error:
    print(error.exit_code, error.what)
"""


@pytest.mark.parametrize("how", ["exec", "fork"])
def test_a_child_that_outlives_the_holder_does_not_keep_the_lock(tmp_path: Path, how: str) -> None:
    path = tmp_path / "k.lock"

    def take(timeout_s: float) -> str:
        argv = [sys.executable, "-c", TAKER, str(path), str(timeout_s)]
        return subprocess.run(argv, env=ENV, capture_output=True, text=True, check=True, timeout=60).stdout

    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), how],
        env=ENV,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline() == b"up\n"
        assert read_holder(path).pid == holder.pid
        refused = take(0.1)
        assert refused.startswith("43 ") and f"process {holder.pid}" in refused and "(hold)" in refused
        holder.kill()
        holder.wait()
        assert take(5) == "taken\n"
        holder.stdin.close()
        assert holder.stdout.read() == b""  # ends when the child has ended
    assert path.exists()
