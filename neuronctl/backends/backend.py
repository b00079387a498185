"""Backend: how one kind of stack compiles and is launched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from neuronctl.backends.phases import Mark, Phase
from neuronctl.child import Launch
from neuronctl.host import Host
from neuronctl.plan.plan import Plan


@dataclass(frozen=True)
class CompileJob:
    """A program that compiles without serving, and ends.

    With the exit code `no_seam` it says that the installed software does not let it, and has done nothing.
    """

    launch: Launch
    no_seam: int


@dataclass(frozen=True)
class Output:
    """What a compile left behind: `faults` for which it cannot be used, `remarks` that a person should know,
    each in words.
    """

    faults: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class Backend(Protocol):
    """What the pipeline asks of a backend. Nothing here starts a process.

    `has_logprobs`: whether its servers tell log probabilities.
    """

    name: str
    has_logprobs: bool

    def phases(self, *, compiling: bool) -> tuple[Phase, ...]:
        """The phases of a server's start, or of a compile, told by the log."""
        ...

    def compiling_marks(self) -> tuple[Mark, ...]:
        """What the log of a compile may say that is worth knowing; see COMPILER_FAILED."""
        ...

    def serving_marks(self) -> tuple[Mark, ...]:
        """What the log of a server with an artifact must never say."""
        ...

    def compile_job(self, plan: Plan, host: Host, tree: Path, *, work: Path, log: Path) -> CompileJob | None:
        """The program that compiles into `tree`, an empty folder; None where only a server can.

        `work` is a folder for what it writes otherwise, at the same path for each compile of the same key.
        """
        ...

    def compile_launch(
        self, plan: Plan, host: Host, tree: Path, *, work: Path, port: int, api_key: str, log: Path
    ) -> Launch:
        """A server on 127.0.0.1:`port` that leaves its compiled output in `tree`, an empty folder."""
        ...

    def serve_launch(
        self, plan: Plan, host: Host, tree: Path | None, *, work: Path, api_key: str | None, log: Path
    ) -> Launch:
        """The server that the profile describes, with the compiled output in `tree`.

        `work` is an empty folder of this run. `tree` is not to be changed; None serves without an artifact.
        """
        ...

    def clean_output(self, tree: Path) -> None:
        """Remove from a finished compile what nobody needs again."""
        ...

    def check_output(self, plan: Plan, tree: Path) -> Output:
        """Whether `tree` holds what a compile of this plan should have left."""
        ...

    def compiler_logs(self, work: Path) -> list[Path]:
        """Logs that compilers wrote into `work`, oldest first."""
        ...

    def compiled_again(self, tree: Path, work: Path) -> bool:
        """Whether a server that was given `tree` compiled all the same, by what it left in `work`."""
        ...


# The name of the mark by which a backend says that the compiler ended with a failure of its own.
COMPILER_FAILED = "the compiler failed"
