"""From arguments to a configuration."""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

from stand_in_sdk import enter, release

from vllm.config import (
    CacheConfig,
    LoRAConfig,
    ModelConfig,
    ParallelConfig,
    SchedulerConfig,
    SpeculativeConfig,
    VllmConfig,
)

enter("import")

_NUMBERS = (
    "data-parallel-size",
    "max-cpu-loras",
    "max-logprobs",
    "max-lora-rank",
    "max-loras",
    "max-num-seqs",
    "num-gpu-blocks-override",
    "pipeline-parallel-size",
    "seed",
)
_TEXTS = (
    "config-format",
    "distributed-executor-backend",
    "download-dir",
    "dtype",
    "generation-config",
    "gpu-memory-utilization",
    "hf-config-path",
    "hf-token",
    "kv-cache-dtype",
    "kv-cache-memory-bytes",
    "load-format",
    "lora-dtype",
    "model-impl",
    "quantization",
    "revision",
    "runner",
    "scheduler-cls",
    "scheduling-policy",
    "tokenizer",
    "tokenizer-mode",
    "tokenizer-revision",
    "worker-cls",
)
_JSON = (
    "additional-config",
    "compilation-config",
    "hf-overrides",
    "kv-transfer-config",
    "limit-mm-per-prompt",
    "mm-processor-kwargs",
    "model-loader-extra-config",
    "override-generation-config",
    "speculative-config",
)
_SWITCHES = (
    "async-scheduling",
    "disable-cascade-attn",
    "disable-log-stats",
    "enable-chunked-prefill",
    "enable-expert-parallel",
    "enable-lora",
    "enable-prefix-caching",
    "enable-prompt-embeds",
    "enforce-eager",
    "skip-tokenizer-init",
    "trust-remote-code",
)
_FACTORS = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}


def human_readable_int(text: str) -> int:
    """4k is 4000, 4K is 4096."""
    found = re.fullmatch(r"(-?\d+(?:\.\d+)?)([kKmMgG]?)", text.strip())
    if found is None and text == "auto" and release("vllm") >= (0, 16):
        return -1
    if found is None:
        raise argparse.ArgumentTypeError(f"invalid human_readable_int value: {text!r}")
    return int(float(found[1]) * _FACTORS.get(found[2], 1))


def json_or_text(text: str) -> Any:
    """A JSON object; anything else stays a text, for the configuration to refuse."""
    if not re.fullmatch(r"\s*\{.*\}\s*", text, re.DOTALL):
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"Value {text} cannot be converted to <function loads>.") from None


class AsyncEngineArgs:
    """The engine's arguments as attributes."""

    def __init__(self, **given: Any) -> None:
        self.__dict__.update(given)

    @staticmethod
    def add_cli_args(parser: Any) -> Any:
        """Add them to a parser, and let the platform add its own."""
        parser.add_argument("--model", default="Qwen/Qwen3-0.6B")
        parser.add_argument("--served-model-name", nargs="+")
        parser.add_argument("--tensor-parallel-size", "-tp", type=int, default=1)
        parser.add_argument("--max-model-len", type=human_readable_int)
        parser.add_argument("--max-num-batched-tokens", type=human_readable_int)
        sizes = [1, 8, 16, 32, 64, 128]
        if release("vllm") < (0, 24):
            parser.add_argument(
                "--block-size", type=int, choices=sizes if release("vllm") < (0, 13) else [*sizes, 256]
            )
        else:
            parser.add_argument("--block-size", type=int)
        if release("vllm") < (0, 17):
            parser.add_argument("--swap-space", type=float, default=4.0)
        for name in _NUMBERS:
            parser.add_argument(f"--{name}", type=int)
        for name in _TEXTS:
            parser.add_argument(f"--{name}")
        for name in _JSON:
            parser.add_argument(f"--{name}", type=json_or_text)
        for name in _SWITCHES:
            parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction)
        from vllm.platforms import current_platform

        current_platform.pre_register_and_update(parser)
        return parser

    @classmethod
    def from_cli_args(cls, args: argparse.Namespace) -> AsyncEngineArgs:
        """Those that were parsed."""
        given = dict(vars(args))
        if given.get("model_tag"):
            given["model"] = given["model_tag"]
        return cls(**given)

    def create_engine_config(self, usage_context: Any = None, headless: bool = False) -> VllmConfig:
        """The configuration, as the platform changes it."""
        from vllm.platforms import current_platform

        # Whoever makes a platform's object lets it change the classes of the configuration.
        current_platform.pre_register_and_update(None)
        enter("config")
        model = ModelConfig(
            model=self.model,
            dtype=self.dtype or "auto",
            max_model_len=self.max_model_len,
            seed=self.seed or 0,
            served_model_name=self.served_model_name,
            quantization=self.quantization,
            trust_remote_code=bool(self.trust_remote_code),
        )
        parallel = ParallelConfig(
            tensor_parallel_size=self.tensor_parallel_size,
            pipeline_parallel_size=self.pipeline_parallel_size or 1,
            distributed_executor_backend=self.distributed_executor_backend,
            worker_cls=self.worker_cls or "auto",
        )
        model.verify_with_parallel_config(parallel)
        chunked = self.enable_chunked_prefill is not False or release("vllm") < (0, 12)
        scheduler = SchedulerConfig(
            max_num_seqs=self.max_num_seqs or 256,
            max_num_batched_tokens=self.max_num_batched_tokens or 2048,
            max_model_len=model.max_model_len,
            chunked_prefill_enabled=chunked,
            scheduler_cls=self.scheduler_cls,
        )
        cache = CacheConfig(
            block_size=self.block_size,
            enable_prefix_caching=self.enable_prefix_caching is not False,
            num_gpu_blocks_override=self.num_gpu_blocks_override,
            swap_space=getattr(self, "swap_space", 0.0),
        )
        lora = None
        if self.enable_lora:
            adapters = self.max_loras or 1
            lora = LoRAConfig(adapters, self.max_lora_rank or 16, max(self.max_cpu_loras or 0, adapters))
        speculative = self.speculative_config
        return VllmConfig(
            model_config=model,
            cache_config=cache,
            parallel_config=parallel,
            scheduler_config=scheduler,
            lora_config=lora,
            speculative_config=SpeculativeConfig(**speculative) if speculative else None,
            additional_config={} if self.additional_config is None else self.additional_config,
        )
