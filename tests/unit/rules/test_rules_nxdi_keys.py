"""Rules about keys of the Neuron config: what is misspelt, too new, or said twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.neuron.migration import is_foreign
from tests.plan_sample import found, neuron_plan, only


def test_nxdi_additional_config(tmp_path: Path) -> None:
    text = "engine:\n  extra:\n    additional_config: {override-neuron-config: {tp_degree: 2}}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.additional-config"))
    assert finding.severity == "error"
    assert "does not read override-neuron-config" in finding.message
    assert finding.fix == "write override_neuron_config, or put the settings under neuron in the profile"
    assert str(finding.place) == "sample.yaml:4: engine.extra.additional_config"
    good = text.replace("override-neuron-config", "override_neuron_config")
    assert not found(neuron_plan(tmp_path, good), "nxdi.additional-config")


def test_a_neuron_key_beside_the_neuron_config_is_sent_into_it(tmp_path: Path) -> None:
    words = ("--additional-config", '{"fused_qkv": true}')
    finding = only(found(neuron_plan(tmp_path, passthrough=words), "nxdi.additional-config"))
    assert finding.fix == "write override_neuron_config.fused_qkv, or put it under neuron in the profile"
    assert finding.place is None


@pytest.mark.parametrize(
    "config", ["[]", '{"override_neuron_config": [1]}', '{"override_neuron_config": "x"}']
)
def test_an_additional_config_that_is_no_mapping_is_told_once(tmp_path: Path, config: str) -> None:
    plan = neuron_plan(tmp_path, passthrough=("--additional-config", config))
    assert [one.id for one in plan.errors] == ["nxdi.additional-config"]


def test_max_prompt_length_came_with_plugin_0_3(tmp_path: Path) -> None:
    text = "neuron: {max_prompt_length: 64}\n"
    finding = only(found(neuron_plan(tmp_path, text, stack="sdk-2.26"), "nxdi.additional-config"))
    assert "vllm-neuron 0.3.0" in finding.message
    assert finding.fix == "remove it, or use vllm-neuron 0.3.0"
    assert str(finding.place) == "sample.yaml:2: neuron.max_prompt_length"
    assert not found(neuron_plan(tmp_path, text), "nxdi.additional-config")


def test_nxdi_unknown_key(tmp_path: Path) -> None:
    text = "neuron:\n  tp_degre: 2\n  on_device_sampling_config:\n    dynamic: true\n    determinstic: true\n"
    top, inner = found(neuron_plan(tmp_path, text), "nxdi.unknown-key")
    assert top.severity == "error"
    assert "tp_degre is not a key of NeuronConfig" in top.message
    assert "did you mean tp_degree (NxD Inference 0.1.0 and later)?" in top.message
    assert (top.fix, str(top.place)) == ("write tp_degree", "sample.yaml:3: neuron.tp_degre")
    assert "did you mean deterministic" in inner.message
    assert str(inner.place) == "sample.yaml:6: neuron.on_device_sampling_config.determinstic"
    good = text.replace("degre:", "degree:").replace("determinstic", "deterministic")
    assert not found(neuron_plan(tmp_path, good), "nxdi.unknown-key")


@pytest.mark.parametrize("name", ["override_neuron_config", "override-neuron-config", "additional_config"])
def test_a_whole_config_inside_another(tmp_path: Path, name: str) -> None:
    text = f"neuron: {{{name}: {{fused_qkv: true}}}}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.unknown-key"))
    assert finding.message == f"{name} stands inside the Neuron config, where nothing reads it"
    assert finding.fix == "put its keys directly under neuron"


def test_a_key_that_looks_like_no_other_has_no_suggestion(tmp_path: Path) -> None:
    finding = only(found(neuron_plan(tmp_path, "neuron: {enable_token_tree: true}\n"), "nxdi.unknown-key"))
    assert ("did you mean" in finding.message, finding.fix) == (False, "remove it")


def test_nxdi_world_size(tmp_path: Path) -> None:
    text = "engine: {tensor_parallel_size: 8}\nneuron: {world_size: 4}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.world-size"))
    assert finding.severity == "warning"
    assert finding.message == "world_size 4 is no multiple of the 8 cores of TP x PP x EP"
    assert (finding.fix, str(finding.place)) == (
        "remove it, or set it to 8",
        "sample.yaml:3: neuron.world_size",
    )
    assert not found(neuron_plan(tmp_path, text.replace(": 4", ": 8")), "nxdi.world-size")
    assert not found(neuron_plan(tmp_path), "nxdi.world-size")


def test_nxdi_on_cpu(tmp_path: Path) -> None:
    finding = only(found(neuron_plan(tmp_path, "neuron: {on_cpu: true}\n"), "nxdi.on-cpu"))
    assert (finding.severity, "the Neuron cores stay idle" in finding.message) == ("warning", True)
    assert "backend: cpu" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:2: neuron.on_cpu"
    assert not found(neuron_plan(tmp_path, "neuron: {on_cpu: false}\n"), "nxdi.on-cpu")


def test_nxdi_continuous_batching_off(tmp_path: Path) -> None:
    text = "neuron: {is_continuous_batching: false}\nengine: {max_num_seqs: 8}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.continuous-batching-off"))
    assert finding.severity == "warning"
    assert "is_continuous_batching is false with a batch of 8" in finding.message
    assert finding.fix == "remove it, or set engine.max_num_seqs: 1"
    assert str(finding.place) == "sample.yaml:2: neuron.is_continuous_batching"
    one = text.replace("max_num_seqs: 8", "max_num_seqs: 1")
    assert not found(neuron_plan(tmp_path, one), "nxdi.continuous-batching-off")


def test_a_key_that_is_gone_says_what_took_its_place(tmp_path: Path) -> None:
    text = "neuron: {is_chunked_prefill: true}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.unknown-key"))
    assert "was last read by NxD Inference 0.3.5591" in finding.message
    assert finding.fix == "write chunked_prefill_config"


def test_a_key_that_is_only_documented_is_an_error(tmp_path: Path) -> None:
    finding = only(found(neuron_plan(tmp_path, "neuron: {compiler_args: -O1}\n"), "nxdi.unknown-key"))
    assert "documented, but no key of NeuronConfig" in finding.message
    assert finding.fix == "remove it"


def test_each_wrong_key_is_told_by_one_rule(tmp_path: Path) -> None:
    """Keys of the native plugin are another rule's; all others are told here, none of them twice."""
    text = (
        "neuron: {tp_degre: 2, num_seqs_buckets: [1], fused_qkv: 3, is_eagle3: true, max_prompt_length: 9, "
        "on_device_sampling_config: {dynamic: true, global_top_k: 5, all_greedy: true}}\n"
    )
    plan = neuron_plan(tmp_path, text, stack="sdk-2.26")
    rules = ("additional-config", "unknown-key", "global-topk-spelling", "key-too-new", "bad-value")
    told = [one for rule in (*rules, "deprecated-key") for one in found(plan, f"nxdi.{rule}")]
    assert plan.outlook is not None
    faults = [fault for fault in plan.outlook.key_faults if not is_foreign(fault, "nxdi")]
    assert len(told) == len(faults)
    assert {fault.kind for fault in faults} == {"unknown", "ignored", "too-new", "bad-value"}
    assert {one.place.key for one in told if one.place} == {
        "neuron." + fault.path.removeprefix("override_neuron_config.") for fault in faults
    }


