"""Rules about checkpoints whose weights are quantised already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.plan_sample import found, neuron_plan

GPTQ = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
NATIVE = {"target": "trn2.3xlarge", "stack": "sdk-2.32"}


def test_native_checkpoint_quantization(tmp_path: Path) -> None:
    rule = "native.checkpoint-quantization"
    (finding,) = found(neuron_plan(tmp_path, config=GPTQ, **NATIVE), rule)
    assert finding.severity == "error"
    assert "the checkpoint's weights are quantised with gptq: vLLM refuses it" in finding.message
    assert "one of ModelOpt" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:1: model.id"
    (finding,) = found(neuron_plan(tmp_path, "engine: {quantization: awq}\n", **NATIVE), rule)
    assert "engine.quantization awq" in finding.message
    assert str(finding.place) == "sample.yaml:2: engine.quantization"


@pytest.mark.parametrize("method", ["modelopt", "compressed-tensors", "fp8", "mxfp4"])
def test_checkpoints_that_the_native_plugin_may_take(tmp_path: Path, method: str) -> None:
    config = {"quantization_config": {"quant_method": method}}
    assert not found(neuron_plan(tmp_path, config=config, **NATIVE), "native.checkpoint-quantization")


def test_a_mark_that_is_hidden_is_not_judged(tmp_path: Path) -> None:
    text = "engine: {hf_overrides: {quantization_config: {}}}\n"
    assert not found(neuron_plan(tmp_path, text, config=GPTQ, **NATIVE), "native.checkpoint-quantization")


def test_nxdi_checkpoint_quantization(tmp_path: Path) -> None:
    rule = "nxdi.checkpoint-quantization"
    (finding,) = found(neuron_plan(tmp_path, config=GPTQ), rule)
    assert finding.severity == "warning"
    assert "quantised with gptq: the plugin lists fbgemm_fp8 and neuron_quant only" in finding.message
    assert "features.quantization.weights: int8 or fp8" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:1: model.id"
    listed: dict[str, Any] = {"quantization_config": {"quant_method": "fbgemm_fp8"}}
    assert not found(neuron_plan(tmp_path, config=listed), rule)
    # NxD Inference then reads the weights that it quantised itself.
    assert not found(neuron_plan(tmp_path, "features: {quantization: {weights: int8}}\n", config=GPTQ), rule)


def test_weights_of_one_byte_count_as_that(tmp_path: Path) -> None:
    sizes = []
    for config in ({}, {"quantization_config": {"quant_method": "modelopt"}}):
        plan = neuron_plan(tmp_path, config=config, **NATIVE)
        assert plan.outlook is not None
        assert plan.outlook.estimate is not None
        sizes.append(plan.outlook.estimate.per_core[0].bytes)
    assert sizes[1] < sizes[0]
