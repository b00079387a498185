"""What a command was called with, beside its own options."""

from __future__ import annotations

from dataclasses import dataclass, field

from neuronctl.errors import UsageError
from neuronctl.host import Host
from neuronctl.result import Result, Tell


@dataclass
class Invocation:
    """One call of the program.

    `passthrough` is what stood after `--`; `tell` tells the story. The command fills in the rest as soon as
    it knows it, so that a failure is reported under its name and in its form. `exit_code` is for a call
    without a result, such as `--help`; `is_answered` says that the command wrote its answer while it ran, and
    that being stopped is how it ends.
    """

    host: Host
    tell: Tell
    passthrough: tuple[str, ...] = ()
    command: str = "neuronctl"
    as_json: bool = False
    result: Result | None = None
    exit_code: int = 0
    is_answered: bool = False
    data: dict[str, object] = field(default_factory=dict)

    def begin(self, command: str, *, as_json: bool, takes_passthrough: bool = False) -> None:
        """A command has been chosen. Raises UsageError for words after `--` that it has no use for."""
        self.command, self.as_json = command, as_json
        if self.passthrough and not takes_passthrough:
            raise UsageError(
                f"neuronctl {command} takes nothing after --",
                fix="arguments for vLLM go with plan, compile and serve",
            )
