"""Models, drafts and adapters from the hub, compiled and served on Neuron from local folders."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.repository import Repository
from tests.hub.server import Hub
from tests.process.hub_terminal import cache_of, connect
from tests.process.neuron_machine import ENGINE, NeuronTerminal
from tests.sdk.models import make_model

TIED = {"tie_word_embeddings": True, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
ADAPTER = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub with a tied model, an ordinary one, a draft for it and an adapter."""
    tied = Repository.from_folder("org/tied", make_model(tmp_path / "m" / "tied", **TIED))
    base = Repository.from_folder("org/base", make_model(tmp_path / "m" / "base"))
    draft = Repository.from_folder("org/draft", make_model(tmp_path / "m" / "draft", num_hidden_layers=1))
    files = {"adapter_config.json": json.dumps(ADAPTER), "adapter_model.safetensors": b"an adapter"}
    adapter = Repository("org/sql", {**files, "README.md": "no need", "optimizer.pt": b"no need"})
    with Hub(tied, base, draft, adapter, tokens={"hf_of_a_reader": "reader"}) as one:
        yield one


@pytest.fixture
def online(instance: NeuronTerminal, hub: Hub) -> NeuronTerminal:
    """An instance that reaches the hub."""
    connect(instance, hub)
    return instance


def write(terminal: NeuronTerminal, repo_id: str, text: str = "") -> None:
    (terminal.cwd / "p.yaml").write_text(
        f"model: {{id: {repo_id}}}\nbackend: nxdi\n{ENGINE}\nserver: {{port: {terminal.port}}}\n{text}\n"
    )


def serve(terminal: NeuronTerminal) -> bool:
    """Serve, ask it to stop, and say whether it was a hit."""
    running = terminal.start("serve", "p.yaml", "--json").until_told("ready after")
    running.signal(signal.SIGINT)
    return bool(running.end().expect(130).envelope["data"]["hit"])


def test_tied_embeddings_are_downloaded_and_served_from_the_folder(online: NeuronTerminal, hub: Hub) -> None:
    """The way that ends with "Cannot copy out of meta tensor; no data!" is never taken."""
    write(online, "org/tied", "neuron: {save_sharded_checkpoint: false}")
    said = online.run("plan", "p.yaml", "--json").expect(0).envelope
    (finding,) = [one for one in said["findings"] if one["id"] == "model.tied-embeddings"]
    folder = said["data"]["model"]["path"]
    assert folder.startswith(str(cache_of(online, "org/tied") / "snapshots"))
    assert f"downloaded to and served from the folder {folder}" in finding["message"]
    assert "Cannot copy out of meta tensor" in finding["message"]
    assert not (Path(folder) / "model.safetensors").exists()
    assert serve(online) is False
    with hub.down():
        assert serve(online) is True
    assert f"model={folder}" in online.served()
    assert not (online.cwd / "local-models").exists()
    assert "meta tensor" not in "".join(log.read_text() for log in online.logs())


def test_a_draft_and_an_adapter_come_from_the_hub_too(online: NeuronTerminal, hub: Hub) -> None:
    write(online, "org/base", "features: {speculative: {method: eagle, model: org/draft, tokens: 3}}")
    assert serve(online) is False
    assert (cache_of(online, "org/draft") / "refs" / "main").is_file()
    with hub.down():
        assert serve(online) is True
    write(online, "org/base", "features: {lora: {adapters: {sql: org/sql}, max_rank: 8}}")
    assert serve(online) is False
    (snapshot,) = (cache_of(online, "org/sql") / "snapshots").iterdir()
    assert {path.name for path in snapshot.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    with hub.down():
        assert serve(online) is True


def test_an_adapter_that_cannot_be_had_is_named_by_its_key(online: NeuronTerminal, hub: Hub) -> None:
    write(online, "org/base", "features: {lora: {adapters: {sql: org/sqk}, max_rank: 8}}")
    said = online.run("compile", "p.yaml").expect(
        41, "the hub knows no model org/sqk", "did you mean org/sql?"
    )
    assert "features.lora.adapters.sql" in said.err
    assert online.artifacts() == []


def test_a_draft_that_moves_is_told_and_is_no_new_draft(online: NeuronTerminal, hub: Hub) -> None:
    write(online, "org/base", "features: {speculative: {method: eagle, model: org/draft, tokens: 3}}")
    online.run("compile", "p.yaml").expect(0)
    folder = cache_of(online, "org/draft")
    first, second = (folder / "refs" / "main").read_text(), "b" * 40
    # Another tool brings the news.
    shutil.copytree(folder / "snapshots" / first, folder / "snapshots" / second, symlinks=True)
    (folder / "refs" / "main").write_text(second)
    said = online.run("plan", "p.yaml", "--json").expect(0).envelope
    (finding,) = [one for one in said["findings"] if one["id"] == "model.branch-moved"]
    assert finding["message"].startswith(f"main of org/draft was {first}, which is used, and is {second}")
    online.run("compile", "p.yaml").expect(0, "hit, nothing to compile")
