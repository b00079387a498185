"""Running one server: the loop that alone acts.

Signal handlers, the thread that reads the child and the threads that probe it only put typed events into a
queue. The loop takes them out one by one, asks `state.step` what they mean and performs its actions, so a ^C
is answered within a moment in every phase, whatever the child or a probe is doing.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeVar

from neuronctl.backends.phases import Mark, Phase
from neuronctl.child import Child, Ended, Launch
from neuronctl.errors import NeuronctlError
from neuronctl.host import Host
from neuronctl.serving.logwatch import LogWatch
from neuronctl.serving.probe import ProbeAnswer, Prober
from neuronctl.serving.state import (
    BEFORE_READY,
    Action,
    Begin,
    Condemned,
    Event,
    Exited,
    PhaseSeen,
    Policy,
    Probe,
    ProbeFailed,
    ProbeOk,
    Signal,
    Spawn,
    Started,
    State,
    Status,
    StopAsked,
    Tell,
    TellKind,
    Tick,
    step,
)
from neuronctl.serving.stopsignals import StopSignals

T = TypeVar("T")

TICK_S = 0.1
TOLD_EVERY_S = 1.0
GRACE_S = 1.0


@dataclass(frozen=True)
class ServerSpec:
    """What to supervise.

    `probe` asks whether the server is ready, by a real request; it is called from a thread of its own, every
    `Policy.probe_every_s` until it is content. `health` is asked gently afterwards; None: `probe` again.
    Without a `probe` it is a program that ends by itself, well with the exit code 0.
    """

    launch: Launch
    probe: Callable[[], ProbeAnswer] | None = None
    health: Callable[[], ProbeAnswer] | None = None
    phases: tuple[Phase, ...] = ()
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class ServerEvent:
    """One thing for a person to see. `tick` comes about once a second and carries what moved.

    `elapsed_s` counts from the start of the present child; `line` is the last line of its log.
    """

    kind: TellKind | Literal["tick", "log-problem"]
    text: str
    status: Status
    phase: str
    elapsed_s: float
    line: str


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """How supervision ended.

    `status` is STOPPED or FAILED and `reason` says why. `code` or `signal`: how the last child ended.
    `killed_from_outside`: by a SIGKILL that was not ours, which mostly is a want of memory; `out_of_memory`:
    the kernel says that it was. `phase_at_end`: where the last child was when it ended or began to stop.
    `phases_s`: how long each phase of the first child took, until it was ready or ended. `stopped_by`: the
    signal that asked us to stop. `timed_out`: it was not ready in time. `last_lines`, `error_lines`: of the
    last child's log. `value`: what `when_ready` returned.
    """

    status: Status
    reason: str
    code: int | None
    signal: int | None
    killed_from_outside: bool
    out_of_memory: bool
    phase_at_end: str
    phases_s: dict[str, float]
    ready_after_s: float | None
    restarts: int
    stopped_by: int | None
    last_lines: tuple[str, ...]
    error_lines: tuple[str, ...]
    marks: frozenset[str]
    peak_memory_bytes: int
    left: tuple[int, ...]
    value: T | None
    timed_out: bool = False


def supervise(
    server: ServerSpec,
    host: Host,
    *,
    policy: Policy | None = None,
    tell: Callable[[ServerEvent], None] = lambda event: None,
    when_ready: Callable[[], T] | None = None,
) -> Outcome[T]:
    """Start the server; keep it until it is asked to stop (SIGINT, SIGTERM, SIGHUP) or has failed for good.

    With `when_ready` that is called once, in a thread, when the server is ready; then the server is stopped
    and its value is in the outcome. There are no restarts in this case. Its exception stops the server and is
    raised again, unless the server died by itself or somebody asked to stop: then that is the outcome.

    Signals are handled only in the main thread. On return no process of the server is alive (`Outcome.left`
    names what the kernel would not kill), and the former signal handlers are back.

    Raises StackUnfit or MachineUnfit when the first child cannot be started.
    """
    policy = policy or Policy()
    if when_ready is not None:
        policy = replace(policy, restarts_max=0)
    if server.probe is None:
        policy = replace(policy, ends_by_itself=True)
    return _Supervision(server, host, policy, tell, when_ready).run()


@dataclass(frozen=True)
class _Done(Generic[T]):
    """`when_ready` has returned, or raised."""

    value: T | None = None
    error: Exception | None = None


@dataclass
class _Supervision(Generic[T]):
    server: ServerSpec
    host: Host
    policy: Policy
    tell: Callable[[ServerEvent], None]
    when_ready: Callable[[], T] | None

    state: State = field(default_factory=State)
    child: Child | None = None
    number: int = 0
    watch: LogWatch | None = None
    ended: Ended | None = None
    kill_sent: bool = False
    marks: set[str] = field(default_factory=set)
    peak_memory_bytes: int = 0
    phase_times: list[tuple[str, float]] = field(default_factory=list)
    ready_after_s: float | None = None
    worker: threading.Thread | None = None
    done: _Done[T] | None = None
    grace_until: float | None = None
    told_at: float = 0.0
    log_problem: str | None = None
    inbox: queue.SimpleQueue[tuple[int, Event | Ended | _Done[T]]] = field(default_factory=queue.SimpleQueue)
    pending: deque[Event] = field(default_factory=deque)

    def run(self) -> Outcome[T]:
        self.prober = Prober(self.probed, self.host.monotonic)
        # SimpleQueue.put may be called by a handler that interrupts another put of the same thread.
        with StopSignals(lambda number: self.inbox.put((0, _stop(number)))):
            try:
                self.take(Begin())
                while not self.state.over:
                    self.turn()
            finally:
                if self.child is not None:
                    self.child.close()
                    self.bury(self.child)
            self.late_stops()
        if self.worker is not None:
            self.worker.join(GRACE_S)  # the server is gone, so what it waits for fails soon
        ours = self.state.status is Status.STOPPED and self.state.stopped_by is None
        if ours and self.done is not None and self.done.error is not None:
            raise self.done.error
        return self.outcome()

    def turn(self) -> None:
        """One event, or a moment without one."""
        try:
            number, event = self.inbox.get(timeout=TICK_S)
        except queue.Empty:
            pass
        else:
            if number in (0, self.number):  # what an earlier child left in the queue is of no interest
                self.receive(event)
        self.prober.check()
        now = self.host.monotonic()
        if self.grace_until is not None and now >= self.grace_until:
            self.grace_until = None
            self.take(StopAsked(None, "what was to be done with the server failed"))
        self.take(Tick(self.watch.output_at if self.watch else None))
        if now - self.told_at >= TOLD_EVERY_S and not self.state.over:
            self.say("tick", "")

    def receive(self, event: Event | Ended | _Done[T]) -> None:
        match event:
            case Ended():
                self.ended = event
                if self.child is not None:
                    self.bury(self.child)
                    self.child = None
                self.take(Exited(str(event), is_good=event.code == 0))
            case _Done():
                self.done = event
                if event.error is None:
                    self.take(StopAsked(None, "done"))
                else:
                    # Most often it failed because the server died; then that is the story to tell.
                    self.grace_until = self.host.monotonic() + GRACE_S
            case _:
                self.take(event)

    def take(self, event: Event) -> None:
        """Step, act, and step again for what acting led to."""
        self.pending.append(event)
        while self.pending:
            now = self.host.monotonic()
            before = self.state
            self.state, actions = step(before, self.pending.popleft(), now, self.policy)
            self.note_phase(before, now)
            for action in actions:
                self.perform(action)
            if self.state.status is Status.READY and before.status is not Status.READY:
                self.begin_work()

    def perform(self, action: Action) -> None:
        match action:
            case Spawn():
                self.spawn()
            case Probe(kind=kind):
                health = self.server.health if kind == "health" else None
                policy = self.policy
                timeout_s = policy.probe_timeout_s if kind == "ready" else policy.health_timeout_s
                if probe := health or self.server.probe:
                    self.prober.ask(self.number, probe, timeout_s)
            case Signal(number=number):
                self.kill_sent = self.kill_sent or number == signal.SIGKILL
                if self.child is not None:
                    self.child.signal(number)
            case Tell(kind=kind, text=text):
                self.say(kind, text)

    def spawn(self) -> None:
        self.number += 1
        number = self.number
        self.kill_sent = False
        self.ended = None
        self.watch = LogWatch(
            self.server.phases,
            self.server.marks,
            lambda phase: self.inbox.put((number, PhaseSeen(phase.name, Status(phase.status)))),
            self.host.monotonic,
            lambda mark: self.inbox.put((number, Condemned(mark.name))) if mark.is_fatal else None,
        )
        try:
            self.child = Child.start(
                self.server.launch,
                self.host,
                on_output=self.watch.feed,
                on_end=lambda ended: self.inbox.put((number, ended)),
            )
        except NeuronctlError as error:
            if not self.state.ever_ready:
                raise
            self.pending.append(Exited(f"could not be started again: {error}"))
        else:
            self.pending.append(Started(self.child.pid))

    def bury(self, child: Child) -> None:
        """Keep what is to be told of a child that has ended."""
        self.ended = self.ended or child.ended
        self.peak_memory_bytes = max(self.peak_memory_bytes, child.peak_memory_bytes)
        if self.watch is not None:
            self.marks |= self.watch.marks

    def probed(self, number: int, answer: ProbeAnswer) -> None:
        event: Event = ProbeOk() if answer.ok else ProbeFailed(answer.why, answer.fatal)
        self.inbox.put((number, event))

    def note_phase(self, before: State, now: float) -> None:
        """Remember when each phase of the first child began, and when it was ready."""
        if self.number > 1 or self.ready_after_s is not None:
            return
        state = self.state
        if not self.phase_times or state.phase != before.phase:
            self.phase_times.append((state.phase, now))
        if state.status is Status.READY:
            self.ready_after_s = now - state.child_since
        elif state.status not in BEFORE_READY and self.phase_times[-1][0] != "end":
            self.phase_times.append(("end", now))

    def begin_work(self) -> None:
        work = self.when_ready
        if work is None or self.worker is not None:
            return

        def run() -> None:
            try:
                done = _Done(value=work())
            except Exception as error:
                done = _Done(error=error)
            self.inbox.put((0, done))

        self.worker = threading.Thread(target=run, name="when-ready", daemon=True)
        self.worker.start()

    def late_stops(self) -> None:
        """A request to stop that came while the server was ending by itself must not be lost."""
        while not self.inbox.empty():
            _, event = self.inbox.get()
            if isinstance(event, StopAsked) and self.state.stopped_by is None:
                self.state = replace(self.state, stopped_by=event.signal)
            elif isinstance(event, _Done) and self.done is None:
                self.done = event

    def say(self, kind: TellKind | Literal["tick", "log-problem"], text: str) -> None:
        now = self.host.monotonic()
        self.told_at = now
        elapsed_s = now - self.state.child_since
        line = self.watch.last_line if self.watch else ""
        self.tell(ServerEvent(kind, text, self.state.status, self.state.phase, elapsed_s, line))
        problem = self.child.log.problem if self.child else None
        if problem and problem != self.log_problem:
            self.log_problem = problem
            self.say("log-problem", f"the server's log cannot be written: {problem}")

    def outcome(self) -> Outcome[T]:
        state, ended, watch = self.state, self.ended, self.watch
        number = ended.signal if ended else None
        spans = zip(self.phase_times, self.phase_times[1:], strict=False)
        return Outcome(
            status=state.status,
            reason=state.reason,
            code=ended.code if ended else None,
            signal=number,
            killed_from_outside=number == signal.SIGKILL and not self.kill_sent,
            out_of_memory=ended.out_of_memory if ended else False,
            phase_at_end=state.phase,
            phases_s={name: end - begin for (name, begin), (_, end) in spans},
            ready_after_s=self.ready_after_s,
            restarts=state.restarts_total,
            stopped_by=state.stopped_by,
            last_lines=tuple(watch.last) if watch else (),
            error_lines=tuple(watch.errors) if watch else (),
            marks=frozenset(self.marks),
            peak_memory_bytes=self.peak_memory_bytes,
            left=ended.left if ended else (),
            value=self.done.value if self.done else None,
            timed_out=state.timed_out,
        )


def _stop(number: int) -> StopAsked:
    return StopAsked(number, f"{signal.Signals(number).name} received")
