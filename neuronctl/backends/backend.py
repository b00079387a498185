"""Backend: how one kind of stack compiles and is launched."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from neuronctl.backends.phases import Phase
from neuronctl.child import Launch
from neuronctl.host import Host
from neuronctl.plan.plan import Plan


class Backend(Protocol):
    """What the pipeline asks of a backend. Nothing here starts a process."""

    name: str

    def phases(self, *, compiling: bool) -> tuple[Phase, ...]:
        """The phases of a server's start, told by its log."""
        ...

    def compile_launch(
        self, plan: Plan, host: Host, tree: Path, *, work: Path, port: int, api_key: str, log: Path
    ) -> Launch:
        """A server on 127.0.0.1:`port` that leaves its compiled output in `tree`, an empty folder.

        `work` is a folder for what it writes otherwise.
        """
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

    def missing_output(self, tree: Path) -> list[str]:
        """What a compile should have left in `tree` and did not, in words; empty when it is complete."""
        ...

    def compiled_again(self, tree: Path, work: Path) -> bool:
        """Whether a server that was given `tree` compiled all the same, by what it left in `work`."""
        ...
