"""Campaign: all points of a result, run one after the other against a server that is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from msgspec.structs import replace

from neuronctl.bench.engine import Job, Session
from neuronctl.bench.measures import measure
from neuronctl.bench.schema import Delay, Load, Objective, Point, Run, Workload
from neuronctl.errors import NeuronctlError, ServerNotReady
from neuronctl.result import Message, Progress, Tell


@dataclass(frozen=True)
class Task:
    """What is to be measured. `repeats` runs of each of `loads`; see Job for the rest.

    `is_up` says whether the server answers now. `cores` are those that it computes on.
    """

    url: str
    model: str
    tokenizer: str | None
    workload: Workload
    loads: tuple[Load, ...]
    repeats: int
    objective: Objective | None
    dataset: Path | None
    folder: Path
    timeout_s: float
    is_up: Callable[[], bool]
    api_key: str | None = field(default=None, repr=False)
    usd_per_hour: float | None = None
    cores: int | None = None
    trust_remote_code: bool = False


@dataclass
class Campaign:
    """What has been measured so far: whole at any moment, so that it can be kept if the rest never comes."""

    task: Task
    tell: Tell
    runs: dict[Load, list[Run]] = field(default_factory=dict)
    delays: tuple[Delay, ...] = ()
    no_delays: str | None = None
    began: float = 0.0
    done: int = 0

    @property
    def points(self) -> tuple[Point, ...]:
        """The points that have a run at least."""
        return tuple(self._point(load, runs) for load, runs in self.runs.items() if runs)

    def run(self, session: Session) -> None:
        """Measure everything. Runs of a point lie apart in time, so that their spread is honest.

        Raises ServerNotReady where the server is gone; the run in which it went is no measurement of it.
        """
        self._warm_up(session)
        self.began = time.monotonic()
        for repeat in range(self.task.repeats):
            for number, load in enumerate(self.task.loads):
                run = self._run(session, load, number, repeat)
                if run.errors:
                    self._look_whether_it_is_up(load, run)
                self.runs.setdefault(load, []).append(run)
                self.tell(Message(self._told(load, run, repeat), "warn" if run.errors else "note"))

    def measure_client(self, session: Session, folder: Path) -> None:
        """What the client adds, at each concurrency of the sweep; or `no_delays`, why it is not known."""
        from neuronctl.bench.self_test import measure_delay

        wanted = sorted({load.concurrency for load in self.task.loads if load.concurrency})
        self.tell(Message("measuring the client's own delay against the reference server", "step"))
        try:
            self.delays = tuple(measure_delay(session, folder, wanted))
        except NeuronctlError as error:
            self.no_delays = error.what

    def _warm_up(self, session: Session) -> None:
        """The first requests of each length, as many at once as there will be, which are not counted."""
        most: dict[tuple[int | None, int | None], Load] = {}
        for load in self.task.loads:
            length = (load.input_tokens, load.output_tokens)
            if length not in most or (load.concurrency or 0) > (most[length].concurrency or 0):
                most[length] = load
        for number, load in enumerate(most.values(), 1):
            self.tell(Progress(f"warm-up of {load.name}", 0.0))
            few = replace(load, rate_rps=None, edge=None, requests=max(2, load.concurrency or 8))
            session.run(self._job(few, f"warm-up-{number}", 2**31 - number), lambda count: None)

    def _run(self, session: Session, load: Load, number: int, repeat: int) -> Run:
        name = f"point-{number + 1:02}-run-{repeat + 1}"
        # No prompt twice: a server with a prefix cache would know it.
        seed = self.task.workload.seed + 1 + repeat * len(self.task.loads) + number
        step = f"{load.name} run {repeat + 1}/{self.task.repeats}"

        def on_done(count: int) -> None:
            self.tell(Progress(step, time.monotonic() - self.began, self._left(load, count)))

        on_done(0)
        sent = session.run(self._job(load, name, seed), on_done)
        self.done += load.requests
        return measure(sent, self.task.objective)

    def _job(self, load: Load, name: str, seed: int) -> Job:
        task = self.task
        return Job(
            name=name,
            url=task.url,
            model=task.model,
            tokenizer=task.tokenizer,
            workload=replace(task.workload, seed=seed),
            load=load,
            dataset=task.dataset,
            folder=task.folder,
            timeout_s=task.timeout_s,
            api_key=task.api_key,
            trust_remote_code=task.trust_remote_code,
        )

    def _left(self, load: Load, count: int) -> str:
        """How far it is, and how long the rest may take at the pace so far."""
        everything = self.task.repeats * sum(load.requests for load in self.task.loads)
        done = self.done + min(count, load.requests)
        text = f"{count}/{load.requests} requests"
        if not done:
            return text
        left_s = (time.monotonic() - self.began) / done * (everything - done)
        return f"{text}, {100 * done // everything} % of all, about {_minutes(left_s)} left"

    def _told(self, load: Load, run: Run, repeat: int) -> str:
        first = f", TTFT {run.ttft_s.p50 * 1000:.0f} ms" if run.ttft_s else ""
        between = f", ITL {run.itl_s.p50 * 1000:.1f} ms" if run.itl_s else ""
        failed = f", {run.requests - run.succeeded} of {run.requests} FAILED" if run.errors else ""
        return (
            f"{load.name} run {repeat + 1}/{self.task.repeats}: {run.output_tokens_per_s:.0f} tokens/s"
            f"{first}{between}{failed}"
        )

    def _look_whether_it_is_up(self, load: Load, run: Run) -> None:
        """Raise ServerNotReady where it is gone, or answers nothing: more runs would only cost time."""
        is_up = self.task.is_up()
        if is_up and run.succeeded:
            return
        kinds = ", ".join(f"{kind} ({count})" for kind, count in run.errors.items())
        if is_up:
            what = f"not one of {run.requests} requests of {load.name} got a whole answer: {kinds}"
        else:
            what = f"the server does not answer any more, since {load.name}: {kinds}"
        raise ServerNotReady(
            what,
            fix="look at the server's log; neuronctl doctor says what this machine lacks",
            code="bench.all-failed" if is_up else "bench.server-gone",
        )

    def _point(self, load: Load, runs: Sequence[Run]) -> Point:
        task = self.task
        pace = median(run.output_tokens_per_s for run in runs)
        usd = None
        if task.usd_per_hour is not None and pace > 0:
            usd = float(f"{task.usd_per_hour / 3600 / pace * 1e6:.6g}")
        return Point(
            load=load,
            runs=tuple(runs),
            usd_per_million_tokens=usd,
            output_tokens_per_s_per_core=float(f"{pace / task.cores:.6g}") if task.cores else None,
        )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
