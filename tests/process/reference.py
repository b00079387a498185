"""The reference server as a process, and neuronctl bench in the project's own Python against it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
TOKENIZER = PROJECT / "neuronctl" / "bench" / "reference_tokenizer"


@contextmanager
def reference_server(
    *words: str, env: dict[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A reference server's URL and its process."""
    server = subprocess.Popen(
        [sys.executable, "-m", "neuronctl.bench.reference_server", *words],
        cwd=PROJECT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        port = json.loads(server.stdout.readline())["port"]
        yield f"http://127.0.0.1:{port}", server
    finally:
        server.kill()
        server.communicate()


@dataclass
class Said:
    """What neuronctl answered."""

    code: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        """With --json."""
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass
class Bencher:
    """Somebody who measures, with a home and a working folder of their own, and the Python that sends."""

    folder: Path
    python: str = sys.executable

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        """`neuronctl bench WORDS`, in the background."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("NEURONCTL_", "OPENAI"))
        }
        return subprocess.Popen(
            [sys.executable, "-m", "neuronctl", "bench", *words],
            cwd=self.folder,
            env={**kept, **self._own(), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def _own(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder),
            "NEURONCTL_HOME": str(self.folder / "home"),
            "NEURONCTL_PYTHON": self.python,
            "PYTHONPATH": str(PROJECT),
            "COLUMNS": "100",
        }

    def run(self, *words: str, **env: str) -> Said:
        """`neuronctl bench WORDS`, to its end."""
        process = self.start(*words, **env)
        out, err = process.communicate(timeout=300)
        return Said(process.returncode, out, err)

    def measure(self, url: str, *words: str, **env: str) -> Said:
        """A short measurement of a reference server."""
        short = ("--input-len", "16", "--output-len", "4", "--repeats", "2", "--num-prompts", "8")
        named = ("--url", url, "--model", "reference", "--tokenizer", str(TOKENIZER))
        return self.run(*named, *short, *words, **env)
