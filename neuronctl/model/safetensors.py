"""The safetensors format, as far as a file can be judged by its header."""

from __future__ import annotations

import json
from pathlib import Path

# The library's own limit (safetensors, README: format).
_LARGEST_HEADER = 100_000_000


def find_fault(file: Path) -> str | None:
    """What is wrong with a safetensors file, in words; None for a whole one. Raises OSError.

    Reads the header alone: its length (u64), the header itself (JSON with `data_offsets`), and compares
    where the last tensor ends with the size of the file.
    """
    with file.open("rb") as stream:
        size_bytes = file.stat().st_size
        length = int.from_bytes(stream.read(8), "little")
        if size_bytes < 8 or length > min(_LARGEST_HEADER, size_bytes - 8):
            return f"its {size_bytes} bytes are too few for its header"
        try:
            header = json.loads(stream.read(length))
            ends = [row["data_offsets"][1] for name, row in header.items() if name != "__metadata__"]
            wanted = 8 + length + max(ends, default=0)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return "its header cannot be read"
    return None if size_bytes == wanted else f"it has {size_bytes} bytes, and its header says {wanted}"
