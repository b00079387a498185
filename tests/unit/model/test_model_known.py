"""The models that are known without the hub, against the facts they were taken from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from neuronctl.errors import ModelNotResolved
from neuronctl.model import known as known_module
from neuronctl.model.config import model_facts
from neuronctl.model.known import FOLDER, known_ids, known_model
from neuronctl.model.resolve import fetch_model, resolve_model
from neuronctl.profile.schema import ModelSection
from tests.plan_sample import CONFIG, sample_host
from tests.reference import reference

MODELS: dict[str, Any] = reference("models")["models"]
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_HEAD = "0e9e39f249a16976918f6564b8830bc894c89659"
LLAMA_OLDER = "5206a32e0bd3067aef1ce90f5528ade7d866253f"
PIXTRAL = "mistral-community/pixtral-12b"
EAGLE = "yuhuili/EAGLE-LLaMA3.1-Instruct-8B"
WITHOUT_CONFIG = {EAGLE, "mistralai/Pixtral-12B-2409"}


def write_snapshot(cache: Path, model_id: str, commit: str, config: Mapping[str, Any], *files: str) -> Path:
    """A snapshot in a hub's cache, with `files` of a few bytes each."""
    folder = cache / f"models--{model_id.replace('/', '--')}" / "snapshots" / commit
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    for file in files:
        (folder / file).write_bytes((2).to_bytes(8, "little") + b"{}")  # whole, and without tensors
    return folder


