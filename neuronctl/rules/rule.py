"""How a rule is declared and how all of them are run.

A rule is one function from a Situation to a remark, or several, or None where nothing is wrong. Its
decorator holds what stays the same: id, severity, source. Adding a rule is one function and one test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from neuronctl.errors import Place
from neuronctl.result import Finding, Severity
from neuronctl.rules.situation import Situation
from neuronctl.secret import hide_passwords


@dataclass(frozen=True)
class Remark:
    """What a rule says of one situation: the message, the fix, and the profile key it is about."""

    message: str
    fix: str | None = None
    key: str | None = None


Look = Callable[[Situation], "Remark | Sequence[Remark] | None"]
NEURON = ("nxdi", "native")
ALL_BACKENDS = ("cpu", *NEURON)


@dataclass(frozen=True)
class Rule:
    """One thing that can go wrong. `source` says who found it out.

    `backends` are those it is about; `covers` the ids of the known issues that it catches before launch;
    `forcible` says that it rests on an estimate, or on advice that no code enforces: `--force` makes a
    warning of it. `compiling`: it is about a compile alone, and nothing to somebody who has the artifact.
    """

    id: str
    severity: Severity
    source: str
    look: Look
    backends: tuple[str, ...] = ALL_BACKENDS
    covers: tuple[str, ...] = ()
    forcible: bool = False
    compiling: bool = False


def rule(
    name: str,
    severity: Severity,
    source: str,
    *,
    backends: tuple[str, ...] = ALL_BACKENDS,
    covers: tuple[str, ...] = (),
    forcible: bool = False,
    compiling: bool = False,
) -> Callable[[Look], Rule]:
    """Declare the function below as the rule whose id is `name`."""

    def declare(look: Look) -> Rule:
        return Rule(name, severity, source, look, backends, covers, forcible, compiling)

    return declare


def check(rules: Iterable[Rule], situation: Situation, *, force: bool = False) -> tuple[Finding, ...]:
    """Run every rule; what they find, in the order of the rules. `force`: see Rule.forcible."""
    found = []
    for one in rules:
        looked = one.look(situation)
        if looked is None:
            continue
        for remark in (looked,) if isinstance(looked, Remark) else looked:
            place = _place(situation, remark.key) if remark.key else None
            severity = "warning" if force and one.forcible and one.severity == "error" else one.severity
            message = hide_passwords(remark.message)
            found.append(Finding(one.id, severity, message, remark.fix, one.source, place))
    return tuple(found)


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then warnings."""
    order: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(findings, key=lambda finding: order[finding.severity]))


def _place(situation: Situation, key: str) -> Place:
    origin = situation.profile.origin(key)
    return Place(file=origin.file, line=origin.line, key=key)
