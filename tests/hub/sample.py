"""Files of small models, to put on the stand-in hub."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "F8_E4M3": 1, "I8": 1, "I32": 4, "I64": 8}
_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 2048,
    "vocab_size": 256,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}


def make_safetensors(tensors: Mapping[str, tuple[str, Sequence[int]]], *, seed: int = 0) -> bytes:
    """A safetensors file with tensors of these types and shapes, and values that mean nothing."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + math.prod(shape) * _BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    words = json.dumps(header).encode()
    # The format wants its data aligned to 8 bytes, and allows spaces at the end of the header.
    words += b" " * (-len(words) % 8)
    return len(words).to_bytes(8, "little") + words + random.Random(seed).randbytes(end)


def make_model_files(
    weight_bytes: int = 500_000, *, shards: int = 1, config: Mapping[str, Any] | None = None, seed: int = 0
) -> dict[str, bytes]:
    """What a repository of a small model holds, with about so many bytes of weights in one file or several.

    `config` is merged into config.json.
    """
    rows = max(1, weight_bytes // (2 * shards * 64))
    tensors = [(f"model.layers.{shard}.weight", ("BF16", (rows, 64))) for shard in range(shards)]
    files = {
        ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
        "README.md": b"# A model of a test\n",
        "config.json": json.dumps({**_CONFIG, **(config or {})}, indent=2).encode(),
        "generation_config.json": b'{"eos_token_id": 2}',
        "tokenizer_config.json": b'{"bos_token": "<s>", "eos_token": "</s>"}',
        "tokenizer.json": json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": {}}}).encode(),
    }
    if shards == 1:
        return {**files, "model.safetensors": make_safetensors(dict(tensors), seed=seed)}
    weight_map = {}
    for place, (name, tensor) in enumerate(tensors, 1):
        file = f"model-{place:05d}-of-{shards:05d}.safetensors"
        files[file] = make_safetensors({name: tensor}, seed=seed + place)
        weight_map[name] = file
    total = rows * 64 * 2 * shards
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    return {**files, "model.safetensors.index.json": json.dumps(index, indent=2).encode()}
