"""The runner of the model."""

from __future__ import annotations

from typing import Any

from neuronx_distributed_inference.modules.lora_serving import LoraServingConfig
from stand_in_sdk import release
from vllm.logger import init_logger

from vllm_neuron.worker.neuronx_distributed_model_loader import get_neuron_model

logger = init_logger(__name__)


class NeuronxDistributedModelRunner:
    """Holds the model."""

    def __init__(self, vllm_config: Any, device: Any) -> None:
        self.vllm_config = vllm_config
        self.device = device
        self.model: Any = None
        self.found_artifacts = False
        self.lora_serving_config = None
        if vllm_config.lora_config is not None:
            if release("vllm-neuron") < (0, 3):
                raise NotImplementedError("Multi-lora is not yet supported on the Neuron plugin")
            self.lora_serving_config = self._get_nxdi_lora_config()

    def load_model(self) -> None:
        """Load it from compiled artifacts, or compile it first."""
        config = self.vllm_config
        self.model = get_neuron_model(
            config.model_config,
            cache_config=config.cache_config,
            parallel_config=config.parallel_config,
            scheduler_config=config.scheduler_config,
            lora_serving_config=self.lora_serving_config,
            speculative_config=config.speculative_config,
            additional_config=config.additional_config,
        )
        self.found_artifacts = self.model.found_artifacts

    def get_model(self) -> Any:
        """The model."""
        return self.model

    def _get_nxdi_lora_config(self) -> LoraServingConfig:
        lora = self.vllm_config.lora_config
        override = self.vllm_config.additional_config.get("override_neuron_config")
        return LoraServingConfig(
            max_loras=lora.max_loras,
            max_lora_rank=lora.max_lora_rank,
            max_cpu_loras=lora.max_cpu_loras,
            target_modules=override.pop("target_modules", None),
            lora_ckpt_json=override.pop("lora_ckpt_json", None),
            dynamic_multi_lora=True,
            batch_size=self.vllm_config.scheduler_config.max_num_seqs,
            base_model_quantized=override.get("quantized", False),
        )
