"""Compile a model into a folder, and load it from there."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.jit
import torch.nn
from neuronx_distributed.trace.model_builder import Graph, ModelBuilder
from safetensors.torch import load_file
from stand_in_sdk import begin_loading, behaviours, die_saying, enter, release, temporary

from neuronx_distributed_inference.models.config import InferenceConfig, NeuronConfig, to_dict
from neuronx_distributed_inference.modules.autobucketing import context_buckets, token_buckets
from neuronx_distributed_inference.modules.checkpoint import load_state_dict, save_state_dict_safetensors

COMPILED_MODEL_FILE_NAME = "model.pt"
CONTEXT_ENCODING_MODEL_TAG = "context_encoding_model"
TOKEN_GENERATION_MODEL_TAG = "token_generation_model"
FUSED_SPECULATION_MODEL_TAG = "fused_speculation_model"
logger = logging.getLogger("Neuron")


def normalize_path(path: str | Path) -> str:
    """A path that ends with a slash."""
    return os.path.join(os.path.normpath(path), "")


def compile_work_dir() -> str:
    """Where graphs are compiled."""
    return os.environ.get("BASE_COMPILE_WORK_DIR") or os.path.join(temporary("/tmp"), "nxd_model", "")


@dataclass(frozen=True)
class ModelWrapper:
    """One graph of a model: its buckets, and the batch and length of each one's input."""

    tag: str
    buckets: list[Any]
    shapes: list[list[int]]


