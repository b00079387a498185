from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.neuron import keys
from neuronctl.neuron.keys import Generation, KeyFault, check_additional_config, check_keys, known_keys
from neuronctl.secret import redact
from tests.reference import reference

REFERENCE = reference("neuron_config_keys")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    sorted({*known_keys("nxdi", "override_neuron_config"), *known_keys("native"), "async", "global_top_k"})
)


def one(settings: dict[str, Any], version: str | None = None) -> KeyFault:
    (fault,) = check_keys(settings, generation="nxdi", version=version)
    return fault


def all_keys(section: dict[str, Any]) -> dict[str, dict[str, Any]]:
    keys = section["keys"]
    return {key["name"]: key for key in keys} if isinstance(keys, list) else dict(keys)


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ("neuron_config", "nxdi_neuron_config"),
        ("moe_neuron_config", "moe_neuron_config"),
        ("multimodal_vision_neuron_config", "multimodal_vision_neuron_config"),
        ("on_device_sampling_config", "on_device_sampling_config"),
        ("chunked_prefill_config", "chunked_prefill_config"),
        ("hybrid_sharding_config", "hybrid_sharding_config"),
        ("tensor_capture_config", "tensor_capture_config"),
        ("tensor_replacement_config", "tensor_replacement_config"),
        ("lora_serving_config", "lora_serving_config"),
    ],
)
def test_every_key_of_the_reference_is_known_with_its_facts(section: str, named: str) -> None:
    known = known_keys("nxdi", section)
    for name, facts in all_keys(REFERENCE[named]).items():
        key = known[name]
        assert key.default == facts.get("default")
        since = facts["first_tag"].removeprefix("v").replace("HEAD", "0.9.0")
        assert key.since == since
        assert bool(key.deprecated) == bool(facts.get("deprecated"))
        assert "line" not in facts or key.source.endswith(f":{facts['line']}")
        for kind in facts["type"].split("|"):
            # Python objects cannot be passed as JSON; two kinds of list are only said in more detail.
            if kind in ("bool", "int", "float", "str", "null", "dict", "list[int]", "list[str]"):
                assert kind in key.kinds


@pytest.mark.parametrize("section", ["kv_quant_config", "fused_spec_config"])
def test_the_small_configurations_are_complete(section: str) -> None:
    assert set(known_keys("nxdi", section)) == set(all_keys(REFERENCE[section]))


@pytest.mark.parametrize("section", ["blockwise_matmul_config", "router_config"])
def test_the_configurations_of_experts_are_complete(section: str) -> None:
    assert set(known_keys("nxdi", section)) == set(REFERENCE["moe_neuron_config"][section]["keys"])


def test_every_native_key_is_known() -> None:
    native = REFERENCE["native_neuron_config"]
    assert set(known_keys("native")) == {key["name"] for key in native["keys"]}
    vision = {key["name"] for key in native["vision_neuron_config"]}
    assert set(known_keys("native", "vision_neuron_config")) == vision


def test_every_removed_key_is_explained() -> None:
    for gone in REFERENCE["removed_keys"]:
        fault = one({gone["name"]: True})
        assert fault.kind == "removed"
        assert gone["last_tag"].removeprefix("v") in fault.message
        assert gone["note"] in fault.message


def test_good_settings_have_no_fault() -> None:
    settings = {
        "tp_degree": 8,
        "context_encoding_buckets": [128, 512],
        "on_device_sampling_config": {"dynamic": True, "global_topk": 64, "top_p": 1},
        "blockwise_matmul_config": {"block_size": 256, "block_sharding_strategy": "PING_PONG"},
        "attn_kernel_enabled": None,
        "logical_nc_config": 2,
    }
    assert check_keys(settings, generation="nxdi", version=None) == ()


def test_a_misspelt_key_is_told_the_nearest_one() -> None:
    fault = one({"sequence_paralel_enabled": True})
    assert (fault.kind, fault.nearest) == ("unknown", "sequence_parallel_enabled")


def test_a_misspelt_key_in_a_sub_configuration_is_found_by_its_path() -> None:
    fault = one({"on_device_sampling_config": {"temprature": 1.0}})
    assert (fault.path, fault.nearest) == ("on_device_sampling_config.temprature", "temperature")


def test_the_documented_spelling_of_global_topk_is_ignored_by_the_code() -> None:
    fault = one({"on_device_sampling_config": {"global_top_k": 64}})
    assert (fault.kind, fault.path) == ("ignored", "on_device_sampling_config.global_top_k")
    assert fault.nearest == "global_topk"
    assert one({"compiler_args": "-O1"}).kind == "ignored"


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"tp_degree": "8"}, "tp_degree"),
        ({"tp_degree": True}, "tp_degree"),
        ({"tp_degree": None}, "tp_degree"),
        ({"fused_qkv": 1}, "fused_qkv"),
        ({"quantization_dtype": "float8_e4m3"}, "quantization_dtype"),
        ({"context_encoding_buckets": ["128"]}, "context_encoding_buckets"),
        ({"on_device_sampling_config": True}, "on_device_sampling_config"),
        ({"chunked_prefill_config": {"max_num_seqs": 1.5}}, "chunked_prefill_config.max_num_seqs"),
        ({"logical_nc_config": 4}, "logical_nc_config"),
        ({"vision_neuron_config": {"tp_degree": []}}, "vision_neuron_config.tp_degree"),
    ],
)
def test_a_bad_value_is_found(settings: dict[str, Any], path: str) -> None:
    fault = one(settings)
    assert (fault.kind, fault.path) == ("bad-value", path)


