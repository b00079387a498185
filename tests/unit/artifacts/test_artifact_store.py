"""The store: finding, listing, quarantine, and why a key was missed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neuronctl.artifacts.artifact import Damaged
from neuronctl.artifacts.build import build_once
from neuronctl.artifacts.difference import ABSENT, Difference, differences
from neuronctl.artifacts.store import Store
from neuronctl.artifacts.verify import verify_full, verify_quick
from neuronctl.errors import ArtifactDamaged, UsageError
from neuronctl.host import Host

Making = Callable[..., Any]


def test_a_store_that_does_not_exist_is_empty_and_stays_so(tmp_path: Path) -> None:
    store = Store.open(Host(environ={"NEURONCTL_HOME": str(tmp_path / "home")}))
    assert store.root == tmp_path / "home" / "store" / "v1"
    assert store.find("k") is None
    assert store.artifacts() == []
    assert store.quarantined() == []
    assert store.nearest({"a": 1}) is None
    assert store.quarantine("k", "why") is None
    assert list(tmp_path.iterdir()) == []


def test_find_refuses_what_is_no_key(store: Store) -> None:
    with pytest.raises(UsageError):
        store.find("../../etc")


def test_listing_goes_on_after_a_broken_manifest(store: Store, making: Making) -> None:
    for key in ("a", "b", "c"):
        build_once(store, key, making({"f": b"1"}))
    (store.layout.artifact("b") / "manifest.json").write_bytes(b"{")
    (store.layout.artifacts / "not.a.key").mkdir()
    found = store.artifacts()
    assert [(one.key, isinstance(one, Damaged)) for one in found] == [
        ("a", False),
        ("b", True),
        ("c", False),
        ("not.a.key", True),
    ]
    with pytest.raises(ArtifactDamaged) as caught:
        store.find("b")
    assert caught.value.place is not None
    assert caught.value.place.file == str(store.layout.artifact("b") / "manifest.json")


def test_quarantine_keeps_all_and_says_why(store: Store, making: Making) -> None:
    artifact = build_once(store, "k", making({"f": b"1", "g": b"2"})).artifact
    path = store.quarantine("k", "It would not load.", seen=artifact)
    assert path is not None and path.parent == store.layout.quarantine
    assert (path / "tree" / "f").read_bytes() == b"1"
    assert store.find("k") is None
    [one] = store.quarantined()
    assert (one.key, one.path, one.reason) == ("k", path, "It would not load.")
    assert path.name == f"k.{one.at}"
    build_once(store, "k", making({"f": b"1"}))
    second = store.quarantine("k", "Again.")
    assert second is not None and second != path
    assert [q.reason for q in store.quarantined()] == ["It would not load.", "Again."]


def test_quarantine_takes_damaged_blobs_along_and_leaves_good_ones(store: Store, making: Making) -> None:
    artifact = build_once(store, "k", making({"bad": b"12345", "good": b"67890"})).artifact
    sharer = build_once(store, "sharer", making({"bad": b"12345"})).artifact
    names = {entry.path: entry.blake3 for entry in artifact.manifest.files}
    before = (artifact.tree / "bad").stat()
    (artifact.tree / "bad").chmod(0o600)
    (artifact.tree / "bad").write_bytes(b"1234x")
    os.utime(artifact.tree / "bad", ns=(0, before.st_mtime_ns))
    assert verify_quick(sharer) == []
    path = store.quarantine("k", "damaged")
    assert path is not None
    assert not store.layout.blob(names["bad"]).exists()
    assert (path / "blobs" / names["bad"]).read_bytes() == b"1234x"
    assert store.layout.blob(names["good"]).exists()
    assert [problem.kind for problem in verify_quick(sharer)] == ["content"]
    assert verify_full(build_once(store, "k", making({"bad": b"12345"})).artifact) == []


def test_quarantine_spares_what_another_process_put_there_since(store: Store, making: Making) -> None:
    seen = build_once(store, "k", making({"f": b"1"})).artifact
    new = build_once(store, "k", making({"f": b"2"}), rebuild=True).artifact
    assert store.quarantine("k", "old news", seen=seen) is None
    assert store.find("k") == new


def test_a_reason_that_cannot_be_read(store: Store) -> None:
    folder = store.layout.quarantine / "k.20250101T000000Z"
    folder.mkdir(parents=True)
    assert [(one.at, one.reason) for one in store.quarantined()] == [("20250101T000000Z", "not recorded")]


def test_nearest_is_the_one_with_the_fewest_differences(store: Store, making: Making) -> None:
    build_once(store, "far", making({"f": b"1"}, {"engine": {"tp": 1, "len": 1}, "lnc": 2}))
    build_once(store, "near", making({"f": b"1"}, {"engine": {"tp": 8, "len": 1}, "flags": ["-O1"]}))
    build_once(store, "broken", making({"f": b"1"}, {"engine": {"tp": 8, "len": 2}, "flags": ("-O1",)}))
    (store.layout.artifact("broken") / "manifest.json").write_bytes(b"")
    nearest = store.nearest({"engine": {"tp": 8, "len": 2}, "flags": ("-O1",)})
    assert nearest is not None
    assert nearest[0].key == "near"
    assert nearest[1] == (Difference("engine.len", 2, 1),)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ({}, {}, ()),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 1}}}, ()),
        ({"a": {"b": 1}}, {"a": {}}, (Difference("a", ABSENT, {}), Difference("a.b", 1, ABSENT))),
        ({"a": None}, {}, (Difference("a", None, ABSENT),)),
        ({"a": True}, {"a": 1}, (Difference("a", True, 1),)),
        ({"a": [1, {"b": 1}]}, {"a": [1, {"b": 1.0}]}, (Difference("a", [1, {"b": 1}], [1, {"b": 1.0}]),)),
        ({"b": 1, "a": 1}, {"b": 2, "a": 2}, (Difference("a", 1, 2), Difference("b", 1, 2))),
    ],
)
def test_differences(ours: Any, theirs: Any, expected: Any) -> None:
    assert differences(ours, theirs) == expected
