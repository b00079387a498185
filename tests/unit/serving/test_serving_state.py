"""Histories of a server, on a clock turned by hand."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

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
    Tick,
    step,
)

POLICY = Policy(
    ready_timeout_s=100,
    probe_every_s=1,
    health_every_s=10,
    health_failures=3,
    backoff_first_s=1,
    backoff_max_s=8,
    restarts_max=3,
    stable_s=600,
    stop_int_s=15,
    stop_term_s=10,
    stop_kill_s=5,
    again_after_s=0.5,
)


class Story:
    """A state with its clock and all that it asked for."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy = policy
        self.state = State()
        self.now = 1000.0
        self.actions: list[Action] = []

    def take(self, event: Event, after_s: float = 0.0) -> list[Action]:
        self.now += after_s
        self.state, actions = step(self.state, event, self.now, self.policy)
        self.actions += actions
        return [action for action in actions if not isinstance(action, Tell)]

    def wait(self, seconds: float, every_s: float = 0.5) -> list[Action]:
        found: list[Action] = []
        end = self.now + seconds
        while self.now < end and not self.state.over:
            found += self.take(Tick(), every_s)
        return found

    def running(self) -> Story:
        assert self.take(Begin()) == [Spawn()]
        self.take(Started(7))
        return self

    def ready(self) -> Story:
        self.running()
        self.take(Tick(), 1)
        self.take(ProbeOk(), 1)
        assert self.state.status is Status.READY
        return self

    def restart(self) -> None:
        """From BACKOFF to READY."""
        assert self.state.status is Status.BACKOFF
        assert Spawn() in self.wait(self.policy.backoff_max_s + 1)
        self.take(Started(8))
        self.take(Tick(), 1)
        self.take(ProbeOk(), 1)
        assert self.state.status is Status.READY


def test_a_start_goes_through_phases_to_ready() -> None:
    story = Story().running()
    assert story.take(Tick()) == []
    assert story.take(Tick(), 1) == [Probe("ready")]
    assert story.take(Tick(), 5) == []  # one probe at a time
    story.take(PhaseSeen("compile", Status.COMPILING))
    assert (story.state.status, story.state.phase) == (Status.COMPILING, "compile")
    story.take(ProbeFailed("refused"))
    story.take(PhaseSeen("load", Status.LOADING))
    assert story.state.status is Status.LOADING
    assert story.take(Tick(), 1) == [Probe("ready")]
    story.take(ProbeOk())
    assert story.state.status is Status.READY
    story.take(PhaseSeen("late", Status.COMPILING))
    assert story.state.status is Status.READY


def test_a_death_before_ready_is_final_and_says_where() -> None:
    story = Story().running()
    story.take(PhaseSeen("load", Status.LOADING))
    assert story.take(Exited("exited with code 3")) == []
    assert story.state.status is Status.FAILED
    assert story.state.phase == "load"
    assert "exited with code 3" in story.state.reason
    assert "load" in story.state.reason


def test_crashes_after_ready_are_restarted_with_growing_pauses_up_to_the_limit() -> None:
    story = Story().ready()
    pauses = []
    for _ in range(POLICY.restarts_max):
        story.take(Exited("exited with code 1"))
        pauses.append(story.state.spawn_at - story.now)
        story.restart()
    story.take(Exited("exited with code 1"))
    assert pauses == [1, 2, 4]
    assert story.state.status is Status.FAILED
    assert "3 times" in story.state.reason


def test_a_pause_is_never_longer_than_the_maximum() -> None:
    story = Story(Policy(restarts_max=100, backoff_max_s=8)).ready()
    for _ in range(40):
        story.take(Exited("exited"))
        assert story.state.spawn_at - story.now <= 8
        story.restart()


def test_a_stable_time_clears_the_count_of_crashes() -> None:
    story = Story().ready()
    for _ in range(POLICY.restarts_max * 3):
        story.take(Exited("exited"))
        assert story.state.status is Status.BACKOFF
        assert story.state.spawn_at - story.now == 1
        story.restart()
        story.take(Tick(), POLICY.stable_s)
    assert story.state.restarts_total == POLICY.restarts_max * 3


def test_a_crash_after_a_stable_time_is_a_first_one_without_a_tick_between() -> None:
    story = Story().ready()
    story.take(Exited("exited"))
    story.restart()
    story.take(Exited("exited"), POLICY.stable_s)
    assert story.state.restarts == 1


def test_asking_after_the_kill_kills_no_second_time() -> None:
    story = Story().ready()
    story.take(StopAsked(signal.SIGINT))
    assert story.wait(POLICY.stop_int_s + POLICY.stop_term_s + 1)[-1] == Signal(signal.SIGKILL)
    assert story.take(StopAsked(signal.SIGINT)) == []


def test_a_death_during_a_restart_counts_as_a_crash() -> None:
    story = Story().ready()
    story.take(Exited("exited"))
    story.wait(2)
    story.take(Started(8))
    story.take(Exited("exited"))
    assert story.state.status is Status.BACKOFF
    assert story.state.restarts == 2


