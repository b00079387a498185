"""Child script: turn the tensors of a GGUF file into one safetensors file.

Run by `gguf_folder.py` with the serving Python, where neuronctl is not installed; so nothing of neuronctl
is imported here, only numpy and gguf (which vLLM brings), and not torch, whose import takes seconds.

    python -I gguf_weights.py GGUF TENSORS.json OUT.safetensors

`TENSORS.json` is a list of `{name, shape, kind, offset, size_bytes, rotary_heads}`: the name in the result,
shape slowest dimension first, ggml's type code, place in the GGUF file, and for query and key projections
the number of heads, else 0. Exit 0 done, 3 numpy or gguf missing, 4 the file system refused (one line on
stderr says what).

Written as bfloat16: the format such models are published in, and half as big as float32. The rounding, to 8
bits, is far finer than the step of a 4-bit quantisation; an engine that computes in float32
widens the numbers without further loss.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import Any

MISSING = 3
REFUSED = 4


def convert(gguf_path: str, table: list[dict[str, Any]], out_path: str) -> None:
    """Write the tensors of `table` one after another; memory stays at the size of the largest one."""
    import numpy as np
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    source = np.memmap(gguf_path, dtype=np.uint8, mode="r")
    with open(out_path, "wb") as out:
        out.write(safetensors_header(table))
        for row in table:
            numbers: Any
            raw = source[row["offset"] : row["offset"] + row["size_bytes"]]
            rows = raw.reshape(*row["shape"][:-1], -1)
            kind = GGMLQuantizationType(row["kind"])
            if kind is GGMLQuantizationType.F32:
                numbers = rows.view(np.float32)
            elif kind is GGMLQuantizationType.F16:
                numbers = rows.view(np.float16).astype(np.float32)
            else:
                numbers = dequantize(rows, kind)
            if row["rotary_heads"]:
                numbers = split_rotary_pairs(numbers, row["rotary_heads"])
            out.write(bfloat16_bytes(np.ascontiguousarray(numbers, dtype=np.float32)))
        out.flush()
        os.fsync(out.fileno())


def safetensors_header(table: list[dict[str, Any]]) -> bytes:
    """The safetensors preamble: length of the JSON (u64), then the JSON, padded to 8 bytes with spaces."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for row in table:
        begin = end
        size = 2
        for length in row["shape"]:
            size *= length
        end += size
        entries[row["name"]] = {"dtype": "BF16", "shape": row["shape"], "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def split_rotary_pairs(numbers: Any, heads: int) -> Any:
    """Undo llama.cpp's ordering of query and key rows.

    llama.cpp rotates neighbouring rows (0,1), (2,3), … of a head; transformers and vLLM rotate row i with
    row i + half. Source: `permute` in llama.cpp's convert_hf_to_gguf.py, of which this is the inverse.
    """
    width = numbers.shape[0] // heads
    return numbers.reshape(heads, width // 2, 2, -1).swapaxes(1, 2).reshape(numbers.shape)


def bfloat16_bytes(numbers: Any) -> bytes:
    """The upper half of each float32, rounded to the nearest, ties to even."""
    import numpy as np

    bits = numbers.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return bytes(rounded.astype("<u2").data)


def die_with_parent() -> None:
    """Let Linux kill us when the program that started us is killed: prctl(PR_SET_PDEATHSIG, SIGKILL)."""
    if sys.platform != "linux":
        return
    import ctypes

    parent = os.getppid()
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != parent:  # it was gone before we asked
        sys.exit(1)


def main(argv: list[str]) -> int:
    die_with_parent()
    gguf_path, table_path, out_path = argv
    with open(table_path, encoding="utf-8") as file:
        table = json.load(file)
    try:
        convert(gguf_path, table, out_path)
    except ImportError as error:
        print(error, file=sys.stderr)
        return MISSING
    except OSError as error:
        print(error.strerror or error, file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
