"""Rules about what NxD Inference makes of a model, and what it refuses itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronctl.neuron.keys import known_keys
from neuronctl.rules.all import RULES
from neuronctl.rules.nxdi_refusals import TOLD, topic
from tests.plan_sample import found, neuron_plan, only

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 8192) | st.sampled_from(["", "f8e4m3", "bfloat16", "x"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["dynamic", "a"]), inner, max_size=2)
    ),
    max_leaves=3,
)
KEYS = st.sampled_from(sorted(known_keys("nxdi", "override_neuron_config")))
FEATURES = ("", "features: {prefix_caching: true}\n", "features: {chunked_prefill: true}\n")
SMALL = {"num_attention_heads": 9, "num_key_value_heads": 3, "hidden_size": 576}
LLAMA4 = {
    "architectures": ["Llama4ForConditionalGeneration"],
    "model_type": "llama4",
    "vision_config": {},
    "text_config": {"model_type": "llama4_text"},
}


@pytest.mark.parametrize(
    ("architecture", "fix"),
    [
        ("GptOssForCausalLM", "use vllm-neuron 0.5.0 or later"),
        ("GemmaForCausalLM", "choose another model: no plugin is known to have it"),
    ],
)
def test_nxdi_unsupported_arch(tmp_path: Path, architecture: str, fix: str) -> None:
    plan = neuron_plan(tmp_path, config={"architectures": [architecture]})
    finding = only(found(plan, "nxdi.unsupported-arch"))
    assert finding.severity == "error"
    assert f"vllm-neuron 0.4.1 has no model for {architecture}" in finding.message
    assert finding.fix == fix
    assert str(finding.place) == "sample.yaml:1: model.id"
    assert not found(plan, "nxdi.plugin-refuses")
    assert not found(neuron_plan(tmp_path), "nxdi.unsupported-arch")


def test_an_architecture_that_came_later_is_served_later(tmp_path: Path) -> None:
    gpt = neuron_plan(tmp_path, config={"architectures": ["GptOssForCausalLM"]}, stack="sdk-2.29")
    assert not found(gpt, "nxdi.unsupported-arch")


def test_nxdi_head_divisibility(tmp_path: Path) -> None:
    """Measured: 9 heads with 3 KV heads at TP 2 end with this text."""
    plan = neuron_plan(tmp_path, "engine:\n  tensor_parallel_size: 2\n", config=SMALL)
    finding = only(found(plan, "nxdi.head-divisibility"))
    assert finding.severity == "error"
    assert finding.message.startswith("9 heads (3 KV) at TP 2: TP neither divides the KV heads")
    assert "expected shape torch.Size([320, 576])" in finding.message
    assert finding.fix == "set engine.tensor_parallel_size to 1"
    assert str(finding.place) == "sample.yaml:3: engine.tensor_parallel_size"
    good = neuron_plan(tmp_path, "engine: {tensor_parallel_size: 3}\n", config=SMALL)
    assert not found(good, "nxdi.head-divisibility")
    assert not found(good, "nxdi.heads-padded")


def test_nxdi_heads_padded(tmp_path: Path) -> None:
    config = {"num_attention_heads": 40, "num_key_value_heads": 8, "hidden_size": 640}
    plan = neuron_plan(tmp_path, "engine:\n  tensor_parallel_size: 24\n", config=config)
    finding = only(found(plan, "nxdi.heads-padded"))
    assert finding.severity == "error"
    assert (
        "40 heads (8 KV) at TP 24 are padded to 48: 17% of the attention work is padding" in finding.message
    )
    assert finding.fix == "set engine.tensor_parallel_size to 1, 2, 4 or 8"
    assert str(finding.place) == "sample.yaml:3: engine.tensor_parallel_size"
    assert not found(plan, "nxdi.head-divisibility")
    forced = neuron_plan(tmp_path, "engine: {tensor_parallel_size: 24}\n", config=config, force=True)
    assert only(found(forced, "nxdi.heads-padded")).severity == "warning"
    good = neuron_plan(tmp_path, "engine: {tensor_parallel_size: 8}\n", config=config)
    assert not found(good, "nxdi.heads-padded")


def test_nxdi_heads_padded_as_documented(tmp_path: Path) -> None:
    config = {"num_attention_heads": 40, "num_key_value_heads": 8, "hidden_size": 640}
    for architecture in ("Llama4ForConditionalGeneration", "LlavaForConditionalGeneration"):
        config |= {"architectures": [architecture]}
        plan = neuron_plan(tmp_path, "engine:\n  tensor_parallel_size: 24\n", config=config)
        finding = only(found(plan, "nxdi.heads-padded-as-documented"))
        assert finding.severity == "warning"
        assert "17% of the attention work is padding" in finding.message
        assert not found(plan, "nxdi.heads-padded")


def test_nxdi_multimodal_flat_keys(tmp_path: Path) -> None:
    text = "neuron: {fused_qkv: true}\n"
    plan = neuron_plan(tmp_path, text, config=LLAMA4)
    finding = only(found(plan, "nxdi.multimodal-flat-keys"))
    assert finding.severity == "error"
    assert finding.message.startswith("fused_qkv for Llama4ForConditionalGeneration: vllm-neuron 0.4.1 takes")
    assert finding.fix == "put it under neuron.text_neuron_config: {fused_qkv: …}"
    assert str(finding.place) == "sample.yaml:2: neuron.fused_qkv"
    assert not found(plan, "nxdi.plugin-refuses")
    named = neuron_plan(tmp_path, "neuron: {text_config: {fused_qkv: true}}\n", config=LLAMA4)
    assert only(found(named, "nxdi.multimodal-flat-keys")).fix == "write text_neuron_config"
    assert not found(named, "nxdi.unknown-key"), "one cause is told once"
    nested = "neuron: {text_neuron_config: {fused_qkv: true}}\n"
    assert not found(neuron_plan(tmp_path, nested, config=LLAMA4), "nxdi.multimodal-flat-keys")
    assert not found(neuron_plan(tmp_path, text), "nxdi.multimodal-flat-keys")


def test_nxdi_fused_qkv_lost(tmp_path: Path) -> None:
    text = "neuron: {fused_qkv: true, activation_quantization_type: dynamic}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.fused-qkv-lost"))
    assert finding.severity == "warning"
    assert "by its code (0.9.0, not run) NxD Inference loses fused_qkv" in finding.message
    assert finding.fix == "remove one of the two"
    assert str(finding.place) == "sample.yaml:2: neuron.fused_qkv"
    assert not found(neuron_plan(tmp_path, "neuron: {fused_qkv: true}\n"), "nxdi.fused-qkv-lost")


def test_nxdi_cte_block_kernel_flag(tmp_path: Path) -> None:
    plan = neuron_plan(tmp_path, "neuron: {attn_block_cte_nki_kernel_enabled: true}\n")
    finding = only(found(plan, "nxdi.cte-block-kernel-flag"))
    assert finding.severity == "error"
    assert "Cannot set qkv_kernel_enabled=False" in finding.message
    assert finding.fix is not None and finding.fix.startswith("remove it, and set qkv_kernel_enabled")
    assert str(finding.place) == "sample.yaml:2: neuron.attn_block_cte_nki_kernel_enabled"
    assert len(plan.findings) == 1, "that it is deprecated need not be told as well"
    assert not found(neuron_plan(tmp_path), "nxdi.cte-block-kernel-flag")


def test_nxdi_plugin_refuses(tmp_path: Path) -> None:
    text = "engine: {max_model_len: 4096}\nfeatures:\n  buckets: {prefill: [512, 8192]}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.plugin-refuses"))
    assert finding.severity == "error"
    assert finding.message == (
        "vllm-neuron 0.4.1 refuses this: AssertionError: Context bucket 8192 should be <= 4096"
    )
    assert finding.fix is not None
    assert finding.fix.startswith("let no prefill bucket be longer than 4096, which is engine.max_model_len")
    assert str(finding.place) == "sample.yaml:4: features.buckets.prefill"
    assert not neuron_plan(tmp_path, text.replace("8192", "4096")).errors


def test_a_refusal_of_the_vision_encoder_names_its_settings(tmp_path: Path) -> None:
    text = "engine: {max_model_len: 4096}\nneuron:\n  vision_neuron_config:\n    seq_len: 2048\n"
    finding = only(found(neuron_plan(tmp_path, text, config=LLAMA4), "nxdi.plugin-refuses"))
    assert "refuses vision_neuron_config: AssertionError: max_context_length" in finding.message
    assert str(finding.place) == "sample.yaml:5: neuron.vision_neuron_config.seq_len"
    text = text.replace("vision_neuron_config", "text_neuron_config")
    finding = only(found(neuron_plan(tmp_path, text, config=LLAMA4), "nxdi.plugin-refuses"))
    assert "refuses this: AssertionError: max_context_length" in finding.message


def test_prefill_buckets_longer_than_a_piece_of_a_prompt(tmp_path: Path) -> None:
    text = "features: {chunked_prefill: true}\nneuron: {context_encoding_buckets: [512, 4096]}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.plugin-refuses"))
    assert finding.fix == (
        "let no prefill bucket be longer than 2048, which is engine.max_num_batched_tokens, "
        "a piece of a prompt"
    )
    assert str(finding.place) == "sample.yaml:3: neuron.context_encoding_buckets"


def test_buckets_of_a_model_without_chunked_prefill_are_not_told_as_well(tmp_path: Path) -> None:
    text = (
        "features: {chunked_prefill: true}\nneuron:\n  text_neuron_config:\n"
        "    context_encoding_buckets: [512, 4096]\n"
    )
    config = {"architectures": ["LlavaForConditionalGeneration"], "vision_config": {"hidden_size": 64}}
    finding = only(found(neuron_plan(tmp_path, text, config=config), "nxdi.plugin-refuses"))
    assert "does not yet support block_kv_layout" in finding.message


def test_a_layout_that_contradicts_prefix_caching_is_named(tmp_path: Path) -> None:
    """The plugin's own assertion has no text."""
    text = "features: {prefix_caching: true}\nneuron: {is_block_kv_layout: false}\n"
    plan = neuron_plan(tmp_path, text)
    finding = only(found(plan, "nxdi.plugin-refuses"))
    assert "is_block_kv_layout is false while vLLM has prefix caching on" in finding.message
    assert finding.fix == "remove is_block_kv_layout, or set features.prefix_caching: false"
    assert str(finding.place) == "sample.yaml:3: neuron.is_block_kv_layout"
    assert [one.id for one in plan.errors] == ["nxdi.plugin-refuses"]


