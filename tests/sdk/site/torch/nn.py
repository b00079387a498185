"""Modules without arithmetic."""

from __future__ import annotations

from typing import Any


class Module:
    """What a model is."""

    training = True

    def eval(self) -> Module:
        """Not for training."""
        self.training = False
        return self

    def to(self, *_: Any) -> Module:
        """Nothing is on a device here."""
        return self
