"""Which commit of a hub model is used, of those that the cache, our memory and a branch name."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host
from neuronctl.model.hub_memory import HubMemory
from neuronctl.model.hub_model import Pinned, find_commit, find_hub_model, find_snapshot, refresh
from neuronctl.profile.schema import ModelSection
from tests.plan_sample import sample_host
from tests.unit.model.test_model_resolve import write_model

OLD, NEW = "a" * 40, "b" * 40
SMALL = ModelSection(id="org/small")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A Host whose hub's cache is in `tmp_path`, and which may not ask the hub."""
    return sample_host(tmp_path, {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"})


def put(host: Host, commit: str, *files: str) -> Path:
    """A snapshot of org/small."""
    return write_model(host.cwd / "hub" / "models--org--small" / "snapshots" / commit, *files)


def point(host: Host, commit: str, branch: str = "main") -> Path:
    """Let a branch be a commit, in the cache."""
    ref = host.cwd / "hub" / "models--org--small" / "refs" / branch
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(commit)
    return ref


WHOLE, FACTS = ("model.safetensors",), ()


@pytest.mark.parametrize(
    ("used", "branch", "here", "found"),
    [
        (None, None, {}, Pinned(None)),
        (None, NEW, {NEW: WHOLE}, Pinned(NEW)),
        (None, NEW, {}, Pinned(None)),
        (OLD, None, {OLD: WHOLE}, Pinned(OLD, OLD)),
        (OLD, OLD, {OLD: WHOLE}, Pinned(OLD, OLD)),
        (OLD, OLD, {}, Pinned(None, OLD)),
        (OLD, NEW, {OLD: WHOLE, NEW: WHOLE}, Pinned(OLD, OLD, moved=NEW)),
        (OLD, NEW, {OLD: WHOLE, NEW: FACTS}, Pinned(OLD, OLD, moved=NEW)),
        (OLD, NEW, {OLD: WHOLE}, Pinned(OLD, OLD, moved=NEW)),
        (OLD, NEW, {OLD: FACTS, NEW: FACTS}, Pinned(OLD, OLD, moved=NEW)),
        (OLD, NEW, {OLD: FACTS, NEW: WHOLE}, Pinned(NEW, OLD)),
        (OLD, NEW, {NEW: WHOLE}, Pinned(NEW, OLD)),
        (OLD, NEW, {NEW: FACTS}, Pinned(NEW, OLD)),
        (OLD, "not a commit", {OLD: WHOLE}, Pinned(OLD, OLD)),
        ("../../x", NEW, {NEW: WHOLE}, Pinned(NEW)),
    ],
)
def test_the_commit_that_is_used(
    host: Host, used: str | None, branch: str | None, here: dict[str, tuple[str, ...]], found: Pinned
) -> None:
    if used is not None:
        HubMemory("org/small", host).remember_commit(None, used)
    if branch is not None:
        point(host, branch)
    for commit, files in here.items():
        put(host, commit, *files)
    assert find_commit("org/small", None, host) == found
    if found.commit is not None:
        model = find_hub_model(SMALL, host)
        assert (model.commit, model.moved) == (found.commit, found.moved)
        assert model.replaces == (OLD if found.used == OLD and found.commit == NEW else None)


def test_a_commit_is_what_it_is(host: Host) -> None:
    HubMemory("org/small", host).remember_commit(None, OLD)
    point(host, OLD)
    put(host, OLD, *WHOLE)
    put(host, NEW, *WHOLE)
    assert find_commit("org/small", NEW, host) == Pinned(NEW)
    assert find_commit("org/small", "c" * 40, host) == Pinned(None)


def test_what_a_snapshot_must_have(host: Host) -> None:
    point(host, NEW)
    (put(host, NEW) / "config.json").unlink()
    assert find_commit("org/small", None, host) == Pinned(None)
    assert find_commit("org/small", None, host, None) == Pinned(NEW)
    assert find_snapshot("org/small", None, host, "adapter_config.json") is None
    (host.cwd / "hub" / "models--org--small" / "snapshots" / NEW / "adapter_config.json").write_text("{}")
    assert find_commit("org/small", None, host, "adapter_config.json") == Pinned(NEW)


@pytest.mark.parametrize("repo_id", ["a" * 60 + "!", "DeepHermesResearch/" + "a" * 60 + "?", "a-" * 60])
def test_an_impossible_id_is_told_at_once(host: Host, repo_id: str) -> None:
    began = time.monotonic()
    with pytest.raises(ModelNotResolved) as caught:
        find_commit(repo_id, None, host)
    assert caught.value.error_code == "model.bad-id"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "repo_id", ["DeepHermesResearch/DeepHermes__Llama", "gpt2", "a.b/c_d-e.f", "a_/b__c"]
)
def test_a_possible_id_is_none_that_is_refused(host: Host, repo_id: str) -> None:
    assert find_commit(repo_id, None, host) == Pinned(None)


def test_offline_it_is_said_what_is_not_here(host: Host) -> None:
    with pytest.raises(
        ModelNotResolved, match=r"org/small is not in the hub's cache .* forbids to ask the hub"
    ):
        find_hub_model(SMALL, host)
    said = r"^HF_HUB_OFFLINE=1 forbids to ask the hub for org/small; nothing of it is here$"
    with pytest.raises(ModelNotResolved, match=said):
        refresh("org/small", None, host, tell=print)
