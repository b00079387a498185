"""How large models are: parameters from the configuration alone, bytes from the best source there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.errors import ModelNotResolved
from neuronctl.model.known import known_model
from neuronctl.model.model import Model
from neuronctl.model.resolve import resolve_model
from neuronctl.model.size import Parameters, count_parameters, weight_bytes
from neuronctl.profile.schema import ModelSection
from tests.plan_sample import CONFIG, sample_host, sample_model
from tests.reference import reference

MODELS: dict[str, Any] = reference("models")["models"]
# The draft's own configuration is unknown, and the other one is in Mistral's format.
UNCOUNTED = {"yuhuili/EAGLE-LLaMA3.1-Instruct-8B", "mistralai/Pixtral-12B-2409"}
COUNTED = sorted(set(MODELS) - UNCOUNTED)
PIXTRAL = "mistral-community/pixtral-12b"
SCOUT = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
GPT_OSS = "openai/gpt-oss-20b"


def config_of(model_id: str) -> dict[str, Any]:
    known = known_model(model_id, None)
    assert known is not None
    assert known.config is not None
    return dict(known.config)


def counted(config: dict[str, Any]) -> Parameters:
    count = count_parameters(config)
    assert count is not None
    return count


def known(tmp_path: Path, model_id: str) -> Model:
    return resolve_model(ModelSection(id=model_id), sample_host(tmp_path))


@pytest.mark.parametrize("model_id", COUNTED)
def test_the_total_is_the_published_one(model_id: str) -> None:
    assert counted(config_of(model_id)).total == MODELS[model_id]["params"]["total"]


@pytest.mark.parametrize("model_id", ["Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen3-8B"])
def test_the_total_if_it_were_tied(model_id: str) -> None:
    tied = counted({**config_of(model_id), "tie_word_embeddings": True})
    assert tied.lm_head == 0
    assert tied.total == MODELS[model_id]["params"]["if_it_were_tied"]


def test_parts_of_models_with_images() -> None:
    parts = MODELS[PIXTRAL]["params"]
    pixtral = counted(config_of(PIXTRAL))
    assert pixtral.vision == parts["vision"] + parts["projector"]
    assert pixtral.total - pixtral.vision == parts["text"]
    parts = MODELS[SCOUT]["params"]
    scout = counted(config_of(SCOUT))
    assert scout.vision == parts["vision_and_projector"]
    assert scout.total - scout.vision == parts["text"]


def test_parts_of_a_mixture_that_one_token_uses() -> None:
    qwen = counted(config_of("Qwen/Qwen3-30B-A3B"))
    router = 2048 * 128
    used = (qwen.experts - router) * 8 // 128 + router
    active = qwen.total - qwen.layers * (qwen.experts - used)
    assert active == MODELS["Qwen/Qwen3-30B-A3B"]["params"]["active_per_token"]
    assert qwen.mlp == 0


def test_the_early_revision_of_the_405b() -> None:
    early = {**config_of("meta-llama/Llama-3.1-405B-Instruct"), "num_key_value_heads": 16}
    assert (
        counted(early).total
        == MODELS["meta-llama/Llama-3.1-405B-Instruct"]["params"]["early_16kv_revision_total"]
    )


def test_biases_that_a_file_asks_for() -> None:
    plain = {**CONFIG, "intermediate_size": 128}
    heads, kv_heads, head_dim = 8, 2, 8
    both = counted({**plain, "attention_bias": True, "mlp_bias": True})
    assert both.attention - counted(plain).attention == (heads + 2 * kv_heads) * head_dim + 64
    assert both.mlp - counted(plain).mlp == 2 * 128 + 64


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"architectures": ["BertModel"], "model_type": "bert"},
        {**CONFIG, "intermediate_size": 128, "architectures": ["DeepseekV3ForCausalLM"]},
        CONFIG,
        {**CONFIG, "intermediate_size": "128"},
        {**CONFIG, "intermediate_size": 128, "vocab_size": 0},
        {**CONFIG, "intermediate_size": 128, "vision_config": {"model_type": "siglip"}},
    ],
)
def test_what_is_not_known_is_not_counted(config: dict[str, Any]) -> None:
    assert count_parameters(config) is None


def test_layers_that_are_not_alike_are_not_counted() -> None:
    qwen, scout = config_of("Qwen/Qwen3-30B-A3B"), config_of(SCOUT)
    assert count_parameters({**qwen, "mlp_only_layers": [0]}) is None
    assert count_parameters({**qwen, "decoder_sparse_step": 2}) is None
    maverick = {**scout, "text_config": {**scout["text_config"], "interleave_moe_layer_step": 2}}
    assert count_parameters(maverick) is None


CONFIGS = [config_of(model_id) for model_id in COUNTED]
KEYS = sorted(
    {key for one in CONFIGS for part in (one, *one.values()) if isinstance(part, dict) for key in part}
)
VALUES = st.none() | st.booleans() | st.integers() | st.sampled_from(["", "llama", [], {}, [0]])


def damage(config: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The configuration with `values` in place of those it has, in its nested parts too."""
    parts = {key: damage(part, values) for key, part in config.items() if isinstance(part, dict)}
    return {**config, **parts, **{key: value for key, value in values.items() if key in config}}


