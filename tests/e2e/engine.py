"""The real vLLM as neuronctl runs it: a home of its own, a server, and what it is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

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

    def __init__(self, home: Home, port: int, profile: str) -> None:
        self.port = port
        self.output = home.folder / f"serve-{port}.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*NEURONCTL, "serve", "--profile", profile, "--port", str(port), "--json"],
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
