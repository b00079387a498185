"""Verification finds what is missing, too much or changed, and writes nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from neuronctl.artifacts.artifact import Artifact
from neuronctl.artifacts.build import build_once
from neuronctl.artifacts.store import Store
from neuronctl.artifacts.verify import Problem, verify_full, verify_quick

FILES = {"a.py": b"print(1)\n", "d/weights": bytes(1000), "d/tool": b"#!/bin/sh\n"}


@pytest.fixture
def artifact(store: Store, making: Callable[..., object]) -> Artifact:
    return build_once(store, "k", making(FILES)).artifact  # type: ignore[arg-type]


def found(problems: list[Problem]) -> set[tuple[str, str]]:
    return {(problem.path, problem.kind) for problem in problems}


def write(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


@pytest.mark.parametrize("verify", [verify_quick, verify_full])
def test_what_both_find(artifact: Artifact, verify: Callable[[Artifact], list[Problem]]) -> None:
    (artifact.tree / "a.py").unlink()
    write(artifact.tree / "d/weights", bytes(999))
    (artifact.tree / "d/new").write_bytes(b"")
    (artifact.tree / "d/tool").unlink()
    (artifact.tree / "d/tool").symlink_to("/bin/sh")
    assert found(verify(artifact)) == {
        ("tree/a.py", "missing"),
        ("tree/d/weights", "size"),
        ("tree/d/new", "extra"),
        ("tree/d/tool", "content"),
    }


@pytest.mark.parametrize("verify", [verify_quick, verify_full])
def test_no_tree_at_all(artifact: Artifact, verify: Callable[[Artifact], list[Problem]]) -> None:
    shutil.rmtree(artifact.tree)
    assert found(verify(artifact)) == {(f"tree/{name}", "missing") for name in FILES}


def test_a_copied_store_is_fine(artifact: Artifact, store: Store, tmp_path: Path) -> None:
    for copy, name in ((shutil.copy, "times differ"), (shutil.copy2, "times are kept")):
        shutil.copytree(store.root, tmp_path / name, copy_function=copy)
        there = Store(tmp_path / name, store.host).find("k")
        assert there is not None
        assert verify_quick(there) == [] == verify_full(there)


def test_empty_folders_do_not_matter(artifact: Artifact) -> None:
    (artifact.tree / "empty" / "er").mkdir(parents=True)
    assert verify_full(artifact) == []


def test_changed_content_of_the_same_size(artifact: Artifact) -> None:
    facts = (artifact.tree / "a.py").stat()
    write(artifact.tree / "a.py", b"print(2)\n")
    os.utime(artifact.tree / "a.py", ns=(0, facts.st_mtime_ns + 1))
    assert found(verify_quick(artifact)) == {("tree/a.py", "content")}
    os.utime(artifact.tree / "a.py", ns=(0, facts.st_mtime_ns))
    assert verify_quick(artifact) == []
    assert found(verify_full(artifact)) == {("tree/a.py", "content")}


def test_large_files_are_hashed_too(store: Store, making: Callable[..., object]) -> None:
    files = {"large": bytes(65 << 20), "medium": bytes(3 << 20), "small": b"x"}
    artifact = build_once(store, "k", making(files)).artifact  # type: ignore[arg-type]
    assert verify_full(artifact) == []
    for name in ("large", "medium"):
        (artifact.tree / name).chmod(0o600)
        with (artifact.tree / name).open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\1")
    assert found(verify_full(artifact)) == {("tree/large", "content"), ("tree/medium", "content")}


def test_a_folder_in_place_of_a_file(artifact: Artifact) -> None:
    (artifact.tree / "a.py").unlink()
    (artifact.tree / "a.py").mkdir()
    assert found(verify_quick(artifact)) == {("tree/a.py", "missing")}