def test_not_ready_in_time_is_stopped_and_fails_with_the_last_answer() -> None:
    story = Story().running()
    story.take(Tick(), 1)
    story.take(ProbeFailed("status 500"))
    actions = story.wait(101)
    assert actions[-1] == Signal(signal.SIGINT)
    story.take(Exited("was killed by SIGINT"))
    assert story.state.status is Status.FAILED
    assert "100 s" in story.state.reason
    assert "status 500" in story.state.reason


def test_silence_is_a_stall_only_where_that_is_wanted() -> None:
    story = Story(Policy(stall_s=10)).running()
    story.take(Tick(story.now + 9), 12)
    assert story.state.status is Status.STARTING
    story.take(Tick(story.now - 10), 0)
    assert story.state.status is Status.STOPPING
    assert Story(Policy(ready_timeout_s=1e9)).running().wait(4000, 100)[-1] == Probe("ready")


def test_a_wrong_answer_ends_the_start_at_once() -> None:
    story = Story().running()
    story.take(Tick(), 1)
    assert story.take(ProbeFailed("garbage", fatal=True)) == [Signal(signal.SIGINT)]
    story.take(Exited("exited"))
    assert story.state.status is Status.FAILED
    assert "garbage" in story.state.reason


def test_a_server_that_hangs_is_stopped_and_started_again() -> None:
    story = Story().ready()
    for left in (2, 1, 0):
        assert story.wait(11, 1) == [Probe("health")]
        last = story.take(ProbeFailed("no answer"))
        assert bool(last) == (left == 0)
    assert last == [Signal(signal.SIGINT)]
    story.take(Exited("was killed by SIGKILL"))
    assert story.state.status is Status.BACKOFF
    story.restart()


def test_one_good_answer_forgives_failed_ones() -> None:
    story = Story().ready()
    for event in (ProbeFailed("a"), ProbeFailed("b"), ProbeOk(), ProbeFailed("c"), ProbeFailed("d")):
        story.wait(11, 1)
        story.take(event)
    assert story.state.status is Status.READY


def test_the_ladder_has_three_rungs_with_their_budgets() -> None:
    story = Story().ready()
    sent: list[tuple[float, int]] = []
    begun = story.now
    for action in story.take(StopAsked(signal.SIGTERM)):
        assert isinstance(action, Signal)
        sent.append((0.0, action.number))
    while not story.state.over:
        for action in story.take(Tick(), 1):
            assert isinstance(action, Signal)
            sent.append((story.now - begun, action.number))
    assert sent == [(0, signal.SIGINT), (15, signal.SIGTERM), (25, signal.SIGKILL)]
    assert story.state.status is Status.FAILED
    assert "could not be killed" in story.state.reason
    assert story.state.stopped_by == signal.SIGTERM


def test_asked_twice_is_killed_but_an_echo_is_not_twice() -> None:
    story = Story().ready()
    story.take(StopAsked(signal.SIGINT))
    assert story.take(StopAsked(signal.SIGINT), 0.1) == []
    assert story.take(StopAsked(signal.SIGINT), 1.0) == [Signal(signal.SIGKILL)]
    assert story.take(StopAsked(signal.SIGINT), 1.0) == []
    story.take(Exited("was killed by SIGKILL"))
    assert story.state.status is Status.STOPPED


@pytest.mark.parametrize("twice", [False, True])
def test_asked_while_spawning_the_child_is_stopped_when_it_is_there(twice: bool) -> None:
    story = Story()
    story.take(Begin())
    assert story.take(StopAsked(signal.SIGINT)) == []
    if twice:
        assert story.take(StopAsked(signal.SIGINT), 1.0) == []
    assert story.take(Started(1)) == [Signal(signal.SIGKILL if twice else signal.SIGINT)]
    story.take(Exited("exited"))
    assert story.state.status is Status.STOPPED


def test_asked_during_the_pause_nothing_is_started_any_more() -> None:
    story = Story().ready()
    story.take(Exited("exited"))
    story.take(StopAsked(signal.SIGHUP))
    assert story.state.status is Status.STOPPED
    assert story.wait(100) == []


def test_asked_while_a_hung_server_is_stopped_ends_there() -> None:
    story = Story().ready()
    for _ in range(3):
        story.wait(11, 1)
        story.take(ProbeFailed("no answer"))
    assert story.take(StopAsked(signal.SIGINT)) == []
    story.take(Exited("exited"))
    assert story.state.status is Status.STOPPED


def test_a_start_that_failed_stays_a_failure_when_asked_to_stop_meanwhile() -> None:
    story = Story().running()
    story.wait(101)
    story.take(StopAsked(signal.SIGINT))
    story.take(Exited("exited"))
    assert story.state.status is Status.FAILED
    assert story.state.stopped_by == signal.SIGINT


@pytest.mark.parametrize("when", ["starting", "ready", "stopping for a fault"])
def test_a_condemned_child_is_killed_at_once_and_not_started_again(when: str) -> None:
    story = Story().running() if when == "starting" else Story().ready()
    if when == "stopping for a fault":
        for _ in range(POLICY.health_failures):
            story.wait(POLICY.health_every_s)
            story.take(ProbeFailed("no answer"))
        assert story.state.status is Status.STOPPING
    assert story.take(Condemned("began to compile")) == [Signal(signal.SIGKILL)]
    assert story.take(Condemned("again")) == []
    assert story.take(Exited("was killed by SIGKILL")) == []
    assert story.state.status is Status.FAILED
    assert story.state.reason == "the server began to compile"


