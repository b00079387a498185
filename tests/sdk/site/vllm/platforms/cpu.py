"""The platform that is left where no plugin wants to be one."""

from __future__ import annotations

from typing import Any

from vllm.platforms import Platform


class CpuPlatform(Platform):
    """The processor."""

    @classmethod
    def check_and_update_config(cls, vllm_config: Any) -> None:
        """A worker for the processor."""
        parallel = vllm_config.parallel_config
        if parallel.worker_cls == "auto":
            parallel.worker_cls = "vllm.v1.worker.cpu_worker.CPUWorker"
        parallel.distributed_executor_backend = "uni"
        if vllm_config.cache_config.block_size is None:
            vllm_config.cache_config.block_size = 128
