"""The neuron_config.json that NxD Inference writes beside what it compiles, and how it differs from a plan.

Whatever stands in that file is what a server will run with: loading ignores what was asked for (reference:
vllm_defaults, compiled_artifacts).
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuronctl.model.plain_file import read_plain
from neuronctl.neuron.prediction import Prediction

FILE = "neuron_config.json"

# A difference in one of these makes another server: other sizes, another layout, other numbers.
_DECISIVE = frozenset(
    {
        "tp_degree",
        "cp_degree",
        "pp_degree",
        "ep_degree",
        "world_size",
        "local_ranks_size",
        "start_rank_id",
        "batch_size",
        "ctx_batch_size",
        "tkg_batch_size",
        "max_batch_size",
        "seq_len",
        "n_positions",
        "max_length",
        "max_context_length",
        "is_continuous_batching",
        "is_block_kv_layout",
        "is_prefix_caching",
        "pa_num_blocks",
        "pa_block_size",
        "torch_dtype",
        "quantized",
        "quantization_dtype",
        "quantization_type",
        "kv_cache_quant",
        "enable_fused_speculation",
        "enable_eagle_speculation",
        "speculation_length",
        "logical_nc_config",
        "save_sharded_checkpoint",
    }
)
# Objects with defaults of their own, that differ between releases: whether they are there matters, and these
# of their fields.
_OBJECTS = frozenset({"on_device_sampling_config", "lora_config", "chunked_prefill_config"})
_DECISIVE_INSIDE = ("dynamic", "global_topk", "do_sample", "dynamic_multi_lora")
# Where something lies is not what it is.
_PLACES = frozenset({"quantized_checkpoints_path", "lora_ckpt_json", "lora_ckpt_paths"})
# What config.json says of a model's shape, as far as the compiled graphs depend on it.
_MODEL = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "num_experts",
    "num_local_experts",
    "rope_theta",
)


@dataclass(frozen=True)
class Mismatch:
    """One field in which a written configuration is not what was planned.

    `is_decisive`: the server would not be the one that was asked for.
    """

    field: str
    planned: object
    written: object
    is_decisive: bool

    def __str__(self) -> str:
        return f"{self.field}: {self.written} there, {self.planned} in the plan"


@dataclass(frozen=True)
class Written:
    """A neuron_config.json: the NeuronConfig of the (text) model, that of a vision encoder, and the model's
    own configuration, all as JSON has them.
    """

    text: Mapping[str, Any]
    vision: Mapping[str, Any] | None
    model: Mapping[str, Any]

    @property
    def parts(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """The folders of the compiled parts, relative to the file, with their NeuronConfig."""
        if self.vision is None:
            return (("", self.text),)
        return (("text_model/", self.text), ("vision_model/", self.vision))


def read_written(folder: Path) -> Written:
    """Read the file in `folder`. Raises OSError, and ValueError, in words, where it cannot be one."""
    try:
        data = json.loads(read_plain(folder / FILE))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{FILE} is not JSON: {error}") from None
    model = _mapping(data, FILE)
    text = model.get("text_config")
    vision = model.get("vision_config")
    if isinstance(text, dict) and isinstance(vision, dict) and "neuron_config" in vision:
        return Written(
            _mapping(text.get("neuron_config"), f"{FILE}: text_config.neuron_config"),
            _mapping(vision["neuron_config"], f"{FILE}: vision_config.neuron_config"),
            model,
        )
    return Written(_mapping(model.get("neuron_config"), f"{FILE}: neuron_config"), None, model)


def compare(
    prediction: Prediction, written: Written, config: Mapping[str, Any], *, asked: Collection[str] = ()
) -> tuple[Mismatch, ...]:
    """Every field that differs from the plan, decisive ones first.

    `config` is the model's config.json; `asked` are the settings that somebody stated. A field that this
    NxD Inference does not write is one that it does not know: it matters where somebody asked for it.
    """
    found = list(_compare(prediction.neuron_config, written.text, asked, ""))
    if prediction.vision_config is not None:
        if written.vision is None:
            found.append(Mismatch("vision_config", "a vision encoder", None, True))
        else:
            found += _compare(prediction.vision_config, written.vision, asked, "vision_config.")
    found += _compare_models(config, written.model)
    return tuple(sorted(found, key=lambda one: not one.is_decisive))


def _compare(
    planned: Mapping[str, Any], written: Mapping[str, Any], asked: Collection[str], prefix: str
) -> Iterator[Mismatch]:
    for field, ours in planned.items():
        if field in _PLACES or (field not in written and field not in asked):
            continue
        theirs = written.get(field)
        if field in _OBJECTS:
            if (ours is None) != (theirs is None):
                yield Mismatch(prefix + field, _short(ours), _short(theirs), True)
            for name in _DECISIVE_INSIDE:
                one, other = _inner(ours, name), _inner(theirs, name)
                if one is not None and other is not None and one != other:
                    yield Mismatch(f"{prefix}{field}.{name}", one, other, True)
            continue
        if _plain(ours) != _plain(theirs):
            yield Mismatch(prefix + field, ours, theirs, field in _DECISIVE or field in asked)


def _compare_models(config: Mapping[str, Any], written: Mapping[str, Any]) -> Iterator[Mismatch]:
    """The model's shape, of its text part where it has several."""
    for part, ours, theirs in (
        ("", config, written),
        ("text_config.", config.get("text_config"), written.get("text_config")),
    ):
        if not isinstance(ours, Mapping) or not isinstance(theirs, Mapping):
            continue
        for field in _MODEL:
            both = field in ours and field in theirs
            if both and ours[field] is not None and _plain(ours[field]) != _plain(theirs[field]):
                yield Mismatch(f"{part}{field}", ours[field], theirs[field], True)


def _plain(value: object) -> object:
    """Values that mean the same made equal: `torch.bfloat16` and `bfloat16`, a tuple and a list."""
    if isinstance(value, str):
        return value.removeprefix("torch.")
    if value == math.inf:  # the default of a bound, which our table of keys has as null
        return None
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return value


def _inner(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, Mapping) else None


def _short(value: object) -> object:
    return None if value is None else "set"


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is missing or not a mapping")
    return value