def test_a_condemned_child_that_was_asked_to_stop_has_stopped() -> None:
    story = Story().running()
    story.take(StopAsked(signal.SIGTERM))
    assert story.take(Condemned("began to compile")) == [Signal(signal.SIGKILL)]
    story.take(Exited("was killed by SIGKILL"))
    assert (story.state.status, story.state.stopped_by) == (Status.STOPPED, signal.SIGTERM)


@pytest.mark.parametrize(("is_good", "status"), [(True, Status.STOPPED), (False, Status.FAILED)])
def test_a_program_that_ends_by_itself_is_not_asked_anything(is_good: bool, status: Status) -> None:
    story = Story(replace(POLICY, ends_by_itself=True, called="the compiler")).running()
    assert story.wait(50) == []
    story.take(Exited("exited with code 0 or not", is_good))
    assert story.state.status is status
    assert story.state.reason == (
        "done" if is_good else "the compiler exited with code 0 or not in phase start"
    )


def test_a_program_that_does_not_end_is_ended() -> None:
    story = Story(replace(POLICY, ends_by_itself=True)).running()
    assert Signal(signal.SIGINT) in story.wait(POLICY.ready_timeout_s + 1)
    story.take(Exited("exited with code 0", is_good=True))
    assert story.state.status is Status.FAILED


class Histories(RuleBasedStateMachine):
    """Any order of events; the world answers a Spawn by Started or Exited, as the supervisor does."""

    def __init__(self) -> None:
        super().__init__()
        self.story = Story()
        self.spawned = 0
        self.alive = False
        self.awaited = False
        self.kills = 0
        self.probes = 0
        self.asked = False

    def give(self, event: Event, after_s: float = 0.0) -> None:
        over = self.story.state.over
        actions = self.story.take(event, after_s)
        assert not (over and actions), "nothing happens after the end"
        for action in actions:
            match action:
                case Spawn():
                    assert not self.alive, "two children"
                    assert not self.awaited, "two children"
                    assert not self.asked, "started after it was asked to stop"
                    self.awaited = True
                    self.spawned += 1
                    self.kills = 0
                    self.probes = 0
                case Signal(number=number):
                    assert self.alive, "a signal to nobody"
                    self.kills += number == signal.SIGKILL
                    assert self.kills <= 1, "killed twice"
                case Probe():
                    assert self.alive, "asked nobody"
                    self.probes += 1

    @initialize()
    def begin(self) -> None:
        self.give(Begin())

    @precondition(lambda self: self.awaited)
    @rule()
    def start(self) -> None:
        self.awaited, self.alive = False, True
        self.give(Started(self.spawned))

    @precondition(lambda self: self.awaited or self.alive)
    @rule(how=st.sampled_from(["exited with code 1", "was killed by SIGKILL"]))
    def end(self, how: str) -> None:
        self.awaited = self.alive = False
        self.give(Exited(how))

    @rule(
        name=st.sampled_from(["a", "b"]),
        status=st.sampled_from([Status.COMPILING, Status.LOADING, Status.READY, Status.STOPPED]),
    )
    def phase(self, name: str, status: Status) -> None:
        before = self.story.state.status
        self.give(PhaseSeen(name, status))
        after = self.story.state.status
        assert after == before or (before in BEFORE_READY and after in BEFORE_READY)

    @precondition(lambda self: self.probes)
    @rule(good=st.booleans(), fatal=st.booleans())
    def answer(self, good: bool, fatal: bool) -> None:
        self.give(ProbeOk() if good else ProbeFailed("why", fatal))

    @precondition(lambda self: self.alive)
    @rule()
    def condemn(self) -> None:
        self.give(Condemned("did harm"))
        assert self.kills == 1

    @rule(seconds=st.floats(0, 700))
    def tick(self, seconds: float) -> None:
        self.give(Tick(), seconds)

    @rule(number=st.sampled_from([signal.SIGINT, signal.SIGTERM, None]), seconds=st.floats(0, 3))
    def ask(self, number: int | None, seconds: float) -> None:
        self.asked = True
        self.give(StopAsked(number), seconds)

    @invariant()
    def ready_has_a_child(self) -> None:
        if self.story.state.status in (Status.READY, Status.COMPILING, Status.LOADING):
            assert self.alive

    @invariant()
    def restarts_are_limited(self) -> None:
        assert self.story.state.restarts <= POLICY.restarts_max

    def teardown(self) -> None:
        """Asked to stop, it always ends, within its budgets, with a child that does nothing by itself."""
        if self.awaited:
            self.awaited, self.alive = False, True
            self.give(Started(1))
        self.asked = True
        self.give(StopAsked(signal.SIGTERM), 1)
        for _ in range(400):
            if self.story.state.over:
                return
            self.give(Tick(), 0.2)
        raise AssertionError(f"does not end: {self.story.state}")


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