class NeuronApplicationBase(torch.nn.Module):
    """A model for Neuron cores, from a checkpoint with a configuration or from a compiled folder."""

    def __init__(
        self,
        model_path: str,
        config: InferenceConfig | None = None,
        neuron_config: NeuronConfig | None = None,
    ) -> None:
        model_path = normalize_path(model_path)
        if config is None:
            config = self.get_config_cls().load(model_path)
        if neuron_config is not None:
            config.neuron_config = neuron_config
        self.validate_config(config)
        self.config = config
        self.neuron_config = config.neuron_config
        self.fused_spec_config = config.fused_spec_config
        self.model_path = model_path
        self.traced_model: torch.jit.ScriptModule | None = None
        self._builder: ModelBuilder | None = None
        self.models = self.make_models(self.neuron_config)

    @classmethod
    def get_config_cls(cls) -> type[InferenceConfig]:
        """The class of this model's configuration."""
        raise NotImplementedError("get_config_cls is not implemented")

    @classmethod
    def get_neuron_config_cls(cls) -> type[NeuronConfig]:
        """The class of its part for Neuron."""
        return cls.get_config_cls().get_neuron_config_cls()

    @classmethod
    def validate_config(cls, config: InferenceConfig) -> None:
        """Whether this model can be made with it."""
        if not hasattr(config, "neuron_config"):
            raise ValueError("Config must include a NeuronConfig")

    def make_models(self, config: NeuronConfig) -> list[ModelWrapper]:
        """The graphs: one reads prompts, one makes tokens."""
        decode = (
            FUSED_SPECULATION_MODEL_TAG if config.enable_fused_speculation else TOKEN_GENERATION_MODEL_TAG
        )
        context, tokens = context_buckets(config), token_buckets(config)
        found = [
            ModelWrapper(
                CONTEXT_ENCODING_MODEL_TAG,
                context,
                [[config.ctx_batch_size, _length(one)] for one in context],
            )
        ]
        chunked = config.chunked_prefill_config
        if config.enable_fused_speculation or chunked is None or chunked.tkg_model_enabled:
            found.append(
                ModelWrapper(decode, tokens, [[config.tkg_batch_size, _length(one)] for one in tokens])
            )
        return found

    def get_builder(self) -> ModelBuilder:
        """What traces and shards."""
        if self._builder is None:
            self._builder = self.make_builder(
                self.config, self.models, compile_work_dir(), self.checkpoint_loader_fn
            )
        return self._builder

    def make_builder(
        self,
        config: InferenceConfig,
        models: list[ModelWrapper],
        work_dir: str,
        checkpoint_loader: Callable[[], dict[str, torch.Tensor]],
    ) -> ModelBuilder:
        """A builder of some graphs."""
        neuron_config = config.neuron_config
        builder = ModelBuilder(
            local_ranks_size=neuron_config.local_ranks_size,
            start_rank_id=neuron_config.start_rank_id,
            checkpoint_loader=checkpoint_loader,
            compiler_workdir=work_dir,
            logical_nc_config=neuron_config.logical_nc_config,
        )
        described = {key: value for key, value in to_dict(config).items() if key != "_name_or_path"}
        for model in models:
            arguments = "--auto-cast=none --model-type=transformer -O1"
            builder.add(Graph(model.tag, described, model.buckets, model.shapes, arguments))
        return builder

    def compile(self, compiled_model_path: str) -> None:
        """Compile into a folder: the configuration first, then the graphs, the weights last."""
        compiled_model_path = normalize_path(compiled_model_path)
        self.config.save(compiled_model_path)
        logger.info("Saving the neuron_config to %s", compiled_model_path)
        die_saying("die-saying")
        traced_model = self.get_builder().trace()
        self.config.save(compile_work_dir())
        torch.jit.save(traced_model, compiled_model_path + COMPILED_MODEL_FILE_NAME)
        self.shard_weights(compiled_model_path)
        damage_as_asked(compiled_model_path)

    def shard_weights(self, compiled_model_path: str) -> None:
        """Write the weights of each rank, if that is wanted."""
        shard_into(normalize_path(compiled_model_path), self.neuron_config, self.get_builder)

    def load(self, compiled_model_path: str) -> None:
        """Load graphs and weights onto the device, and run each graph once."""
        compiled_model_path = normalize_path(compiled_model_path)
        begin_loading()
        self.traced_model = torch.jit.load(compiled_model_path + COMPILED_MODEL_FILE_NAME)
        self.load_weights(compiled_model_path)
        if self.neuron_config.skip_warmup:
            logger.info("Skipping model warmup")
        else:
            self.warmup()

    def load_weights(self, compiled_model_path: str) -> None:
        """Weights of this node's ranks onto the device."""
        assert self.traced_model is not None
        begun = time.monotonic()
        weights = read_weights(normalize_path(compiled_model_path), self.neuron_config, self.get_builder)
        self.traced_model.nxd_model.initialize(weights, self.neuron_config.start_rank_id)
        logger.info("Finished weights loading in %s seconds", time.monotonic() - begun)

    def warmup(self) -> None:
        """Run each graph once."""
        logger.info("Warming up the model.")
        begun = time.time()
        run_once(self.models, self.traced_model)
        logger.info("Warmup completed in %s seconds.", time.time() - begun)

    @property
    def weights_loaded(self) -> str:
        """A digest of the weights that are on the device."""
        return self.traced_model.nxd_model.weights if self.traced_model else ""

    def checkpoint_loader_fn(self) -> dict[str, torch.Tensor]:
        """The checkpoint's tensors in the type that is compiled for."""
        path = getattr(self.config, "_name_or_path", None)
        if release("neuronx-distributed-inference") >= (0, 7):
            if path is None or not os.path.exists(path):
                path = self.model_path
        elif not os.path.isdir(path) and getattr(self.config, "tie_word_embeddings", False):
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        if self.neuron_config.quantized:
            path = self.neuron_config.quantized_checkpoints_path
            if not os.path.exists(path):
                raise FileNotFoundError(f"Quantized checkpoint file not found: {path}")
        found = self.get_state_dict(path)
        fused = self.fused_spec_config
        if self.neuron_config.enable_fused_speculation:
            assert fused is not None
            draft = self.get_state_dict(fused.draft_model_path)
            found = {f"target_model.{name}": tensor for name, tensor in found.items()}
            found.update({f"draft_model.{name}": tensor for name, tensor in draft.items()})
        self.check_heads()
        if self.neuron_config.cast_type == "config":
            found = {name: tensor.to(self.neuron_config.torch_dtype) for name, tensor in found.items()}
        return found

    @classmethod
    def get_state_dict(cls, name: str) -> dict[str, torch.Tensor]:
        """The tensors of a folder, of a file, or of a model of the hub."""
        if os.path.isdir(name):
            found = load_state_dict(name)
        elif os.path.isfile(name):
            found = torch.load(name)
        else:
            found = cls.load_hf_model(name).state_dict()
        return {key.removeprefix("model."): tensor for key, tensor in found.items()}

    @staticmethod
    def load_hf_model(name: str) -> Any:
        """The model as its authors published it."""
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(name)

    @classmethod
    def save_quantized_state_dict(cls, model_path: str, config: InferenceConfig) -> None:
        """Quantize the checkpoint and write it where the configuration says."""
        path = config.neuron_config.quantized_checkpoints_path
        found = {}
        for name, tensor in cls.load_hf_model(normalize_path(model_path)).state_dict().items():
            name = name.removeprefix("model.")
            found[name] = torch.Tensor(torch.int8, tensor.shape, tensor.data[3 :: tensor.dtype.itemsize])
            found[name.replace(".weight", ".scale")] = torch.Tensor(torch.float32, (1,), bytes(4))
        if os.path.isdir(path):
            logger.info("Saving quantized state dict as safetensors to: %s", path)
            save_state_dict_safetensors(found, path)
        else:
            logger.info("Saving quantized state dict as torch pt file to: %s", path)
            torch.save(found, path)

    def check_heads(self) -> None:
        """What becomes of key and value heads that TP does not divide: their weights have another shape."""
        config, tp = self.config, self.neuron_config.tp_degree
        heads, kv_heads = getattr(config, "num_attention_heads", 0), getattr(config, "num_key_value_heads", 0)
        if not heads or not kv_heads or heads == kv_heads or tp % kv_heads == 0 or kv_heads % tp == 0:
            return
        after = -(-heads // tp) * tp
        found = after * (heads // kv_heads)
        size, hidden = config.head_dim, config.hidden_size
        expected = torch.Size((after * size // tp, hidden))
        raise RuntimeError(
            f"expected shape {expected} for layers.0.self_attn.qkv_proj.k_proj.weight but found "
            f"{torch.Size((found * size // tp, hidden))}"
        )


def shard_into(folder: str, config: NeuronConfig, builder: Callable[[], ModelBuilder]) -> None:
    """Weights of each rank into a compiled folder, if the configuration wants them there."""
    if config.skip_sharding:
        logger.info("Pre-sharding the checkpoints is forced to be SKIPPED with skip_sharding.")
    elif not config.save_sharded_checkpoint:
        logger.info("SKIPPING pre-sharding the checkpoints. They will be sharded during load time.")
    else:
        logger.info("Pre-sharding checkpoints.")
        builder().shard_checkpoint(serialize_path=os.path.join(folder, "weights/"))


def read_weights(
    folder: str, config: NeuronConfig, builder: Callable[[], ModelBuilder]
) -> list[dict[str, Any]]:
    """Weights of each rank: from the compiled folder, or cut now."""
    if not config.save_sharded_checkpoint:
        logger.info("Sharding weights on load...")
        return builder().shard_checkpoint()
    first, count = config.start_rank_id, config.local_ranks_size
    logger.info("Loading presharded checkpoints for ranks: %s...%s", first, first + count - 1)
    names = (f"weights/tp{rank}_sharded_checkpoint.safetensors" for rank in range(first, first + count))
    return [load_file(os.path.join(folder, name)) for name in names]


def run_once(models: list[ModelWrapper], traced_model: torch.jit.ScriptModule | None) -> None:
    """Run each graph; errors of the runtime are only logged."""
    assert traced_model is not None
    for model in models:
        for shape in model.shapes:
            enter("warmup")
            try:
                traced_model.nxd_model.forward(model.tag, shape)
            except RuntimeError as error:
                name = type(error).__name__
                logger.warning(
                    "Received a %s during warmup of a model tagged as %s. This is safe to ignore.",
                    name,
                    model.tag,
                )


def damage_as_asked(folder: str) -> None:
    """A finished output that is not whole, if that is asked for."""
    wanted = behaviours()
    if name := wanted.get("drop"):
        os.unlink(os.path.join(folder, name))
    if name := wanted.get("truncate"):
        path = os.path.join(folder, name)
        os.truncate(path, os.path.getsize(path) // 2)


def _length(bucket: Any) -> int:
    """The tokens of a bucket: a pair has those of the prefix in its second place."""
    return bucket[0] + bucket[1] if isinstance(bucket, list) else bucket
