"""The platform, and what it changes in vLLM's configuration."""

from __future__ import annotations

from typing import Any

from vllm.platforms import Platform, PlatformEnum


class NeuronPlatform(Platform):
    """Neuron cores, which vLLM takes for a processor."""

    _enum = PlatformEnum.OOT
    device_name = "cpu"
    device_type = "cpu"
    device_control_env_var = "NEURON_RT_VISIBLE_CORES"

    def __init__(self) -> None:
        super().__init__()
        self._patch()

    @classmethod
    def _patch(cls) -> None:
        """Turn off checks that are not about Neuron: the heads' one is by tensor_parallel_size."""
        try:
            from vllm.config import ModelConfig
        except ImportError:  # vLLM asks for its platform while it imports that very module; it will ask again
            return
        ModelConfig.verify_with_parallel_config = lambda self, parallel_config: None
        ModelConfig._verify_quantization = lambda self: None

    @classmethod
    def pre_register_and_update(cls, parser: Any = None) -> None:
        """The same, before arguments are parsed."""
        cls._patch()

    @classmethod
    def supports_v1(cls, model_config: Any) -> bool:
        """vLLM 0.11 asks."""
        return True

    @classmethod
    def is_pin_memory_available(cls) -> bool:
        """There is no such memory."""
        return False

    @classmethod
    def get_device_name(cls, device_id: int = 0) -> str:
        """For the log."""
        return "neuron"

    @classmethod
    def check_and_update_config(cls, vllm_config: Any) -> None:
        """One process drives all cores, prompts are not cut, and a block is as long as a sequence."""
        cls._patch()
        if vllm_config.model_config is None:
            return
        parallel, cache = vllm_config.parallel_config, vllm_config.cache_config
        if parallel.worker_cls == "auto":
            parallel.worker_cls = "vllm_neuron.worker.neuron_worker.NeuronWorker"
        if parallel.world_size > 1:
            parallel.distributed_executor_backend = "uni"
        if cache.num_gpu_blocks_override is not None and not hasattr(cache, "_neuron_null_block_adjusted"):
            cache.num_gpu_blocks_override += 1
            cache._neuron_null_block_adjusted = True
        vllm_config.scheduler_config.max_num_batched_tokens = 131072
        if not cache.enable_prefix_caching:
            cache.block_size = vllm_config.model_config.max_model_len
