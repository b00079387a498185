"""All in one process."""

from __future__ import annotations

import importlib

from vllm.v1.executor.abstract import Executor


class UniProcExecutor(Executor):
    """One worker, made, initialised and loaded here."""

    def _init_executor(self) -> None:
        module, _, name = self.vllm_config.parallel_config.worker_cls.rpartition(".")
        worker_cls = getattr(importlib.import_module(module), name)
        self.driver_worker = worker_cls(
            vllm_config=self.vllm_config,
            local_rank=0,
            rank=0,
            distributed_init_method="tcp://127.0.0.1:1",
            is_driver_worker=True,
        )
        self.driver_worker.init_device()
        self.driver_worker.load_model()

    def shutdown(self) -> None:
        """End the worker."""
        self.driver_worker.shutdown()
