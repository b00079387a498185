"""LoadEngine: what sends the requests and says of each how long it took. One Protocol, two engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from neuronctl.bench.record import Sent
from neuronctl.bench.schema import Engine, Load, Workload
from neuronctl.errors import NeuronctlError, ServerNotReady
from neuronctl.host import Host

# Hears how many requests of a job are done.
OnDone = Callable[[int], None]


@dataclass(frozen=True)
class Job:
    """One run at one load.

    `url` is the server's without a path; `model` what it serves the model as. `tokenizer` is a folder or a
    hub id. `dataset` is the file of prompts where the workload has one. `folder` is where raw files go,
    `name` begins their names. `api_key` is handed over in the environment, never as an argument.
    `trust_remote_code`: whether the tokenizer may bring code of its own.
    """

    name: str
    url: str
    model: str
    tokenizer: str | None
    workload: Workload
    load: Load
    dataset: Path | None
    folder: Path
    timeout_s: float
    api_key: str | None = field(default=None, repr=False)
    trust_remote_code: bool = False


class Session(Protocol):
    """An engine that is up: it takes one job after the other."""

    @property
    def engine(self) -> Engine:
        """What it is."""

    def run(self, job: Job, on_done: OnDone) -> Sent:
        """Send the job's requests. Raises NeuronctlError where the engine itself fails or hangs."""


class LoadEngine(Protocol):
    """One way to send requests."""

    @property
    def name(self) -> str:
        """vllm or guidellm."""

    def open(self, host: Host, *, python: str | None, folder: Path) -> AbstractContextManager[Session]:
        """A session; its children are gone when the context ends. Raises StackUnfit without the engine."""


def client_failed(what: str, log: Path, tail: Sequence[str]) -> NeuronctlError:
    """The failure of what sends the requests, with the last line of its log."""
    said = f"; its last words: {tail[-1]}" if tail else ""
    return ServerNotReady(
        f"{what}{said}",
        fix=f"see {log}",
        code="bench.client-failed",
        details={"log": str(log), "last_lines": list(tail)},
    )
