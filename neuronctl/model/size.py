"""How large a model is: its parameters counted from config.json, and the bytes of its weights.

The counts follow the modules of transformers 4.57 (modeling_*.py of each family); a test compares them with
the published totals of the models in `known/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuronctl.errors import ModelNotResolved
from neuronctl.model.config import ModelFacts, model_facts, read_config
from neuronctl.model.known import known_model
from neuronctl.model.model import Model
from neuronctl.model.selection import index_of

DTYPE_BYTES = {
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
}

# What PixtralVisionConfig makes of keys that the file leaves out (transformers 4.57.6 and 5.19.0).
_PIXTRAL_VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_channels": 3,
    "patch_size": 16,
}


@dataclass(frozen=True)
class Parameters:
    """Numbers in a model's tensors, each tensor counted once.

    `lm_head` is 0 where it is the embedding again (tied). `attention`, `mlp`, `experts` and `norms` are of
    one of the `layers`: `mlp` the part that every token takes (a shared expert too), `experts` the routed
    experts with their router. `vision` is the encoder of images with its projector.
    """

    embedding: int
    lm_head: int
    layers: int
    attention: int
    mlp: int
    experts: int
    norms: int
    final_norm: int
    vision: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        layer = self.attention + self.mlp + self.experts + self.norms
        return self.embedding + self.lm_head + self.layers * layer + self.final_norm + self.vision


class _Unknown(Exception):
    """The configuration does not say enough, or something that we cannot count."""


def count_parameters(config: Mapping[str, Any]) -> Parameters | None:
    """Count from `config.json` alone; None for a family that is not known, or where fields are missing.

    Known are Llama, Mistral, Qwen2, Qwen3, Qwen3 MoE, Llama 4 and gpt-oss for text, and Pixtral (as Llava)
    and Llama 4 with images.
    """
    try:
        facts = model_facts(dict(config), "config.json")
        return _count(config, facts)
    except (_Unknown, ModelNotResolved):
        return None


def weight_bytes(model: Model) -> tuple[int, str] | None:
    """Bytes of the checkpoint's tensors, and where the number comes from, in words.

    Looked for in this order: what the index in the model's folder says, the sizes of the files there, our
    record of the commit, the parameters counted in `model.facts.dtype`. None where none of them tells; the
    last is not tried for a quantised checkpoint, whose tensors are of several types. Raises ModelNotResolved
    for an index that cannot be read.
    """
    if model.here:
        return _in_folder(model)
    known = known_model(model.id, model.commit) if model.commit else None
    if known is not None and known.tensor_bytes is not None:
        return known.tensor_bytes, f"neuronctl's record of {known.commit} ({known.weights_basis})"
    width = DTYPE_BYTES.get(model.facts.dtype or "")
    counted = count_parameters(model.config)
    if width is None or counted is None or "quantization_config" in model.config:
        return None
    return (
        counted.total * width,
        f"{counted.total} parameters of {model.facts.dtype}, counted from config.json",
    )


def size_in_words(size_bytes: float) -> str:
    """`13.49 GB`, or `12.3 MB` where that says more."""
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes >= 1e8 else f"{size_bytes / 1e6:.1f} MB"


def _in_folder(model: Model) -> tuple[int, str] | None:
    index = index_of([path.name for path in model.path.iterdir()])
    if index is not None:
        metadata = read_config(model.path / index).get("metadata")
        total = metadata.get("total_size") if isinstance(metadata, dict) else None
        if isinstance(total, int) and not isinstance(total, bool) and total > 0:
            return total, index
    # `consolidated` files hold the same weights once more, in the layout of Mistral's own tools.
    for pattern in ("model*.safetensors", "*.safetensors", "pytorch_model*.bin"):
        if files := list(model.path.glob(pattern)):
            size = sum(file.stat().st_size for file in files)
            return size, f"the size of {len(files)} file{'s' if len(files) > 1 else ''} {pattern}"
    return None


def _count(config: Mapping[str, Any], facts: ModelFacts) -> Parameters:
    nested = config.get("text_config")
    text: Mapping[str, Any] = nested if isinstance(nested, dict) else config
    family = text.get("model_type")
    wanted = (facts.layers, facts.hidden_size, facts.attention_heads, facts.kv_heads, facts.head_dim)
    layers, hidden, heads, kv_heads, head_dim = (_said(value) for value in wanted)
    embedding = _said(facts.vocabulary) * hidden
    query, key_value = heads * head_dim, kv_heads * head_dim
    attention = 2 * hidden * query + 2 * hidden * key_value
    if text.get("attention_bias", family == "gpt_oss"):
        attention += query + 2 * key_value + hidden
    mlp = experts = 0
    if facts.architecture in ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM"):
        if family == "qwen2":
            attention += query + 2 * key_value  # always, and without a key that says so
        mlp = _gated_mlp(hidden, facts, text)
    elif facts.architecture == "LlavaForConditionalGeneration" and family == "mistral":
        mlp = _gated_mlp(hidden, facts, text)
    elif facts.architecture in ("Qwen3ForCausalLM", "Qwen3MoeForCausalLM"):
        attention += 2 * head_dim  # norms of queries and keys
        if facts.experts is None:
            mlp = _gated_mlp(hidden, facts, text)
        elif text.get("decoder_sparse_step", 1) == 1 and not text.get("mlp_only_layers"):
            experts = _said(facts.experts) * (3 * hidden * _said(facts.moe_intermediate_size) + hidden)
    elif facts.architecture in ("Llama4ForCausalLM", "Llama4ForConditionalGeneration"):
        if text.get("interleave_moe_layer_step", 1) != 1:
            raise _Unknown  # dense layers between: not every layer is alike
        mlp = 3 * hidden * _said(facts.intermediate_size)  # the shared expert
        experts = _said(facts.experts) * (mlp + hidden)
    elif facts.architecture == "GptOssForCausalLM":
        attention += heads  # one sink a head
        width = _said(facts.moe_intermediate_size)
        experts = _said(facts.experts) * (3 * hidden * width + 2 * width + hidden + hidden + 1)
    if not mlp and not experts:
        raise _Unknown
    return Parameters(
        embedding=embedding,
        lm_head=0 if facts.is_tied else embedding,
        layers=layers,
        attention=attention,
        mlp=mlp,
        experts=experts,
        norms=2 * hidden,
        final_norm=hidden,
        vision=_vision(config, hidden) if facts.is_multimodal else 0,
    )


def _said(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _Unknown
    return value


def _gated_mlp(hidden: int, facts: ModelFacts, text: Mapping[str, Any]) -> int:
    width = _said(facts.intermediate_size)
    return 3 * hidden * width + (2 * width + hidden if text.get("mlp_bias") else 0)


def _vision(config: Mapping[str, Any], text_hidden: int) -> int:
    vision: Mapping[str, Any] = config["vision_config"]
    if vision.get("model_type") == "pixtral":
        return _pixtral_vision({**_PIXTRAL_VISION, **vision}, text_hidden)
    if vision.get("model_type") == "llama4_vision_model":
        return _llama4_vision(vision, text_hidden)
    raise _Unknown


def _pixtral_vision(vision: Mapping[str, Any], text_hidden: int) -> int:
    hidden, width, layers, channels, patch = (_said(vision.get(key)) for key in _PIXTRAL_VISION)
    layer = 4 * hidden * hidden + 3 * hidden * width + 2 * hidden
    encoder = channels * patch * patch * hidden + hidden + layers * layer
    projector = hidden * text_hidden + text_hidden * text_hidden + 2 * text_hidden
    return encoder + projector


def _llama4_vision(vision: Mapping[str, Any], text_hidden: int) -> int:
    keys: tuple[str, ...] = ("hidden_size", "intermediate_size", "num_hidden_layers")
    keys += ("num_channels", "patch_size", "image_size")
    hidden, width, layers, channels, patch, image = (_said(vision.get(key)) for key in keys)
    keys = ("projector_input_dim", "projector_output_dim", "vision_output_dim")
    adapter_in, adapter_out, output = (_said(vision.get(key)) for key in keys)
    positions = (image // patch) ** 2 + 1  # one for the class
    before = channels * patch * patch * hidden + hidden + positions * hidden
    attention = 4 * (hidden * hidden + hidden)
    mlp = hidden * width + width + width * hidden + hidden
    norms = 4 * hidden  # two in a layer, and two around all layers, each with weight and bias
    adapter = width * adapter_in + adapter_in * adapter_out
    return before + norms + layers * (attention + mlp + norms) + adapter + output * text_hidden
