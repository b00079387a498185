"""A stand-in for torch: data types, tensors that are only bytes, and modules without arithmetic."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path
from typing import Any


class dtype:  # noqa: N801 - the name that torch has
    """A data type."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.itemsize = size

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __deepcopy__(self, memo: object) -> dtype:
        return self

    def __reduce__(self) -> str:
        return self.name


float32 = dtype("float32", 4)
float16 = dtype("float16", 2)
bfloat16 = dtype("bfloat16", 2)
float8_e4m3fn = dtype("float8_e4m3fn", 1)
float8_e5m2 = dtype("float8_e5m2", 1)
int64 = dtype("int64", 8)
int32 = dtype("int32", 4)
int8 = dtype("int8", 1)
uint8 = dtype("uint8", 1)


class Size(tuple[int, ...]):
    """A shape, as torch prints it."""

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"


class Tensor:
    """A shape, a type and the bytes."""

    def __init__(self, kind: dtype, shape: tuple[int, ...], data: bytes) -> None:
        self.dtype = kind
        self.shape = Size(shape)
        self.data = data

    def to(self, kind: dtype) -> Tensor:
        """In another type: between bfloat16 and float32, which share their upper half; else as it is."""
        if (self.dtype, kind) == (float32, bfloat16):
            half = bytearray(len(self.data) // 2)
            half[0::2], half[1::2] = self.data[2::4], self.data[3::4]
            return Tensor(kind, self.shape, bytes(half))
        if (self.dtype, kind) == (bfloat16, float32):
            whole = bytearray(len(self.data) * 2)
            whole[2::4], whole[3::4] = self.data[0::2], self.data[1::2]
            return Tensor(kind, self.shape, bytes(whole))
        return self


class device:  # noqa: N801 - the name that torch has
    """A device's name."""

    def __init__(self, kind: str) -> None:
        self.type = kind

    def __str__(self) -> str:
        return self.type


def save(value: object, path: str) -> None:
    """Write a state dict."""
    Path(path).write_bytes(pickle.dumps(value))


def load(path: str) -> Any:
    """Read a state dict."""
    return pickle.loads(Path(path).read_bytes())


def __getattr__(name: str) -> Any:
    if name in ("jit", "nn"):
        return importlib.import_module(f"torch.{name}")
    raise AttributeError(name)
