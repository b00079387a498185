"""Every check there is, in the order of what matters: the first error is the verdict."""

from __future__ import annotations

from neuronctl.doctor.check import Check
from neuronctl.doctor.checks import (
    clock,
    container,
    cpu,
    disks,
    environment,
    host,
    hub,
    instance,
    ports,
    profile,
    software,
    store,
)

CHECKS: tuple[Check, ...] = (
    *instance.CHECKS,
    *software.CHECKS,
    *cpu.CHECKS,
    *environment.CHECKS,
    *container.CHECKS,
    *host.CHECKS,
    *clock.CHECKS,
    *disks.CHECKS,
    *store.CHECKS,
    *hub.CHECKS,
    *ports.CHECKS,
    *profile.CHECKS,
)