def test_nxdi_global_topk_spelling(tmp_path: Path) -> None:
    text = "neuron: {on_device_sampling_config: {dynamic: true, global_top_k: 64}}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.global-topk-spelling"))
    assert finding.severity == "error"
    assert "NxD Inference reads global_topk" in finding.message
    assert finding.fix == "set features.sampling.global_top_k, or write global_topk"
    assert str(finding.place) == "sample.yaml:2: neuron.on_device_sampling_config.global_top_k"
    for good in (text.replace("global_top_k", "global_topk"), "features: {sampling: {global_top_k: 64}}\n"):
        assert not neuron_plan(tmp_path, good).errors


def test_nxdi_key_too_new(tmp_path: Path) -> None:
    text = "neuron: {is_eagle3: false}\n"
    finding = only(found(neuron_plan(tmp_path, text, stack="sdk-2.26"), "nxdi.key-too-new"))
    assert finding.severity == "error"
    assert "read by NxD Inference 0.7.14366 and later, and this is 0.6.10598" in finding.message
    assert finding.fix == "remove it, or use NxD Inference 0.7.14366 or later"
    assert str(finding.place) == "sample.yaml:2: neuron.is_eagle3"
    assert not found(neuron_plan(tmp_path, text, stack="sdk-2.28"), "nxdi.key-too-new")


