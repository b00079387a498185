"""What a server is and becomes: a pure function from a state and an event to a state and actions.

Nothing here looks at a clock, a process or a file: `now` is seconds on a monotonic clock, given by the
caller, and actions are for the caller to perform (`serving/supervisor.py`). One machine is one server with
at most one child at a time.

The rules: a child that dies before the server was ever ready ends in FAILED, since starting it again would
only repeat the failure; after that a crash is answered by a restart with a growing pause, until the limit;
a stable time clears the count. Being ready is not being alive: health is asked for as long as it runs, and
several failures in a row are a crash. To stop is INT, TERM, KILL to the child's group, once each.
"""

from __future__ import annotations

import signal as signals
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal


class Status(str, Enum):
    """Where a server is in its life."""

    STARTING = "starting"
    COMPILING = "compiling"
    LOADING = "loading"
    READY = "ready"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


OVER = frozenset({Status.STOPPED, Status.FAILED})
BEFORE_READY = frozenset({Status.STARTING, Status.COMPILING, Status.LOADING})


@dataclass(frozen=True)
class Policy:
    """Limits, in seconds where the name ends in `_s`.

    `ready_timeout_s`: from the start of a child to READY. `stall_s`: how long a child that is not ready may
    print nothing; None, the default, since a Neuron compile can be silent for half an hour. `health_failures`
    in a row mean that the server hangs. `restarts_max` crashes in a row are answered by a restart, after
    `backoff_first_s` and then twice as long each time, at most `backoff_max_s`; `stable_s` of READY clear
    the count. `stop_int_s`, `stop_term_s`, `stop_kill_s`: what each signal is given to work.
    `again_after_s`: a second request to stop that comes sooner is taken for the same one (a terminal and a
    wrapper such as `make` both deliver ^C). `ends_by_itself`: it is no server but a program with an
    end, which is not probed; a good end is STOPPED. `called` is what it is called where something went wrong.
    """

    ready_timeout_s: float = 3600.0
    stall_s: float | None = None
    probe_every_s: float = 0.2
    probe_timeout_s: float = 60.0
    health_every_s: float = 10.0
    health_timeout_s: float = 10.0
    health_failures: int = 6
    backoff_first_s: float = 1.0
    backoff_max_s: float = 60.0
    restarts_max: int = 5
    stable_s: float = 600.0
    stop_int_s: float = 6.0
    stop_term_s: float = 4.0
    stop_kill_s: float = 15.0
    again_after_s: float = 0.3
    ends_by_itself: bool = False
    called: str = "the server"


@dataclass(frozen=True)
class Begin:
    """Start the server; the first event of every history."""


@dataclass(frozen=True)
class Started:
    """The child of the last `Spawn` runs."""

    pid: int


@dataclass(frozen=True)
class PhaseSeen:
    """The child's log shows that it entered the phase `name`; `status` is what that means."""

    name: str
    status: Status


@dataclass(frozen=True)
class ProbeOk:
    """The probe under way was answered as it should be."""


@dataclass(frozen=True)
class ProbeFailed:
    """The probe under way was not; `fatal`: asking again is pointless."""

    why: str
    fatal: bool = False


@dataclass(frozen=True)
class Exited:
    """The child and its tree have ended, or could not be started; `how` completes "the server …".

    `is_good`: with the exit code 0.
    """

    how: str
    is_good: bool = False


@dataclass(frozen=True)
class Condemned:
    """The child's log says that it must not go on; `why` completes "the server …"."""

    why: str


@dataclass(frozen=True)
class StopAsked:
    """Somebody wants the server to end: a signal, or (None) the program itself."""

    signal: int | None = None
    reason: str = "asked to stop"


@dataclass(frozen=True)
class Tick:
    """Time has passed. `output_at`: when the child last printed something, None for never."""

    output_at: float | None = None


Event = Begin | Started | PhaseSeen | ProbeOk | ProbeFailed | Exited | Condemned | StopAsked | Tick


@dataclass(frozen=True)
class Spawn:
    """Start a child; answered by `Started` or `Exited`."""


@dataclass(frozen=True)
class Probe:
    """Ask the child: whether it is `ready` (a real request) or of its `health` (a light one)."""

    kind: Literal["ready", "health"]


@dataclass(frozen=True)
class Signal:
    """Send a signal to the child's group."""

    number: int


TellKind = Literal["started", "phase", "ready", "unhealthy", "restarting", "stopping", "stopped", "failed"]


@dataclass(frozen=True)
class Tell:
    """Something to say."""

    kind: TellKind
    text: str


Action = Spawn | Probe | Signal | Tell

LADDER = (signals.SIGINT, signals.SIGTERM, signals.SIGKILL)


