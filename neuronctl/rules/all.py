"""Every rule there is, in the order in which they are run."""

from __future__ import annotations

from functools import cache

from neuronctl.rules import (
    artifacts,
    container,
    cpu,
    devices,
    estimates,
    machine,
    models,
    native_cache,
    native_environment,
    native_features,
    native_keys,
    nxdi_cache,
    nxdi_features,
    nxdi_flags,
    nxdi_keys,
    nxdi_model,
    nxdi_refusals,
    packages,
    serving,
    stack,
)
from neuronctl.rules.rule import Rule

RULES: tuple[Rule, ...] = (
    *serving.RULES,
    *cpu.RULES,
    *stack.RULES,
    *packages.RULES,
    *machine.RULES,
    *devices.RULES,
    *container.RULES,
    *nxdi_keys.RULES,
    *nxdi_flags.RULES,
    *nxdi_model.RULES,
    *nxdi_cache.RULES,
    *nxdi_features.RULES,
    *nxdi_refusals.RULES,
    *native_keys.RULES,
    *native_cache.RULES,
    *native_environment.RULES,
    *native_features.RULES,
    *models.RULES,
    *estimates.RULES,
    *artifacts.RULES,
)


@cache
def rules_for(backend: str) -> tuple[Rule, ...]:
    """The rules that are about a backend."""
    return tuple(rule for rule in RULES if backend in rule.backends)
