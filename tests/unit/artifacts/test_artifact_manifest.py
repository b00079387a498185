"""The manifest: what is written is read back, and what was changed is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.artifacts.manifest import Built, FileEntry, Manifest, Smoke, decode, encode, is_inside
from neuronctl.errors import ArtifactDamaged

FILE = Path("artifacts/k/manifest.json")


def manifest(**changes: Any) -> Manifest:
    facts: dict[str, Any] = {
        "schema": 1,
        "key": "k",
        "backend": "cpu",
        "model": "m",
        "profile": "p",
        "inputs": {"engine": {"max_model_len": 2048, "dtype": "float32"}, "flags": ["-O2"], "none": None},
        "files": (FileEntry("a/b.py", 3, "0" * 64, 17), FileEntry("run", 1, "f" * 64, 18, executable=True)),
        "built": Built("2025-01-02T03:04:05Z", "0.1.0", {"vllm": "0.32.0"}),
        "phases_s": {"compile": 12.5},
        "peak_memory_bytes": 1 << 33,
        "smoke": (Smoke("What is the capital of France?", "Paris — naturally."),),
    }
    return Manifest(**(facts | changes))


def test_it_comes_back_as_it_was() -> None:
    back = decode(encode(manifest()), FILE)
    assert msgspec.structs.replace(back, seal="") == manifest()
    assert back.size_bytes == 4


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_any_inputs_survive(inputs: dict[str, Any]) -> None:
    assert decode(encode(manifest(inputs=inputs)), FILE).inputs == inputs


@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    good = encode(manifest())
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= data.draw(st.integers(1, 255))
    try:
        read = decode(bytes(bad), FILE)
    except ArtifactDamaged as error:
        assert error.place is not None and error.place.file == str(FILE)
    else:  # only space between the values may change
        assert read == decode(good, FILE)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_words(data: bytes) -> None:
    with pytest.raises(ArtifactDamaged):
        decode(data, FILE)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ArtifactDamaged):
        decode(b'{"inputs":' + b'{"a":' * 100_000, FILE)


def test_another_schema_is_refused() -> None:
    with pytest.raises(ArtifactDamaged, match="schema is 2"):
        decode(encode(manifest(schema=2)), FILE)


@pytest.mark.parametrize(
    "entry",
    [
        FileEntry("../a", 1, "0" * 64, 0),
        FileEntry("/etc/passwd", 1, "0" * 64, 0),
        FileEntry("", 1, "0" * 64, 0),
        FileEntry("a", -1, "0" * 64, 0),
        FileEntry("a", 1, "0" * 63, 0),
        FileEntry("a", 1, "../" + "0" * 61, 0),
    ],
)
def test_entries_that_lead_elsewhere_are_refused(entry: FileEntry) -> None:
    with pytest.raises(ArtifactDamaged):
        decode(encode(manifest(files=(entry,))), FILE)


def test_a_file_named_twice_is_refused() -> None:
    entry = FileEntry("a", 1, "0" * 64, 0)
    with pytest.raises(ArtifactDamaged):
        decode(encode(manifest(files=(entry, entry))), FILE)


@pytest.mark.parametrize("path", ["a", "a/b", "a..b", ".hidden", "a\\b"])
def test_paths_inside(path: str) -> None:
    assert is_inside(path)


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "./a", "a/../b", "..", "a\0b"])
def test_paths_not_plainly_inside(path: str) -> None:
    assert not is_inside(path)
