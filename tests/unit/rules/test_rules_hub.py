"""Rules about the hub, and about what a model's own files say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neuronctl.model.checkpoint import Checkpoint
from neuronctl.model.companions import Companion
from neuronctl.plan.plan import Plan
from neuronctl.result import Finding
from tests.plan_sample import found, neuron_plan, sample_model, sample_plan

OLD, NEW = "a" * 40, "b" * 40
STORED = Checkpoint(tensors=2, numbers={"BF16": 10}, size_bytes=20, stores_output=True)
NOT_STORED = Checkpoint(tensors=1, numbers={"BF16": 5}, size_bytes=10, stores_output=False)


def only(plan: Plan, rule: str, severity: str) -> Finding:
    """The one finding of a rule."""
    (finding,) = found(plan, rule)
    assert finding.severity == severity
    assert finding.source
    return finding


def test_model_branch_moved(tmp_path: Path) -> None:
    model = sample_model(commit=OLD, moved=NEW)
    finding = only(sample_plan(tmp_path, model=model), "model.branch-moved", "warning")
    assert finding.message == f"main of org/small was {OLD}, which is used, and is {NEW} in the hub's cache"
    assert "--pin" in str(finding.fix)
    assert "neuronctl models download org/small" in str(finding.fix)
    named = sample_plan(
        tmp_path,
        "model: {id: org/small, revision: v1}",
        model=sample_model(commit=OLD, moved=NEW, revision="v1"),
    )
    assert only(named, "model.branch-moved", "warning").message.startswith("v1 of org/small was")
    assert found(sample_plan(tmp_path, model=sample_model(commit=OLD)), "model.branch-moved") == []


def test_a_commit_that_is_replaced_is_told_in_words_of_its_own(tmp_path: Path) -> None:
    finding = only(
        sample_plan(tmp_path, model=sample_model(commit=NEW, replaces=OLD)), "model.branch-moved", "warning"
    )
    assert finding.message == f"main of org/small was {OLD}, which is not whole here, so {NEW} is used"


def test_drafts_and_adapters_move_too(tmp_path: Path) -> None:
    draft = Companion("features.speculative.model", "org/draft", Path("/hub/d"), OLD, moved=NEW)
    adapter = Companion("features.lora.adapters.sql", "org/sql", Path("/hub/s"), NEW, replaces=OLD)
    still = Companion("features.lora.adapters.x", "org/x", Path("/hub/x"), OLD)
    plan = neuron_plan(tmp_path, companions=(draft, adapter, still))
    first, second = found(plan, "model.branch-moved")
    assert first.message == f"main of org/draft was {OLD}, which is used, and is {NEW} in the hub's cache"
    assert first.fix == "neuronctl models download org/draft takes what the hub has now"
    assert second.message.startswith(f"main of org/sql was {OLD}, which is not whole here")
    assert second.place is not None
    assert second.place.key == "features.lora.adapters.sql"


def test_model_tied_embeddings(tmp_path: Path) -> None:
    folder = Path("/hub/snapshots/a")
    tied = sample_model({"tie_word_embeddings": True}, commit=OLD, path=folder)
    finding = only(neuron_plan(tmp_path, model=tied), "model.tied-embeddings", "info")
    assert "it is served from the folder /hub/snapshots/a" in finding.message
    away = sample_model({"tie_word_embeddings": True}, commit=OLD, path=folder, here=False)
    finding = only(neuron_plan(tmp_path, model=away), "model.tied-embeddings", "info")
    assert "it is downloaded to and served from the folder /hub/snapshots/a" in finding.message
    by_tensors = sample_model({"model_type": "unheard-of"}, commit=OLD, checkpoint=NOT_STORED)
    only(neuron_plan(tmp_path, model=by_tensors), "model.tied-embeddings", "info")
    for other in (
        sample_model({"tie_word_embeddings": False}, commit=OLD),
        sample_model(commit=OLD),
        sample_model({"tie_word_embeddings": True}, source="folder"),
    ):
        assert found(neuron_plan(tmp_path, model=other), "model.tied-embeddings") == []


def test_model_output_embedding(tmp_path: Path) -> None:
    lost = sample_model({"tie_word_embeddings": False}, checkpoint=NOT_STORED)
    finding = only(sample_plan(tmp_path, model=lost), "model.output-embedding", "warning")
    assert "its weights hold no output embedding" in finding.message
    by_default = sample_model(checkpoint=NOT_STORED)  # config.json of a llama that does not say it
    only(sample_plan(tmp_path, model=by_default), "model.output-embedding", "warning")
    for other in (
        sample_model({"tie_word_embeddings": True}, checkpoint=NOT_STORED),
        sample_model({"tie_word_embeddings": False}, checkpoint=STORED),
        sample_model({"tie_word_embeddings": False}),
    ):
        assert found(sample_plan(tmp_path, model=other), "model.output-embedding") == []


def test_model_remote_code(tmp_path: Path) -> None:
    model = sample_model(remote_code="configuration_x.XConfig")
    finding = only(sample_plan(tmp_path, model=model), "model.remote-code", "error")
    assert "configuration_x.XConfig" in finding.message
    assert "model.trust_remote_code: true" in str(finding.fix)
    allowed = "model: {id: org/small, trust_remote_code: true}"
    assert found(sample_plan(tmp_path, allowed, model=model), "model.remote-code") == []
    assert found(sample_plan(tmp_path), "model.remote-code") == []
    only(sample_plan(tmp_path, model=model, force=True), "model.remote-code", "warning")


def test_model_no_chat_template(tmp_path: Path) -> None:
    base = sample_model(has_chat_template=False)
    finding = only(sample_plan(tmp_path, model=base), "model.no-chat-template", "info")
    assert "/v1/chat/completions" in finding.message
    for other in (sample_model(has_chat_template=True), sample_model()):
        assert found(sample_plan(tmp_path, model=other), "model.no-chat-template") == []
    said = "engine: {chat_template: ./chat.jinja}"
    assert found(sample_plan(tmp_path, said, model=base), "model.no-chat-template") == []


AWAY = Companion("features.lora.adapters.a", "org/a", None, None)
LOST = Companion("features.lora.adapters.b", "./b", None, None)
HERE = Companion("features.lora.adapters.c", "org/c", Path("/hub/c"), OLD)


@pytest.mark.parametrize("make_plan", [sample_plan, neuron_plan])
def test_model_companion_folder(tmp_path: Path, make_plan: Callable[..., Plan]) -> None:
    plan = make_plan(tmp_path, companions=(AWAY, LOST, HERE))
    finding = only(plan, "model.companion-folder", "warning")
    assert finding.message == "there is no folder ./b"
    assert finding.place is not None
    assert finding.place.key == "features.lora.adapters.b"


@pytest.mark.parametrize("make_plan", [sample_plan, neuron_plan])
def test_model_companion_not_here(tmp_path: Path, make_plan: Callable[..., Plan]) -> None:
    plan = make_plan(tmp_path, companions=(AWAY, LOST, HERE))
    finding = only(plan, "model.companion-not-here", "info")
    assert "compile and serve fetch it" in finding.message
    assert finding.fix == "neuronctl models download org/a"


def test_model_not_remembered(tmp_path: Path) -> None:
    model = sample_model(unremembered="/home/hub: Read-only file system")
    finding = only(sample_plan(tmp_path, model=model), "model.not-remembered", "warning")
    assert "Read-only" in finding.message
    assert found(sample_plan(tmp_path, model=sample_model()), "model.not-remembered") == []
