"""What an executor is."""

from __future__ import annotations

from typing import Any


class Executor:
    """Makes the workers of a configuration."""

    def __init__(self, vllm_config: Any) -> None:
        self.vllm_config = vllm_config
        self._init_executor()

    def _init_executor(self) -> None:
        raise NotImplementedError

    @staticmethod
    def get_class(vllm_config: Any) -> type[Executor]:
        """The executor that the configuration names; this stand-in has one."""
        backend = vllm_config.parallel_config.distributed_executor_backend
        if backend != "uni":
            raise ValueError(f"Unknown distributed executor backend: {backend}")
        from vllm.v1.executor.uniproc_executor import UniProcExecutor

        return UniProcExecutor
