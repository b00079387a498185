"""The configuration: plain objects, with the few checks that decide whether a server starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoConfig

_DTYPES = {
    "half": torch.float16,
    "float16": torch.float16,
    "float": torch.float32,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
}
_current: list[Any] = []


class ValidationError(ValueError):
    """A configuration is not accepted."""


class ModelConfig:
    """The model, its type and its length."""

    def __init__(
        self,
        *,
        model: str,
        dtype: str,
        max_model_len: int | None,
        seed: int,
        served_model_name: Any,
        quantization: str | None,
        trust_remote_code: bool,
    ) -> None:
        self.model = self.tokenizer = model
        self.seed = seed
        self.served_model_name = served_model_name
        self.quantization = quantization
        self.trust_remote_code = trust_remote_code
        self.hf_config = AutoConfig.from_pretrained(model)
        self.hf_text_config = self.hf_config.get_text_config()
        stated = getattr(self.hf_text_config, "torch_dtype", None) if dtype == "auto" else dtype
        if dtype != "auto" and dtype not in _DTYPES:
            raise ValueError(f"Unknown dtype: {dtype!r}")
        self.dtype = torch.float16 if stated in ("float16", "half") else torch.bfloat16
        if dtype in ("float", "float32"):
            self.dtype = torch.float32
        self._verify_quantization()
        self.spec_target_max_model_len = None
        self.max_model_len = self.get_and_verify_max_len(max_model_len)

    def _verify_quantization(self) -> None:
        if self.quantization == "neuron_quant":
            raise ValueError(f"Unknown quantization method: {self.quantization}.")

    def get_and_verify_max_len(self, max_model_len: int | None) -> int | None:
        """The length, which is not above the model's."""
        most = getattr(self.hf_text_config, "max_position_embeddings", None)
        if max_model_len in (None, -1):
            return most
        if most is not None and max_model_len > most:
            raise ValueError(
                f"User-specified max_model_len ({max_model_len}) is greater than the derived max_model_len "
                f"(max_position_embeddings={most})"
            )
        return max_model_len

    def verify_with_parallel_config(self, parallel_config: ParallelConfig) -> None:
        """Heads are divided by tensor parallelism."""
        heads = getattr(self.hf_text_config, "num_attention_heads", 0)
        tp = parallel_config.tensor_parallel_size
        if heads % tp:
            raise ValueError(
                f"Total number of attention heads ({heads}) must be divisible by tensor parallel size ({tp})."
            )


@dataclass
class ParallelConfig:
    """Over how many cores."""

    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    distributed_executor_backend: str | None = None
    worker_cls: str = "auto"
    enable_expert_parallel: bool = False

    def __post_init__(self) -> None:
        self.world_size = self.tensor_parallel_size * self.pipeline_parallel_size
        if self.distributed_executor_backend is None:
            self.distributed_executor_backend = "mp" if self.world_size > 1 else "uni"


@dataclass
class SchedulerConfig:
    """How many sequences and tokens at once."""

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int | None
    chunked_prefill_enabled: bool
    scheduler_cls: str | None = None


@dataclass
class CacheConfig:
    """Blocks of the cache."""

    block_size: int | None
    enable_prefix_caching: bool
    num_gpu_blocks_override: int | None
    swap_space: float = 4.0


@dataclass
class LoRAConfig:
    """Adapters."""

    max_loras: int
    max_lora_rank: int
    max_cpu_loras: int


class SpeculativeConfig:
    """The draft."""

    def __init__(
        self, model: str, num_speculative_tokens: int = 0, method: str | None = None, **_: Any
    ) -> None:
        self.method = method
        self.num_speculative_tokens = num_speculative_tokens
        self.draft_model_config = SimpleNamespace(model=model)


@dataclass
class VllmConfig:
    """All of it; the platform changes it when it is made."""

    model_config: ModelConfig
    cache_config: CacheConfig
    parallel_config: ParallelConfig
    scheduler_config: SchedulerConfig
    lora_config: LoRAConfig | None = None
    speculative_config: SpeculativeConfig | None = None
    additional_config: Any = field(default_factory=dict)
    device_config: Any = field(default_factory=lambda: SimpleNamespace(device=torch.device("cpu")))

    def __post_init__(self) -> None:
        from vllm.platforms import current_platform

        if not isinstance(self.additional_config, dict):
            raise ValidationError(
                "2 validation errors for VllmConfig\nadditional_config.dict[any,any]\n"
                "  Input should be a valid dictionary [type=dict_type, "
                f"input_value={self.additional_config!r}, input_type={type(self.additional_config).__name__}]"
            )
        try:
            current_platform.check_and_update_config(self)
        except AssertionError as error:
            raise ValidationError(f"1 validation error for VllmConfig\n  Assertion failed, {error}") from None
        except ValueError as error:
            raise ValidationError(f"1 validation error for VllmConfig\n  Value error, {error}") from None


@contextmanager
def set_current_vllm_config(vllm_config: VllmConfig, check_compile: bool = False) -> Iterator[None]:
    """What `get_current_vllm_config` gives inside."""
    _current.append(vllm_config)
    try:
        yield
    finally:
        _current.pop()


def get_current_vllm_config() -> VllmConfig:
    """The configuration of the engine that is being made."""
    return _current[-1]
