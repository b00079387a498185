"""Rules about the keys of the native plugin's configuration, and about those of the other generation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuronctl.neuron.keys import check_additional_config
from neuronctl.neuron.migration import is_foreign, translate
from tests.plan_sample import found, neuron_plan
from tests.reference import reference

NATIVE: dict[str, Any] = {"target": "trn2.3xlarge", "stack": "sdk-2.32"}
NXDI: dict[str, Any] = {"target": "trn2.3xlarge", "stack": "sdk-2.28"}


@pytest.mark.parametrize("stack", ["sdk-2.31:native", "sdk-2.32"])
def test_neuron_other_generation(tmp_path: Path, stack: str) -> None:
    text = "neuron:\n  context_encoding_buckets: [512]\n  attn_kernel_enabled: true\n"
    plan = neuron_plan(tmp_path, text, target="trn2.48xlarge", stack=stack)
    (finding,) = found(plan, "neuron.other-generation")
    assert finding.severity == "error"
    assert finding.message.startswith("context_encoding_buckets, attn_kernel_enabled: of NxD Inference")
    assert "context_encoding_buckets → num_batched_tokens_buckets" in str(finding.fix)
    assert "--stack sdk-2.31" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:3: neuron.context_encoding_buckets"
    assert not found(plan, "native.unknown-key")
    good = neuron_plan(tmp_path, "neuron: {num_seqs_buckets: [4]}\n", target="trn2.48xlarge", stack=stack)
    assert good.errors == ()


@pytest.mark.parametrize("stack", ["sdk-2.26", "sdk-2.28", "sdk-2.31"])
def test_native_keys_on_a_stack_of_nxdi(tmp_path: Path, stack: str) -> None:
    plan = neuron_plan(tmp_path, "neuron: {num_batched_tokens_buckets: [512]}\n", stack=stack)
    (finding,) = found(plan, "neuron.other-generation")
    assert "num_batched_tokens_buckets: of the native plugin, and NxD Inference ignores" in finding.message
    assert "num_batched_tokens_buckets → context_encoding_buckets" in str(finding.fix)
    assert "--stack sdk-2.32" in str(finding.fix)
    assert not found(neuron_plan(tmp_path, stack=stack), "neuron.other-generation")


def test_a_whole_section_of_the_other_generation(tmp_path: Path) -> None:
    extra = "engine: {extra: {additional_config: {%s: {seq_len: 512, ep_degree: 2, made_up: 1}}}}\n"
    plan = neuron_plan(tmp_path, extra % "override_neuron_config", **NATIVE)
    (finding,) = found(plan, "neuron.other-generation")
    assert finding.message.startswith("seq_len, ep_degree, made_up: of NxD Inference")
    assert "seq_len → engine.max_model_len; ep_degree → neuron.ep_degree" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:2: engine.extra.additional_config"
    plan = neuron_plan(tmp_path, extra % "neuron_config", **NXDI)
    (finding,) = found(plan, "neuron.other-generation")
    assert finding.message.startswith("seq_len, ep_degree, made_up: of the native plugin")


def test_the_switch_of_dynamic_sampling_is_the_other_generation_s(tmp_path: Path) -> None:
    plan = neuron_plan(tmp_path, "neuron: {on_device_sampling_config: {dynamic: true}}\n", **NATIVE)
    (finding,) = found(plan, "neuron.other-generation")
    assert "dynamic → nothing" in str(finding.fix)


def test_the_two_halves_of_a_model_with_images(tmp_path: Path) -> None:
    """NxD Inference wants its keys once for text and once for images; the native plugin has its own."""
    text = "neuron:\n  text_neuron_config: {fused_qkv: true}\n"
    text += "  vision_neuron_config: {fused_qkv: true, tp_degree: 4, tp_size: 4}\n"
    text += "engine: {tensor_parallel_size: 4}\n"
    plan = neuron_plan(tmp_path, text, **NATIVE)
    (finding,) = found(plan, "neuron.other-generation")
    assert finding.message.startswith("text_neuron_config, fused_qkv, tp_degree: of NxD Inference")
    assert [one.id for one in plan.errors] == ["neuron.other-generation"]


def test_native_unknown_key(tmp_path: Path) -> None:
    text = "neuron:\n  num_seq_buckets: [4]\n  ep_degree: four\n"
    plan = neuron_plan(tmp_path, text, **NATIVE)
    misspelt, kind = found(plan, "native.unknown-key")
    assert (misspelt.severity, misspelt.fix) == ("error", "did you mean num_seqs_buckets?")
    assert "num_seq_buckets is not a key of NeuronConfig" in misspelt.message
    assert str(misspelt.place) == "sample.yaml:3: neuron.num_seq_buckets"
    assert kind.message == "ep_degree is 'four', not a whole number"
    assert not found(plan, "neuron.other-generation")
    assert not found(
        neuron_plan(tmp_path, "neuron: {num_seqs_buckets: [4]}\n", **NATIVE), "native.unknown-key"
    )


def test_an_unknown_key_of_sampling(tmp_path: Path) -> None:
    plan = neuron_plan(tmp_path, "neuron: {on_device_sampling_config: {max_topk: 8}}\n", **NATIVE)
    (finding,) = found(plan, "native.unknown-key")
    assert finding.fix == "did you mean max_top_k?"
    assert finding.place is not None
    assert finding.place.line == 2


def test_native_key_not_read(tmp_path: Path) -> None:
    plan = neuron_plan(tmp_path, "neuron: {on_device_sampling_config: {top_p: 0.9}}\n", **NATIVE)
    (finding,) = found(plan, "native.key-not-read")
    assert (finding.severity, finding.fix) == ("warning", "remove it")
    assert "top_p: documented" in finding.message
    assert plan.errors == ()
    good = neuron_plan(tmp_path, "neuron: {on_device_sampling_config: {max_top_k: 8}}\n", **NATIVE)
    assert not found(good, "native.key-not-read")


def test_native_quantized_ignored(tmp_path: Path) -> None:
    text = "neuron:\n  quantized: true\n  quantization_dtype: int8\n"
    plan = neuron_plan(tmp_path, text, **NATIVE)
    (finding,) = found(plan, "native.quantized-ignored")
    assert finding.severity == "error"
    assert "quantized and quantization_dtype: by the native plugin's code not read" in finding.message
    assert "neuron.quantization" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:3: neuron.quantized"
    assert [one.id for one in plan.errors] == ["native.quantized-ignored"]
    assert not found(
        neuron_plan(tmp_path, "neuron: {quantization: bf16}\n", **NATIVE), "native.quantized-ignored"
    )


@pytest.mark.parametrize(
    "text",
    [
        "neuron: {vision_neuron_config: {mm_language_model_only: true}}\n",
        "engine: {extra: {additional_config: {neuron_config: {mm_language_model_only: true}}}}\n",
    ],
)
def test_native_language_model_only_nested(tmp_path: Path, text: str) -> None:
    plan = neuron_plan(tmp_path, text, **NATIVE)
    (finding,) = found(plan, "native.language-model-only-nested")
    assert finding.severity == "error"
    assert "mm_language_model_only is ignored where it stands" in finding.message
    assert finding.fix == "move it up: neuron.mm_language_model_only: true"
    assert finding.place is not None
    assert finding.place.line == 2
    assert not found(plan, "native.unknown-key")
    good = neuron_plan(tmp_path, "neuron: {mm_language_model_only: true}\n", **NATIVE)
    assert not found(good, "native.language-model-only-nested")
    assert good.outlook is not None
    assert good.outlook.additional_config == {"neuron_config": {}, "mm_language_model_only": True}


def test_what_the_migration_guide_says_is_translated() -> None:
    """Each row of the reference that names a key on both sides."""
    rows = {row["old"]: row["new"] for row in reference("neuron_config_keys")["migration_map"]["rows"]}
    assert rows["context_encoding_buckets"] in str(translate("context_encoding_buckets", "native"))
    assert "decode_context_length_buckets" in rows["decode bucketing (token_generation_buckets)"]
    assert "decode_context_length_buckets" in str(translate("token_generation_buckets", "native"))
    assert rows["is_continuous_batching"] == "always on"
    assert translate("is_continuous_batching", "native") == "nothing: it is always on"
    assert "ep_degree" in str(translate("moe_ep_degree", "native"))
    assert translate("made_up", "native") is None
    assert translate("made_up", "nxdi") is None


def test_every_key_of_the_native_plugin_is_foreign_to_nxdi() -> None:
    both = {"ep_degree", "modules_to_not_convert", "on_device_sampling_config"}
    keys = {key["name"] for key in reference("neuron_config_keys")["native_neuron_config"]["keys"]}
    for key in keys - both:
        config = {"override_neuron_config": {key: 1}}
        (fault,) = check_additional_config(config, generation="nxdi", plugin=None, version=None)
        assert is_foreign(fault, "nxdi"), key
