"""A situation in which nobody has said what to serve, for the rules that do not ask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from neuronctl.machine.detect import Machine
from neuronctl.model.config import ModelFacts
from neuronctl.model.model import Model
from neuronctl.profile.resolve import Profile
from neuronctl.profile.schema import ModelSection, ProfileShape
from neuronctl.rules.situation import Situation
from neuronctl.stack.detect import Stack


def situation_without_profile(
    backend: str, machine: Machine, stack: Stack, environ: Mapping[str, str]
) -> Situation:
    """What rules about machine, software and environment need; everything else in it is empty."""
    nowhere = Path("/")
    facts = ModelFacts("", None, None, None, None, None, None, None, None, None, None)
    return Situation(
        profile=Profile("", "", nowhere, ProfileShape(model=ModelSection(id="")), {}),
        backend=backend,
        model=Model("", None, "folder", nowhere, here=False, config={}, facts=facts),
        machine=machine,
        stack=stack,
        engine={},
        environment=environ,
        has_api_key=True,
        public_without_key=False,
    )
