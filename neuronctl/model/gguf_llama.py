"""A Llama model in a GGUF file, in the words of transformers: its `config.json`, its tensors' names."""

from __future__ import annotations

from dataclasses import dataclass

from neuronctl.errors import ModelNotResolved
from neuronctl.model.gguf_header import GgufHeader
from neuronctl.model.gguf_tokenizer import check_tokenizer

# Names of tensors: what llama.cpp calls them, what transformers' LlamaForCausalLM calls them.
_OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass(frozen=True)
class _Shape:
    """The numbers of a Llama model that fix the shapes of its tensors."""

    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int


def llama_config(header: GgufHeader) -> dict[str, object]:
    """The content of `config.json`, with the names that version 4 and 5 of transformers both read.

    Raises ModelNotResolved for another architecture, and for what a Llama folder cannot express.
    """
    values = header.values
    architecture = values.get("general.architecture")
    if architecture != "llama":
        raise ModelNotResolved(f"the GGUF's architecture is {architecture!r}; only 'llama' is supported")
    for key in ("llama.rope.scaling.type", "llama.rope.scaling.factor", "llama.expert_count"):
        if values.get(key) not in (None, 0, "none"):
            raise ModelNotResolved(f"the GGUF sets {key} to {values[key]!r}, which is not supported")
    check_tokenizer(values)
    shape = _shape(header)
    config: dict[str, object] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": _whole(values, "llama.context_length"),
        "rms_norm_eps": _decimal(values, "llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": _decimal(values, "llama.rope.freq_base", 10000.0),
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in header.tensors),
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }
    for role, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        number = values.get(f"tokenizer.ggml.{key}_token_id")
        if number is None:
            continue
        if not isinstance(number, int) or not 0 <= number < shape.vocabulary:
            raise ModelNotResolved(f"the GGUF's {key} token is {number!r}, which is not one of its tokens")
        config[f"{role}_token_id"] = number
    return config


def _shape(header: GgufHeader) -> _Shape:
    values = header.values
    heads = _whole(values, "llama.attention.head_count")
    hidden = _whole(values, "llama.embedding_length")
    head_dim = _whole(values, "llama.attention.key_length", hidden // heads)
    if _whole(values, "llama.rope.dimension_count", head_dim) != head_dim:
        raise ModelNotResolved("the GGUF rotates only a part of each head, which is not supported")
    embeddings = next((tensor for tensor in header.tensors if tensor.name == "token_embd.weight"), None)
    if embeddings is None:
        raise ModelNotResolved("the GGUF has no token_embd.weight: it holds no complete model")
    return _Shape(
        layers=_whole(values, "llama.block_count"),
        hidden=hidden,
        inner=_whole(values, "llama.feed_forward_length"),
        heads=heads,
        kv_heads=_whole(values, "llama.attention.head_count_kv", heads),
        head_dim=head_dim,
        vocabulary=embeddings.shape[0],
    )


def tensor_table(header: GgufHeader) -> list[dict[str, object]]:
    """What `gguf_weights.py` is to write, in the file's order.

    Raises ModelNotResolved unless the tensors are those of the model, each with its shape.
    """
    shape = _shape(header)
    if shape.layers > len(header.tensors):
        raise ModelNotResolved(
            f"the GGUF speaks of {shape.layers} layers and has {len(header.tensors)} tensors"
        )
    expected = _expected(shape)
    found = {tensor.name for tensor in header.tensors}
    missing = sorted(expected.keys() - found - {"output.weight"})
    if missing:
        raise ModelNotResolved(
            f"the GGUF lacks {len(missing)} tensors of its model, among them {missing[0]!r}"
        )
    table: list[dict[str, object]] = []
    for tensor in header.tensors:
        if tensor.name not in expected:
            raise ModelNotResolved(f"the GGUF's tensor {tensor.name!r} is not one of a plain Llama model")
        name, want, rotary_heads = expected[tensor.name]
        if tensor.shape != want:
            raise ModelNotResolved(f"the GGUF's tensor {tensor.name!r} is {tensor.shape} instead of {want}")
        table.append(
            {
                "name": name,
                "shape": list(tensor.shape),
                "kind": tensor.kind,
                "offset": tensor.offset,
                "size_bytes": tensor.size_bytes,
                "rotary_heads": rotary_heads,
            }
        )
    return table


def _expected(shape: _Shape) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """By name in the GGUF: name in the folder, shape, heads whose rows are to be re-ordered (or 0)."""
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    inner: dict[str, tuple[tuple[int, ...], int]] = {
        "attn_norm": ((shape.hidden,), 0),
        "attn_q": ((query, shape.hidden), shape.heads),
        "attn_k": ((key, shape.hidden), shape.kv_heads),
        "attn_v": ((key, shape.hidden), 0),
        "attn_output": ((shape.hidden, query), 0),
        "ffn_norm": ((shape.hidden,), 0),
        "ffn_gate": ((shape.inner, shape.hidden), 0),
        "ffn_up": ((shape.inner, shape.hidden), 0),
        "ffn_down": ((shape.hidden, shape.inner), 0),
    }
    table = (shape.vocabulary, shape.hidden)
    expected: dict[str, tuple[str, tuple[int, ...], int]] = {
        "token_embd.weight": (_OUTER["token_embd.weight"], table, 0),
        "output_norm.weight": (_OUTER["output_norm.weight"], (shape.hidden,), 0),
        "output.weight": (_OUTER["output.weight"], table, 0),
    }
    for layer in range(shape.layers):
        for name, (want, heads) in inner.items():
            target = f"model.layers.{layer}.{_INNER[name]}.weight"
            expected[f"blk.{layer}.{name}.weight"] = (target, want, heads)
    return expected


def _whole(values: dict[str, object], key: str, default: int | None = None) -> int:
    value = values.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelNotResolved(f"the GGUF's {key} is {value!r} where a positive whole number is needed")
    return value


def _decimal(values: dict[str, object], key: str, default: float | None = None) -> float:
    """A float32 as the shortest decimal that means it: 1e-05, not 9.999999747378752e-06."""
    value = values.get(key, default)
    if not isinstance(value, float) or not 0 < value < float("inf"):
        raise ModelNotResolved(f"the GGUF's {key} is {value!r} where a positive number is needed")
    return float(f"{value:.7g}")
