"""The digest of a file is the same however many threads read and hash it."""

from __future__ import annotations

from pathlib import Path

import pytest
from blake3 import blake3

from neuronctl.digest import digest

CHUNK = 4 << 20


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7])
def test_chunks_make_no_difference(tmp_path: Path, size: int, threads: int) -> None:
    # No two chunks alike, so that one read into the wrong buffer, or hashed twice, is noticed.
    content = b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size]
    (tmp_path / "file").write_bytes(content)
    assert digest(tmp_path / "file", threads=threads) == blake3(content).hexdigest()


@pytest.mark.parametrize("threads", [1, 2])
def test_what_cannot_be_read_is_an_error(tmp_path: Path, threads: int) -> None:
    with pytest.raises(OSError):
        digest(tmp_path, threads=threads)
