"""neuron_config.json against a plan: what matters, what is told, and what is only somewhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neuronctl.neuron.prediction import Prediction
from neuronctl.neuron.written import FILE, Mismatch, compare, read_written
from tests.plan_sample import neuron_plan

MODEL = {"hidden_size": 64, "num_hidden_layers": 3, "vocab_size": 100}


def predicted(**config: Any) -> Prediction:
    return Prediction({}, config, None, {}, (), ())


def found(
    planned: dict[str, Any], written: dict[str, Any], folder: Path, *asked: str
) -> tuple[Mismatch, ...]:
    (folder / FILE).write_text(json.dumps({**MODEL, "neuron_config": written}))
    return compare(predicted(**planned), read_written(folder), MODEL, asked=asked)


@pytest.mark.parametrize(
    ("planned", "written"),
    [
        ({"tp_degree": 2, "seq_len": 128}, {"tp_degree": 2, "seq_len": 128, "unknown_to_us": 1}),
        ({"torch_dtype": "bfloat16"}, {"torch_dtype": "torch.bfloat16"}),
        ({"context_encoding_buckets": (64, 128)}, {"context_encoding_buckets": [64, 128]}),
        ({"a_bound": None}, {"a_bound": float("inf")}),
        ({"key_of_a_later_release": True}, {}),
        ({"quantized_checkpoints_path": "/here"}, {"quantized_checkpoints_path": "/there"}),
        ({"lora_config": {"lora_ckpt_json": "/a"}}, {"lora_config": {"lora_ckpt_json": "/b", "more": 1}}),
    ],
)
def test_what_is_the_same(planned: dict[str, Any], written: dict[str, Any], tmp_path: Path) -> None:
    assert found(planned, written, tmp_path) == ()


def test_sizes_decide_and_details_are_told(tmp_path: Path) -> None:
    planned = {"fused_qkv": False, "batch_size": 4, "weights_to_skip_layout_optimization": []}
    written = {"fused_qkv": True, "batch_size": 8, "weights_to_skip_layout_optimization": [".*"]}
    one, two, three = found(planned, written, tmp_path)
    assert (one.field, one.is_decisive, str(one)) == (
        "batch_size",
        True,
        "batch_size: 8 there, 4 in the plan",
    )
    assert {two.field, three.field} == {"fused_qkv", "weights_to_skip_layout_optimization"}
    assert not two.is_decisive
    assert found(planned, written, tmp_path, "fused_qkv")[0].is_decisive


def test_what_somebody_asked_for_must_be_there(tmp_path: Path) -> None:
    (one,) = found({"attn_kernel_enabled": True}, {}, tmp_path, "attn_kernel_enabled")
    assert (one.planned, one.written, one.is_decisive) == (True, None, True)


def test_sampling_on_the_device_or_not(tmp_path: Path) -> None:
    planned, written = {"on_device_sampling_config": None}, {"on_device_sampling_config": {"dynamic": True}}
    (one,) = found(planned, written, tmp_path)
    assert (one.planned, one.written, one.is_decisive) == (None, "set", True)


def test_another_model_shows_in_its_shape(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({**MODEL, "hidden_size": 128, "neuron_config": {}}))
    (one,) = compare(predicted(), read_written(tmp_path), MODEL)
    assert (one.field, one.written, one.is_decisive) == ("hidden_size", 128, True)


def test_a_model_that_takes_images_has_two_parts(tmp_path: Path) -> None:
    parts = {
        "text_config": {"hidden_size": 64, "neuron_config": {"tp_degree": 2}},
        "vision_config": {"neuron_config": {"tp_degree": 4}},
    }
    (tmp_path / FILE).write_text(json.dumps({**parts, "neuron_config": {"tp_degree": 2}}))
    written = read_written(tmp_path)
    assert [folder for folder, _ in written.parts] == ["text_model/", "vision_model/"]
    prediction = Prediction({}, {"tp_degree": 2}, {"tp_degree": 2}, {}, (), ())
    (one,) = compare(prediction, written, {"text_config": {"hidden_size": 64}})
    assert (one.field, one.written) == ("vision_config.tp_degree", 4)
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / FILE).write_text(json.dumps({"neuron_config": {"tp_degree": 2}}))
    assert compare(prediction, read_written(flat), {})[0].field == "vision_config"


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", '{"neuron_config": 1}', "\x00", "[" * 100_000])
def test_what_is_no_configuration_is_said_in_words(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ValueError, match=FILE):
        read_written(tmp_path)


def test_a_plan_equals_what_its_own_prediction_would_write(tmp_path: Path) -> None:
    plan = neuron_plan(tmp_path)
    assert plan.outlook is not None
    prediction = plan.outlook.prediction
    assert prediction is not None
    text = json.dumps({**plan.model.config, "neuron_config": dict(prediction.neuron_config)})
    (tmp_path / FILE).write_text(text)
    assert compare(prediction, read_written(tmp_path), plan.model.config) == ()
