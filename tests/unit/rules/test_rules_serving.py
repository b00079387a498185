"""Rules about how a server meets the world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuronctl.result import Finding
from neuronctl.rules.all import RULES
from neuronctl.rules.serving import is_loopback
from tests.plan_sample import neuron_plan, sample_model, sample_plan


def found(tmp_path: Path, rule: str, text: str = "", **facts: Any) -> Finding | None:
    matches = [one for one in sample_plan(tmp_path, text, **facts).findings if one.id == rule]
    assert len(matches) < 2
    return matches[0] if matches else None


def fired(tmp_path: Path, rule: str, text: str = "", **facts: Any) -> Finding:
    finding = found(tmp_path, rule, text, **facts)
    assert finding is not None
    assert (finding.severity, bool(finding.source), bool(finding.fix)) == ("error", True, True)
    return finding


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("example.org", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("", False),
    ],
)
def test_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


PUBLIC = "server:\n  host: 0.0.0.0\n"


def test_public_without_a_key(tmp_path: Path) -> None:
    finding = fired(tmp_path, "server.public-without-key", PUBLIC)
    assert finding.message == ("server.host 0.0.0.0 can be reached from other machines and no API key is set")
    assert "--allow-public-without-key" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:3: server.host"


def test_public_with_a_key_or_by_will(tmp_path: Path) -> None:
    rule = "server.public-without-key"
    assert found(tmp_path, rule) is None
    assert found(tmp_path, rule, PUBLIC, public_without_key=True) is None
    assert found(tmp_path, rule, PUBLIC, environ={"VLLM_API_KEY": "sesame"}) is None
    assert found(tmp_path, rule, PUBLIC, environ={"VLLM_API_KEY": ""}) is not None


WITH_KEY = "server:\n  api_key_env: SESAME\n"


def test_a_key_that_is_named_and_not_set(tmp_path: Path) -> None:
    finding = fired(tmp_path, "server.api-key-missing", WITH_KEY, environ={"VLLM_API_KEY": "another"})
    assert finding.message == "the API key is to be in the variable SESAME, which is not set"
    assert str(finding.fix).startswith("export SESAME=")
    assert str(finding.place) == "sample.yaml:3: server.api_key_env"


def test_a_key_that_stands_in_the_profile_is_not_one(tmp_path: Path) -> None:
    """The server's key is looked up in the user's own environment only."""
    plan = sample_plan(tmp_path, WITH_KEY + "env: {SESAME: open}\n")
    assert not plan.has_api_key
    assert [one.id for one in plan.errors] == ["server.api-key-missing"]


def test_a_key_that_is_set_or_not_wanted(tmp_path: Path) -> None:
    assert found(tmp_path, "server.api-key-missing", WITH_KEY, environ={"SESAME": "open"}) is None
    assert found(tmp_path, "server.api-key-missing") is None


LONG = "engine:\n  max_model_len: 5000\n"


def test_model_context_exceeded(tmp_path: Path) -> None:
    finding = fired(tmp_path, "model.context-exceeded", LONG)
    assert finding.message == "max_model_len 5000 is beyond the 4096 positions that org/small was made for"
    assert finding.fix == "set engine.max_model_len to 4096 or less"
    assert str(finding.place) == "sample.yaml:3: engine.max_model_len"


@pytest.mark.parametrize(
    "config",
    [
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
        {"rope_scaling": None},
        {"rope_scaling": {}},
        {"model_max_length": 4500},
        {"rope_scaling": {"rope_type": "llama3", "factor": 8, "original_max_position_embeddings": 1024}},
        {"rope_scaling": {"type": "longrope", "original_max_position_embeddings": 1024}},
        {"rope_scaling": {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 1024}},
        {"rope_parameters": {"full_attention": {"rope_type": "llama3", "factor": 8}}},
    ],
)
def test_what_stretches_nothing(tmp_path: Path, config: dict[str, object]) -> None:
    fired(tmp_path, "model.context-exceeded", LONG, model=sample_model(config))


@pytest.mark.parametrize(
    "config",
    [
        {"rope_scaling": {"type": "linear", "factor": 2}},
        {"rope_scaling": {"rope_type": "yarn", "factor": 4}},
        {"rope_parameters": {"rope_type": "yarn", "factor": 4}},
        {"rope_parameters": {"full_attention": {"rope_type": "yarn"}, "sliding_attention": {}}},
        {"text_config": {"rope_scaling": {"type": "dynamic", "factor": 2}}},
        {"model_max_length": 5000},
        {"max_position_embeddings": None},
        {"max_position_embeddings": 5000},
    ],
)
def test_what_stretches_the_context(tmp_path: Path, config: dict[str, object]) -> None:
    assert found(tmp_path, "model.context-exceeded", LONG, model=sample_model(config)) is None


def test_a_length_that_somebody_insists_on(tmp_path: Path) -> None:
    rule = "model.context-exceeded"
    assert found(tmp_path, rule, LONG, environ={"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}) is None
    assert found(tmp_path, rule, LONG + "  hf_overrides: {max_position_embeddings: 9000}\n") is None
    assert found(tmp_path, rule, "engine: {max_model_len: 4096}") is None


def test_the_fix_names_the_stretched_length(tmp_path: Path) -> None:
    scaling = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 4096}
    model = sample_model({"rope_scaling": scaling})
    finding = fired(tmp_path, "model.context-exceeded", "engine: {max_model_len: 8193}\n", model=model)
    assert finding.fix == "set engine.max_model_len to 8192 or less"


def test_no_length_beyond_the_context_is_recommended(tmp_path: Path) -> None:
    """Ten times the context does not fit; a length that fits and that the model cannot take is no answer."""
    text = "engine: {max_model_len: 40960, max_num_seqs: 4096, tensor_parallel_size: 1}\n"
    plan = neuron_plan(tmp_path, text, target="inf2.xlarge")
    assert plan.outlook is not None
    assert plan.outlook.estimate is not None
    assert "core" in plan.outlook.estimate.refused
    lengths = [word for word in plan.outlook.fitting if word.startswith("engine.max_model_len: ")]
    assert lengths
    assert all(int(word.rpartition(" ")[2]) <= 4096 for word in lengths)


def test_vllm_tool_parser_missing(tmp_path: Path) -> None:
    text = "engine: {enable_auto_tool_choice: true}\n"
    finding = fired(tmp_path, "vllm.tool-parser-missing", text)
    assert "--enable-auto-tool-choice requires --tool-call-parser" in finding.message
    assert "set features.tools.parser" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:2: engine.enable_auto_tool_choice"
    assert found(tmp_path, "vllm.tool-parser-missing", passthrough=("--enable-auto-tool-choice",))
    assert not found(tmp_path, "vllm.tool-parser-missing", "features: {tools: {parser: hermes}}\n")
    assert not found(tmp_path, "vllm.tool-parser-missing", "engine: {enable_auto_tool_choice: false}\n")


def test_vllm_lora_turned_off(tmp_path: Path) -> None:
    text = "features: {lora: {adapters: {sql: ./sql}}}\n"
    finding = fired(tmp_path, "vllm.lora-turned-off", f"{text}engine: {{enable_lora: false}}\n")
    assert (
        finding.message == "features.lora names sql, and enable_lora is false: vLLM would start without them"
    )
    assert finding.fix == "remove engine.enable_lora, or features.lora"
    assert str(finding.place) == "sample.yaml:3: engine.enable_lora"
    assert not found(tmp_path, "vllm.lora-turned-off", text)


def test_ids_are_unique_and_each_rule_says_why(tmp_path: Path) -> None:
    assert len({one.id for one in RULES}) == len(RULES)
    for one in RULES:
        assert one.look.__doc__
        assert one.source