@pytest.mark.parametrize(
    ("text", "fix", "place"),
    [
        ("features: {prefix_caching: true}\n", "features.prefix_caching: false", "features.prefix_caching"),
        (
            "neuron: {text_neuron_config: {flash_decoding_enabled: true}}\n",
            "flash_decoding_enabled: false",
            "neuron.text_neuron_config.flash_decoding_enabled",
        ),
    ],
)
def test_what_chunked_attention_does_not_go_with(tmp_path: Path, text: str, fix: str, place: str) -> None:
    """Llama 4 attends to chunks; a length within one chunk leaves all of it possible."""
    config = {**LLAMA4, "text_config": {"model_type": "llama4_text", "attention_chunk_size": 128}}
    finding = only(found(neuron_plan(tmp_path, text, config=config), "nxdi.plugin-refuses"))
    assert "is not yet supported with chunked attention" in finding.message
    assert finding.fix == f"set {fix}"
    assert str(finding.place) == f"sample.yaml:2: {place}"
    short = neuron_plan(tmp_path, f"{text}engine: {{max_model_len: 128}}\n", config=config)
    assert not any("chunked attention" in one.message for one in short.findings)


@pytest.mark.parametrize(
    ("text", "config", "message", "fix"),
    [
        (
            "engine: {max_model_len: 999}\nneuron: {tp_degree: 8, sequence_parallel_enabled: true}\n",
            {},
            "context length (999) must be divisible by TP group size (8)",
            "let TP divide engine.max_model_len and each prefill bucket",
        ),
        (
            "engine: {max_model_len: 4096}\nneuron: {vision_neuron_config: {seq_len: 2048}}\n",
            LLAMA4,
            "max_context_length cannot be more than max_length",
            "leave vision_neuron_config.seq_len out, or let it be engine.max_model_len (4096) or more",
        ),
        (
            "features: {prefix_caching: true}\n",
            LLAMA4,
            "Llama4 does not yet support block_kv_layout.",
            "set features.prefix_caching to false",
        ),
        (
            "features: {chunked_prefill: true}\n",
            LLAMA4,
            "Llama4 does not yet support block_kv_layout.",
            "set features.chunked_prefill to false",
        ),
        (
            "neuron: {text_neuron_config: {is_block_kv_layout: true}}\n",
            LLAMA4,
            "Llama4 does not yet support block_kv_layout.",
            "leave is_block_kv_layout out",
        ),
        (
            "neuron: {token_generation_batches: [1, 2, 16]}\n",
            {},
            "AssertionError and no text, because none may be above the batch of decoding, 4",
            "let none be above 4, or raise engine.max_num_seqs",
        ),
        (
            "neuron: {token_generation_batches: [1, 2]}\nfeatures: {prefix_caching: true}\n",
            {},
            "token_generation_batches [1, 2]: NxD Inference stops with ValueError and no text",
            "remove it, or turn that feature off",
        ),
        (
            "engine: {tensor_parallel_size: 8}\nneuron: {ep_dispatch_cc_option: RS_AG}\n",
            {},
            "ValueError and no text, because TP may not be above the batch of decoding, 4",
            "remove it, or set engine.max_num_seqs to TP or more",
        ),
        (
            "model: {id: org/small}\nfeatures: {speculative: {method: eagle, model: org/draft, tokens: 3}}\n",
            LLAMA4,
            "Llama4 does not yet support fused speculation.",
            "remove features.speculative",
        ),
        (
            "neuron: {quantized_mlp_kernel_enabled: true, qkv_kernel_enabled: true}\n",
            {},
            "Could not find modules_to_not_convert for quantized model.",
            "set neuron.modules_to_not_convert",
        ),
    ],
)
def test_a_refusal_says_what_mends_it(
    tmp_path: Path, text: str, config: dict[str, Any], message: str, fix: str
) -> None:
    finding = only(found(neuron_plan(tmp_path, text, config=config), "nxdi.plugin-refuses"))
    assert message in finding.message
    assert finding.fix is not None and finding.fix.startswith(fix)


