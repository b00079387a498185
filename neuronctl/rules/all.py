"""Every rule there is, in the order in which they are run."""

from __future__ import annotations

from neuronctl.rules import (
    artifacts,
    container,
    cpu,
    cpu_stack,
    devices,
    estimates,
    hub,
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
    *hub.RULES,
    *cpu.RULES,
    *cpu_stack.RULES,
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
