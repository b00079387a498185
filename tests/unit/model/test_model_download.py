"""What is downloaded, and what a disk must have for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neuronctl.errors import ModelNotResolved
from neuronctl.model.download import _check_space, wanted_files
from neuronctl.model.listing import HubFile, Listing
from tests.plan_sample import sample_host

COMMIT = "c" * 40


def listing(*names: str, size_bytes: int = 10) -> Listing:
    return Listing("org/small", COMMIT, {name: HubFile(size_bytes, "b" * 40) for name in names})


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
