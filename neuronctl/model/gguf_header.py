"""The header of a GGUF file: its key-values and its table of tensors, read with the standard library alone.

Source of the layout: the GGUF specification of the ggml project (docs/gguf.md), versions 2 and 3. `plan`
needs a model's configuration within milliseconds and in a Python without numpy, hence a reader of our own;
long arrays (a vocabulary has some 50,000 strings) are stepped over unless they are asked for.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from neuronctl.errors import ModelNotResolved

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_DIMENSIONS = 4

# Scalar value types by their code in the file; 8 is a string and 9 an array.
_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_STRING = 8
_ARRAY = 9
_U32 = _SCALARS[4]
_U64 = _SCALARS[10]

# Kinds of tensor data we can turn into numbers: code -> (name, elements in a block, bytes of a block).
# Source: ggml's table of types; a test compares it with the `gguf` package.
TENSOR_KINDS = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    30: ("BF16", 1, 2),
}


@dataclass(frozen=True)
class GgufTensor:
    """One tensor: `shape` slowest dimension first, `kind` a code of `TENSOR_KINDS`, `offset` in bytes from
    the beginning of the file."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class GgufHeader:
    """What stands before the tensor data. Arrays are lists, or absent if `read_header` stepped over them."""

    values: dict[str, object]
    tensors: tuple[GgufTensor, ...]


class _Damaged(Exception):
    """The bytes do not follow the format; the text says how."""


def read_header(gguf: Path, *, arrays: bool = True) -> GgufHeader:
    """Read the header of `gguf`; `arrays=False` steps over array values, which is several times faster.

    Raises ModelNotResolved if the file cannot be read, is no GGUF, is cut short (even after the header), or
    holds tensors in a form we do not know.
    """
    try:
        with gguf.open("rb") as file:
            if file.read(4) != MAGIC:
                raise _Damaged("it does not begin with the letters GGUF")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                return _Reader(view, arrays).read()
    except OSError as error:
        raise ModelNotResolved(f"{gguf} cannot be read: {error.strerror or error}") from error
    except (struct.error, OverflowError) as error:
        raise ModelNotResolved(
            f"{gguf} is cut short: it ends inside its own header", fix="fetch or install the file again"
        ) from error
    except (_Damaged, UnicodeDecodeError) as error:
        raise ModelNotResolved(f"{gguf} is not a GGUF file that neuronctl can read: {error}") from error


class _Reader:
    def __init__(self, view: mmap.mmap, arrays: bool) -> None:
        self.view = view
        self.size = len(view)
        self.at = len(MAGIC)
        self.arrays = arrays

    def read(self) -> GgufHeader:
        version = self.scalar(_U32)
        if version not in VERSIONS:
            raise _Damaged(f"format version {version} instead of {VERSIONS[0]} or {VERSIONS[1]}")
        tensor_count = self.count(24)
        value_count = self.count(13)
        values: dict[str, object] = {}
        for _ in range(value_count):
            key = self.string()
            if key in values:
                raise _Damaged(f"the key {key!r} is there twice")
            kind = self.scalar(_U32)
            if kind == _ARRAY:
                items = self.array()
                if self.arrays:
                    values[key] = items
            else:
                values[key] = self.value(kind)
        return GgufHeader(values, self.tensor_table(tensor_count, values))

    def tensor_table(self, count: int, values: dict[str, object]) -> tuple[GgufTensor, ...]:
        rows = [self.tensor_row() for _ in range(count)]
        alignment = values.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise _Damaged(f"general.alignment is {alignment!r}")
        start = -(-self.at // alignment) * alignment
        tensors = []
        for name, shape, kind, offset in rows:
            if kind not in TENSOR_KINDS:
                raise _Damaged(f"tensor {name!r} has an unknown quantisation (ggml type {kind})")
            kind_name, block, block_bytes = TENSOR_KINDS[kind]
            if shape[-1] % block:
                raise _Damaged(
                    f"tensor {name!r} has rows of {shape[-1]}; {kind_name} wants multiples of {block}"
                )
            size_bytes = _product(shape) // block * block_bytes
            if start + offset + size_bytes > self.size:
                raise _Damaged(f"it is cut short: tensor {name!r} ends beyond the end of the file")
            tensors.append(GgufTensor(name, shape, kind, start + offset, size_bytes))
        return tuple(tensors)

    def tensor_row(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self.string()
        dimensions = self.scalar(_U32)
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise _Damaged(f"tensor {name!r} has {dimensions} dimensions")
        # The file names the fastest dimension first; everybody else names it last.
        shape = tuple(self.scalar(_U64) for _ in range(dimensions))[::-1]
        return name, shape, self.scalar(_U32), self.scalar(_U64)

    def value(self, kind: int) -> object:
        if kind == _STRING:
            return self.string()
        if kind not in _SCALARS:
            raise _Damaged(f"a value of the unknown type {kind}")
        layout = _SCALARS[kind]
        value: object = layout.unpack_from(self.view, self.at)[0]
        self.at += layout.size
        return value

    def array(self) -> list[object] | None:
        kind = self.scalar(_U32)
        if kind == _STRING:
            return self.strings(self.count(8))
        if kind not in _SCALARS:
            raise _Damaged(f"an array of the type {kind}")
        layout = _SCALARS[kind]
        count = self.count(layout.size)
        begin = self.at
        self.at += count * layout.size
        if not self.arrays:
            return None
        return list(struct.unpack_from(f"<{count}{layout.format[1:]}", self.view, begin))

    def strings(self, count: int) -> list[object] | None:
        if self.arrays:
            return [self.string() for _ in range(count)]
        at = self.at
        view = self.view
        length_at = _U64.unpack_from
        for _ in range(count):
            at += 8 + length_at(view, at)[0]
        self.at = at
        return None

    def string(self) -> str:
        length = self.count(1)
        begin = self.at
        self.at += length
        return self.view[begin : self.at].decode("utf-8")

    def scalar(self, layout: struct.Struct) -> int:
        value: int = layout.unpack_from(self.view, self.at)[0]
        self.at += layout.size
        return value

    def count(self, least_bytes: int) -> int:
        """A number of things of at least `least_bytes` each; more than the file can hold is damage."""
        number = self.scalar(_U64)
        if number * least_bytes > self.size - self.at:
            raise _Damaged(f"it is cut short, or damaged at byte {self.at - 8}: {number} things to follow")
        return number


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for length in shape:
        product *= length
    return product