def test_nxdi_bad_value(tmp_path: Path) -> None:
    text = "neuron: {fused_qkv: 3, torch_dtype: float64}\n"
    plan = neuron_plan(tmp_path, text)
    kind, choice = found(plan, "nxdi.bad-value")
    assert kind.message == "fused_qkv is 3, not true or false"
    assert kind.fix == "give it a value of that kind, or remove it"
    assert str(kind.place) == "sample.yaml:2: neuron.fused_qkv"
    assert "torch_dtype is 'float64', not one of float32" in choice.message
    assert len(plan.errors) == 2, "NxD Inference's own refusal of the type is not told as well"
    assert not neuron_plan(tmp_path, "neuron: {fused_qkv: true, torch_dtype: float32}\n").errors


def test_nxdi_deprecated_key(tmp_path: Path) -> None:
    kernels = "qkv_kernel_enabled: true, qkv_nki_kernel_enabled: true, out_proj_kernel_enabled: true"
    text = f"neuron: {{attn_block_cte_nki_kernel_enabled: true, {kernels}}}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.deprecated-key"))
    assert finding.severity == "warning"
    assert finding.message.startswith("attn_block_cte_nki_kernel_enabled: deprecated")
    assert str(finding.place) == "sample.yaml:2: neuron.attn_block_cte_nki_kernel_enabled"
    assert not found(neuron_plan(tmp_path, f"neuron: {{{kernels}}}\n"), "nxdi.deprecated-key")


def test_nxdi_draft_overrides(tmp_path: Path) -> None:
    text = "neuron: {draft_overrides: {fused_qkv: true}}\n"
    finding = only(found(neuron_plan(tmp_path, text, stack="sdk-2.28"), "nxdi.draft-overrides"))
    assert "read by vllm-neuron 0.5.0 and later, and this is 0.4.1" in finding.message
    assert finding.fix == "remove it, or use vllm-neuron 0.5.0 or later"
    assert str(finding.place) == "sample.yaml:2: neuron.draft_overrides"
    assert not found(neuron_plan(tmp_path, text, stack="sdk-2.29"), "nxdi.draft-overrides")


def test_nxdi_override_differs(tmp_path: Path) -> None:
    """Measured: tp_degree 4 against 2 and seq_len 256 against 128 both load."""
    engine = "engine: {tensor_parallel_size: 2, max_model_len: 128}\n"
    cores, length = found(
        neuron_plan(tmp_path, f"{engine}neuron: {{tp_degree: 4, seq_len: 256}}\n"), "nxdi.override-differs"
    )
    assert cores.severity == "warning"
    assert cores.message == "tp_degree 4 is what is compiled, while vLLM goes on with tensor_parallel_size 2"
    assert cores.fix == "set engine.tensor_parallel_size to the number you mean and remove tp_degree"
    assert str(cores.place) == "sample.yaml:3: neuron.tp_degree"
    assert "seq_len 256" in length.message and "max_model_len 128" in length.message
    same = neuron_plan(tmp_path, f"{engine}neuron: {{tp_degree: 2, seq_len: 128}}\n")
    assert not found(same, "nxdi.override-differs")
