"""Verdict: how one profile of many ended, and which ending of all is the worst."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from neuronctl.errors import Exit, NeuronctlError, PlanRefused, ProfileErrors
from neuronctl.result import Finding

Outcome = Literal["compiled", "hit", "same-key", "miss", "refused", "failed", "stopped", "not-tried"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

# docs/exit-codes.md has the same order.
WORST_FIRST = (
    Exit.INTERRUPTED,
    Exit.TERMINATED,
    Exit.OUR_BUG,
    Exit.OUT_OF_HOST_MEMORY,
    Exit.COMPILE_FAILED,
    Exit.MACHINE_UNFIT,
    Exit.STACK_UNFIT,
    Exit.SERVER_NOT_READY,
    Exit.MODEL_NOT_RESOLVED,
    Exit.REMOTE_FAILED,
    Exit.LOCK_TIMED_OUT,
    Exit.USAGE,
    Exit.ANSWER_IS_NO,
    Exit.ARTIFACT_DAMAGED,
    Exit.ARTIFACT_DRIFTED,
    Exit.CACHE_MISS,
    Exit.DONE,
)


def worst(codes: Iterable[Exit]) -> Exit:
    """The exit number of all together: the one that comes first in WORST_FIRST."""
    return min(codes, key=WORST_FIRST.index, default=Exit.DONE)


@dataclass(frozen=True)
class Trouble:
    """An error as an envelope has it: one of ours, or one that a child told."""

    code: str
    message: str
    fix: str | None = None
    file: str | None = None
    line: int | None = None
    key: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def all_of(cls, error: NeuronctlError) -> tuple[Trouble, ...]:
        """Each mistake that an error stands for."""
        errors = error.errors if isinstance(error, ProfileErrors) else [error]
        return tuple(
            cls(
                one.error_code,
                one.what,
                one.fix,
                one.place.file if one.place else None,
                one.place.line if one.place else None,
                one.place.key if one.place else None,
                one.details,
            )
            for one in errors
        )

    @classmethod
    def from_envelope(cls, told: Mapping[str, Any]) -> Trouble:
        """One of the `errors` of an envelope."""
        words = ("fix", "file", "line", "key")
        known = {word: told.get(word) for word in words}
        return cls(str(told["code"]), str(told["message"]), **known, details=told.get("details") or {})

    def as_data(self, **further: object) -> dict[str, object]:
        """The same as JSON data; `further` facts go with the details."""
        return {
            "code": self.code,
            "message": self.message,
            "fix": self.fix,
            "file": self.file,
            "line": self.line,
            "key": self.key,
            "details": {**self.details, **further},
        }

    @property
    def lines(self) -> list[str]:
        """The whole of it for a person: where and what, what is known about it, what to try."""
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        place += f": {self.key}" if self.key and place else self.key or ""
        lines = [f"{place}: {self.message}" if place else self.message]
        last_lines = self.details.get("last_lines")
        if isinstance(last_lines, list):
            lines += [f"| {line}" for line in last_lines]
        known = self.details.get("explained")
        if isinstance(known, Mapping):
            lines += [f"{known.get('id')}: {known.get('title')}", f"why: {known.get('why')}"]
        if self.fix:
            lines.append(f"try: {self.fix}")
        return "\n".join(lines).splitlines()


@dataclass(frozen=True)
class Verdict:
    """How a profile ended.

    `reference` is the profile as the user said it, `name` its own. `exit_code` is what `neuronctl compile`
    of this profile alone would have ended with, None where it was not tried. `log` is there where there is
    one to read, `path` where there is an artifact. `same_as` is the reference of the profile that was
    compiled for this one too, because both have one key. `retries` is what a child said of its own.
    """

    reference: str
    name: str
    outcome: Outcome = "not-tried"
    exit_code: Exit | None = None
    key: str | None = None
    took_s: float = 0.0
    log: str | None = None
    path: str | None = None
    same_as: str | None = None
    troubles: tuple[Trouble, ...] = ()
    findings: tuple[Finding, ...] = ()
    retries: object = None

    @property
    def good(self) -> bool:
        """Whether the profile's artifact is there."""
        return self.exit_code is Exit.DONE

    @property
    def why(self) -> str:
        """In one line, why it is not good."""
        return next(iter(self.explanation), "")

    @property
    def explanation(self) -> list[str]:
        """In many lines, why it is not good, what to try, and which log to read."""
        lines = self._reasons
        if self.log and lines and not any(self.log in line for line in lines):
            lines.append(f"log: {self.log}")
        return lines

    @property
    def _reasons(self) -> list[str]:
        errors = [finding for finding in self.findings if finding.severity == "error"]
        if self.outcome == "refused" and errors:
            lines = []
            for finding in errors:
                place = f" ({finding.place})" if finding.place else ""
                lines.append(f"{finding.id}: {finding.message}{place}")
                lines += [f"try: {finding.fix}"] if finding.fix else []
            return "\n".join(lines).splitlines()
        return [line for trouble in self.troubles for line in trouble.lines]

    def with_error(self, error: NeuronctlError, outcome: Outcome) -> Verdict:
        """The same profile, ended by an error."""
        findings = error.findings if isinstance(error, PlanRefused) else self.findings
        log = error.details.get("log")
        return replace(
            self,
            outcome=outcome,
            exit_code=error.exit_code,
            troubles=Trouble.all_of(error),
            findings=findings,
            log=str(log) if log else self.log,
        )

    def like(self, leader: Verdict) -> Verdict:
        """The same profile, for which `leader` was compiled too: it shares its artifact, or its failure."""
        return replace(
            self,
            outcome="same-key" if leader.good else leader.outcome,
            exit_code=leader.exit_code,
            key=leader.key,
            log=leader.log,
            path=leader.path,
            same_as=leader.reference,
            troubles=leader.troubles,
        )
