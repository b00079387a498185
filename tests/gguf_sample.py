"""A tiny Llama model as a GGUF file, for tests: two layers, a byte-level vocabulary, known weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np

LAYERS, HEADS, KV_HEADS, HEAD_DIM, INNER = 2, 2, 1, 32, 96
HIDDEN = HEADS * HEAD_DIM
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["h e", "l l", "he ll", "Ġ t"]
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def byte_letters() -> list[str]:
    """The letters for the 256 bytes in byte-level BPE: printable ones as they are, others moved up."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(len(others))]


TOKENS = [*SPECIALS, *byte_letters(), *(merge.replace(" ", "") for merge in MERGES)]


def hf_weights(*, seed: int = 0, tied: bool = True) -> dict[str, Any]:
    """Float32 weights by their names in a Hugging Face folder."""
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (len(TOKENS), HIDDEN),
        "model.norm.weight": (HIDDEN,),
    }
    if not tied:
        shapes["lm_head.weight"] = (len(TOKENS), HIDDEN)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        shapes |= {
            prefix + "input_layernorm.weight": (HIDDEN,),
            prefix + "self_attn.q_proj.weight": (HIDDEN, HIDDEN),
            prefix + "self_attn.k_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
            prefix + "self_attn.v_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
            prefix + "self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            prefix + "post_attention_layernorm.weight": (HIDDEN,),
            prefix + "mlp.gate_proj.weight": (INNER, HIDDEN),
            prefix + "mlp.up_proj.weight": (INNER, HIDDEN),
            prefix + "mlp.down_proj.weight": (HIDDEN, INNER),
        }
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    """The name in a GGUF file of a tensor of a Hugging Face folder."""
    if not name.startswith("model.layers."):
        return GGUF_NAMES[name.removesuffix(".weight")] + ".weight"
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{GGUF_NAMES[rest.removesuffix('.weight')]}.weight"


def interleave(weights: Any, heads: int) -> Any:
    """Query or key rows in llama.cpp's order: halves of a head become neighbours."""
    width = weights.shape[0] // heads
    rows = []
    for head in range(heads):
        for row in range(width // 2):
            rows += [weights[head * width + row], weights[head * width + width // 2 + row]]
    return np.stack(rows)


@dataclass
class Sample:
    """What to write; a test changes what it is about."""

    weights: dict[str, Any] = field(default_factory=hf_weights)
    values: dict[str, Any] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32
    architecture: str = "llama"
    tokenizer: str = "gpt2"
    cutting: str = "smollm"

    def write(self, path: Path) -> Path:
        """Write the file and return its path."""
        writer = gguf.GGUFWriter(path, self.architecture)
        values: dict[str, Any] = {
            "block_count": LAYERS,
            "context_length": 128,
            "embedding_length": HIDDEN,
            "feed_forward_length": INNER,
            "attention.head_count": HEADS,
            "attention.head_count_kv": KV_HEADS,
            "rope.dimension_count": HEAD_DIM,
        } | self.values
        for key, number in values.items():
            if key not in self.drop:
                writer.add_uint32(f"llama.{key}", number)
        writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        writer.add_float32("llama.rope.freq_base", 100000.0)
        writer.add_tokenizer_model(self.tokenizer)
        writer.add_tokenizer_pre(self.cutting)
        writer.add_token_list(TOKENS)
        writer.add_token_types([3] * len(SPECIALS) + [1] * (len(TOKENS) - len(SPECIALS)))
        writer.add_token_merges(MERGES)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        writer.add_pad_token_id(2)
        writer.add_chat_template(TEMPLATE)
        for name, weights in self.weights.items():
            heads = HEADS if "q_proj" in name else KV_HEADS if "k_proj" in name else 0
            numbers = interleave(weights, heads) if heads else weights
            if numbers.ndim == 1 or self.kind is gguf.GGMLQuantizationType.F32:
                writer.add_tensor(gguf_name(name), numbers)
            else:
                writer.add_tensor(
                    gguf_name(name), gguf.quants.quantize(numbers, self.kind), raw_dtype=self.kind
                )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path
