"""The backends by name."""

from __future__ import annotations

from neuronctl.backends.backend import Backend
from neuronctl.backends.cpu import CpuBackend


def backend_named(name: str) -> Backend:
    """The backend that a plan chose."""
    return {"cpu": CpuBackend()}[name]
