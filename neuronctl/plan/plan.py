"""The plan: everything that is decided before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from neuronctl.machine.detect import Machine
from neuronctl.model.model import Model
from neuronctl.profile.resolve import Profile
from neuronctl.result import Finding
from neuronctl.stack.detect import Stack

if TYPE_CHECKING:
    from neuronctl.neuron.outlook import Outlook


@dataclass(frozen=True)
class Setting:
    """A decided value and who decided it (`neuronctl`, a profile's file and line, a flag, a variable)."""

    value: object
    origin: str


@dataclass(frozen=True)
class Plan:
    """What will run, on what, and why.

    `engine` holds vLLM's arguments by their names with underscores; `passthrough` those given after `--`,
    untouched; `environment` what is set on top of the user's own variables;
    `key_inputs` is all that can change the compiled bytes and `key` the hash of it; `findings` are what
    the rules say, errors first; `has_api_key` whether the server will want a key, never which.
    `retyped` is how to ask for the same plan again on a command line. `files` are written before anything
    starts: path → text. `outlook` is what the Neuron software will make of the plan, None on the cpu
    backend. `force` lets through what only an estimate, or advice that nothing enforces, speaks against.
    `identities` tell the weights of drafts and adapters from others, by their folders.
    """

    profile: Profile
    backend: str
    model: Model
    machine: Machine
    stack: Stack
    engine: Mapping[str, Setting]
    passthrough: tuple[str, ...]
    environment: Mapping[str, Setting]
    key: str
    key_inputs: Mapping[str, object]
    findings: tuple[Finding, ...]
    has_api_key: bool
    retyped: str
    files: Mapping[str, str] = field(default_factory=dict)
    outlook: Outlook | None = None
    force: bool = False
    identities: Mapping[str, str] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop compile and serve."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def served_name(self) -> str:
        """The name that clients give as `model`."""
        name = self.engine["served_model_name"].value
        return str(name[0] if isinstance(name, (list, tuple)) else name)
