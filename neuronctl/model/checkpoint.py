"""Checkpoint: what the tensors themselves tell of a model, from the headers of its safetensors files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from neuronctl.model.listing import TensorRow
from neuronctl.model.safetensors import BITS, read_file
from neuronctl.model.selection import weight_files

# How the layouts of Hugging Face, ChatGLM and Mistral name the two modules that may be one. What their
# tensors are called depends on the format: weight, qweight, weight_packed.
_INPUT = {"embed_tokens", "wte", "tok_embeddings", "word_embeddings", "embed_in"}
_OUTPUT = {"lm_head", "embed_out", "output_layer"}


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint, added up.

    `numbers` is how many numbers there are of each dtype, in the format's words (`BF16`): parameters, where
    the checkpoint is not quantised. `size_bytes` is what they take. `stores_output` says whether the output
    embedding is a tensor of its own, None where no input embedding was found either.
    """

    tensors: int
    numbers: Mapping[str, int]
    size_bytes: int
    stores_output: bool | None

    @property
    def total(self) -> int:
        """All numbers together."""
        return sum(self.numbers.values())


def add_up(tensors: Mapping[str, TensorRow]) -> Checkpoint:
    """The checkpoint that consists of these tensors."""
    numbers: Counter[str] = Counter()
    for row in tensors.values():
        numbers[row.dtype] += prod(row.shape)
    size_bytes = sum(count * BITS.get(dtype, 0) // 8 for dtype, count in numbers.items())
    modules = [name.split(".")[:-1] for name in tensors if not name.endswith(".bias")]
    stores_output = None
    if any(module[-1:] and module[-1] in _INPUT for module in modules):
        stores_output = any(_is_output(module) for module in modules)
    return Checkpoint(len(tensors), dict(numbers), size_bytes, stores_output)


def _is_output(module: list[str]) -> bool:
    """Whether a module, given by the words of its name, is the output embedding."""
    # `output` is what much else is called deeper down, as in layers.0.attention.output.
    return module[-1:] != [] and (
        module[-1] in _OUTPUT or module[-2:] in (["output"], ["language_model", "output"])
    )


def read_tensors(folder: Path, indexed: Mapping[str, str]) -> dict[str, TensorRow] | None:
    """The tensors of a local folder. None where it has no safetensors. Raises OSError, ValueError."""
    names = [path.name for path in folder.iterdir()]
    files = [
        name for name in weight_files(names, indexed=set(indexed.values())) if name.endswith(".safetensors")
    ]
    tensors = {
        row.name: TensorRow(row.dtype, row.shape, name) for name in files for row in read_file(folder / name)
    }
    return tensors or None
