"""Running checks side by side, none of which can hold up the others, or the end."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from neuronctl.doctor.check import CannotTell, Check, NotHere, Outcome, Status, status_of
from neuronctl.doctor.facts import Facts
from neuronctl.doctor.told import tell_outcomes
from neuronctl.errors import NeuronctlError, ProfileErrors
from neuronctl.machine.reading import NoAnswer
from neuronctl.result import Finding
from neuronctl.time_limit import NoThread, start_thread

OnEnd = Callable[[Outcome], None]


def run_checks(
    checks: Sequence[Check], facts: Facts, *, on_end: OnEnd = lambda outcome: None
) -> tuple[Outcome, ...]:
    """Run every check; the outcomes in the order of `checks`, as they may be shown (told.py).

    `on_end` hears of each as it ends, of its words as they were.

    One that takes longer than it may is left behind in its thread: as where a driver or a server of files
    hangs, its call to the kernel cannot be interrupted. The threads do not keep the process from ending.
    """
    ended: queue.SimpleQueue[tuple[int, Outcome]] = queue.SimpleQueue()
    begun = time.monotonic()

    def run(number: int) -> None:
        ended.put((number, _run_one(checks[number], facts)))

    for number in range(len(checks)):
        try:
            start_thread(run, number, name=f"check {checks[number].name}")
        except NoThread as error:
            ended.put((number, _without_thread(checks[number], error)))
    outcomes: dict[int, Outcome] = {}
    while len(outcomes) < len(checks):
        waiting = [number for number in range(len(checks)) if number not in outcomes]
        next_end = min(checks[number].timeout_s for number in waiting) + begun
        try:
            number, outcome = ended.get(timeout=max(0.0, next_end - time.monotonic()))
            new = {} if number in outcomes else {number: outcome}
        except queue.Empty:
            new = {
                number: _late(checks[number])
                for number in waiting
                if checks[number].timeout_s + begun <= next_end
            }
        for outcome in new.values():
            on_end(outcome)
        outcomes |= new
    return tell_outcomes([outcomes[number] for number in range(len(checks))], facts.host)


def _run_one(check: Check, facts: Facts) -> Outcome:
    begun = time.monotonic()

    def ended(status: Status, says: str, findings: tuple[Finding, ...] = ()) -> Outcome:
        return Outcome(check, status, says, findings, took_s=time.monotonic() - begun)

    try:
        return _look(check, facts, ended)
    except NotHere as reason:
        return ended("not-here", str(reason))
    except NoAnswer as silence:  # of what its rules need
        return ended("cannot-tell", silence.what)
    except NoThread as error:
        return _without_thread(check, error)
    except NeuronctlError as error:
        findings = tuple(_as_finding(one) for one in _each(error))
        return replace(ended("error", findings[0].message, findings), failed_with=error.exit_code)
    except Exception as error:  # one broken check must not hide what the others found
        return ended("cannot-tell", f"a mistake of neuronctl's: {type(error).__name__}: {error}")


def _look(check: Check, facts: Facts, ended: Callable[..., Outcome]) -> Outcome:
    """What the check saw, and what its rules find; those are asked where it could not look, too."""
    try:
        seen = check.look(facts)
    except (CannotTell, NoAnswer) as reason:
        findings = facts.obey(check.rules)
        told_by = reason.told_by if isinstance(reason, CannotTell) else None
        status = status_of(findings) if findings else "cannot-tell"
        return replace(ended(status, str(reason), findings), told_by=told_by)
    findings = (*seen.findings, *facts.obey(check.rules))
    outcome = ended(status_of(findings), seen.says, findings)
    return replace(outcome, data=seen.data, remedies=seen.remedies)


def _late(check: Check) -> Outcome:
    return Outcome(
        check, "cannot-tell", f"did not come to an end in {check.timeout_s:g} s", took_s=check.timeout_s
    )


def _without_thread(check: Check, error: NoThread) -> Outcome:
    """The machine is so sick that a check could not be run: that is what is wrong with it."""
    says = "could not be run: no thread could be started for it"
    return Outcome(check, "cannot-tell", says, (_as_finding(error),), failed_with=error.exit_code)


def _each(error: NeuronctlError) -> Sequence[NeuronctlError]:
    return error.errors if isinstance(error, ProfileErrors) else (error,)


def _as_finding(error: NeuronctlError) -> Finding:
    return Finding(error.error_code, "error", error.what, error.fix, None, error.place)
