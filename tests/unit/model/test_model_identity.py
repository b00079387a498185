"""The identity of a folder's weights: the same for the same bytes, another for one that differs."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from neuronctl.errors import ModelNotResolved
from neuronctl.model.identity import identify_weights
from tests.plan_sample import sample_host


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model-1.safetensors").write_bytes(b"a" * 1000)
    (folder / "model-2.safetensors").write_bytes(b"b" * 1000)
    (folder / "README.md").write_text("read me")
    return folder


def test_the_folder_and_what_is_no_weight_do_not_matter(folder: Path, tmp_path: Path) -> None:
    host = sample_host(tmp_path)
    first = identify_weights(folder, host)
    (folder / "README.md").write_text("other words")
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(folder, copy)
    assert identify_weights(copy, host) == first == identify_weights(folder, host)


@pytest.mark.parametrize("remembered", [True, False])
def test_one_byte_of_a_weight_matters(folder: Path, tmp_path: Path, remembered: bool) -> None:
    host = sample_host(tmp_path)
    first = identify_weights(folder, host)
    if not remembered:
        shutil.rmtree(host.neuronctl_home)
    (folder / "model-2.safetensors").write_bytes(b"b" * 999 + b"c")
    assert identify_weights(folder, host) != first


def test_names_matter(folder: Path, tmp_path: Path) -> None:
    host = sample_host(tmp_path)
    first = identify_weights(folder, host)
    (folder / "model-1.safetensors").rename(folder / "model-0.safetensors")
    assert identify_weights(folder, host) != first


def test_what_is_remembered_is_used_and_what_is_damaged_is_not(folder: Path, tmp_path: Path) -> None:
    host = sample_host(tmp_path)
    first = identify_weights(folder, host)
    (memory,) = (host.neuronctl_home / "identity").iterdir()
    known = json.loads(memory.read_text())
    assert sorted(known) == ["config.json", "model-1.safetensors", "model-2.safetensors"]
    content = memory.read_text()
    memory.write_text(content.replace(known["model-1.safetensors"][0], "0" * 64))
    assert identify_weights(folder, host) != first
    for damaged in ("", "[]", '{"model-1.safetensors": 3}', content[:50]):
        memory.write_text(damaged)
        assert identify_weights(folder, host) == first


def in_place(file: Path, content: bytes) -> None:
    with file.open("r+b") as weights:
        weights.write(content)


def in_a_new_file(file: Path, content: bytes) -> None:
    file.unlink()
    file.write_bytes(content)


def in_another_file(file: Path, content: bytes) -> None:
    aside = file.with_name("aside")
    aside.write_bytes(content)
    aside.replace(file)


@pytest.mark.parametrize("change", [in_place, in_a_new_file, in_another_file])
def test_other_weights_of_the_same_size_and_time_are_noticed(
    folder: Path, tmp_path: Path, change: Callable[[Path, bytes], None]
) -> None:
    """As two fine-tunes of one model that were unpacked from archives; here one byte is all that differs."""
    host = sample_host(tmp_path)
    first = identify_weights(folder, host)
    file = folder / "model-1.safetensors"
    facts = file.stat()
    change(file, b"a" * 500 + b"z" + b"a" * 499)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    assert identify_weights(folder, host) != first
    change(file, b"a" * 1000)
    assert identify_weights(folder, host) == first


def test_a_change_after_the_reading_gets_a_later_time(folder: Path, tmp_path: Path) -> None:
    """Where the clock of a file system ticks every 10 ms: two changes in one tick look the same."""
    identify_weights(folder, sample_host(tmp_path))
    changed_ns = max(file.stat().st_ctime_ns for file in folder.iterdir())
    assert time.time_ns() - changed_ns > 10_000_000


def test_a_renamed_folder_is_read_once_more_and_is_the_same(folder: Path, tmp_path: Path) -> None:
    host = sample_host(tmp_path)
    read: list[int] = []
    first = identify_weights(folder, host, on_read=read.append)
    renamed = folder.rename(tmp_path / "renamed")
    for _ in range(2):
        assert identify_weights(renamed, host, on_read=read.append) == first
    assert read == [2002, 2002]


def test_what_trainers_leave_does_not_matter(folder: Path, tmp_path: Path) -> None:
    host = sample_host(tmp_path)
    first = identify_weights(folder, host)
    (folder / "training_args.bin").write_bytes(b"x")
    (folder / "optimizer.pt").write_bytes(b"x")
    assert identify_weights(folder, host) == first


def test_a_link_is_what_it_leads_to(folder: Path, tmp_path: Path) -> None:
    host = sample_host(tmp_path)
    first = identify_weights(folder, host)
    blob = tmp_path / "blob"
    (folder / "model-1.safetensors").rename(blob)
    (folder / "model-1.safetensors").symlink_to(blob)
    assert identify_weights(folder, host) == first


def test_where_nothing_can_be_remembered(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    host = sample_host(tmp_path, {"NEURONCTL_HOME": str(tmp_path / "file")})
    assert identify_weights(folder, host) == identify_weights(folder, sample_host(tmp_path))


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ModelNotResolved, match="cannot read the weights"):
        identify_weights(tmp_path / "nowhere", sample_host(tmp_path))
