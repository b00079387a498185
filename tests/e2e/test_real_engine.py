"""The main job on the real vLLM: compile, serve, ask, hit, damage, repair.

One story in one test, because each step needs the one before it and a compile takes a minute or two.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.engine, pytest.mark.timeout(840)]

PROFILE = "smollm2-cpu"
QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
NEURONCTL = (sys.executable, "-m", "neuronctl")


class Home:
    """An empty home in which neuronctl is used; nothing of the real one is seen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("NEURONCTL_", "XDG_", "VLLM_", "TORCH", "HF_"))
        }
        self.environ = {**kept, "HOME": str(folder), "HF_HUB_OFFLINE": "1"}

    @property
    def store(self) -> Path:
        return self.folder / ".cache" / "neuronctl" / "store" / "v1"

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """A command to its end, with --json: the exit code and the envelope."""
        done = subprocess.run(
            [*NEURONCTL, *words, "--json"],
            env=self.environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, json.loads(done.stdout)


class Server:
    """`neuronctl serve` as a process, and the questions that it is asked."""

    def __init__(self, home: Home, port: int) -> None:
        self.port = port
        self.output = home.folder / f"serve-{port}.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*NEURONCTL, "serve", "--profile", PROFILE, "--port", str(port), "--json"],
                env=home.environ,
                cwd=home.folder,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )

    @property
    def story(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def wait_until_ready(self, timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        while "ready after" not in self.story:
            assert self.process.poll() is None, self.story
            assert time.monotonic() < end, self.story
            time.sleep(0.2)

    def ask(self, question: str) -> str:
        body = {
            "model": "smollm2-135m-instruct",
            "temperature": 0,
            "messages": [{"role": "user", "content": question}],
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/chat/completions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return str(json.load(answer)["choices"][0]["message"]["content"])

    def stop(self, number: int) -> dict[str, Any]:
        """Ask it to stop; its envelope, once every process of it is gone."""
        children = _tree(self.process.pid)
        assert children, "the server has no child: what answered?"
        self.process.send_signal(number)
        stdout, _ = self.process.communicate(timeout=90)
        assert not [pid for pid in children if _is_alive(pid)], "a child outlived neuronctl"
        envelope: dict[str, Any] = json.loads(stdout)
        assert envelope["exit_code"] == self.process.returncode
        return envelope

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.kill()


def test_compile_once_serve_hit_and_repair(home: Home, port: int, servers: list[Server]) -> None:
    code, envelope = home.run("compile", PROFILE, "--check")
    assert (code, envelope["status"]) == (10, "cache-miss")

    code, envelope = home.run("compile", PROFILE)
    assert (code, envelope["data"]["outcome"]) == (0, "compiled"), envelope
    said = {one["prompt"]: one["answer"] for one in envelope["data"]["smoke"]}
    assert said[QUESTION].strip() == ANSWER
    key = envelope["data"]["key"]

    # A second start compiles nothing.
    server = Server(home, port)
    servers.append(server)
    server.wait_until_ready(240)
    assert f"artifact {key}: hit" in server.story
    assert server.ask(QUESTION).strip() == ANSWER
    envelope = server.stop(signal.SIGINT)
    assert envelope["exit_code"] == 130
    assert (envelope["data"]["hit"], envelope["data"]["compiled_again"]) == (True, False)
    code, envelope = home.run("cache", "verify")
    assert (code, envelope["data"]["damaged"]) == (0, 0), "serving changed the artifact"

    # A damaged artifact is noticed, put aside, compiled again and served.
    largest = max(home.store.glob("artifacts/*/tree/inductor/**/*.so"), key=lambda path: path.stat().st_size)
    largest.chmod(0o644)
    os.truncate(largest, largest.stat().st_size // 2)
    code, envelope = home.run("compile", PROFILE, "--check")
    assert (code, envelope["status"]) == (12, "artifact-damaged")
    server = Server(home, port)
    servers.append(server)
    server.wait_until_ready(480)
    assert "quarantine" in server.story
    assert server.ask(QUESTION).strip() == ANSWER
    envelope = server.stop(signal.SIGTERM)
    assert (envelope["exit_code"], envelope["data"]["key"]) == (143, key)
    assert not envelope["data"]["hit"]
    code, envelope = home.run("cache", "list")
    assert [one["key"] for one in envelope["data"]["artifacts"]] == [key]
    assert [one["key"] for one in envelope["data"]["quarantined"]] == [key]
    code, envelope = home.run("cache", "verify")
    assert (code, envelope["data"]["damaged"]) == (0, 0)


def _tree(root: int) -> set[int]:
    """The process ids below `root`, by the parents that /proc names."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found: set[int] = set()
    while True:
        more = {pid for pid, parent in parents.items() if parent in found | {root}} - found
        if not more:
            return found
        found |= more


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
