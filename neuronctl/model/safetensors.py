"""The safetensors format, as far as a file can be judged by its header."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

from neuronctl.model.plain_file import NoPlainFile, open_plain

# The library's own limit (safetensors, README: format).
LARGEST_HEADER_BYTES = 100_000_000
# Bits of a number in the format's own words (the same place).
BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8,
    "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
# No file holds more, and no tensor has more dimensions: what is beyond is nothing to calculate with.
_LARGEST = 2**63
_MOST_NUMBERS = 64


class Row(NamedTuple):
    """A tensor: name, dtype in the format's words, shape, and where its bytes are, after the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_rows(header: bytes) -> Iterator[Row]:
    """Each tensor in a header, which is JSON. Raises ValueError."""
    try:
        for name, row in json.loads(header).items():
            if name != "__metadata__":
                begin, end = _numbers(row["data_offsets"])
                yield Row(name, str(row["dtype"]), _numbers(row["shape"]), begin, end)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError("its header cannot be read") from None


def _numbers(said: object) -> tuple[int, ...]:
    if not isinstance(said, list) or len(said) > _MOST_NUMBERS:
        raise ValueError
    if not all(type(one) is int and 0 <= one < _LARGEST for one in said):
        raise ValueError
    return tuple(said)


def read_file(file: Path) -> list[Row]:
    """The tensors of a file, of which only the header is read: its length (u64), then itself.

    Raises OSError, and ValueError in words for a file that is not what its header says, by the rules of the
    library (safetensors, src/tensor.rs, Metadata::validate).
    """
    with open_plain(file) as stream:
        size_bytes = file.stat().st_size
        length = int.from_bytes(stream.read(8), "little")
        if size_bytes < 8 or length > size_bytes - 8:
            raise ValueError(f"its {size_bytes} bytes are too few for its header")
        if length > LARGEST_HEADER_BYTES:
            raise ValueError(f"its header has {length} bytes, and none may have more than 100 MB")
        rows = list(read_rows(stream.read(length)))
    wanted = 8 + length + _check(rows)
    if size_bytes != wanted:
        raise ValueError(f"it has {size_bytes} bytes, and its header says {wanted}")
    return rows


def _check(rows: Sequence[Row]) -> int:
    """Where the last tensor ends. Raises ValueError in words where a place is not what a shape takes."""
    place = 0
    for row in sorted(rows, key=lambda row: (row.begin, row.end)):
        bits = BITS.get(row.dtype)
        if bits is not None and prod(row.shape) * bits != (row.end - row.begin) * 8:
            kind = f"{'x'.join(map(str, row.shape)):.80} {row.dtype}"
            raise ValueError(f"its header gives {row.name:.80} {row.end - row.begin} bytes as {kind}")
        if row.begin != place or row.end < row.begin:
            raise ValueError(f"its header gives {row.name:.80} a place that does not follow the one before")
        place = row.end
    return place


def find_fault(file: Path) -> str | None:
    """What is wrong with a safetensors file, in words; None for a whole one. Raises OSError."""
    try:
        read_file(file)
    except NoPlainFile as error:
        return str(error.strerror)
    except ValueError as error:
        return str(error)
    return None
