"""What is remembered of models of the hub: commits of branches, tensors; and what is asked again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.repository import Repository
from tests.hub.sample import make_model_files, make_safetensors
from tests.hub.server import Hub
from tests.process.hub_terminal import ID, cache_of, connect, small, write_profile
from tests.process.terminal import Terminal

OFFLINE = {"HF_HUB_OFFLINE": "1"}


@pytest.fixture
def hub() -> Iterator[Hub]:
    """An empty hub."""
    with Hub() as one:
        yield one


@pytest.fixture
def online(terminal: Terminal, hub: Hub) -> Terminal:
    """A terminal that reaches the hub, with a profile of a model on it."""
    connect(terminal, hub)
    write_profile(terminal)
    return terminal


def adapter(repo_id: str = "org/sql") -> Repository:
    """An adapter on the hub."""
    config = json.dumps({"peft_type": "LORA", "r": 8})
    return Repository(repo_id, {"adapter_config.json": config, "adapter_model.safetensors": b"an adapter"})


def put_snapshot(terminal: Terminal, commit: str, files: dict[str, bytes], repo_id: str = ID) -> None:
    """A commit in the hub's cache, and its branch, as another tool leaves it."""
    folder = cache_of(terminal, repo_id)
    (folder / "snapshots" / commit).mkdir(parents=True)
    for name, content in files.items():
        (folder / "snapshots" / commit / name).write_bytes(content)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)


def about_branches(terminal: Terminal) -> list[str]:
    """What a plan says of branches that moved."""
    said = terminal.run("plan", "p.yaml", "--json").expect(0).envelope
    return [one["message"] for one in said["findings"] if one["id"] == "model.branch-moved"]


# Listing


def test_a_list_of_what_is_here_asks_nobody(online: Terminal, hub: Hub) -> None:
    hub.add(small())
    hub.add(adapter())
    lone = Repository("org/gguf", {"model.gguf": b"GGUF"})
    hub.add(lone)
    online.run("models", "download", ID).expect(0)
    online.run("models", "download", "org/sql").expect(0)
    put_snapshot(online, lone.sha, {"model.gguf": b"GGUF"}, "org/gguf")
    # A folder of this name is another model.
    (online.cwd / "org" / "small").mkdir(parents=True)
    before = len(hub.requests())
    listed = online.run("models", "list", "--json").expect(0).envelope["data"]["models"]
    assert {(one["id"], one["here"], one["error"]) for one in listed} == {
        (ID, True, None),
        ("org/gguf", False, None),
        ("org/sql", False, None),
    }
    assert len(hub.requests()) == before


def test_the_list_names_who_uses_a_draft_or_an_adapter(online: Terminal, hub: Hub) -> None:
    for one in (small(), small("org/draft"), adapter()):
        hub.add(one)
    profiles = online.cwd / "profiles"
    profiles.mkdir()
    text = "model: {{id: org/small}}\nfeatures: {{{}}}\n"
    (profiles / "fast.yaml").write_text(text.format("speculative: {method: eagle, model: org/draft}"))
    (profiles / "sql.yaml").write_text(text.format("lora: {adapters: {sql: org/sql}}"))
    for name in ("fast", "sql"):
        online.run("models", "download", "--profile", name).expect(0)
    listed = online.run("models", "list", "--json").expect(0).envelope["data"]["models"]
    assert {one["id"]: one["used_by"] for one in listed} == {
        ID: ["fast", "sql"],
        "org/draft": ["fast"],
        "org/sql": ["sql"],
    }


# Showing


def test_what_is_known_is_not_asked_again_to_be_shown(online: Terminal, hub: Hub) -> None:
    hub.add(small(weight_bytes=4_000_000, shards=20))
    online.run("models", "show", ID).expect(0)
    asked = len(hub.requests())
    assert len(hub.requests("*.safetensors", host="cdn")) == 20, "each header once"
    said = online.run("models", "show", ID, "--json", "--tensors").expect(0).envelope["data"]
    assert len(said["tensors"]) == 20
    assert len(hub.requests()) == asked


def test_the_tensors_tell_of_a_model_that_another_tool_brought(online: Terminal, hub: Hub) -> None:
    """config.json says two embeddings, and the weights have one."""
    files = make_model_files()
    files["model.safetensors"] = make_safetensors({"model.embed_tokens.weight": ("BF16", (256, 64))})
    put_snapshot(online, "a" * 40, files)
    said = online.run("plan", "p.yaml", "--json").expect(0).envelope
    (finding,) = [one for one in said["findings"] if one["id"] == "model.output-embedding"]
    assert "its weights hold no output embedding" in finding["message"]
    assert hub.requests() == []


# Branches


def test_an_old_commit_does_not_become_the_branch_of_others(online: Terminal, hub: Hub) -> None:
    """What we remember is downloaded after another tool has learnt what the branch is now."""
    repo = hub.add(small())
    first = repo.sha
    online.run("plan", "p.yaml").expect(0, first)
    second = repo.commit(make_model_files(400_000, seed=1))
    ref = cache_of(online) / "refs" / "main"
    ref.parent.mkdir()
    ref.write_text(second)
    online.run("compile", "p.yaml").expect(0)
    assert (cache_of(online) / "snapshots" / first / "model.safetensors").exists()
    assert ref.read_text() == second
    online.run("models", "download", ID).expect(0, second)
    assert ref.read_text() == second


def test_a_commit_that_is_gone_is_replaced_and_told(online: Terminal, hub: Hub) -> None:
    """What was looked up was never downloaded, or was deleted; another tool has brought another."""
    repo = hub.add(small())
    first = repo.sha
    online.run("plan", "p.yaml").expect(0, first)
    files = make_model_files(400_000, seed=1)
    second = repo.commit(files)
    put_snapshot(online, second, files)
    assert about_branches(online) == [
        f"main of org/small was {first}, which is not whole here, so {second} is used"
    ]
    online.run("compile", "p.yaml").expect(0)
    assert about_branches(online) == []


# Offline


def test_always_uses_what_is_here_where_the_hub_may_not_be_asked(online: Terminal, hub: Hub) -> None:
    hub.add(small())
    write_profile(online, download="always")
    online.run("compile", "p.yaml").expect(0)
    said = online.run("compile", "p.yaml", env=OFFLINE).expect(0, "hit, nothing to compile")
    assert "HF_HUB_OFFLINE=1 forbids to look for news of org/small: what is here is used" in said.err
    said = online.run("models", "download", ID, env=OFFLINE).expect(
        41, "forbids to ask the hub for org/small"
    )
    assert "is not in the hub's cache" not in said.err


def test_always_says_what_is_missing_where_the_hub_may_not_be_asked(online: Terminal, hub: Hub) -> None:
    hub.add(small())
    write_profile(online, download="always")
    online.run("plan", "p.yaml").expect(0)
    online.run("compile", "p.yaml", env=OFFLINE).expect(41, "(model.safetensors)", "forbids to download")


def test_an_id_that_takes_long_to_refuse_is_refused_at_once(terminal: Terminal) -> None:
    terminal.run("models", "show", "a" * 60 + "!").expect(41, "nor a possible hub id")


def test_an_adapter_says_what_it_was_before(online: Terminal, hub: Hub) -> None:
    repo = hub.add(adapter())
    first = repo.sha
    online.run("models", "download", "org/sql").expect(0, first)
    second = repo.commit({"adapter_model.safetensors": b"a better adapter"})
    said = online.run("models", "download", "org/sql").expect(0, second)
    assert f"org/sql was {first} here before" in said.err
    assert Path(said.out.split()[-1]).name == second
