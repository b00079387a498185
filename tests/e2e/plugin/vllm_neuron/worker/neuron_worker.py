"""The worker: for vLLM a world of one, however many cores there are."""

from __future__ import annotations

from vllm.config import set_current_vllm_config
from vllm.distributed import ensure_model_parallel_initialized, init_distributed_environment
from vllm.v1.worker.worker_base import WorkerBase


class NeuronWorker(WorkerBase):
    """As much of a worker as an executor needs until the model is loaded."""

    def init_device(self) -> None:
        """No device is touched."""
        init_distributed_environment(
            world_size=1,
            rank=self.rank,
            local_rank=self.local_rank,
            distributed_init_method=self.distributed_init_method,
            backend="gloo",
        )
        ensure_model_parallel_initialized(1, 1)

    def load_model(self) -> None:
        """Load, or compile where there is nothing to load."""
        from vllm_neuron.worker.neuronx_distributed_model_loader import get_neuron_model

        with set_current_vllm_config(self.vllm_config):
            self.model = get_neuron_model(self.vllm_config)
