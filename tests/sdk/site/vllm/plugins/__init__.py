"""Plugins that are no platform."""

from __future__ import annotations

import importlib.metadata


def load_general_plugins() -> None:
    """Run all of them."""
    for entry in importlib.metadata.entry_points(group="vllm.general_plugins"):
        entry.load()()
