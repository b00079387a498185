"""What a rule may look at: the facts and what was decided from them, before the plan is final."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neuronctl.machine.detect import Machine
from neuronctl.model.model import Model
from neuronctl.profile.resolve import Profile
from neuronctl.stack.detect import Stack

if TYPE_CHECKING:
    from neuronctl.model.companions import Companion
    from neuronctl.neuron.outlook import Outlook


@dataclass(frozen=True)
class Situation:
    """Everything known when the rules run.

    `engine` maps vLLM argument names to the values that vLLM will see, those after `--` included;
    `environment` is all of the child's; `has_api_key` says whether one was found, never which. `outlook`
    is what the Neuron software will make of it, None on the cpu backend; `companions` are the draft and the
    adapters, looked for on Neuron only.
    """

    profile: Profile
    backend: str
    model: Model
    machine: Machine
    stack: Stack
    engine: Mapping[str, object]
    environment: Mapping[str, str]
    has_api_key: bool
    public_without_key: bool
    outlook: Outlook | None = None
    companions: Sequence[Companion] = ()
