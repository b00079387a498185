"""Terminal: the real `neuronctl` as its user starts it, with a home of its own and a stand-in for vLLM."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hub.sample import make_safetensors

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
ENVELOPE = {"schema", "command", "status", "exit_code", "data", "findings", "errors"}
PATIENCE_S = 30.0
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
    "vocab_size": 100,
}
MARK = "TERMINAL_OF_A_TEST"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait for `true` to give something true, and give it."""
    deadline = time.monotonic() + patience_s
    while not (value := true()):
        assert time.monotonic() < deadline, f"waited {patience_s:g} s for {what}"
        time.sleep(0.02)
    return value


def make_model(folder: Path) -> Path:
    """A model folder in which everything is there and nothing is of use."""
    weights = make_safetensors(dict.fromkeys(("embed_tokens.weight", "lm_head.weight"), ("F32", (2, 2))))
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def make_python(folder: Path, *, with_vllm: bool = True) -> Path:
    """A serving Python: this one without its packages, and with the stand-in for vLLM."""
    folder.mkdir(parents=True)
    path = str(HERE / "fake_vllm_package") if with_vllm else ""
    python = folder / "python"
    real = shlex.quote(os.path.realpath(sys.executable))
    python.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(path)} exec {real} -S "$@"\n')
    python.chmod(0o755)
    return python


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        assert set(found) == ENVELOPE
        assert found["schema"] == "neuronctl/1"
        assert found["exit_code"] == self.code
        assert (found["status"] == "ok") == (self.code == 0)
        return found

    def expect(self, code: int, *words: str) -> Said:
        """Ended with `code`, and said all `words`."""
        assert self.code == code, self
        for word in words:
            assert word in self.out + self.err, (word, self)
        return self


@dataclass
class Running:
    """A command that runs; its stdout and stderr go to files, so that it never waits for us."""

    terminal: Terminal
    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    @property
    def told(self) -> str:
        return self.err.read_text(errors="replace")

    def until_told(self, word: str) -> Running:
        """Wait until the story has `word` in it."""
        until(lambda: word in self.told or self.process.poll() is not None, word)
        assert word in self.told, (word, self.process.poll(), self.told)
        return self

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, *, clean: bool = True) -> Said:
        """Wait for the end. `clean`: nothing of it is left, and no traceback was shown."""
        self.process.wait(60)
        said = Said(self.process.returncode, self.out.read_text(errors="replace"), self.told)
        assert "Traceback" not in said.out + said.err, said
        if clean:
            assert not self.terminal.left()
        return said


@dataclass
class Terminal:
    """A user's terminal: working folder, home, environment."""

    folder: Path
    model: Path
    python: Path
    env: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    program: tuple[str, ...] = ("-m", "neuronctl")
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.port = free_port()
        self.mark = uuid.uuid4().hex
        self.cwd = self.folder / "work"
        self.home = self.folder / "home"
        for folder in (self.cwd, self.home):
            folder.mkdir(parents=True)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "NEURONCTL_HOME": str(self.store_home),
            "NEURONCTL_PYTHON": str(self.python),
            "PYTHONPATH": str(PROJECT),
            "TMPDIR": str(self.folder),
            "LANG": "C.UTF-8",
            MARK: self.mark,
            **self.env,
        }
        self.profile()

    @property
    def store_home(self) -> Path:
        return self.folder / "neuronctl home"

    @property
    def store(self) -> Path:
        return self.store_home / "store" / "v1"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def profile(self, text: str = "", name: str = "p.yaml") -> Path:
        """Write a profile: the model, the port, and `text`."""
        path = self.cwd / name
        path.write_text(
            f"model: {{id: {self.model}}}\nbackend: cpu\n{text or f'server: {{port: {self.port}}}'}\n"
        )
        return path

    def start(self, *words: str, stand_in: str = "", env: dict[str, str] | None = None) -> Running:
        """Start neuronctl with these words."""
        number = len(self.started)
        out, err = self.folder / f"out-{number}", self.folder / f"err-{number}"
        with out.open("wb") as to_out, err.open("wb") as to_err:
            process = subprocess.Popen(
                [*self.prefix, sys.executable, *self.program, *words],
                cwd=self.cwd,
                env={**self.env, "STAND_IN": stand_in, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=to_out,
                stderr=to_err,
            )
        self.started.append(process)
        return Running(self, process, out, err)

    def run(
        self, *words: str, stand_in: str = "", env: dict[str, str] | None = None, clean: bool = True
    ) -> Said:
        """Run neuronctl to its end."""
        return self.start(*words, stand_in=stand_in, env=env).end(clean=clean)

    def shell(self, line: str) -> Said:
        """Run a line of shell in which `neuronctl` is ours."""
        done = subprocess.run(
            ["sh", "-c", f'neuronctl() {{ {shlex.quote(sys.executable)} -m neuronctl "$@"; }}\n{line}'],
            cwd=self.cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        return Said(done.returncode, done.stdout.decode(), done.stderr.decode())

    def serve(self, *words: str, stand_in: str = "", env: dict[str, str] | None = None) -> Running:
        """Start serving `p.yaml` and wait until it is ready."""
        return self.start("serve", "p.yaml", *words, stand_in=stand_in, env=env).until_told("ready after")

    def left(self) -> list[str]:
        """Processes that this terminal started and that are alive."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes()
                ours = f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes()
                ours = ours or os.fsencode(self.folder) in words
                state = (folder / "stat").read_bytes().rpartition(b")")[2].split()[0]
            except OSError:
                continue
            if ours and state not in b"ZX":
                found.append(f"{folder.name}: {words.decode(errors='replace')}")
        return found

    def stop_all(self) -> None:
        """End what a failed test left."""
        for process in self.started:
            process.kill()
            process.wait()
        for line in self.left():
            with suppress(ProcessLookupError):
                os.kill(int(line.partition(":")[0]), signal.SIGKILL)

    def artifacts(self) -> list[str]:
        return _names(self.store / "artifacts")

    def staging(self) -> list[str]:
        return _names(self.store / "staging")

    def quarantined(self) -> list[str]:
        return _names(self.store / "quarantine")

    def logs(self) -> list[Path]:
        return sorted((self.store_home / "logs").glob("*.log"))

    def tree(self) -> Path:
        """The compiled output of the only artifact."""
        (name,) = self.artifacts()
        return self.store / "artifacts" / name / "tree"

    def everything_written(self) -> bytes:
        """All bytes that neuronctl left on the disk."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and path.name != "python"]
        return b"\n".join(path.read_bytes() for path in files)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def arguments_of(pids: Sequence[str]) -> bytes:
    """The argv of all processes that are alive, as `ps` shows them."""
    found = b""
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name in pids:
            continue
        try:
            found += (folder / "cmdline").read_bytes() + b"\n"
        except OSError:
            continue
    return found
