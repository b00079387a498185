"""The key of an nxdi artifact: what lies elsewhere on another machine is not in it, what it holds is."""

from __future__ import annotations

import json
from pathlib import Path

from neuronctl.model.companions import (
    find_companions,
    identify_named,
    identities,
    with_local_companions,
)
from neuronctl.plan.make import make_plan
from neuronctl.plan.plan import Plan
from tests.plan_sample import WIDTH, neuron_plan, sample_host, sample_model, sample_profile

FOLDER = {"source": "folder", "commit": None}


def folder_plan(tmp_path: Path, path: str, identity: str, text: str = "") -> Plan:
    model = sample_model({"intermediate_size": 256}, **FOLDER, path=Path(path), identity=identity)
    return neuron_plan(tmp_path, text, model=model)


def test_a_local_model_is_known_by_its_weights_and_not_by_its_folder(tmp_path: Path) -> None:
    first = folder_plan(tmp_path, "/models/here", "a" * 64)
    assert folder_plan(tmp_path, "/models/there", "a" * 64).key == first.key
    assert folder_plan(tmp_path, "/models/here", "b" * 64).key != first.key


def test_an_artifact_without_weights_depends_on_the_folder_too(tmp_path: Path) -> None:
    text = "neuron: {save_sharded_checkpoint: false}"
    first = folder_plan(tmp_path, "/models/here", "a" * 64, text)
    assert folder_plan(tmp_path, "/models/there", "a" * 64, text).key != first.key


def test_naming_the_target_again_changes_nothing(tmp_path: Path) -> None:
    first = neuron_plan(tmp_path)
    here = {"machine": {"assumed": False}}
    for name, same in (("inf2", True), ("trn2", False)):
        plan = neuron_plan(tmp_path, environ={"NEURON_PLATFORM_TARGET_OVERRIDE": name}, **here)
        assert (plan.key == first.key) is same


def lora_plan(tmp_path: Path, folder: str, weights: bytes, home: str) -> Plan:
    adapter = tmp_path / folder
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(weights)
    text = f"features: {{lora: {{adapters: {{sql: {adapter}}}}}}}"
    base = neuron_plan(tmp_path, text)
    host = sample_host(tmp_path)
    profile = sample_profile(tmp_path, text)
    companions = find_companions(profile, host, identify=True)
    return make_plan(
        with_local_companions(profile, companions),
        base.model,
        base.machine,
        base.stack,
        {},
        home=home,
        identities=identities(companions),
    )


def test_adapters_are_known_by_their_weights(tmp_path: Path) -> None:
    first = lora_plan(tmp_path, "one", b"weights", "/home/a")
    assert lora_plan(tmp_path, "two", b"weights", "/home/b").key == first.key
    assert lora_plan(tmp_path, "three", b"others!", "/home/a").key != first.key
    assert "/home/a" not in str(first.key_inputs)


def test_a_draft_from_the_hub_is_given_as_a_folder(tmp_path: Path) -> None:
    host = sample_host(tmp_path)
    snapshot = host.home / ".cache/huggingface/hub/models--org--draft/snapshots" / ("d" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "pytorch_model.bin").write_bytes(b"weights")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("d" * 40)
    text = "model: {id: org/small}\nfeatures: {speculative: {method: eagle, model: org/draft, tokens: 5}}"
    profile = sample_profile(tmp_path, text)
    (draft,) = find_companions(profile, host, identify=True)
    assert (draft.path, draft.identity) == (snapshot, "d" * 40)
    local = with_local_companions(profile, (draft,))
    assert local.shape.features.speculative.model == str(snapshot)
    assert local.shape.features.speculative.tokens == 5


def test_a_hub_model_without_weights_in_the_artifact_depends_on_its_folder(tmp_path: Path) -> None:
    text = "neuron: {save_sharded_checkpoint: false}"
    keys = {
        neuron_plan(tmp_path, text, model=sample_model(WIDTH, commit="c" * 40, path=Path(path))).key
        for path in ("/ci/hub", "/home/hub")
    }
    assert len(keys) == 2


def test_flags_that_change_nothing_compiled_are_not_in_the_key(tmp_path: Path) -> None:
    first = neuron_plan(tmp_path)
    here = {"machine": {"assumed": False}}
    for flags, same in (("--cache_dir=/x --retry_failed_compilation", True), ("-O1 --no_cache", False)):
        assert (neuron_plan(tmp_path, environ={"NEURON_CC_FLAGS": flags}, **here).key == first.key) is same
    assert neuron_plan(tmp_path, environ={"NEURON_LOGICAL_NC_CONFIG": "1"}, **here).key == first.key
    assert neuron_plan(tmp_path, "engine: {tokenizer: /elsewhere}").key == first.key


def test_what_lies_at_a_path_that_raw_settings_name_is_told_apart(tmp_path: Path) -> None:
    host = sample_host(tmp_path)
    draft = tmp_path / "draft"
    draft.mkdir()
    (draft / "model.safetensors").write_bytes(b"one")
    listed = tmp_path / "adapters.json"
    listed.write_text(json.dumps({"lora-ckpt-paths": {"a": str(draft)}}))
    words = ["--speculative-config", json.dumps({"model": str(draft)}), "org/name"]
    raw = [{"lora_ckpt_json": str(listed)}, words]
    before = identify_named(raw, host)
    assert set(before) == {str(listed), str(draft)}
    (draft / "model.safetensors").write_bytes(b"two")
    after = identify_named(raw, host)
    assert all(before[path] != after[path] for path in before)
    assert identify_named([{"quantized_checkpoints_path": str(draft)}, "/no/such", "a/\0", "{"], host) == {}


def test_a_draft_without_its_weights_is_not_here(tmp_path: Path) -> None:
    host = sample_host(tmp_path)
    snapshot = host.home / ".cache/huggingface/hub/models--org--draft/snapshots" / ("d" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("d" * 40)
    for said in ("org/draft", "no hub id!"):
        text = f"model: {{id: org/small}}\nfeatures: {{speculative: {{method: eagle, model: '{said}'}}}}"
        (draft,) = find_companions(sample_profile(tmp_path, text), host, identify=True)
        assert (draft.path, draft.identity) == (None, None)
