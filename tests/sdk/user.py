"""A user of plain vLLM on Neuron, with the stand-in for the SDK: a serving Python, a device, some models."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.process.terminal import free_port, until
from tests.sdk.make import make_sdk
from tests.sdk.models import make_model

# The measured stack: plugin 0.2.0 on vLLM 0.11.0. Its NxD Inference was newer than the SDK's, which matters
# for hub ids only.
SDK = "2.26.1"
LATER_SDK = "2.28.0"
BASE = ("--max-num-seqs", "4", "--block-size", "32", "--no-enable-prefix-caching", "--dtype", "bfloat16")
LENGTH, TP = ("--max-model-len", "128"), ("--tensor-parallel-size", "2")
PRESHARDED = {"save_sharded_checkpoint": True}


@dataclass
class Start:
    """How one start of the server went."""

    code: int
    told: str

    @property
    def served(self) -> dict[str, str]:
        """What is served: LOADS or RECOMPILES as `how`, and the words after it; empty for a crash."""
        found = re.search(r"stand-in: (LOADS|RECOMPILES) (.*)", self.told)
        if not found:
            return {}
        return {"how": found[1], **dict(word.split("=", 1) for word in found[2].split(" "))}

    @property
    def caught(self) -> str:
        """The exception after which it was compiled again."""
        found = re.search(r"\] Exception: (.*)", self.told)
        return found[1] if found else ""

    @property
    def crash(self) -> tuple[str, str]:
        """Name and text of the exception that ended the engine."""
        said = re.findall(r" ERROR \S+ \S+ \[core\.py:708\] (.*)$", self.told, re.MULTILINE)
        _, *traceback = "\n".join(said).split("Traceback (most recent call last):\n")
        for line in traceback[-1].splitlines() if traceback else ():
            if not line.startswith(" "):
                name, _, text = line.partition(": ")
                return name.rpartition(".")[2], text
        return "", ""


@dataclass
class User:
    """A user with a serving Python, a device, and a working folder."""

    folder: Path
    sdk: str = SDK
    env: dict[str, str] = field(default_factory=dict)
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.python = make_sdk(self.folder / "sdk", self.sdk)
        self.cwd, device = self.folder / "cwd", self.folder / "dev"
        for each in (self.cwd, device, self.folder / "tmp"):
            each.mkdir()
        (device / "neuron0").touch()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "STAND_IN_DEV": str(device),
            "STAND_IN_TMP": str(self.folder / "tmp"),
            "STAND_IN_HUB": str(self.folder / "hub"),
            **self.env,
        }

    def begin(
        self, model: Path | str, *words: str, override: dict[str, Any] | None = None, **env: str
    ) -> subprocess.Popen[bytes]:
        """Start a server; what it says goes into a file."""
        command = [
            str(self.python),
            "-m",
            "vllm.entrypoints.openai.api_server",
            "--model",
            str(model),
            *words,
        ]
        if override is not None:
            command += ["--additional-config", json.dumps({"override_neuron_config": override})]
        with (self.folder / "told").open("wb") as told:
            server = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(free_port())],
                cwd=self.cwd,
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=told,
            )
        self.servers.append(server)
        return server

    def told(self) -> str:
        """What the last server said up to now."""
        return (self.folder / "told").read_text(errors="replace")

    def start(
        self, model: Path | str, *words: str, override: dict[str, Any] | None = None, **env: str
    ) -> Start:
        """Start a server and stop it when it serves."""
        server = self.begin(model, *words, override=override, **env)
        until(lambda: "startup complete" in self.told() or server.poll() is not None, "an end or a start")
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
        return Start(server.wait(60), self.told())

    def end(self) -> None:
        """End what a failed test left."""
        for server in self.servers:
            server.kill()
            server.wait()


def make_user(folder: Path) -> User:
    """A user of the measured stack, with the measured models."""
    one = User(folder)
    make_model(folder / "tiny")
    make_model(folder / "tiny2", seed="tiny2")
    smollm2 = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "head_dim": 64}
    make_model(folder / "smollm2", **smollm2, num_key_value_heads=3)
    return one
