"""Every check there is, in the order of what matters: the first error is the verdict."""

from __future__ import annotations

from neuronctl.doctor.check import Check
from neuronctl.doctor.checks import (
    clock,
    container,
    core_variables,
    cpu,
    disks,
    environment,
    host,
    hub,
    instance,
    memory,
    model,
    network_folders,
    ports,
    profile,
    search_paths,
    software,
    store,
    variable_names,
    variable_values,
)

CHECKS: tuple[Check, ...] = (
    *instance.CHECKS,
    *software.CHECKS,
    *cpu.CHECKS,
    *variable_names.CHECKS,
    *variable_values.CHECKS,
    *core_variables.CHECKS,
    *environment.CHECKS,
    *search_paths.CHECKS,
    *container.CHECKS,
    *memory.CHECKS,
    *host.CHECKS,
    *clock.CHECKS,
    *disks.CHECKS,
    *network_folders.CHECKS,
    *store.CHECKS,
    *hub.CHECKS,
    *model.CHECKS,
    *ports.CHECKS,
    *profile.CHECKS,
)
