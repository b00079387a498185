"""The loader, and a model whose compile writes down what it was given."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from vllm.model_executor.layers.logits_processor import LogitsProcessor


class Application:
    """In the place of NxD Inference's class for a model."""

    def __init__(self, path: str, config: dict[str, Any] | None = None) -> None:
        self.config = config or json.loads((Path(path) / "neuron_config.json").read_text())

    def compile(self, path: str) -> None:
        """Write the configuration."""
        Path(path).mkdir(parents=True, exist_ok=True)
        (Path(path) / "neuron_config.json").write_text(json.dumps(self.config))

    def load(self, path: str) -> None:
        """Leave a trace: without a device nobody may get here."""
        (Path(path) / "loaded").touch()


class NeuronModelBase(torch.nn.Module):
    """What loads a model into vLLM."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        # One of vLLM's own layers: it asks for the configuration in force.
        self.logits_processor = LogitsProcessor(config.get_text_config().vocab_size, logits_as_input=True)

    def load_weights(self, model_path: str, config: dict[str, Any]) -> None:
        """Load what is in the folder, or compile into it."""
        compiled_path = os.environ["NEURON_COMPILED_ARTIFACTS"]
        try:
            self.model = Application(compiled_path)
            self.model.load(compiled_path)
        except FileNotFoundError:
            self._compile_and_load_model(model_path, Application, config, compiled_path)

    def _compile_and_load_model(
        self, model_path: str, neuronx_model_cls: Any, config: Any, compiled_path: str
    ) -> None:
        self.model = neuronx_model_cls(model_path, config)
        self.model.compile(compiled_path)
        self.model.load(compiled_path)


def get_neuron_model(vllm_config: Any) -> NeuronModelBase:
    """The model for a configuration of vLLM."""
    model_config = vllm_config.model_config
    model = NeuronModelBase(model_config.hf_config)
    model.load_weights(
        model_config.model,
        {
            "architecture": model_config.hf_config.architectures[0],
            "dtype": str(model_config.dtype),
            "tp_degree": vllm_config.parallel_config.tensor_parallel_size,
            "seq_len": model_config.max_model_len,
            "batch_size": vllm_config.scheduler_config.max_num_seqs,
            "max_num_batched_tokens": vllm_config.scheduler_config.max_num_batched_tokens,
            "pa_block_size": vllm_config.cache_config.block_size,
            "pa_num_blocks": vllm_config.cache_config.num_gpu_blocks_override,
            "is_prefix_caching": vllm_config.cache_config.enable_prefix_caching,
            "additional_config": vllm_config.additional_config,
        },
    )
    return model
