"""Compile or load: the decision, the folder, and the NeuronConfig that vLLM's arguments become."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import shutil
from math import ceil
from pathlib import Path
from typing import Any

import torch.nn as nn
from neuronx_distributed_inference.models.config import (
    ChunkedPrefillConfig,
    FusedSpecNeuronConfig,
    OnDeviceSamplingConfig,
)
from neuronx_distributed_inference.utils.constants import MODEL_TYPES
from neuronx_distributed_inference.utils.hf_adapter import load_pretrained_config
from stand_in_sdk import behaviours, release
from transformers import AutoModelForCausalLM, AutoTokenizer
from vllm.logger import init_logger

from vllm_neuron.worker.constants import NEURON_MULTI_MODAL_MODELS, TORCH_DTYPE_TO_NEURON_AMP

logger = init_logger(__name__)
_PARTS = ("text_neuron_config", "vision_neuron_config")
_QUANTIZATION = {
    "quantized": False,
    "quantized_checkpoints_path": None,
    "quantization_type": "per_tensor_symmetric",
    "quantization_dtype": "int8",
}


class NeuronModelBase(nn.Module):
    """A model that is compiled once and loaded from then on."""

    def __init__(self, config: Any) -> None:
        self.vocab_size = config.get_text_config().vocab_size
        self.model: Any = None
        self.found_artifacts = False

    def load_weights(self, model_name_or_path: str, architecture: str, **given: Any) -> Any:
        """Load it, or compile it first."""
        raise NotImplementedError

    def _load_weights_common(
        self, model_name_or_path: str, neuronx_model_cls: Any, **given: Any
    ) -> tuple[bool, Any, Any]:
        """Try to load; gives whether that went well, the folder and the configuration that was wanted."""
        neuron_config = neuronx_model_cls.get_neuron_config_cls()(**given["neuron_config"])
        config = given.get("config") or neuronx_model_cls.get_config_cls()(
            neuron_config, load_config=load_pretrained_config(model_name_or_path)
        )
        if neuron_config.enable_fused_speculation:
            wanted = given.get("speculative_config")
            text = "Must pass speculative_config to load weights if using Neuron Speculation."
            assert wanted is not None, text
            self._init_fused_spec_config(config, neuronx_model_cls, wanted)
        digest = hashlib.md5(config.to_json_string().encode()).hexdigest()
        folder = self._get_compiled_model_path(model_name_or_path, digest)
        try:
            self._load_compiled_model(folder, neuronx_model_cls, given)
        except (FileNotFoundError, ValueError) as error:
            logger.warning("Exception: %s", error)
            logger.warning("Unable to find precompiled artifacts from %s. Recompiling...", folder)
            return False, folder, config
        return True, folder, config

    def _get_compiled_model_path(self, model_name_or_path: str, hashed_config: str) -> Any:
        """Where compiled artifacts are: a folder of our own choice is emptied each time."""
        if stated := os.getenv("NEURON_COMPILED_ARTIFACTS"):
            return stated
        is_here = os.path.exists(model_name_or_path)
        base = Path(model_name_or_path) if is_here else Path("local-models") / model_name_or_path
        folder = base / "neuron-compiled-artifacts" / hashed_config
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def _load_compiled_model(self, compiled_model_path: Any, neuronx_model_cls: Any, given: Any) -> None:
        """Load what was compiled, with the settings it was compiled with."""
        self.model = neuronx_model_cls(compiled_model_path)
        self.model.load(compiled_model_path)
        logger.info("Successfully loaded pre-compiled model artifacts from %s", compiled_model_path)
        if given.get("override_neuron_config"):
            logger.warning("Using pre-compiled artifacts, override_neuron_config will be ignored")

    def _save_pretrained_model(self, model_name: str) -> str:
        """A copy of a model of the hub in the working folder, in float32."""
        folder = os.path.join("local-models", model_name)
        AutoModelForCausalLM.from_pretrained(model_name).save_pretrained(folder)
        return folder

    def _compile_and_load_model(
        self, model_path: str, neuronx_model_cls: Any, config: Any, compiled_path: Any
    ) -> None:
        """Compile, then load what was compiled."""
        self.model = neuronx_model_cls(model_path, config)
        if config.neuron_config.quantized:
            neuronx_model_cls.save_quantized_state_dict(model_path, config)
        self.model.compile(compiled_path)
        self.model.load(compiled_path)

    def _init_fused_spec_config(self, config: Any, neuronx_model_cls: Any, speculative_config: Any) -> None:
        """Give the configuration that of the draft: the same settings, without speculation of its own."""
        draft = copy.deepcopy(config.neuron_config)
        draft.enable_fused_speculation = False
        if config.neuron_config.enable_eagle_speculation:
            draft.is_eagle_draft = True
        else:
            draft.speculation_length = 0
        if draft.draft_model_modules_to_not_convert:
            draft.modules_to_not_convert = draft.draft_model_modules_to_not_convert
        path = speculative_config.draft_model_config.model
        draft_config = neuronx_model_cls.get_config_cls()(draft, load_config=load_pretrained_config(path))
        config.fused_spec_config = FusedSpecNeuronConfig(
            neuronx_model_cls._model_cls, draft_config=draft_config, draft_model_path=path
        )


class NeuronCausalLM(NeuronModelBase):
    """A decoder."""

    def load_weights(self, model_name_or_path: str, architecture: str, **given: Any) -> Any:
        """Load it, or compile it first."""
        return self._load_or_compile(
            model_name_or_path, _get_neuron_model_cls(architecture), given.pop("config", None), **given
        )

    def _load_or_compile(self, name: str, neuronx_model_cls: Any, config: Any, **given: Any) -> Any:
        success, folder, wanted = self._load_weights_common(name, neuronx_model_cls, config=config, **given)
        if not success:
            if not os.path.exists(name):
                name = self._save_pretrained_model(name)
            compile_and_load = getattr(self, SEAM)
            compile_and_load(name, neuronx_model_cls, wanted, folder)
        self.found_artifacts = success
        return success, folder


class NeuronMultiModalCausalLM(NeuronCausalLM):
    """A decoder with eyes: two configurations, overridden one by one."""

    def load_weights(self, model_name_or_path: str, architecture: str, **given: Any) -> Any:
        """Load it, or compile it first."""
        neuronx_model_cls = _get_neuron_model_cls(architecture)
        override = _validate_image_to_text_override_neuron_config(given["override_neuron_config"])
        make = neuronx_model_cls.get_neuron_config_cls()
        parts = {
            part: make(**{**copy.deepcopy(given["neuron_config"]), **override.get(part, {})})
            for part in _PARTS
        }
        config = neuronx_model_cls.get_config_cls()(
            **parts, load_config=load_pretrained_config(model_name_or_path)
        )
        return self._load_or_compile(model_name_or_path, neuronx_model_cls, config, **given)


class NeuronPixtralForCausalLM(NeuronMultiModalCausalLM):
    """Pixtral, and others like it."""


class NeuronLlama4ForCausalLM(NeuronMultiModalCausalLM):
    """Llama 4, whose tokenizer is asked for the token of an image."""

    def load_weights(self, model_name_or_path: str, architecture: str, **given: Any) -> Any:
        """Load it, or compile it first."""
        found = super().load_weights(model_name_or_path, architecture, **given)
        tokenizer = AutoTokenizer.from_pretrained(model_name_or_path)
        self.vision_token_id = tokenizer("<|image|>", add_special_tokens=False).input_ids[0]
        return found


SEAM = "_compile_and_load_model"
if "no-seam" in behaviours():
    SEAM = "_make_model"
    NeuronModelBase._make_model = NeuronModelBase._compile_and_load_model
    del NeuronModelBase._compile_and_load_model


def _get_model_configs(config: Any) -> tuple[str, int, int]:
    """Architecture, KV heads and size of a head."""
    architectures = getattr(config, "architectures", [])
    if not architectures:
        raise ValueError("No architectures specified in the pretrained config.")
    part = config.get_text_config() if architectures[0] in NEURON_MULTI_MODAL_MODELS else config
    kv_heads, head_size = getattr(part, "num_key_value_heads", None), getattr(part, "head_dim", None)
    if not head_size and getattr(part, "num_attention_heads", 0):
        head_size = getattr(part, "hidden_size", 0) // part.num_attention_heads
    if not kv_heads or not head_size:
        raise ValueError("Missing required fields in the pretrained config.")
    return architectures[0], int(kv_heads), int(head_size)


def _get_neuron_model_cls(architecture: str) -> Any:
    """The class of NxD Inference for an architecture."""
    name, found, task = architecture.partition("For")
    task = "CausalLM" if task == "ConditionalGeneration" else task
    task = re.sub("([a-z0-9])([A-Z])", r"\1-\2", task).lower()
    renamed = {"qwen3moe": "qwen3_moe", "llava": "pixtral"}
    if release("vllm-neuron") >= (0, 4):
        renamed |= {"gptoss": "gpt_oss", "qwen2vl": "qwen2_vl", "qwen3vl": "qwen3_vl"}
    model = MODEL_TYPES.get(renamed.get(name.lower(), name.lower()), {}).get(task)
    if not found or model is None:
        raise ValueError(
            f"Model {architecture} is not supported on Neuron for now. "
            f"Supported models: {list(MODEL_TYPES.keys())}"
        )
    return model


def get_neuron_model(
    model_config: Any,
    cache_config: Any,
    parallel_config: Any,
    scheduler_config: Any,
    lora_serving_config: Any,
    speculative_config: Any = None,
    additional_config: Any = None,
) -> Any:
    """The model, loaded."""
    architecture, kv_heads, head_dim = _get_model_configs(model_config.hf_config)
    plugin = release("vllm-neuron")
    seeing = {"LlavaForConditionalGeneration": (0, 3)}
    late = ("Qwen2VLForConditionalGeneration", "Qwen3VLForConditionalGeneration")
    seeing |= dict.fromkeys(late, (0, 4))
    if architecture == "LlavaForConditionalGeneration" and plugin < (0, 3):
        raise NotImplementedError("Pixtral is not yet supported on the Neuron plugin")
    kind: Any = NeuronCausalLM
    if architecture == "Llama4ForConditionalGeneration":
        kind = NeuronLlama4ForCausalLM
    elif plugin >= seeing.get(architecture, (99,)):
        kind = NeuronPixtralForCausalLM
    model = kind(model_config.hf_config)
    if lora_serving_config and plugin < (0, 3):
        raise NotImplementedError("Multi-lora is not yet supported on the Neuron plugin")
    defaults = _get_default_neuron_config(
        model_config, cache_config, parallel_config, scheduler_config, lora_serving_config, speculative_config
    )
    override = additional_config.get("override_neuron_config", None)
    if override is not None:
        logger.info("Retrieved override_neuron_config from additional_config: %s", override)
    else:
        logger.info(
            "No neuron overrides are passed via additional_config: %s. Proceeding with defaults.",
            additional_config,
        )
    if plugin >= (0, 3):
        override = _validate_override_neuron_config(
            override or {}, additional_config.get("max_prompt_length")
        )
    neuron_config = _get_neuron_config_after_override(defaults, override)
    if neuron_config.get("is_block_kv_layout"):
        neuron_config = _handle_pa_num_blocks(cache_config, neuron_config, override)
    neuron_config = _validate_neuron_config(cache_config, scheduler_config, neuron_config)
    if other := behaviours().get("other"):
        field, _, value = other.partition(":")
        neuron_config[field] = json.loads(value)
    model.load_weights(
        model_name_or_path=model_config.model,
        architecture=architecture,
        neuron_config=neuron_config,
        override_neuron_config=override,
        speculative_config=speculative_config,
    )
    model.neuron_config = model.model.config.neuron_config
    model.architecture = architecture
    model.num_key_value_heads = kv_heads
    model.head_dim = head_dim
    return model.eval()


def _get_default_neuron_config(
    model_config: Any,
    cache_config: Any,
    parallel_config: Any,
    scheduler_config: Any,
    lora_serving_config: Any,
    speculative_config: Any,
) -> dict[str, Any]:
    """vLLM's arguments as settings of NeuronConfig."""
    is_chunked = scheduler_config.chunked_prefill_enabled
    length, batch = scheduler_config.max_model_len, 1 if is_chunked else scheduler_config.max_num_seqs
    blocks = ceil(length // cache_config.block_size) * scheduler_config.max_num_seqs
    if cache_config.num_gpu_blocks_override is not None:
        blocks = cache_config.num_gpu_blocks_override
    found: dict[str, Any] = {
        "tp_degree": parallel_config.tensor_parallel_size,
        "ctx_batch_size": 1,
        "batch_size": batch,
        "max_context_length": scheduler_config.max_num_batched_tokens if is_chunked else length,
        "seq_len": length,
        "enable_bucketing": True,
        "is_continuous_batching": batch > 1,
        "quantized": False,
        "torch_dtype": TORCH_DTYPE_TO_NEURON_AMP[model_config.dtype],
        "padding_side": "right",
        "on_device_sampling_config": OnDeviceSamplingConfig(dynamic=True, deterministic=False),
        "lora_config": lora_serving_config,
        "pa_num_blocks": blocks,
        "pa_block_size": cache_config.block_size,
        "is_block_kv_layout": is_chunked or cache_config.enable_prefix_caching,
        "is_prefix_caching": cache_config.enable_prefix_caching,
    }
    if speculative_config is not None:
        found["enable_fused_speculation"] = True
        found["speculation_length"] = speculative_config.num_speculative_tokens
        if speculative_config.method == "eagle":
            found["enable_eagle_speculation"] = True
    return found


def _validate_override_neuron_config(
    override: dict[str, Any], max_prompt_length: int | None
) -> dict[str, Any]:
    """From 0.3 on: the longest prompt is an argument of its own."""
    if max_prompt_length is None:
        return override
    stated = override.get("max_context_length")
    if stated not in (None, max_prompt_length):
        raise ValueError(
            "Conflicting max_prompt_length settings: override_neuron_config specifies max_context_length "
            f"{stated} but the max_prompt_length is {max_prompt_length}."
        )
    return {**override, "max_context_length": max_prompt_length}


def _handle_pa_num_blocks(cache_config: Any, neuron_config: dict[str, Any], override: Any) -> dict[str, Any]:
    """NxD Inference and vLLM must count the same blocks, with vLLM's null block."""
    if not override or "pa_num_blocks" not in override:
        return neuron_config
    stated, blocks = neuron_config.get("pa_num_blocks"), cache_config.num_gpu_blocks_override
    consistent = "to ensure vLLM and NxDI have consistent block counts."
    if blocks is None:
        raise ValueError(
            f"When setting pa_num_blocks ({stated}) in override_neuron_config, you must also set "
            f"--num-gpu-blocks-override to the same value {consistent}"
        )
    if stated != blocks - 1:
        raise ValueError(
            f"pa_num_blocks ({stated}) must match your --num-gpu-blocks-override intent({blocks - 1}) "
            f"{consistent} "
        )
    neuron_config["pa_num_blocks"] = blocks
    return neuron_config


def _validate_neuron_config(
    cache_config: Any, scheduler_config: Any, neuron_config: dict[str, Any]
) -> dict[str, Any]:
    """What must hold between vLLM's configuration and ours."""
    if cache_config.enable_prefix_caching:
        assert neuron_config.get("is_prefix_caching", False)
        assert neuron_config.get("is_block_kv_layout", False)
    if scheduler_config.chunked_prefill_enabled:
        assert neuron_config.get("chunked_prefill_config")
        assert neuron_config.get("is_block_kv_layout", False)
    if neuron_config.get("is_block_kv_layout"):
        length, block = scheduler_config.max_model_len, cache_config.block_size
        least = ceil(length / block) * scheduler_config.max_num_seqs
        stated = cache_config.num_gpu_blocks_override
        blocks = neuron_config.get("pa_num_blocks") if stated is None else stated - 1
        assert blocks >= least, (
            f"At least {least} blocks are required for max_model_len {length}, but only {blocks} blocks are "
            "available (user-intended blocks, excluding the +1 for null block)"
        )
    return neuron_config


def _get_neuron_config_after_override(defaults: dict[str, Any], override: Any) -> dict[str, Any]:
    """The user's settings over those of vLLM."""
    override = override if override is not None else {}
    if chunked := override.pop("chunked_prefill_config", None):
        override["chunked_prefill_config"] = ChunkedPrefillConfig(**chunked)
    defaults.update(override)
    for part in _PARTS:
        defaults.pop(part, None)
    if "quantized" in override:
        defaults.update({name: override.pop(name, value) for name, value in _QUANTIZATION.items()})
    return defaults


def _validate_image_to_text_override_neuron_config(override: Any) -> dict[str, Any]:
    """Models with eyes are overridden part by part."""
    assert len(override) == 0 or override.keys() <= set(_PARTS), (
        f"override_neuron_config for ImageToText models can only contain keys {set(_PARTS)}, "
        f"got {override.keys()}"
    )
    return override
