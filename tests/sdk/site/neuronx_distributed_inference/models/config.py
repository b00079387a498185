"""NeuronConfig and what is around it: defaults, what follows from what, what is refused."""

from __future__ import annotations

import copy
import importlib
import json
import logging
import os
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch_neuronx import get_platform_target

from neuronx_distributed_inference.models.defaults import CHUNKED_PREFILL, EXPERTS, NEURON, SAMPLING
from neuronx_distributed_inference.modules.lora_serving import LoraServingConfig

CONFIG_FILE = "neuron_config.json"
_DTYPES = ("float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
_QUANTIZED = ("int8", "f8e4m3", "f8e4m3fn", "f8e5m2", "f4e2m1fn_x4", "f8e4m3fn_x4", "f8e5m2_x4")
_FROM_LENGTH = ("n_active_tokens", "n_positions", "max_context_length", "max_length", "pa_block_size")
_FROM_BATCH = (
    "ctx_batch_size",
    "tkg_batch_size",
    "max_batch_size",
    "spec_batch_size",
    "kv_cache_batch_size",
    "pa_num_blocks",
)
_LONG_CONTEXT = 32 * 1024


class IncompatibleConfigError(ValueError):
    """Two settings exclude each other."""


class OnDeviceSamplingConfig:
    """How tokens are chosen on the device; names that it does not know are ignored."""

    def __init__(self, **given: Any) -> None:
        self.__dict__.update({name: given.get(name, value) for name, value in SAMPLING.items()})
        if "top_k_kernel_enabled" not in given:
            self.top_k_kernel_enabled = get_platform_target() not in ("trn1", "trn1n", "inf2")


class ChunkedPrefillConfig:
    """How prompts are cut."""

    def __init__(self, **given: Any) -> None:
        self.__dict__.update({name: given.get(name, value) for name, value in CHUNKED_PREFILL.items()})


class NeuronConfig:
    """Every setting of a compile as an attribute; what it does not know is only logged."""

    DEFAULTS: ClassVar[dict[str, Any]] = NEURON

    def __init__(self, **given: Any) -> None:
        old = given.pop("logical_neuron_cores", None)
        for name, default in self.DEFAULTS.items():
            setattr(self, name, given.pop(name, copy.deepcopy(default)))
        if given:
            logging.warning("NeuronConfig init: Unexpected keyword arguments: %s", given)
        self._derive_types()
        self._derive_sizes()
        self._derive_sections()
        self._check_lengths()
        self._check_features()
        self._derive_platform(old)

    @property
    def is_chunked_prefill(self) -> bool:
        """Whether prompts are cut."""
        return self.chunked_prefill_config is not None

    def _derive_types(self) -> None:
        stated = self.torch_dtype
        if self.overrides_torch_dtype is None:
            self.overrides_torch_dtype = stated is not None
        name = "bfloat16" if stated is None else getattr(stated, "name", stated)
        name = name.removeprefix("torch.") if isinstance(name, str) else name
        assert name in _DTYPES, f"Unsupported dtype: {stated}"
        self.torch_dtype = getattr(torch, name)
        if self.cast_type not in ("config", "as-declared"):
            raise ValueError("cast_type must be one of config, as-declared")

    def _derive_sizes(self) -> None:
        for names, value in ((_FROM_LENGTH, self.seq_len), (_FROM_BATCH, self.batch_size)):
            for name in names:
                if getattr(self, name) is None:
                    setattr(self, name, value)
        if self.max_new_tokens is None:
            self.max_new_tokens = self.seq_len - self.max_context_length or None
        if self.buckets is None:
            self.buckets = [self.seq_len]
        if self.world_size is None:
            self.world_size = self.tp_degree * self.pp_degree * self.ep_degree
        if self.local_ranks_size is None:
            self.local_ranks_size = self.world_size
        if self.max_context_length >= _LONG_CONTEXT and self.scratchpad_page_size is None:
            self.scratchpad_page_size = 1024

    def _derive_sections(self) -> None:
        for name, section in (
            ("on_device_sampling_config", OnDeviceSamplingConfig),
            ("chunked_prefill_config", ChunkedPrefillConfig),
            ("lora_config", LoraServingConfig),
        ):
            given = getattr(self, name)
            if isinstance(given, dict):
                setattr(self, name, section(**given))
        if self.lora_config is not None and self.lora_config.dynamic_multi_lora:
            skipped = self.weights_to_skip_layout_optimization
            self.weights_to_skip_layout_optimization = [*skipped, ".*lora.*"]
        if self.enable_eagle_speculation:
            self.enable_fused_speculation = True
        if self.quantize_clamp_bound is None:
            self.quantize_clamp_bound = float("inf")

    def _check_lengths(self) -> None:
        longest, total = self.max_context_length, self.max_length
        assert longest <= total, "max_context_length cannot be more than max_length"
        for name, most in (("context_encoding_buckets", longest), ("token_generation_buckets", total)):
            sizes = getattr(self, name)
            if sizes is None:
                continue
            sizes.sort()
            what = name.removesuffix("_buckets").replace("_encoding", "").replace("_", " ").capitalize()
            assert sizes[-1] <= most, f"{what} bucket {sizes[-1]} should be <= {most}"

    def _check_features(self) -> None:
        if self.quantized:
            assert self.quantized_checkpoints_path is not None, "quantized_checkpoints_path is required"
            known = str(self.quantization_dtype).lower() in _QUANTIZED
            assert known, f"{self.quantization_dtype} is not a valid QuantizedDtype."
        if self.is_medusa and self.async_mode:
            raise IncompatibleConfigError("Medusa Decoding is not yet supported with async.")
        if self.is_chunked_prefill:
            text = "is_block_kv_layout has to be true for chunked prefill because it depends on block KV"
            assert self.is_block_kv_layout, text
            if not self.chunked_prefill_config.tkg_model_enabled:
                assert self.batch_size == 1, "batch_size has to be 1 for chunked prefill CTE model"
        if self.tp_degree % self.cp_degree:
            raise ValueError("TP Degree must be evenly divisible by CP Degree")
        if self.mlp_cp_degree > 1 and not self.sequence_parallel_enabled:
            raise IncompatibleConfigError("Context Parallel for MLP requires Sequence Parallel to be enabled")
        if self.attention_dp_degree > 1:
            if self.tp_degree % self.attention_dp_degree:
                raise ValueError("TP Degree must be evenly divisible by DP Degree")
            if self.tkg_batch_size % self.attention_dp_degree:
                raise ValueError("Batch Size must be evenly divisible by DP Degree")
            if not self.is_continuous_batching:
                raise ValueError("--is-continuous-batching must be enabled when running DP")
        with_batches = self.token_generation_batches is not None
        if with_batches and (
            self.enable_fused_speculation or self.is_prefix_caching or self.is_block_kv_layout
        ):
            raise ValueError("token_generation_batches does not work with these features")

    def _derive_platform(self, old_name: int | None) -> None:
        """The environment wins, also over what is read from a compiled artifact."""
        os.environ.setdefault("NEURON_PLATFORM_TARGET_OVERRIDE", get_platform_target())
        if self.logical_nc_config is None:
            self.logical_nc_config = old_name
        if variable := os.environ.get("NEURON_LOGICAL_NC_CONFIG"):
            self.logical_nc_config = int(variable)
        if self.logical_nc_config is None:
            self.logical_nc_config = 2 if get_platform_target() in ("trn2", "trn3") else 1
        if self.lm_head_pad is None:
            self.lm_head_pad = self.logical_nc_config > 1


class MoENeuronConfig(NeuronConfig):
    """The same for models with experts."""

    DEFAULTS: ClassVar[dict[str, Any]] = {**NEURON, **EXPERTS}


class FusedSpecNeuronConfig:
    """The draft of a model that speculates; classes are kept by their names."""

    def __init__(
        self,
        worker_cls: Any,
        draft_config: Any = None,
        draft_model_path: str | None = None,
        draft_model_cls: Any = None,
    ) -> None:
        self.worker_cls = worker_cls
        self.draft_config = draft_config
        self.draft_model_path = draft_model_path
        self.draft_model_cls = draft_model_cls


class InferenceConfig:
    """The model's own configuration, with the NeuronConfig beside it."""

    def __init__(
        self,
        neuron_config: NeuronConfig,
        fused_spec_config: FusedSpecNeuronConfig | None = None,
        load_config: Callable[[Any], None] | None = None,
        metadata: dict[str, Any] | None = None,
        **given: Any,
    ) -> None:
        self.neuron_config = neuron_config
        self.fused_spec_config = fused_spec_config
        self.metadata = metadata
        if load_config is not None:
            load_config(self)
        for name, value in given.items():
            setattr(self, name, value)
        if not hasattr(self, "num_cores_per_group"):
            self.num_cores_per_group = 1
        missing = [name for name in self.get_required_attributes() if not hasattr(self, name)]
        assert not missing, f"Config must define {missing}"

    def get_required_attributes(self) -> list[str]:
        """What the model cannot do without."""
        return []

    @classmethod
    def get_neuron_config_cls(cls) -> type[NeuronConfig]:
        """The class of the part for Neuron."""
        return NeuronConfig

    def save(self, folder: str) -> None:
        """Write neuron_config.json."""
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, CONFIG_FILE), "w", encoding="utf-8") as file:
            file.write(self.to_json_string())

    def to_json_string(self) -> str:
        """All of it, sorted; the plugin names a folder by it."""
        return json.dumps(to_dict(self), indent=2, sort_keys=True)

    @classmethod
    def load(cls, folder: str) -> InferenceConfig:
        """Read neuron_config.json."""
        with open(os.path.join(folder, CONFIG_FILE), encoding="utf-8") as file:
            return cls.from_json_string(file.read())

    @classmethod
    def from_json_string(cls, text: str) -> InferenceConfig:
        """The configuration that was saved, made anew."""
        given = json.loads(text)
        if "neuron_config" in given:
            given["neuron_config"] = cls.get_neuron_config_cls()(**given["neuron_config"])
        if given.get("fused_spec_config"):
            fused = given["fused_spec_config"]
            draft = fused["draft_config"]
            draft["neuron_config"] = cls.get_neuron_config_cls()(**draft["neuron_config"])
            given["fused_spec_config"] = FusedSpecNeuronConfig(
                _class_of(fused["worker_cls"]), cls(**draft), fused["draft_model_path"]
            )
        return cls(**given)


def to_dict(value: Any) -> Any:
    """A value as JSON has it: types by name, classes by module and name, objects by their attributes."""
    if isinstance(value, dict):
        return {key: to_dict(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_dict(one) for one in value]
    if isinstance(value, torch.dtype):
        return value.name
    if isinstance(value, type):
        return {"__module__": value.__module__, "__name__": value.__name__}
    if hasattr(value, "__dict__"):
        return {key: to_dict(one) for key, one in vars(value).items()}
    return value


def _class_of(named: dict[str, str]) -> Any:
    try:
        return getattr(importlib.import_module(named["__module__"]), named["__name__"])
    except ModuleNotFoundError as error:
        text = f"{error}. Please recompile a model that was compiled with an older version"
        raise ModuleNotFoundError(text) from None
