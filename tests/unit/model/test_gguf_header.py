"""The header reader against files written by the gguf package, and against damaged ones."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuronctl.errors import ModelNotResolved
from neuronctl.model.gguf_folder import read_gguf_config
from neuronctl.model.gguf_header import TENSOR_KINDS, read_header
from tests.gguf_sample import MERGES, TOKENS, Sample


def test_values_and_tensors_are_those_that_the_gguf_package_reads(tmp_path: Path) -> None:
    path = Sample(kind=gguf.GGMLQuantizationType.Q8_0).write(tmp_path / "m.gguf")
    header = read_header(path)
    reference = gguf.GGUFReader(path)
    expected = {
        name: field.contents() for name, field in reference.fields.items() if not name.startswith("GGUF.")
    }
    assert header.values == expected
    assert header.values["tokenizer.ggml.merges"] == MERGES
    assert [(t.name, t.shape, t.kind, t.offset, t.size_bytes) for t in header.tensors] == [
        (t.name, tuple(int(n) for n in reversed(t.shape)), int(t.tensor_type), t.data_offset, t.n_bytes)
        for t in reference.tensors
    ]


def test_without_arrays_all_else_is_the_same(tmp_path: Path) -> None:
    path = Sample().write(tmp_path / "m.gguf")
    full, quick = read_header(path), read_header(path, arrays=False)
    assert full.values["tokenizer.ggml.tokens"] == TOKENS
    assert quick.values == {name: value for name, value in full.values.items() if not isinstance(value, list)}
    assert quick.tensors == full.tensors


def test_sizes_of_quantised_blocks_are_ggmls() -> None:
    for code, (name, block, block_bytes) in TENSOR_KINDS.items():
        kind = gguf.GGMLQuantizationType(code)
        assert (kind.name, *gguf.GGML_QUANT_SIZES[kind]) == (name, block, block_bytes)


@pytest.mark.parametrize("content", [b"", b"GGU", b"PK\x03\x04 a zip file", b"{}" * 50])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelNotResolved, match="not a GGUF"):
        read_header(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotResolved, match=r"gone\.gguf cannot be read: No such file"):
        read_header(tmp_path / "gone.gguf")


def test_big_endian_and_future_versions_are_refused(tmp_path: Path) -> None:
    for version in (1, 4, 3 << 24):
        path = tmp_path / "m.gguf"
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", version, 0, 0))
        with pytest.raises(ModelNotResolved, match="format version"):
            read_header(path)


@pytest.mark.parametrize("keep", [5, 30, 0.01, 0.1, 0.5, -1])
def test_a_truncated_file_is_said_to_be_cut_short(tmp_path: Path, keep: float) -> None:
    path = Sample().write(tmp_path / "m.gguf")
    content = path.read_bytes()
    end = int(keep * len(content)) if 0 < keep < 1 else int(keep)
    path.write_bytes(content[:end])
    with pytest.raises(ModelNotResolved, match="cut short"):
        read_header(path)


def test_an_unknown_quantisation_is_named_with_its_tensor(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    name = b"token_embd.weight"
    row = struct.pack("<Q", len(name)) + name + struct.pack("<IQQIQ", 2, 32, 4, 4711, 0)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + row + b"\0" * 4096)
    with pytest.raises(ModelNotResolved, match=r"token_embd\.weight.*unknown quantisation.*4711"):
        read_header(path)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Sample().write(tmp_path_factory.mktemp("gguf") / "m.gguf")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_in_the_header_never_raises_anything_else(sample: Path, data: st.DataObject) -> None:
    content = bytearray(sample.read_bytes())
    header_size = read_header(sample).tensors[0].offset
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(4, header_size))
        new = data.draw(st.binary(min_size=1, max_size=8))
        content[at : at + len(new)] = new
    damaged = sample.with_name("damaged.gguf")
    damaged.write_bytes(content)
    for read in (read_header, read_gguf_config):
        try:
            read(damaged)
        except ModelNotResolved as error:
            assert str(error)
