"""Reading and writing safetensors files."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import torch

from safetensors import SafetensorError

_TYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I8": torch.int8,
    "U8": torch.uint8,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}
_LARGEST_HEADER = 100_000_000


def load_file(filename: str) -> dict[str, torch.Tensor]:
    """The tensors of a file, whose header and length are checked."""
    if not os.path.exists(filename):
        raise FileNotFoundError(f"No such file or directory: {filename}")
    content = Path(filename).read_bytes()
    failed = "Error while deserializing header:"
    if len(content) < 8:
        raise SafetensorError(f"{failed} header too small")
    (size,) = struct.unpack_from("<Q", content)
    if size > _LARGEST_HEADER:
        raise SafetensorError(f"{failed} header too large")
    if 8 + size > len(content):
        raise SafetensorError(f"{failed} invalid header length")
    try:
        header = json.loads(content[8 : 8 + size])
    except ValueError:
        raise SafetensorError(f"{failed} invalid JSON in header") from None
    header.pop("__metadata__", None)
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if 8 + size + end != len(content):
        raise SafetensorError(f"{failed} incomplete metadata, file not fully covered")
    data = content[8 + size :]
    return {
        name: torch.Tensor(_TYPES[entry["dtype"]], tuple(entry["shape"]), data[slice(*entry["data_offsets"])])
        for name, entry in header.items()
    }


def save_file(tensors: dict[str, torch.Tensor], filename: str) -> None:
    """Write tensors into a file."""
    Path(filename).write_bytes(serialize(tensors))


def serialize(tensors: dict[str, torch.Tensor]) -> bytes:
    """A whole file's content."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name, tensor in tensors.items():
        end = begin + len(tensor.data)
        kind = _NAMES[tensor.dtype]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(tensor.data for tensor in tensors.values())
