"""A situation in which nothing is planned, for the rules that look at machine, software and environment."""

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


def bare_situation(
    profile: Profile | None, backend: str, machine: Machine, stack: Stack, environ: Mapping[str, str]
) -> Situation:
    """What such rules need; everything else in it is empty, the profile too where there is none."""
    nowhere = Path("/")
    facts = ModelFacts("", None, None, None, None, None, None, None, None, None, None)
    profile = profile or Profile("", "", nowhere, ProfileShape(model=ModelSection(id="")), {})
    section = profile.shape.engine
    engine = {name: getattr(section, name) for name in section.__struct_fields__ if name != "extra"}
    engine |= {name.lstrip("-").replace("-", "_"): value for name, value in section.extra.items()}
    return Situation(
        profile=profile,
        backend=backend,
        model=Model("", None, "folder", nowhere, here=False, config={}, facts=facts),
        machine=machine,
        stack=stack,
        engine={name: value for name, value in engine.items() if value is not None},
        environment={**environ, **{name: str(value) for name, value in profile.shape.env.items()}},
        has_api_key=True,
        public_without_key=False,
    )
