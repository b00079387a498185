"""Every way neuronctl fails: one class a kind, each with a stable code and exit number.

The exit numbers are a contract with scripts and CI; `docs/exit-codes.md` lists them and a test compares
the two. An error says what failed, on what, and what to type next; it never shows a traceback.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from neuronctl.result import Finding


class Exit(IntEnum):
    """Process exit numbers."""

    DONE = 0
    ANSWER_IS_NO = 1
    USAGE = 2
    CACHE_MISS = 10
    ARTIFACT_DRIFTED = 11
    ARTIFACT_DAMAGED = 12
    COMPILE_FAILED = 20
    OUT_OF_HOST_MEMORY = 21
    MACHINE_UNFIT = 30
    STACK_UNFIT = 31
    SERVER_NOT_READY = 40
    MODEL_NOT_RESOLVED = 41
    REMOTE_FAILED = 42
    LOCK_TIMED_OUT = 43
    OUR_BUG = 70
    INTERRUPTED = 130
    TERMINATED = 143


@dataclass(frozen=True)
class Place:
    """Where something was written: a file, with a line (1-based) and a key path where they are known."""

    file: str | None = None
    line: int | None = None
    key: str | None = None

    def __str__(self) -> str:
        text = self.file or ""
        if self.line is not None:
            text += f":{self.line}"
        if self.key:
            text = f"{text}: {self.key}" if text else self.key
        return text


class NeuronctlError(Exception):
    """Base of all expected failures.

    `what` says what failed and on what; `fix` is the next thing to do or type; `place` is where in the
    user's own input it was found; `details` are further facts, safe to print; `code` names this failure
    for machines and overrides the class's own.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[Exit] = Exit.OUR_BUG

    def __init__(
        self,
        what: str,
        *,
        fix: str | None = None,
        place: Place | None = None,
        code: str | None = None,
        details: dict[str, object] | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.place = place
        self.details = details or {}
        self.error_code = code or self.code

    def __str__(self) -> str:
        return f"{self.place}: {self.what}" if self.place else self.what


class UsageError(NeuronctlError):
    """The command line or an environment variable cannot be understood."""

    code = "usage"
    exit_code = Exit.USAGE


class ProfileError(NeuronctlError):
    """A profile cannot be found, read or understood."""

    code = "profile"
    exit_code = Exit.USAGE


class ProfileErrors(ProfileError):
    """Several things are wrong with a profile; each is reported."""

    def __init__(self, errors: list[ProfileError]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors


class CacheMiss(NeuronctlError):
    """No artifact answers the plan's key, and compiling was not allowed."""

    code = "artifact.miss"
    exit_code = Exit.CACHE_MISS


class ArtifactDrifted(NeuronctlError):
    """An artifact's manifest does not say what the plan says."""

    code = "artifact.drifted"
    exit_code = Exit.ARTIFACT_DRIFTED


class ArtifactDamaged(NeuronctlError):
    """An artifact's files are not what its manifest says."""

    code = "artifact.damaged"
    exit_code = Exit.ARTIFACT_DAMAGED


class CompileFailed(NeuronctlError):
    """The compile child failed, or what it produced is wrong."""

    code = "compile.failed"
    exit_code = Exit.COMPILE_FAILED


class OutOfHostMemory(NeuronctlError):
    """A child was killed for want of host memory."""

    code = "engine.out-of-host-memory"
    exit_code = Exit.OUT_OF_HOST_MEMORY


class MachineUnfit(NeuronctlError):
    """The machine lacks what the plan needs: cores, memory, devices, disk, or a store it may write."""

    code = "machine.unfit"
    exit_code = Exit.MACHINE_UNFIT


class StackUnfit(NeuronctlError):
    """The serving Python lacks what the plan needs."""

    code = "stack.unfit"
    exit_code = Exit.STACK_UNFIT


class ServerNotReady(NeuronctlError):
    """The server did not become ready, or died more often than it may."""

    code = "server.not-ready"
    exit_code = Exit.SERVER_NOT_READY


class ModelNotResolved(NeuronctlError):
    """The profile's model cannot be found, or is not a model that can be served."""

    code = "model.not-resolved"
    exit_code = Exit.MODEL_NOT_RESOLVED


class LockTimedOut(NeuronctlError):
    """Another process held a lock for longer than we may wait."""

    code = "lock.timed-out"
    exit_code = Exit.LOCK_TIMED_OUT


class Interrupted(NeuronctlError):
    """SIGINT asked us to stop."""

    code = "interrupted"
    exit_code = Exit.INTERRUPTED


class Terminated(NeuronctlError):
    """SIGTERM asked us to stop."""

    code = "terminated"
    exit_code = Exit.TERMINATED


class PlanRefused(NeuronctlError):
    """The plan's findings say that it cannot work; `findings` are all of them, warnings too."""

    code = "plan.refused"
    exit_code = Exit.ANSWER_IS_NO

    def __init__(
        self,
        what: str,
        *,
        findings: tuple[Finding, ...],
        fix: str | None = None,
        place: Place | None = None,
        details: dict[str, object] | None = None,
    ) -> None:
        super().__init__(what, fix=fix, place=place, details=details)
        self.findings = findings
