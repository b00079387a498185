"""Every check there is, in the order of what matters: the first error is the verdict."""

from __future__ import annotations

from neuronctl.doctor.check import Check
from neuronctl.doctor.checks import environment, instance, profile, software

CHECKS: tuple[Check, ...] = (
    *instance.CHECKS,
    *software.CHECKS,
    *environment.CHECKS,
    *profile.CHECKS,
)
