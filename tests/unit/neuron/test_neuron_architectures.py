from __future__ import annotations

import pytest

from neuronctl.neuron import architectures
from neuronctl.neuron.architectures import is_image_to_text, is_multimodal, supported
from tests.reference import reference

MAPPING = reference("vllm_defaults")["architecture_mapping"]


@pytest.mark.parametrize(
    ("architecture", "plugin", "ok", "since"),
    [
        ("LlamaForCausalLM", "0.2.0", True, None),
        ("Qwen3MoeForCausalLM", "0.2.0", True, "0.2.0"),
        ("MllamaForConditionalGeneration", "0.2.0", True, None),
        ("Llama4ForConditionalGeneration", "0.2.0", True, None),
        ("LlavaForConditionalGeneration", "0.2.0", False, "0.3.0"),
        ("LlavaForConditionalGeneration", "0.3.0", True, "0.3.0"),
        ("LlavaNextForConditionalGeneration", "0.5.1", False, None),
        ("GptOssForCausalLM", "0.3.0", False, "0.5.0"),
        ("GptOssForCausalLM", "0.5.1+2.28.x", True, "0.5.0"),
        ("Qwen2VLForConditionalGeneration", "0.3.0", False, "0.4.0"),
        ("Qwen2VLForConditionalGeneration", "0.4.1", True, "0.4.0"),
        ("Qwen3VLForConditionalGeneration", "0.4.1", True, "0.4.0"),
        ("PhiForCausalLM", "0.5.0", False, None),
        ("LlamaForSequenceClassification", "0.5.0", False, None),
        ("GPT2LMHeadModel", "0.2.0", False, None),
        ("LlamaForCausalLM", "0.24.0.1.1.0", True, None),
        ("MixtralForCausalLM", "0.24.0.1.1.0", False, None),
    ],
)
def test_support_by_plugin(architecture: str, plugin: str, ok: bool, since: str | None) -> None:
    support = supported(architecture, plugin)
    assert (support.ok, support.since) == (ok, since)
    assert support.note


def test_the_lists_are_those_of_the_reference() -> None:
    facts = architectures._data()["nxdi"]
    assert facts["model_types"] == MAPPING["model_types_nxdi_0_9"]
    assert facts["multimodal"] == MAPPING["multimodal_list"]
    for name, family in {**MAPPING["special_cases_0_2_0"], **MAPPING["added_in_0_5_x"]}.items():
        assert facts["renamed"][name.split("For")[0].lower()]["to"] == family
    assert architectures._data()["native"]["models"] in MAPPING["native_0_24_models"]


def test_only_some_multimodal_models_take_two_configurations() -> None:
    assert is_multimodal("MllamaForConditionalGeneration")
    assert not is_image_to_text("MllamaForConditionalGeneration", "0.5.0")
    assert is_image_to_text("Llama4ForConditionalGeneration", "0.2.0")
    assert not is_image_to_text("LlavaForConditionalGeneration", "0.2.0")
    assert is_image_to_text("LlavaForConditionalGeneration", "0.3.0")
    assert is_image_to_text("Qwen3VLForConditionalGeneration", "0.4.1")
