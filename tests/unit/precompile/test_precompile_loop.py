"""The loop over many profiles, with children that are not real: who is tried, and when nothing new begins."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from neuronctl.errors import Exit, MachineUnfit, ModelNotResolved, UsageError
from neuronctl.host import Host
from neuronctl.pipeline import Request
from neuronctl.precompile import precompile as module
from neuronctl.precompile.precompile import Precompiled, Way, precompile
from neuronctl.precompile.verdict import Outcome, Verdict
from neuronctl.result import Message, Progress


@dataclass
class FakeJob:
    """A compile that has ended as soon as it begins."""

    outcome: Outcome
    exit_code: Exit
    request: Request
    began: float = 0.0
    line: str = ""
    signals: tuple[int, ...] = ()

    def signal(self, number: int) -> None:
        self.signals += (number,)

    def close(self) -> None:
        """Nothing is open."""

    def end(self, verdict: Verdict, host: Host, *, stopped_by: Exit | None) -> Verdict:
        return replace(verdict, outcome=self.outcome, exit_code=self.exit_code)


class World:
    """Profiles that cannot be planned here, and what their children would say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started: list[str] = []
        self.told: list[str] = []
        self.plans: dict[str, Exception] = {}
        self.answers: dict[str, FakeJob | Exception] = {}
        monkeypatch.setattr(module, "plan_request", self.plan)
        monkeypatch.setattr(module.Job, "start", self.start)

    def plan(self, request: Request, host: Host, *, tell: object) -> Any:
        raise self.plans.get(request.reference) or RuntimeError("a bug")

    def start(self, request: Request, name: str, host: Host, *, on_end: Callable[[], None], **_: Any) -> Any:
        self.started.append(request.reference)
        answer = self.answers.get(request.reference) or FakeJob("compiled", Exit.DONE, request)
        if isinstance(answer, Exception):
            raise answer
        on_end()
        return answer

    def tell(self, told: Message | Progress) -> None:
        self.told.append(told.text if isinstance(told, Message) else told.step)

    def compile(self, *references: str, **way: Any) -> Precompiled:
        host = Host(environ={}, cwd=Path("/nonexistent"))
        return precompile([Request(one) for one in references], host, Way(**way), tell=self.tell)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def outcomes(done: Precompiled) -> dict[str, str]:
    return {verdict.reference: verdict.outcome for verdict in done.verdicts}


def test_a_bug_in_planning_is_left_to_the_child(world: World) -> None:
    done = world.compile("a", "b")
    assert outcomes(done) == {"a": "compiled", "b": "compiled"}
    assert done.exit_code is Exit.DONE
    assert "a: compiling (1 of 2)" in world.told


def test_a_model_to_download_is_left_to_the_child_but_not_for_a_check(world: World) -> None:
    world.plans["a"] = ModelNotResolved("not here", code="model.not-downloaded")
    assert outcomes(world.compile("a")) == {"a": "compiled"}
    done = world.compile("a", check=True)
    assert (outcomes(done), done.exit_code) == ({"a": "refused"}, Exit.MODEL_NOT_RESOLVED)


def test_a_child_that_cannot_be_started_ends_the_work(world: World) -> None:
    world.answers["b"] = MachineUnfit("no more processes")
    done = world.compile("a", "b", "c")
    assert outcomes(done) == {"a": "compiled", "b": "failed", "c": "not-tried"}
    assert done.exit_code is Exit.MACHINE_UNFIT
    assert world.started == ["a", "b"]
    assert outcomes(world.compile("a", "b", "c", keep_going=True))["c"] == "compiled"


def test_what_is_refused_stops_all_before_the_first(world: World) -> None:
    world.plans["b"] = UsageError("wrong", fix="mend it")
    done = world.compile("a", "b", "c", jobs=3)
    assert outcomes(done) == {"a": "not-tried", "b": "refused", "c": "not-tried"}
    assert world.started == []
    assert "b: refused, exit 2: wrong\ntry: mend it" in world.told
    done = world.compile("a", "b", "c", jobs=3, keep_going=True)
    assert outcomes(done) == {"a": "compiled", "b": "refused", "c": "compiled"}
    assert done.exit_code is Exit.USAGE


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_signal_ends_the_work_and_is_the_worst(
    world: World, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    former = signal.getsignal(number)

    def plan(request: Request, host: Host, *, tell: object) -> Any:
        os.kill(os.getpid(), number)
        raise UsageError("wrong")

    monkeypatch.setattr(module, "plan_request", plan)
    done = world.compile("a", "b")
    assert outcomes(done) == {"a": "refused", "b": "not-tried"}
    assert (done.stopped_by, done.exit_code) == (number, code)
    assert world.started == []
    assert signal.getsignal(number) is former
