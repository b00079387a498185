"""Models for the stand-in: folders with a configuration and real, small weights."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from neuronctl.model.known import known_model

# The Llama of the measurements: 4 heads and 2 KV heads, context 8192.
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "num_hidden_layers": 2,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "vocab_size": 512,
}
_ITEM_SIZES = {"bfloat16": 2, "float16": 2, "float32": 4}
_NAMES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


def make_model(folder: Path, *, seed: str = "tiny", **config: Any) -> Path:
    """A model folder: a small Llama, with `config` laid over its configuration; `seed` makes the weights."""
    folder.mkdir(parents=True)
    return _fill(folder, {**LLAMA, **config}, seed)


def make_hub_cache(folder: Path, ids: Iterable[str]) -> Path:
    """A cache of the Hugging Face hub with these models: their recorded configurations, and small weights."""
    for model_id in ids:
        known = known_model(model_id, None)
        config = known and (known.config or known.assumed_config)
        if not known or not config:
            raise ValueError(f"no configuration of {model_id} is recorded")
        commit = known.commit or hashlib.sha1(model_id.encode()).hexdigest()
        root = folder / ("models--" + model_id.replace("/", "--"))
        snapshot = root / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (root / "refs").mkdir()
        (root / "refs" / "main").write_text(commit)
        _fill(snapshot, dict(config), model_id)
    return folder


def _fill(folder: Path, config: dict[str, Any], seed: str) -> Path:
    text = config.get("text_config") or config
    dtype = config.get("torch_dtype") or text.get("torch_dtype") or "bfloat16"
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 2}))
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": {"type": "BPE"}}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizerFast", "chat_template": "{{ messages }}"})
    )
    (folder / "model.safetensors").write_bytes(_weights(seed, dtype))
    return folder


def _weights(seed: str, dtype: str) -> bytes:
    """A safetensors file with a few tensors of a decoder, whose bytes follow from the seed."""
    shapes = {
        "lm_head.weight": (64, 16),
        "model.embed_tokens.weight": (64, 16),
        "model.layers.0.self_attn.k_proj.weight": (16, 16),
        "model.layers.0.self_attn.q_proj.weight": (32, 16),
        "model.norm.weight": (16,),
    }
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, shape in shapes.items():
        size = _ITEM_SIZES[dtype]
        for side in shape:
            size *= side
        begin = len(data)
        data += hashlib.shake_128(f"{seed} {name}".encode()).digest(size)
        header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data
