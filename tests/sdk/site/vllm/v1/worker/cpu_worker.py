"""A worker on the processor, which serves anything without a compile."""

from __future__ import annotations

from typing import Any


class CPUWorker:
    """Loads nothing."""

    def __init__(self, vllm_config: Any, **_: Any) -> None:
        self.vllm_config = vllm_config

    def init_device(self) -> None:
        """The processor is there."""

    def load_model(self) -> None:
        """Anything is loaded."""

    def shutdown(self) -> None:
        """Nothing is held."""