@dataclass(frozen=True)
class State:
    """Everything that `step` remembers. Times are those of the `now` it was given.

    `phase` is the last phase seen of this child, or "start". `rung` is how many signals of the ladder this
    child was sent. `after`: what follows when a STOPPING child has ended. `reason` says why the server is
    not (or no longer) what was wanted.
    """

    status: Status = Status.STARTING
    phase: str = "start"
    child: Literal["none", "spawning", "alive"] = "none"
    child_since: float = 0.0
    ready_at: float | None = None
    ever_ready: bool = False
    restarts: int = 0
    restarts_total: int = 0
    spawn_at: float = 0.0
    probing: bool = False
    probe_at: float = 0.0
    probe_failures: int = 0
    probe_why: str = ""
    rung: int = 0
    rung_at: float = 0.0
    hurried: bool = False
    after: Literal["stop", "restart", "fail"] = "stop"
    asked_at: float | None = None
    stopped_by: int | None = None
    timed_out: bool = False
    reason: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in OVER


Step = tuple[State, tuple[Action, ...]]


def step(state: State, event: Event, now: float, policy: Policy) -> Step:
    """The next state, and what to do. An event that means nothing in this state changes nothing."""
    if state.over:
        return state, ()
    match event:
        case Begin():
            return _spawn(state, now) if state.child == "none" and not state.child_since else (state, ())
        case Started():
            return _started(state, event, now, policy)
        case PhaseSeen():
            return _phase_seen(state, event)
        case ProbeOk():
            return _probe_ok(state, now, policy)
        case ProbeFailed():
            return _probe_failed(state, event, now, policy)
        case Exited():
            return _exited(state, event, now, policy)
        case Condemned():
            return _condemned(state, event, now)
        case StopAsked():
            return _stop_asked(state, event, now, policy)
        case Tick():
            return _tick(state, event, now, policy)


def _spawn(state: State, now: float) -> Step:
    fresh = replace(
        state,
        status=Status.STARTING,
        phase="start",
        child="spawning",
        child_since=now,
        ready_at=None,
        probing=False,
        probe_failures=0,
        probe_why="",
        rung=0,
        hurried=False,
    )
    return fresh, (Spawn(),)


def _started(state: State, event: Started, now: float, policy: Policy) -> Step:
    if state.child != "spawning":
        return state, ()
    state = replace(state, child="alive", probe_at=now + policy.probe_every_s)
    if state.status is Status.STOPPING:
        return _signal(state, 2 if state.hurried else 0, now)
    return state, (Tell("started", f"server started, process {event.pid}"),)


def _phase_seen(state: State, event: PhaseSeen) -> Step:
    if state.child != "alive" or state.status not in BEFORE_READY:
        return state, ()
    status = event.status if event.status in BEFORE_READY else state.status
    return replace(state, status=status, phase=event.name), (Tell("phase", event.name),)


def _probe_ok(state: State, now: float, policy: Policy) -> Step:
    if not state.probing:
        return state, ()
    state = replace(state, probing=False, probe_failures=0, probe_at=now + policy.health_every_s)
    if state.status not in BEFORE_READY:
        return state, ()
    waited_s = now - state.child_since
    ready = replace(state, status=Status.READY, phase="ready", ready_at=now, ever_ready=True)
    return ready, (Tell("ready", f"server ready after {waited_s:.1f} s"),)


def _probe_failed(state: State, event: ProbeFailed, now: float, policy: Policy) -> Step:
    if not state.probing:
        return state, ()
    if state.status is not Status.READY:
        state = replace(state, probing=False, probe_at=now + policy.probe_every_s, probe_why=event.why)
        if event.fatal and state.status in BEFORE_READY:
            return _give_up_child(state, f"the server answers wrongly: {event.why}", now)
        return state, ()
    failures = state.probe_failures + 1
    state = replace(state, probing=False, probe_failures=failures, probe_at=now + policy.health_every_s)
    text = f"health check failed ({failures} of {policy.health_failures}): {event.why}"
    if failures < policy.health_failures:
        return state, (Tell("unhealthy", text),)
    return _give_up_child(state, f"the server hangs: {text}", now)


def _give_up_child(state: State, reason: str, now: float) -> Step:
    """Stop a child that is alive and of no use."""
    after: Literal["restart", "fail"] = "restart" if state.ever_ready else "fail"
    state = replace(state, status=Status.STOPPING, after=after, reason=reason)
    state, actions = _signal(state, 0, now)
    return state, (Tell("stopping", reason), *actions)


def _condemned(state: State, event: Condemned, now: float) -> Step:
    """Kill it, without the polite signals: each further moment does harm. It is not started again."""
    if state.child != "alive" or state.rung >= len(LADDER):
        return state, ()
    reason = f"the server {event.why}"
    after: Literal["stop", "fail"] = "stop" if state.asked_at is not None else "fail"
    state = replace(state, status=Status.STOPPING, after=after, reason=reason, hurried=True)
    state, actions = _signal(state, 2, now)
    return state, (Tell("stopping", reason), *actions)


def _signal(state: State, rung: int, now: float) -> Step:
    return replace(state, rung=rung + 1, rung_at=now), (Signal(LADDER[rung]),)


