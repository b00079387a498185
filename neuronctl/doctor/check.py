"""How a check is declared, and what it may answer.

A check looks at one thing and says what it saw. Its decorator holds what stays the same: its name, what it
may find, the exit number of its errors. A check that cannot look raises CannotTell: it never passes by
silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from neuronctl.errors import Exit, Place
from neuronctl.result import Finding, Severity
from neuronctl.rules.rule import Rule

if TYPE_CHECKING:
    from neuronctl.doctor.facts import Facts
    from neuronctl.host import Host

TIMEOUT_S = 5.0
Status = Literal["ok", "info", "warning", "error", "not-here", "cannot-tell"]
Asks = Literal["machine", "network"]


class CannotTell(Exception):
    """The check could not look, for this reason: a clause without a full stop.

    `told_by` is the check that tells the cause, where that is another.
    """

    def __init__(self, reason: str, *, told_by: str | None = None) -> None:
        super().__init__(reason)
        self.told_by = told_by


class NotHere(Exception):
    """What the check looks at is not on this machine, or nobody needs it here, for this reason."""


@dataclass(frozen=True)
class Trouble:
    """One thing that a check may find. `what` is its sentence in the docs, `source` who says that it matters.

    Calling it makes the finding.
    """

    id: str
    severity: Severity
    what: str
    source: str

    def __call__(self, message: str, fix: str | None = None, *, place: Place | None = None) -> Finding:
        return Finding(self.id, self.severity, message, fix, self.source, place)


@dataclass(frozen=True)
class Remedy:
    """What `--fix` can do about the finding whose id is `finding`, and nobody loses anything by.

    `title` says what it does, as the end of "neuronctl can"; exactly one of `argv`, a command that is shown
    before it is run, and `act`, which returns what it did, does it. Both may raise NeuronctlError.
    """

    finding: str
    title: str
    argv: tuple[str, ...] | None = None
    act: Callable[[Host], str] | None = None


@dataclass(frozen=True)
class Seen:
    """What a check saw: `says` is one line for a person, `data` the same as plain JSON data."""

    says: str
    findings: tuple[Finding, ...] = ()
    data: Mapping[str, object] = field(default_factory=dict)
    remedies: tuple[Remedy, ...] = ()


Look = Callable[["Facts"], Seen]


@dataclass(frozen=True)
class Check:
    """One check. The docstring of `look` is its page in the docs.

    `name` is one word or two; `finds` is all that it may find by itself, `rules` are those of a plan that it
    runs besides. `exit_code` is doctor's when an error of this check is the first. `asks` says whether it
    needs the network, which `--offline` leaves out. `timeout_s` is how long it may take. One that
    `needs_profile` looks at nothing where none is named.
    """

    name: str
    title: str
    look: Look
    finds: tuple[Trouble, ...] = ()
    rules: tuple[Rule, ...] = ()
    exit_code: Exit = Exit.MACHINE_UNFIT
    asks: Asks = "machine"
    timeout_s: float = TIMEOUT_S
    needs_profile: bool = False

    @property
    def subject(self) -> str:
        """The title as it stands inside of a sentence."""
        return self.title if self.title.startswith("Neuron") else self.title[0].lower() + self.title[1:]

    @property
    def option(self) -> str:
        """The name as `--check` takes it, and as the docs' page is called."""
        return self.name.lower().replace(" ", "-")


def check(
    name: str,
    title: str,
    *,
    finds: Iterable[Trouble] = (),
    rules: Iterable[Rule] = (),
    exit_code: Exit = Exit.MACHINE_UNFIT,
    asks: Asks = "machine",
    timeout_s: float = TIMEOUT_S,
    needs_profile: bool = False,
) -> Callable[[Look], Check]:
    """Declare the function below as the check `name`."""

    def declare(look: Look) -> Check:
        return Check(name, title, look, tuple(finds), tuple(rules), exit_code, asks, timeout_s, needs_profile)

    return declare


@dataclass(frozen=True)
class Outcome:
    """How one check ended: what it saw, or why it saw nothing (`says`), and how long it took.

    `failed_with` is the exit number of the NeuronctlError that ended it, None where none did. `told_by` is
    the check that tells why this one could not look, where that is another.
    """

    check: Check
    status: Status
    says: str
    findings: tuple[Finding, ...] = ()
    data: Mapping[str, object] = field(default_factory=dict)
    remedies: tuple[Remedy, ...] = ()
    took_s: float = 0.0
    failed_with: Exit | None = None
    told_by: str | None = None

    @property
    def exit_code(self) -> Exit:
        """Of doctor where this check's error is the first: that of the error itself, or else of the check."""
        return self.check.exit_code if self.failed_with is None else self.failed_with


def status_of(findings: Iterable[Finding]) -> Status:
    """The worst of the findings; ok where there are none."""
    severities = {finding.severity for finding in findings}
    worst: tuple[Severity, ...] = ("error", "warning", "info")
    return next((one for one in worst if one in severities), "ok")