def test_an_unknown_key_says_what_becomes_of_it() -> None:
    assert "logs a warning" in one({"zzz": 1}).message
    inside = one({"on_device_sampling_config": {"zzz": 1}})
    assert inside.message == "zzz is not a key of OnDeviceSamplingConfig"
    (fault,) = check_keys({"zzz": 1}, generation="native", version=None)
    assert "drops it without a word" in fault.message


def test_the_sizes_of_qwen2_vl_are_known() -> None:
    """As in AWS's tutorial."""
    sizes = {"default_image_width": 640, "default_image_height": 320}
    assert check_keys({"vision_neuron_config": sizes}, generation="nxdi", version="0.8.16251") == ()
    assert one({"vision_neuron_config": {"default_image_width": "640"}}).kind == "bad-value"


def test_a_quantized_type_may_be_written_in_capitals() -> None:
    assert check_keys({"quantization_dtype": "F8E4M3"}, generation="nxdi", version=None) == ()


def test_a_deprecated_key_says_what_it_does() -> None:
    fault = one({"attn_tkg_nki_kernel_enabled": True})
    assert fault.kind == "deprecated"
    assert "attn_block_tkg_nki_kernel_enabled" in fault.message


@pytest.mark.parametrize(
    ("key", "version", "kind"),
    [
        # First seen in the head, 0.9.0, which came after 0.7.14366: whether 0.8 has it is not known.
        ("disable_argmax_kernel", "0.7.14366", "too-new"),
        ("disable_argmax_kernel", "0.8.16251+f3ca5575", None),
        ("disable_argmax_kernel", "0.9.0", None),
        ("attention_dp_degree", "0.4.7422", "too-new"),
        ("attention_dp_degree", "0.5.9230", None),
        ("is_chunked_prefill", "0.3.5591", "deprecated"),
        ("is_chunked_prefill", "0.9.0", "removed"),
    ],
)
def test_a_key_is_judged_by_the_release(key: str, version: str, kind: str | None) -> None:
    faults = check_keys(
        {key: True if key.startswith(("is", "dis")) else 2}, generation="nxdi", version=version
    )
    assert [fault.kind for fault in faults] == ([kind] if kind else [])


def test_a_key_of_the_other_generation_is_told_apart() -> None:
    (fault,) = check_keys({"context_encoding_buckets": [128]}, generation="native", version=None)
    assert (fault.kind, fault.nearest) == ("ignored", "num_batched_tokens_buckets")
    (fault,) = check_keys({"save_sharded_checkpoint": True}, generation="native", version=None)
    assert "NxD Inference" in fault.message
    assert "native plugin" in one({"num_seqs_buckets": [1]}).message


def test_a_native_sampling_key_that_is_only_documented_is_ignored() -> None:
    settings = {"on_device_sampling_config": {"temperature": 1.0}}
    (fault,) = check_keys(settings, generation="native", version="0.24.0.1.1.0")
    assert (fault.kind, fault.path) == ("ignored", "on_device_sampling_config.temperature")


@pytest.mark.parametrize(
    ("config", "generation", "plugin", "path", "kind", "nearest"),
    [
        (
            {"override-neuron-config": {}},
            "nxdi",
            None,
            "override-neuron-config",
            "unknown",
            "override_neuron_config",
        ),
        ({"tp_degree": 4}, "nxdi", None, "tp_degree", "unknown", "override_neuron_config.tp_degree"),
        ({"max_prompt_length": 64}, "nxdi", "0.2.0", "max_prompt_length", "too-new", None),
        ({"override_neuron_config": [1]}, "nxdi", None, "override_neuron_config", "bad-value", None),
        ({"neuron_config": {"x": 1}}, "native", None, "neuron_config.x", "unknown", None),
        (
            {"vision_neuron_config": {"tp_sizes": 1}},
            "native",
            None,
            "vision_neuron_config.tp_sizes",
            "unknown",
            "tp_size",
        ),
        ([], "nxdi", None, "", "bad-value", None),
    ],
)
def test_the_top_level_is_checked(
    config: Any, generation: Any, plugin: Any, path: str, kind: str, nearest: str | None
) -> None:
    (fault,) = check_additional_config(config, generation=generation, plugin=plugin, version=None)
    assert (fault.path, fault.kind, fault.nearest) == (path, kind, nearest)


def test_max_prompt_length_is_read_from_0_3_on() -> None:
    config = {"max_prompt_length": 64, "override_neuron_config": None}
    assert check_additional_config(config, generation="nxdi", plugin="0.3.0", version=None) == ()


@given(
    st.dictionaries(NAMES | st.text(max_size=12), JSON, max_size=5),
    st.sampled_from(["nxdi", "native"]),
    st.none() | st.text(max_size=8) | st.sampled_from(["0.2.0", "0.8.16251+f3ca5575", "0.24.0.1.1.0"]),
)
def test_no_settings_can_make_the_check_fail(settings: Any, generation: Any, version: str | None) -> None:
    for fault in check_keys(settings, generation=generation, version=version):
        assert fault.message
        assert fault.path.split(".")[0] in {str(key).split(".")[0] for key in settings}


@given(JSON, st.sampled_from(["nxdi", "native"]))
def test_no_additional_config_can_make_the_check_fail(config: Any, generation: Any) -> None:
    assert isinstance(
        check_additional_config(config, generation=generation, plugin="0.3.0", version=None), tuple
    )


@pytest.mark.parametrize("generation", ["nxdi", "native"])
def test_no_neuron_setting_is_taken_for_a_secret(generation: Generation) -> None:
    """A plan shows each one, and its command is to be pasted."""
    path = Path(keys.__file__).with_name("keys.yaml")
    sections = yaml.safe_load(path.read_text(encoding="utf-8"))[generation]["sections"]
    named = {key for section in sections for key in known_keys(generation, section)}
    assert len(named) > 10
    assert {key for key in named if redact((key,), [512]) != [512]} == set()