@pytest.mark.parametrize("feature", ["prefix_caching", "chunked_prefill"])
def test_what_a_model_with_images_refuses_is_told_once(tmp_path: Path, feature: str) -> None:
    """Its buckets and the plugin's own conditions do not matter any more."""
    text = (
        f"features: {{{feature}: true}}\n"
        "neuron: {text_neuron_config: {context_encoding_buckets: [128, 2048]}}\n"
    )
    plan = neuron_plan(tmp_path, text, config=LLAMA4)
    assert [one.id for one in plan.errors] == ["nxdi.plugin-refuses"]
    assert plan.errors[0].fix == f"set features.{feature} to false"
    assert str(plan.errors[0].place) == f"sample.yaml:2: features.{feature}"


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("neuron: {cast_type: none}\n", {}),
        ("neuron: {quantized: true, quantized_checkpoints_path: ./q, quantization_dtype: int4}\n", {}),
        ("neuron: {tp_degree: 3, cp_degree: 2}\n", {}),
        ("neuron: {seq_len: 64, max_length: 32}\n", {}),
        ("neuron: {enable_fused_speculation: true}\n", {}),
        ("engine: {tensor_parallel_size: 2}\n", SMALL),
        ("features: {quantization: {weights: fp8}, prefix_caching: true, buckets: {prefill: [128]}}\n", {}),
        ("features: {chunked_prefill: true}\nneuron: {is_block_kv_layout: false}\n", {}),
        ("features: {sampling: {on_device: false}}\nneuron: {tensor_capture_config: {a: 1}}\n", {}),
        ("neuron: {fused_qkv: true}\n", LLAMA4),
    ],
)
def test_what_is_refused_is_an_error_of_some_rule(
    tmp_path: Path, text: str, config: dict[str, object]
) -> None:
    """Whatever the plugin is predicted to refuse stops the plan, once for each thing that it is about."""
    plan = neuron_plan(tmp_path, text, config=config)
    assert plan.outlook is not None and plan.outlook.prediction is not None
    refusals = plan.outlook.prediction.refusals
    assert refusals
    about = {topic(refusal) for refusal in refusals}
    untold = [refusal for refusal in refusals if topic(refusal) not in TOLD]
    assert len(found(plan, "nxdi.plugin-refuses")) == len(untold)
    errors = {one.id for one in plan.errors} - {"nxdi.plugin-refuses"}
    assert len(errors) >= len(about & TOLD)
    assert plan.errors


