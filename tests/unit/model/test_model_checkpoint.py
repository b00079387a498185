"""What tensors tell, and how they are read and remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neuronctl.errors import ModelNotResolved
from neuronctl.model.checkpoint import add_up, read_tensors
from neuronctl.model.download import _check_space, wanted_files
from neuronctl.model.listing import HubFile, HubMemory, Listing, TensorRow, is_commit
from neuronctl.model.remote_code import remote_code
from tests.plan_sample import sample_host

COMMIT = "c" * 40


def row(dtype: str, *shape: int) -> TensorRow:
    return TensorRow(dtype, shape, "model.safetensors")


def test_tensors_are_added_up_by_type() -> None:
    told = add_up(
        {
            "model.embed_tokens.weight": row("BF16", 100, 8),
            "layers.0.weight": row("F8_E4M3", 10, 10),
            "layers.0.scale": row("F32"),
            "layers.0.packed": row("F4", 3, 4),
        }
    )
    assert told.numbers == {"BF16": 800, "F8_E4M3": 100, "F32": 1, "F4": 12}
    assert (told.total, told.size_bytes, told.tensors) == (913, 1600 + 100 + 4 + 6, 4)


@pytest.mark.parametrize(
    ("names", "stored"),
    [
        (("model.embed_tokens.weight", "lm_head.weight"), True),
        (("model.embed_tokens.weight",), False),
        (("model.language_model.embed_tokens.weight", "language_model.lm_head.weight"), True),
        (("tok_embeddings.weight", "output.weight"), True),
        (("tok_embeddings.weight", "layers.0.attention.output.weight"), False),
        (("transformer.wte.weight",), False),
        (("layers.0.weight",), None),
        (("lm_head.weight",), None),
    ],
)
def test_whether_the_output_embedding_is_stored(names: tuple[str, ...], stored: bool | None) -> None:
    assert add_up({name: row("BF16", 2, 2) for name in names}).stores_output is stored


def write_safetensors(path: Path, header: object) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)


def test_headers_are_read_from_a_folder(tmp_path: Path) -> None:
    tensor = {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}
    write_safetensors(tmp_path / "model.safetensors", {"__metadata__": {"format": "pt"}, "a": tensor})
    assert read_tensors(tmp_path, {}) == {"a": TensorRow("BF16", (2, 3), "model.safetensors")}


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 9, (5).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]"]
)
def test_a_header_that_cannot_be_read_tells_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert read_tensors(tmp_path, {}) is None


def listing(*names: str, size_bytes: int = 10) -> Listing:
    return Listing("org/small", COMMIT, {name: HubFile(size_bytes, "b" * 40) for name in names})


def test_what_is_remembered_of_a_repository(tmp_path: Path) -> None:
    memory = HubMemory("org/small", sample_host(tmp_path))
    assert memory.listing(COMMIT) is None
    assert memory.commit_of("main") is None
    memory.remember(listing("config.json"), {"a": row("BF16", 1)})
    memory.remember_commit(None, COMMIT)
    memory.remember_commit("v1", "d" * 40)
    memory.remember_commit("e" * 40, "e" * 40)
    again = HubMemory("org/small", sample_host(tmp_path))
    assert again.listing(COMMIT) == listing("config.json")
    assert again.tensors(COMMIT) == {"a": row("BF16", 1)}
    assert [again.commit_of(one) for one in (None, "main", "v1", "e" * 40)] == [
        COMMIT,
        COMMIT,
        "d" * 40,
        None,
    ]
    assert HubMemory("org/other", sample_host(tmp_path)).listing(COMMIT) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"repo_id": 1}', b"\xff\xfe"])
def test_a_memory_that_is_damaged_is_none(tmp_path: Path, damage: bytes) -> None:
    memory = HubMemory("org/small", sample_host(tmp_path))
    memory.remember(listing("config.json"))
    memory.remember_commit(None, COMMIT)
    for path in memory.folder.iterdir():
        path.write_bytes(damage)
    assert memory.listing(COMMIT) is None
    assert memory.commit_of(None) is None
    memory.remember_commit(None, COMMIT)
    assert memory.commit_of(None) == COMMIT


@pytest.mark.parametrize(
    ("revision", "whole"), [(COMMIT, True), ("main", False), ("c" * 39, False), (None, False)]
)
def test_what_a_whole_commit_is(revision: str | None, whole: bool) -> None:
    assert is_commit(revision) is whole


def test_a_disk_that_is_too_small_is_told_before_the_download(tmp_path: Path) -> None:
    with pytest.raises(ModelNotResolved, match=r"takes 1000000000\.00 GB more, and .* GB free") as caught:
        _check_space(listing("a", size_bytes=10**18), ["a"], sample_host(tmp_path))
    assert caught.value.error_code == "model.no-space"
    _check_space(listing("a", size_bytes=1000), ["a"], sample_host(tmp_path))


def test_files_that_an_index_names_must_be_in_the_repository(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}})
    )
    whole = listing("config.json", "a.safetensors", "b.safetensors", "model.safetensors.index.json")
    assert wanted_files(whole, tmp_path) == [
        "config.json",
        "model.safetensors.index.json",
        "a.safetensors",
        "b.safetensors",
    ]
    with pytest.raises(ModelNotResolved, match=r"the repository lacks: b\.safetensors"):
        wanted_files(listing("a.safetensors", "model.safetensors.index.json"), tmp_path)


OWN = {"auto_map": {"AutoConfig": "configuration_x.XConfig"}, "model_type": "x_one"}


@pytest.mark.parametrize(
    ("lists", "needed"),
    [
        ({"transformers/models/auto/configuration_auto.py": '("llama", "LlamaConfig"),'}, True),
        ({"transformers/models/auto/configuration_auto.py": '("x_one", "XConfig"),'}, False),
        ({"transformers/models/auto/auto_mappings.py": "'x_one': 'XConfig',"}, False),
        (
            {
                "transformers/models/auto/configuration_auto.py": "",
                "vllm/transformers_utils/config.py": 'd = LazyConfigDict(\n    x_one="XConfig",\n)',
            },
            False,
        ),
        (
            {
                "transformers/models/auto/configuration_auto.py": "",
                "vllm/transformers_utils/config.py": 'd = LazyConfigDict(\n    x_one_more="XConfig",\n)',
            },
            True,
        ),
        ({"vllm/transformers_utils/config.py": ""}, False),
        ({}, False),
    ],
)
def test_whether_code_of_the_model_s_own_is_needed(
    tmp_path: Path, lists: dict[str, str], needed: bool
) -> None:
    for name, text in lists.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert remote_code(OWN, [tmp_path]) == ("configuration_x.XConfig" if needed else None)
    assert remote_code({"model_type": "x_one"}, [tmp_path]) is None
