"""What neuronctl remembers of a repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.model.hub_memory import HubMemory
from neuronctl.model.listing import HubFile, Listing, TensorRow, is_commit
from tests.plan_sample import sample_host

COMMIT = "c" * 40


def listing(*names: str, size_bytes: int = 10) -> Listing:
    return Listing("org/small", COMMIT, {name: HubFile(size_bytes, "b" * 40) for name in names})


def test_what_is_remembered_of_a_repository(tmp_path: Path) -> None:
    memory = HubMemory("org/small", sample_host(tmp_path))
    assert memory.listing(COMMIT) is None
    assert memory.commit_of("main") is None
    memory.remember(listing("config.json"), {"a": TensorRow("BF16", (1,), "model.safetensors")})
    memory.remember_commit(None, COMMIT)
    memory.remember_commit("v1", "d" * 40)
    memory.remember_commit("e" * 40, "e" * 40)
    again = HubMemory("org/small", sample_host(tmp_path))
    assert again.listing(COMMIT) == listing("config.json")
    assert again.tensors(COMMIT) == {"a": TensorRow("BF16", (1,), "model.safetensors")}
    assert [again.commit_of(one) for one in (None, "main", "v1", "e" * 40)] == [
        COMMIT,
        COMMIT,
        "d" * 40,
        None,
    ]
    assert HubMemory("org/other", sample_host(tmp_path)).listing(COMMIT) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"repo_id": 1}', b"\xff\xfe", b'"../elsewhere"'])
def test_a_memory_that_is_damaged_is_none(tmp_path: Path, damage: bytes) -> None:
    memory = HubMemory("org/small", sample_host(tmp_path))
    memory.remember(listing("config.json"))
    memory.remember_commit(None, COMMIT)
    for path in memory.folder.rglob("*.json"):
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


def test_two_processes_that_remember_branches_do_not_forget_each_other_s(tmp_path: Path) -> None:
    """Both have read what is there before either writes."""
    one, other = (HubMemory("org/small", sample_host(tmp_path)) for _ in range(2))
    read = one._read

    def read_and_be_overtaken(name: str, kind: type) -> object:
        found = read(name, kind)
        other.remember_commit("refs/pr/1", "d" * 40)
        return found

    one._read = read_and_be_overtaken  # type: ignore[method-assign, assignment]
    one.remember_commit("main", COMMIT)
    again = HubMemory("org/small", sample_host(tmp_path))
    assert (again.commit_of("main"), again.commit_of("refs/pr/1")) == (COMMIT, "d" * 40)


def test_a_revision_does_not_lead_out_of_the_memory(tmp_path: Path) -> None:
    memory = HubMemory("org/small", sample_host(tmp_path))
    for revision in ("../../x", "..", "a/../../../x"):
        memory.remember_commit(revision, COMMIT)
        assert memory.commit_of(revision) == COMMIT
    assert {path.parent for path in tmp_path.rglob("*.json")} == {memory.folder / "refs"}


def test_what_cannot_be_written_is_remembered_in_this_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    host = sample_host(tmp_path, {"NEURONCTL_HOME": str(tmp_path / "file")})
    memory = HubMemory("org/small", host)
    assert memory.trouble is None
    memory.remember(listing("config.json"))
    memory.remember_commit("v1", COMMIT)
    again = HubMemory("org/small", host)
    assert again.listing(COMMIT) == listing("config.json")
    assert again.commit_of("v1") == COMMIT
    assert "Not a directory" in str(again.trouble)
    assert HubMemory("org/other", host).trouble is None