@settings(max_examples=100, deadline=None)
@given(
    neuron=st.dictionaries(KEYS, VALUES, max_size=5),
    text=st.sampled_from(FEATURES),
    config=st.sampled_from(({}, SMALL, LLAMA4)),
    stack=st.sampled_from(("sdk-2.26", "sdk-2.28", "sdk-2.31")),
)
def test_whatever_the_neuron_config_says_no_rule_fails_and_no_refusal_is_lost(
    tmp_path_factory: pytest.TempPathFactory,
    neuron: dict[str, Any],
    text: str,
    config: dict[str, Any],
    stack: str,
) -> None:
    words = ("--additional-config", json.dumps({"override_neuron_config": neuron}))
    folder = tmp_path_factory.getbasetemp()
    plan = neuron_plan(folder, text, passthrough=words, config=config, stack=stack)
    assert plan.outlook is not None and plan.outlook.prediction is not None
    if plan.outlook.prediction.refusals or plan.outlook.key_faults:
        assert [one for one in plan.findings if one.severity in ("error", "warning")]
    if plan.outlook.prediction.refusals:
        assert plan.errors


def test_each_refusal_that_is_told_elsewhere_has_a_rule_there() -> None:
    covered = {issue for one in RULES if "nxdi" in one.backends for issue in one.covers}
    names = {one.id for one in RULES}
    for told in sorted(TOLD - {"dtype"}):
        assert told in covered or f"nxdi.{told}" in names, told
    assert "vllm.flag-refused" in names, "vLLM's parser refuses a data type before the plugin does"
