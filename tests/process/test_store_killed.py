"""kill -9 at any moment leaves a store that holds nothing or a whole artifact, and the next build works."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import neuronctl
from neuronctl.artifacts.build import Made, build_once
from neuronctl.artifacts.exchange import swap
from neuronctl.artifacts.stage import Stage
from neuronctl.artifacts.store import Store
from neuronctl.artifacts.verify import verify_full
from neuronctl.host import Host

ENV = os.environ | {"PYTHONPATH": str(Path(neuronctl.__file__).parents[1])}

COMMON = """
import os, signal, sys
from pathlib import Path
from neuronctl.artifacts.build import Made, build_once
from neuronctl.artifacts.exchange import swap
from neuronctl.artifacts.stage import Stage
from neuronctl.artifacts.store import Store
from neuronctl.artifacts.verify import verify_full
from neuronctl.host import Host

def build(stage, word=b"new"):
    for n in range(3):
        path = stage.path / f"d{n % 2}" / f"f{n}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"%d" % n)
    (stage.path / "word").write_bytes(word)
    (stage.path / "tool").write_bytes(b"#!")
    (stage.path / "tool").chmod(0o755)
    return Made({"a": 1}, "cpu", "m", "p")

def whole(store, key):
    artifact = store.find(key)
    if artifact is None:
        return None
    assert verify_full(artifact) == [], verify_full(artifact)
    return (artifact.tree / "word").read_bytes()
"""

# Each child counts what it asks of the file system, and kills itself at the n-th call. Python's audit
# events come before the call, so each state between two calls is met once.
EACH_CALL = (
    COMMON
    + """
import shutil
from neuronctl.artifacts.exchange import swap

base, scenario = Path(sys.argv[1]), sys.argv[2]
EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.utime",
          "os.truncate", "fcntl.flock", "os.scandir", "os.listdir", "ctypes.dlsym"}
for name in ("x", "y"):
    (base / name).mkdir()
swaps = swap(base / "x", base / "y")

def child(root, at):
    count = 0
    def hook(event, args):
        nonlocal count
        if event in EVENTS and (event != "open" or str(root) in str(args[0])):
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)
    store = Store(root, Host(environ={}))
    sys.addaudithook(hook)
    build_once(store, "k", build, rebuild=scenario == "rebuild")
    os._exit(0)

def prepared(root):
    store = Store(root, Host(environ={}))
    if scenario != "fresh":
        build_once(store, "other", build)
        build_once(store, "k", lambda stage: build(stage, b"old"))
    if scenario == "damaged":
        word = store.find("k").tree / "word"
        word.chmod(0o600)
        word.write_bytes(b"evil")
    return store

build_once(Store(base / "warm", Host(environ={})), "k", build)
moments = 0
while True:
    root = base / "store"
    store = prepared(root)
    pid = os.fork()
    if pid == 0:
        child(root, moments + 1)
    status = os.waitpid(pid, 0)[1]
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        break
    moments += 1
    if scenario == "fresh":
        assert whole(store, "k") in (None, b"new")
    elif scenario == "rebuild":
        assert whole(store, "k") in (b"old", b"new") + (() if swaps else (None,)), moments
    outcome = build_once(store, "k", build, lock_timeout_s=5)
    assert whole(store, "k") in ((b"old", b"new") if scenario == "rebuild" else (b"new",))
    if scenario != "fresh":
        assert whole(store, "other") == b"new"
    if not outcome.built:  # killed after publishing: a hit takes no lock and sweeps nothing, a build does
        build_once(store, "k", build, rebuild=True, lock_timeout_s=5)
    assert not os.listdir(root / "staging"), os.listdir(root / "staging")
    shutil.rmtree(root)
print(moments)
"""
)


@pytest.mark.parametrize("scenario", ["fresh", "rebuild", "damaged"])
def test_killed_at_each_call_to_the_file_system(tmp_path: Path, scenario: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EACH_CALL, str(tmp_path), scenario],
        env=ENV,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40  # it did meet the moments it is about


ENDLESS = (
    COMMON
    + """
store = Store(Path(sys.argv[1]), Host(environ={}))
build_once(store, "a", build)
print("ready", flush=True)
while True:
    for key in ("a", "b", "c"):
        build_once(store, key, build, rebuild=True)
"""
)


def small(stage: Stage) -> Made:
    (stage.path / "word").write_bytes(b"last")
    return Made({"a": 1}, "cpu", "m", "p")


def test_killed_at_random_moments(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", Host(environ={}))
    for _ in range(25):
        child = subprocess.Popen(
            [sys.executable, "-c", ENDLESS, str(store.root)], env=ENV, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        with child, child.stdout:
            assert child.stdout.readline() == b"ready\n"
            try:
                child.wait(timeout=random.uniform(0, 0.06))
            except subprocess.TimeoutExpired:
                child.kill()
        assert child.returncode == -signal.SIGKILL
        for key in ("a", "b", "c"):
            artifact = store.find(key)
            assert artifact is None or verify_full(artifact) == []
    for key in ("a", "b", "c"):
        outcome = build_once(store, key, small, rebuild=True, lock_timeout_s=5)
        assert (outcome.artifact.tree / "word").read_bytes() == b"last"
    assert not any(store.layout.staging.iterdir())


def test_a_reader_meets_a_whole_artifact_at_any_moment_of_a_rebuild(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    if not swap(tmp_path / "x", tmp_path / "y"):
        pytest.skip("this file system cannot exchange two names")
    store = Store(tmp_path / "store", Host(environ={}))
    child = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(store.root)], env=ENV, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    with child, child.stdout:
        assert child.stdout.readline() == b"ready\n"
        try:
            folders: set[int] = set()
            deadline = time.monotonic() + 30
            while len(folders) < 4 and time.monotonic() < deadline:
                for _ in range(200):
                    assert store.find("a") is not None
                folders.add(store.layout.artifact("a").stat().st_ino)
        finally:
            child.kill()
    assert len(folders) == 4  # it was replaced while it was read


WAITING = (
    COMMON
    + """
def slow(stage):
    build(stage)
    print("building", flush=True)
    sys.stdin.read()
    raise AssertionError("not interrupted")

build_once(Store(Path(sys.argv[1]), Host(environ={})), "k", slow)
"""
)


def test_interrupted_while_building(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", Host(environ={}))
    child = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(store.root)],
        env=ENV,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.readline() == b"building\n"
        child.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in child.stderr.read()
    assert store.find("k") is None
    assert not any(store.layout.staging.iterdir())  # by the child itself, not swept by another build
    assert not [path for path in store.layout.blobs.rglob("*") if path.is_file()]
    assert build_once(store, "k", small, lock_timeout_s=5).built
