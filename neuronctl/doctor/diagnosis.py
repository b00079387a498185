"""Diagnosis: what all checks saw, put in order, with a verdict on top."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from neuronctl.doctor.causes import split_consequences
from neuronctl.doctor.check import Check, Outcome, Remedy, Seen
from neuronctl.doctor.facts import Facts
from neuronctl.doctor.run import OnEnd, run_checks
from neuronctl.errors import Exit
from neuronctl.result import Finding
from neuronctl.rules.rule import by_severity
from neuronctl.time_limit import within

# The check whose answer the question for a profile hangs on.
PROFILE = "profile"
# The checks have found it out, unless one of them still waits for a disk or a driver that hangs.
_BACKEND_S = 1.0


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with this machine.

    `backend` is the one that is meant, None where nobody could tell. `findings` are root causes, errors
    first, each in the order of the checks; `follows` are pairs of a finding that is not told and its cause.
    `outcomes` are of all checks in their order; `is_whole` says that these are all that there are, so that
    they allow a verdict.
    """

    backend: str | None
    profile: str | None
    outcomes: tuple[Outcome, ...]
    findings: tuple[Finding, ...]
    follows: tuple[tuple[Finding, Finding], ...]
    is_whole: bool = True

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def unknown(self) -> tuple[Outcome, ...]:
        """The checks that could not look."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == "cannot-tell")

    @property
    def doubts(self) -> tuple[Outcome, ...]:
        """Those of them whose cause is not told by another check's finding."""
        telling = {outcome.check.name for outcome in self.outcomes if outcome.findings}
        return tuple(outcome for outcome in self.unknown if outcome.told_by not in telling)

    @property
    def remedies(self) -> tuple[Remedy, ...]:
        """What `--fix` can do about what was found."""
        told = {finding.id for finding in (*self.findings, *(hidden for hidden, _ in self.follows))}
        return tuple(
            remedy for outcome in self.outcomes for remedy in outcome.remedies if remedy.finding in told
        )

    @property
    def can_serve(self) -> bool | None:
        """Whether nothing stops it; None where only some checks were run, or there is no plan."""
        if self.errors:
            return False
        return True if self.is_whole and self.not_known is None else None

    @property
    def not_known(self) -> str | None:
        """What is missing for a verdict: the plan of the profile that was named, or what machine this is.

        Where only some checks were run: an answer of any of them.
        """
        if not self.is_whole and self.unknown and len(self.unknown) == len(self.outcomes):
            return f"the check {self.unknown[0].check.name} {self.unknown[0].says}"
        for one in self.unknown:
            if one.check.name == PROFILE and self.profile:
                return f"its plan {one.says}"
            if self.backend is None and self.is_whole:
                return f"the check {one.check.name} {one.says}"
        return None

    @property
    def verdict(self) -> str:
        """One sentence: what this machine can do, or the first thing that stops it."""
        what = f"the profile {self.profile}" if self.profile else "a model"
        how = f" with the {self.backend} backend" if self.backend else ""
        if self.errors:
            return f"This machine cannot serve {what}{how}: {self.errors[0].message}"
        if not self.is_whole:
            return self._partial_verdict
        if self.not_known is not None:
            return f"Whether this machine can serve {what}{how} is not known: {self.not_known}."
        doubt = ""
        if self.doubts:
            count = len(self.doubts)
            doubt = f", as far as could be checked: {count} check{'s' if count > 1 else ''} could not run"
        return f"This machine can serve {what}{how}{doubt}."

    @property
    def _partial_verdict(self) -> str:
        """Of some checks, where there is no error."""
        looked = f"Looked at {', '.join(outcome.check.name for outcome in self.outcomes)} only"
        if len(self.unknown) == len(self.outcomes):
            return f"{looked}, and it could not be told: {self.unknown[0].says}."
        if all(outcome.status == "not-here" for outcome in self.outcomes):
            return f"{looked}, and there is nothing to look at: {self.outcomes[0].says}."
        if self.unknown:
            unknown = ", ".join(outcome.check.name for outcome in self.unknown)
            return f"{looked}, and found nothing that stops it; {unknown} could not be told."
        return f"{looked}, and found nothing {'that stops it' if self.findings else 'wrong'}."

    def exit_code(self, *, strict: bool = False) -> Exit:
        """0 where nothing stops it; else that of the first error's check, and 1 where no verdict is possible.

        `strict` asks for 1 where there is a warning, or a check could not run.
        """
        if self.errors:
            return self._code_of(self.errors[0])
        if self.not_known is not None:
            return Exit.ANSWER_IS_NO
        doubtful = self.doubts or any(finding.severity == "warning" for finding in self.findings)
        return Exit.ANSWER_IS_NO if strict and doubtful else Exit.DONE

    def _code_of(self, finding: Finding) -> Exit:
        for outcome in self.outcomes:
            if any(one.id == finding.id for one in outcome.findings):
                return outcome.exit_code
        return Exit.ANSWER_IS_NO


def diagnose(
    checks: Sequence[Check],
    facts: Facts,
    *,
    is_whole: bool = True,
    on_end: OnEnd = lambda outcome: None,
) -> Diagnosis:
    """Run the checks, and put what they found in order. `is_whole`: see Diagnosis."""
    outcomes = run_checks((*checks, *_silent_checks(checks, facts)), facts, on_end=on_end)
    outcomes = tuple(one for one in outcomes if one.check is not _READABLE or one.status != "ok")
    roots, follows = split_consequences(_each_once(outcomes))
    backend: str | None = None
    with suppress(Exception):  # what is wrong with finding it out is for the checks to say
        backend = within(_BACKEND_S, lambda: facts.backend)
    return Diagnosis(
        backend=backend,
        profile=facts.request.reference if facts.request else None,
        outcomes=outcomes,
        findings=by_severity(roots),
        follows=follows,
        is_whole=is_whole,
    )


def _silent_checks(checks: Sequence[Check], facts: Facts) -> tuple[Check, ...]:
    """Without the check of its plan, a profile that cannot be read must not pass."""
    is_looked_at = facts.request is None or any(one.name == PROFILE for one in checks)
    return () if is_looked_at else (_READABLE,)


def _read_profile(facts: Facts) -> Seen:
    facts.profile()
    return Seen("it can be read")


# Told only where it is not well.
_READABLE = Check(PROFILE, "The profile that is to run", _read_profile, exit_code=Exit.USAGE)


def _each_once(outcomes: Iterable[Outcome]) -> list[Finding]:
    """All findings, what several checks found once: the one that says where, else the first."""
    found: dict[tuple[str, str], Finding] = {}
    for outcome in outcomes:
        for finding in outcome.findings:
            key = (finding.id, finding.message)
            if key not in found or (found[key].place is None and finding.place is not None):
                found[key] = finding
    return list(found.values())
