"""The backends by name."""

from __future__ import annotations

from neuronctl.backends.backend import Backend


def backend_named(name: str) -> Backend:
    """The backend that a plan chose. Raises KeyError for one that can only be planned."""
    if name == "nxdi":
        from neuronctl.backends.nxdi import NxdiBackend

        return NxdiBackend()
    from neuronctl.backends.cpu import CpuBackend

    return {"cpu": CpuBackend()}[name]
