"""Which model families there are, by the task."""

from __future__ import annotations

from typing import Any

from neuronx_distributed_inference.models import families

MODEL_TYPES: dict[str, dict[str, Any]] = {
    name: {"causal-lm": getattr(families, family)} for name, family in families.NAMES.items()
}