def said(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a configuration with its dotted key; what is null or absent is left out."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from said(value, f"{above}{key}.")
        elif value is not None:
            yield above + key, value


def without_remarks(config: Mapping[str, Any]) -> dict[str, Any]:
    """The reference's values without the two that are remarks, not values."""
    return {
        key: value
        for key, value in said(config)
        if key != "extra_keys" and not (key == "layer_types" and isinstance(value, str))
    }


def test_all_models_of_the_reference_and_no_others() -> None:
    assert set(known_ids()) == set(MODELS)
    assert {path.name for path in FOLDER.iterdir()} == {f"{name.replace('/', '--')}.yaml" for name in MODELS}


@pytest.mark.parametrize("model_id", sorted(set(MODELS) - WITHOUT_CONFIG))
def test_the_configuration_is_the_reference_s(model_id: str) -> None:
    known = known_model(model_id, None)
    assert known is not None
    assert known.config is not None
    recorded = dict(said(known.config))
    layer_types = recorded.pop("layer_types", None)
    assert recorded == without_remarks(MODELS[model_id]["config"])
    if model_id == "openai/gpt-oss-20b":
        assert layer_types == ["sliding_attention", "full_attention"] * 12
    else:
        assert layer_types is None


@pytest.mark.parametrize("model_id", sorted(MODELS))
def test_the_numbers_are_the_reference_s(model_id: str) -> None:
    facts, known = MODELS[model_id], known_model(model_id, None)
    assert known is not None
    weights, parameters = facts["weights"], facts["params"]
    assert known.parameters == parameters["total"]
    assert known.tensor_bytes == weights.get("tensor_bytes")
    assert known.lm_head_stored == weights.get("lm_head_stored")
    assert known.weights_basis == weights["confidence"]
    assert known.gated == facts["gated"]["value"]
    words = facts["tie_word_embeddings_is"]
    assert known.tied == {"explicit true": True, "unknown": None}.get(words, False)


@pytest.mark.parametrize("model_id", sorted(MODELS))
def test_every_record_says_where_its_facts_are_from(model_id: str) -> None:
    record = known_module._record(model_id)
    assert record is not None
    for name in ("config_basis", "parameters", "weights", "gated", "licence"):
        assert record[name]["source"], name
    assert record["tied"]["basis"]
    for row in (*record["revisions"], *record.get("revisions_of_unknown_config", ())):
        assert row["source"]
        assert len(row["sha"]) == 40
    assert record["sources"]


@pytest.mark.parametrize("model_id", sorted(MODELS))
def test_revisions(model_id: str) -> None:
    rows = [row for row in MODELS[model_id]["revisions"] if not row["note"].startswith("NOT ")]
    newest = known_model(model_id, None)
    assert newest is not None
    assert newest.commit == (rows[0]["sha"] if rows else None)
    for row in rows:
        at = known_model(model_id, row["sha"])
        if model_id == "meta-llama/Llama-3.1-405B-Instruct" and row is not rows[0]:
            assert (
                at is None
            )  # the files of July 2024 have 16 KV heads, and nobody says which commits are those
        else:
            assert at is not None
            assert at.commit == row["sha"]


def test_a_revision_that_is_not_listed_is_not_known() -> None:
    assert known_model(LLAMA, "main") is None
    assert known_model(LLAMA, "be673f326cab4cd22ccfef76109faf68e41aa5f1") is None  # the 405B's
    # This one is of unsloth's copy, though it is often given for Meta's.
    assert (
        known_model("meta-llama/Llama-3.3-70B-Instruct", "99cd0d2c829e92a67c844f9144c2509632e5c87f") is None
    )


@pytest.mark.parametrize(
    "model_id", ["org/model", "", "../resolve", "meta-llama--Llama-3.1-8B-Instruct", "a/b/c"]
)
def test_other_models_are_not_known(model_id: str) -> None:
    assert known_model(model_id, None) is None


def test_a_renamed_organisation() -> None:
    renamed, recorded = known_model("mistral-experimental/pixtral-12b", None), known_model(PIXTRAL, None)
    assert renamed is not None
    assert recorded is not None
    assert (renamed.id, renamed.commit) == ("mistral-experimental/pixtral-12b", recorded.commit)
    assert renamed.config == recorded.config
    assert any("renamed" in note for note in recorded.notes)


def test_one_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = Path.read_text

    def watched(path: Path, *args: Any, **kwargs: Any) -> str:
        read.append(path.name)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", watched)
    known_module._record.cache_clear()
    assert known_model(LLAMA, None) is not None
    assert known_model(LLAMA, LLAMA_OLDER) is not None
    assert read == ["meta-llama--Llama-3.1-8B-Instruct.yaml"]


def test_a_draft_has_only_its_sibling_s_shape() -> None:
    draft = known_model(EAGLE, None)
    assert draft is not None
    assert (draft.commit, draft.config) == (None, None)
    assert draft.assumed_config is not None
    assert dict(said(draft.assumed_config)) == without_remarks(MODELS[EAGLE]["sibling_config"]["config"])
    facts = model_facts(dict(draft.assumed_config), EAGLE)
    assert (facts.layers, facts.hidden_size, facts.context_length) == (1, 4096, 2048)


@pytest.mark.parametrize("revision", [None, LLAMA_HEAD, LLAMA_OLDER])
def test_a_known_model_is_resolved_without_the_hub(tmp_path: Path, revision: str | None) -> None:
    host = sample_host(tmp_path, {"HF_HUB_CACHE": str(tmp_path / "hub")})
    model = resolve_model(ModelSection(id=LLAMA, revision=revision), host)
    commit = revision or LLAMA_HEAD
    assert (model.id, model.revision, model.commit, model.source) == (LLAMA, revision, commit, "hub")
    assert (model.here, model.may_download) == (False, True)
    repository = tmp_path / "hub" / "models--meta-llama--Llama-3.1-8B-Instruct"
    assert model.path == repository / "snapshots" / commit
    assert model.config_from == f"neuronctl's record of {commit}"
    assert (model.facts.layers, model.facts.kv_heads, model.facts.head_dim) == (32, 8, 128)
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_what_is_in_the_hub_s_cache_counts_for_more(tmp_path: Path) -> None:
    snapshot = write_snapshot(tmp_path / "hub", LLAMA, LLAMA_HEAD, CONFIG, "model.safetensors")
    host = sample_host(tmp_path, {"HF_HUB_CACHE": str(tmp_path / "hub")})
    model = resolve_model(ModelSection(id=LLAMA, revision=LLAMA_HEAD), host)
    assert (model.path, model.here, model.facts.layers) == (snapshot, True, 3)
    assert model.config_from == "config.json"


@pytest.mark.parametrize(
    "section",
    [
        ModelSection(id=LLAMA, revision="main"),
        ModelSection(id=EAGLE),
        ModelSection(id="mistralai/Pixtral-12B-2409"),
    ],
    ids=lambda section: f"{section.id} {section.revision}",
)
def test_what_has_no_known_configuration_is_not_resolved(tmp_path: Path, section: ModelSection) -> None:
    with pytest.raises(ModelNotResolved) as caught:
        resolve_model(section, sample_host(tmp_path, {"HF_HUB_OFFLINE": "1"}))
    assert caught.value.error_code == "model.not-downloaded"


def test_what_may_not_be_downloaded_is_planned_and_not_fetched(tmp_path: Path) -> None:
    section = ModelSection(id=LLAMA, download="never")
    model = resolve_model(section, sample_host(tmp_path))
    assert not model.may_download
    with pytest.raises(ModelNotResolved, match=f"the weights of {LLAMA} are not in") as caught:
        fetch_model(model, sample_host(tmp_path), python=Path("/no/python"), tell=print)
    assert caught.value.error_code == "model.download-forbidden"
