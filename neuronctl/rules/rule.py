"""How a rule is declared and how all of them are run.

A rule is one function from a Situation to a message, or None where nothing is wrong. Its decorator holds
what stays the same: id, severity, source. Adding a rule is one function and one test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from neuronctl.errors import Place
from neuronctl.result import Finding, Severity
from neuronctl.rules.situation import Situation


@dataclass(frozen=True)
class Remark:
    """What a rule says of one situation: the message, the fix, and the profile key it is about."""

    message: str
    fix: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class Rule:
    """One thing that can go wrong. `source` says who found it out."""

    id: str
    severity: Severity
    source: str
    look: Callable[[Situation], Remark | None]


def rule(
    name: str, severity: Severity, source: str
) -> Callable[[Callable[[Situation], Remark | None]], Rule]:
    """Declare the function below as the rule whose id is `name`."""

    def declare(look: Callable[[Situation], Remark | None]) -> Rule:
        return Rule(name, severity, source, look)

    return declare


def check(rules: tuple[Rule, ...], situation: Situation) -> tuple[Finding, ...]:
    """Run every rule; what they find, in the order of the rules."""
    found = []
    for one in rules:
        remark = one.look(situation)
        if remark is not None:
            place = _place(situation, remark.key) if remark.key else None
            found.append(Finding(one.id, one.severity, remark.message, remark.fix, one.source, place))
    return tuple(found)


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then warnings."""
    order: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(findings, key=lambda finding: order[finding.severity]))


def _place(situation: Situation, key: str) -> Place:
    origin = situation.profile.origin(key)
    return Place(file=origin.file, line=origin.line, key=key)