@given(config=st.sampled_from(CONFIGS), values=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_a_damaged_configuration_is_counted_or_not_and_never_breaks(
    config: dict[str, Any], values: dict[str, Any]
) -> None:
    count = count_parameters(damage(config, values))
    assert count is None or count.total > 0


@pytest.mark.parametrize("model_id", COUNTED)
def test_bytes_of_a_model_that_is_not_here(tmp_path: Path, model_id: str) -> None:
    found = weight_bytes(known(tmp_path, model_id))
    assert found is not None
    size, basis = found
    weights = MODELS[model_id]["weights"]
    assert size == weights["tensor_bytes"]
    assert "neuronctl's record" in basis
    assert weights["confidence"] in basis


def test_bytes_of_a_model_that_nobody_recorded() -> None:
    config = {"intermediate_size": 128}
    model = sample_model(config, here=False)
    total = counted(dict(model.config)).total
    assert weight_bytes(model) == (2 * total, f"{total} parameters of bfloat16, counted from config.json")
    single = sample_model({**config, "torch_dtype": "float32"}, here=False)
    assert weight_bytes(single) == (4 * total, f"{total} parameters of float32, counted from config.json")
    assert weight_bytes(sample_model({**config, "torch_dtype": "int3"}, here=False)) is None
    assert weight_bytes(sample_model({**config, "quantization_config": {}}, here=False)) is None
    assert weight_bytes(sample_model(here=False)) is None, "it says no width of its MLP"


def test_another_commit_of_a_recorded_model_has_no_record() -> None:
    model = sample_model(id="Qwen/Qwen3-8B", commit="f" * 40, here=False)
    assert weight_bytes(model) is None


def test_bytes_by_the_index(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"12345")
    index = tmp_path / "model.safetensors.index.json"
    model = sample_model(path=tmp_path)
    index.write_text(json.dumps({"metadata": {"total_size": 999}, "weight_map": {}}))
    assert weight_bytes(model) == (999, "model.safetensors.index.json")
    for said in (
        {},
        {"metadata": []},
        {"metadata": {"total_size": "999"}},
        {"metadata": {"total_size": True}},
    ):
        index.write_text(json.dumps(said))
        assert weight_bytes(model) == (5, "the size of 1 file *.safetensors")
    index.write_text("[")
    with pytest.raises(ModelNotResolved):
        weight_bytes(model)


def test_bytes_by_the_files(tmp_path: Path) -> None:
    model = sample_model({"intermediate_size": 128}, path=tmp_path)
    assert weight_bytes(model) is None, "a folder without weights weighs nothing that can be told"
    (tmp_path / "pytorch_model.bin").write_bytes(b"1234567")
    (tmp_path / "training_args.bin").write_bytes(b"1")
    assert weight_bytes(model) == (7, "the size of 1 file pytorch_model*.bin")
    (tmp_path / "consolidated.safetensors").write_bytes(b"123")
    assert weight_bytes(model) == (3, "the size of 1 file *.safetensors")
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        (tmp_path / name).write_bytes(b"12")
    assert weight_bytes(model) == (4, "the size of 2 files model*.safetensors")