def _exited(state: State, event: Exited, now: float, policy: Policy) -> Step:
    if state.child == "none":
        return state, ()
    state = replace(state, child="none", probing=False)
    if state.status is Status.STOPPING:
        if state.after == "stop":
            return _stopped(state)
        if state.after == "fail":
            return _failed(state, state.reason)
        return _crashed(state, state.reason, now, policy)
    if policy.ends_by_itself and event.is_good:
        return replace(state, status=Status.STOPPED, reason="done"), ()
    reason = f"{policy.called} {event.how} in phase {state.phase}"
    if state.probe_why and state.status in BEFORE_READY:
        reason += f" (last answer to the readiness request: {state.probe_why})"
    if not state.ever_ready:
        return _failed(state, reason)
    return _crashed(state, reason, now, policy)


def _crashed(state: State, reason: str, now: float, policy: Policy) -> Step:
    stable = state.ready_at is not None and now - state.ready_at >= policy.stable_s
    restarts = 0 if stable else state.restarts
    if restarts >= policy.restarts_max:
        if restarts:
            reason += f"; it was restarted {restarts} times in a row, which is the limit"
        return _failed(state, reason)
    pause_s = min(policy.backoff_first_s * 2.0 ** min(restarts, 30), policy.backoff_max_s)
    state = replace(
        state,
        status=Status.BACKOFF,
        restarts=restarts + 1,
        restarts_total=state.restarts_total + 1,
        spawn_at=now + pause_s,
        reason=reason,
    )
    text = f"{reason}; restart {restarts + 1} of {policy.restarts_max} in {pause_s:g} s"
    return state, (Tell("restarting", text),)


def _stop_asked(state: State, event: StopAsked, now: float, policy: Policy) -> Step:
    if state.asked_at is not None and state.stopped_by is None and event.signal is not None:
        # The program itself had asked, its work being done; somebody's own first request must not be lost.
        return replace(state, asked_at=now, stopped_by=event.signal), ()
    if state.asked_at is not None:
        if now - state.asked_at < policy.again_after_s or state.rung >= len(LADDER) or state.hurried:
            return state, ()
        state = replace(state, hurried=True)
        if state.child != "alive":
            return state, ()
        state, actions = _signal(state, 2, now)
        return state, (Tell("stopping", "asked again: the server is killed"), *actions)
    state = replace(state, asked_at=now, stopped_by=event.signal)
    if state.status is Status.STOPPING:
        # It is being stopped for a fault of its own: the ladder goes on, but nothing is started after it.
        return (replace(state, after="stop") if state.after == "restart" else state), ()
    state = replace(state, after="stop", reason=event.reason)
    if state.child == "none":
        return _stopped(state)
    state = replace(state, status=Status.STOPPING)
    said = Tell("stopping", f"stopping the server: {event.reason}")
    if state.child == "spawning":
        return state, (said,)
    state, actions = _signal(state, 0, now)
    return state, (said, *actions)


def _tick(state: State, event: Tick, now: float, policy: Policy) -> Step:
    if state.status is Status.BACKOFF:
        return _spawn(state, now) if now >= state.spawn_at else (state, ())
    if state.child != "alive":
        return state, ()
    if state.status is Status.STOPPING:
        return _tick_stopping(state, now, policy)
    if state.status is Status.READY:
        if state.restarts and state.ready_at is not None and now - state.ready_at >= policy.stable_s:
            state = replace(state, restarts=0)
        return _probe(state, "health", now)
    waited_s = now - state.child_since
    if waited_s >= policy.ready_timeout_s:
        reason = f"{policy.called} was not ready after {policy.ready_timeout_s:g} s, in phase {state.phase}"
        if state.probe_why:
            reason += f" (last answer to the readiness request: {state.probe_why})"
        return _give_up_child(replace(state, timed_out=True), reason, now)
    quiet_s = now - max(state.child_since, event.output_at or 0.0)
    if policy.stall_s is not None and quiet_s >= policy.stall_s:
        reason = f"{policy.called} printed nothing for {policy.stall_s:g} s, in phase {state.phase}"
        return _give_up_child(state, reason, now)
    return (state, ()) if policy.ends_by_itself else _probe(state, "ready", now)


def _probe(state: State, kind: Literal["ready", "health"], now: float) -> Step:
    if state.probing or now < state.probe_at:
        return state, ()
    return replace(state, probing=True), (Probe(kind),)


def _tick_stopping(state: State, now: float, policy: Policy) -> Step:
    budgets = (policy.stop_int_s, policy.stop_term_s, policy.stop_kill_s)
    if state.rung == 0 or now - state.rung_at < budgets[state.rung - 1]:
        return state, ()
    if state.rung < len(LADDER):
        said = Tell("stopping", f"the server is still alive: {LADDER[state.rung].name}")
        state, actions = _signal(state, state.rung, now)
        return state, (said, *actions)
    return _failed(state, f"the server could not be killed in {policy.stop_kill_s:g} s ({state.reason})")


def _stopped(state: State) -> Step:
    return replace(state, status=Status.STOPPED), (Tell("stopped", "server stopped"),)


def _failed(state: State, reason: str) -> Step:
    return replace(state, status=Status.FAILED, reason=reason), (Tell("failed", reason),)
