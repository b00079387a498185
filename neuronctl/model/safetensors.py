"""The safetensors format, as far as a file can be judged by its header."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

# The library's own limit (safetensors, README: format).
LARGEST_HEADER_BYTES = 100_000_000


def read_rows(header: bytes) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Name, dtype and shape of each tensor in a header, which is JSON. Raises ValueError."""
    try:
        for name, row in json.loads(header).items():
            if name != "__metadata__":
                yield name, str(row["dtype"]), tuple(int(size) for size in row["shape"])
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no header of safetensors: {error}") from None


def read_header(file: Path) -> bytes:
    """The header of a file. Raises OSError, and ValueError for a file that is too short for it."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(min(length, LARGEST_HEADER_BYTES))
    if len(header) != length:
        raise ValueError("the file ends within its header")
    return header


def find_fault(file: Path) -> str | None:
    """What is wrong with a safetensors file, in words; None for a whole one. Raises OSError.

    Reads the header alone: its length (u64), the header itself (JSON with `data_offsets`), and compares
    where the last tensor ends with the size of the file.
    """
    with file.open("rb") as stream:
        size_bytes = file.stat().st_size
        length = int.from_bytes(stream.read(8), "little")
        if size_bytes < 8 or length > min(LARGEST_HEADER_BYTES, size_bytes - 8):
            return f"its {size_bytes} bytes are too few for its header"
        try:
            header = json.loads(stream.read(length))
            ends = [row["data_offsets"][1] for name, row in header.items() if name != "__metadata__"]
            wanted = 8 + length + max(ends, default=0)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return "its header cannot be read"
    return None if size_bytes == wanted else f"it has {size_bytes} bytes, and its header says {wanted}"
