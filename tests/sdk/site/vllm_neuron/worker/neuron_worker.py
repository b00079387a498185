"""The worker that drives all cores from one process."""

from __future__ import annotations

from typing import Any


class NeuronWorker:
    """Makes the model's runner, and has it load the model."""

    def __init__(
        self,
        vllm_config: Any,
        local_rank: int,
        rank: int,
        distributed_init_method: str,
        is_driver_worker: bool = False,
    ) -> None:
        self.vllm_config = vllm_config
        self.device = vllm_config.device_config.device
        self.model_runner = self.get_neuronx_distributed_model_runner(vllm_config, self.device)

    def init_device(self) -> None:
        """Nothing is touched before the model is loaded."""

    def get_neuronx_distributed_model_runner(self, vllm_config: Any, device: Any) -> Any:
        """The runner."""
        from vllm_neuron.worker.neuronx_distributed_model_runner import NeuronxDistributedModelRunner

        return NeuronxDistributedModelRunner(vllm_config=vllm_config, device=device)

    def load_model(self) -> None:
        """Load it, or compile it first."""
        self.model_runner.load_model()

    def compile_or_warm_up_model(self) -> None:
        """NxD Inference has done it."""

    def shutdown(self) -> None:
        """Nothing is held."""
