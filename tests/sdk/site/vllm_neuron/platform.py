"""The platform, and what it silently changes."""

from __future__ import annotations

import os
from typing import Any

from vllm.logger import init_logger
from vllm.platforms import Platform

logger = init_logger(__name__)
_TOKEN_BUDGET = 131072


class NeuronPlatform(Platform):
    """Neuron cores, seen from vLLM."""

    device_name = "cpu"
    device_type = "cpu"
    supported_quantization = ("neuron_quant", "fbgemm_fp8")
    device_control_env_var = "NEURON_RT_VISIBLE_CORES"
    _is_patched = False

    def __init__(self) -> None:
        self._ensure_config_overrides_applied()

    @classmethod
    def _ensure_config_overrides_applied(cls) -> None:
        """Turn off checks of vLLM that are not about Neuron."""
        if cls._is_patched:
            return
        from vllm.config import ModelConfig

        def length_as_said(self: Any, max_model_len: int | None) -> int | None:
            return self.spec_target_max_model_len or max_model_len

        ModelConfig.verify_with_parallel_config = lambda self, parallel_config: None
        ModelConfig._verify_quantization = lambda self: None
        ModelConfig.get_and_verify_max_len = length_as_said
        cls._is_patched = True
        logger.info("Neuron config overrides applied successfully")

    @classmethod
    def pre_register_and_update(cls, parser: Any = None) -> None:
        """The same, before arguments are parsed."""
        cls._ensure_config_overrides_applied()

    @classmethod
    def check_and_update_config(cls, vllm_config: Any) -> None:
        """Change what does not fit Neuron."""
        if vllm_config.model_config is None:
            return
        is_native = bool(int(os.getenv("DISABLE_NEURON_CUSTOM_SCHEDULER", "0")))
        cache, parallel = vllm_config.cache_config, vllm_config.parallel_config
        if cache.num_gpu_blocks_override is not None and not hasattr(cache, "_neuron_null_block_adjusted"):
            cache.num_gpu_blocks_override += 1
            cache._neuron_null_block_adjusted = True
            logger.info(
                "Adding 1 to num_gpu_blocks_override (now %d) to account for null block allocation",
                cache.num_gpu_blocks_override,
            )
        if parallel.worker_cls == "auto":
            parallel.worker_cls = "vllm_neuron.worker.neuron_worker.NeuronWorker"
        if parallel.world_size > 1:
            parallel.distributed_executor_backend = "uni"
        if is_native:
            assert cache.block_size is not None, (
                "When vLLM V1 native scheduler is enabled, block_size must be set."
            )
            return
        scheduler = vllm_config.scheduler_config
        scheduler.scheduler_cls = "vllm_neuron.core.scheduler.ContinuousBatchingNeuronScheduler"
        scheduler.chunked_prefill_enabled = False
        scheduler.max_num_batched_tokens = _TOKEN_BUDGET
        logger.info(
            "Neuron custom scheduler default: max_num_batched_tokens set to %d. "
            "Override with --max-num-batched-tokens if needed.",
            _TOKEN_BUDGET,
        )
        if not scheduler.max_num_seqs:
            scheduler.max_num_seqs = 32
        if not cache.enable_prefix_caching:
            cache.block_size = vllm_config.model_config.max_model_len
        else:
            assert cache.block_size is not None, "When prefix caching is enabled, block_size must be set."
