"""What tensors tell, and how they are read from a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neuronctl.model.checkpoint import add_up, read_tensors
from neuronctl.model.listing import TensorRow


def row(dtype: str, *shape: int) -> TensorRow:
    return TensorRow(dtype, shape, "model.safetensors")


def test_tensors_are_added_up_by_type() -> None:
    told = add_up(
        {
            "model.embed_tokens.weight": row("BF16", 100, 8),
            "layers.0.weight": row("F8_E4M3", 10, 10),
            "layers.0.scale": row("F32"),
            "layers.0.packed": row("F4", 3, 4),
        }
    )
    assert told.numbers == {"BF16": 800, "F8_E4M3": 100, "F32": 1, "F4": 12}
    assert (told.total, told.size_bytes, told.tensors) == (913, 1600 + 100 + 4 + 6, 4)


@pytest.mark.parametrize(
    ("names", "stored"),
    [
        (("model.embed_tokens.weight", "lm_head.weight"), True),
        (("model.embed_tokens.weight",), False),
        (("model.language_model.embed_tokens.weight", "language_model.lm_head.weight"), True),
        (("tok_embeddings.weight", "output.weight"), True),
        (("tok_embeddings.weight", "layers.0.attention.output.weight"), False),
        (("transformer.wte.weight",), False),
        (("model.embed_tokens.weight", "lm_head.qweight", "lm_head.scales"), True),
        (("model.embed_tokens.weight", "lm_head.weight_packed"), True),
        (("model.embed_tokens.weight", "lm_head.bias"), False),
        (("transformer.embedding.word_embeddings.weight", "transformer.output_layer.weight"), True),
        (("gpt_neox.embed_in.weight", "embed_out.weight"), True),
        (("language_model.model.tok_embeddings.weight", "language_model.output.weight"), True),
        (("model.embed_tokens.weight", "encoder.language_model.layer.output.dense.weight"), False),
        (("model.embed_tokens.weight", "model.not_lm_head.weight", "weight"), False),
        (("model.embed_tokens_of_images.weight",), None),
        (("layers.0.weight",), None),
        (("lm_head.weight",), None),
    ],
)
def test_whether_the_output_embedding_is_stored(names: tuple[str, ...], stored: bool | None) -> None:
    assert add_up({name: row("BF16", 2, 2) for name in names}).stores_output is stored


def write_safetensors(path: Path, header: object) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(12))


def test_headers_are_read_from_a_folder(tmp_path: Path) -> None:
    tensor = {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}
    write_safetensors(tmp_path / "model.safetensors", {"__metadata__": {"format": "pt"}, "a": tensor})
    assert read_tensors(tmp_path, {}) == {"a": TensorRow("BF16", (2, 3), "model.safetensors")}


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 9, (5).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]"]
)
def test_a_header_that_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="header"):
        read_tensors(tmp_path, {})
