"""Rules about single models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuronctl.model.model import Model
from neuronctl.model.resolve import resolve_model
from neuronctl.plan.plan import Plan
from neuronctl.profile.schema import ModelSection
from neuronctl.result import Finding
from tests.plan_sample import found, neuron_plan, sample_host, sample_machine, sample_model, sample_plan

PIXTRAL, SCOUT = "mistral-community/pixtral-12b", "meta-llama/Llama-4-Scout-17B-16E-Instruct"
LLAMA_8B, LLAMA_70B = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"
QWEN2_7B, QWEN3_8B, QWEN3_30B = "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen3-8B", "Qwen/Qwen3-30B-A3B"


def known(tmp_path: Path, model_id: str) -> Model:
    return resolve_model(ModelSection(id=model_id), sample_host(tmp_path))


def planned(tmp_path: Path, model_id: str, text: str, target: str, stack: str, **options: Any) -> Plan:
    text = f"model: {{id: {model_id}}}\n{text}"
    return neuron_plan(tmp_path, text, target=target, stack=stack, model=known(tmp_path, model_id), **options)


def of_shape(tmp_path: Path, architecture: str, text: str, target: str, stack: str, **shape: Any) -> Plan:
    """A plan for a model that is not recorded; `shape` are entries of its config.json."""
    return neuron_plan(
        tmp_path, text, target=target, stack=stack, config={"architectures": [architecture], **shape}
    )


def only(plan: Plan, rule: str, severity: str) -> Finding:
    (finding,) = found(plan, rule)
    assert (finding.severity, bool(finding.source), bool(finding.fix)) == (severity, True, True)
    return finding


def pixtral(tmp_path: Path, target: str, stack: str, length: int = 10240, sequences: int = 4) -> Plan:
    text = f"engine:\n  tensor_parallel_size: 8\n  max_model_len: {length}\n  max_num_seqs: {sequences}\n"
    return planned(tmp_path, PIXTRAL, text, target, stack)


ANY_BUT_TRN2 = ["inf2.48xlarge", "trn1.32xlarge"]


@pytest.mark.parametrize(
    ("target", "stack"),
    [(target, stack) for target in ANY_BUT_TRN2 for stack in ("sdk-2.27", "sdk-2.28", "sdk-2.31")]
    + [("trn2.48xlarge", "sdk-2.27")],
)
def test_model_pixtral_limits(tmp_path: Path, target: str, stack: str) -> None:
    finding = only(pixtral(tmp_path, target, stack, sequences=8), "model.pixtral-limits", "error")
    assert finding.message.startswith("8 sequences at once are more than the 4 that Pixtral can do here")
    assert finding.fix == "set engine.max_num_seqs to 4 or less"
    assert str(finding.place) == "sample.yaml:5: engine.max_num_seqs"
    assert found(pixtral(tmp_path, target, stack), "model.pixtral-limits") == []


@pytest.mark.parametrize("stack", ["sdk-2.27", "sdk-2.28", "sdk-2.31"])
@pytest.mark.parametrize("target", [*ANY_BUT_TRN2, "trn2.48xlarge"])
def test_model_pixtral_limits_of_length(tmp_path: Path, target: str, stack: str) -> None:
    finding = only(pixtral(tmp_path, target, stack, length=16384), "model.pixtral-limits", "error")
    assert finding.message == "16384 tokens are more than the 10240 that Pixtral can do on NxD Inference"
    assert finding.fix == "set engine.max_model_len to 10240 or less"
    assert str(finding.place) == "sample.yaml:4: engine.max_model_len"


def test_model_pixtral_limits_of_the_plugin(tmp_path: Path) -> None:
    finding = only(pixtral(tmp_path, "trn2.48xlarge", "sdk-2.26"), "model.pixtral-limits", "error")
    assert finding.message == (
        "vllm-neuron 0.2.0 does not serve Pixtral: Pixtral is not yet supported on the Neuron plugin "
        "(read in the code of 0.2.0)"
    )
    assert "vllm-neuron 0.3.0 or later" in str(finding.fix)


def test_model_pixtral_limits_that_a_neuron_setting_exceeds(tmp_path: Path) -> None:
    text = "engine: {tensor_parallel_size: 8}\nneuron: {text_neuron_config: {batch_size: 8}}\n"
    finding = only(
        planned(tmp_path, PIXTRAL, text, "inf2.48xlarge", "sdk-2.28"), "model.pixtral-limits", "error"
    )
    assert finding.message.startswith("8 sequences at once")
    assert finding.fix == "set neuron.text_neuron_config.batch_size to 4 or less"
    assert str(finding.place) == "sample.yaml:3: neuron.text_neuron_config.batch_size"


def test_model_pixtral_limits_in_the_plugin_s_own_words(tmp_path: Path) -> None:
    """Plugin 0.3.0 refuses it; the cause is told once."""
    plan = pixtral(tmp_path, "trn2.48xlarge", "sdk-2.27", sequences=8)
    assert (
        "does not support batch size > 4 in vLLM v1 yet"
        in only(plan, "model.pixtral-limits", "error").message
    )
    assert sum("batch size > 4" in one.message for one in plan.findings) == 1


def test_model_pixtral_limits_are_said_of_everything_at_once(tmp_path: Path) -> None:
    plan = pixtral(tmp_path, "inf2.48xlarge", "sdk-2.26", length=16384, sequences=8)
    assert len(found(plan, "model.pixtral-limits")) == 3


def test_model_pixtral_batch_disputed(tmp_path: Path) -> None:
    plan = pixtral(tmp_path, "trn2.48xlarge", "sdk-2.28", sequences=32)
    finding = only(plan, "model.pixtral-batch-disputed", "warning")
    assert (
        "Pixtral with 32 sequences on Trn2: the release notes of SDK 2.28 state up to 32" in finding.message
    )
    assert "out of bounds above 4" in finding.message
    assert found(plan, "model.pixtral-limits") == []
    fine = pixtral(tmp_path, "trn2.48xlarge", "sdk-2.28", sequences=4)
    assert found(fine, "model.pixtral-batch-disputed") == []


def test_model_pixtral_batch_that_nobody_claims(tmp_path: Path) -> None:
    plan = pixtral(tmp_path, "trn2.48xlarge", "sdk-2.28", sequences=33)
    assert only(plan, "model.pixtral-limits", "error").message.startswith("33 sequences at once")
    assert found(plan, "model.pixtral-batch-disputed") == []


def test_model_pixtral_limits_are_no_other_model_s(tmp_path: Path) -> None:
    text = "engine: {tensor_parallel_size: 8, max_model_len: 16384, max_num_seqs: 8}\n"
    plan = planned(tmp_path, LLAMA_8B, text, "trn2.48xlarge", "sdk-2.28")
    assert [one.id for one in plan.findings if "pixtral" in one.id] == []


@pytest.mark.parametrize("model_id", [LLAMA_70B, QWEN3_8B, SCOUT])
@pytest.mark.parametrize("stack", ["sdk-2.27", "sdk-2.28"])
def test_a_machine_of_no_known_type_is_not_reported(tmp_path: Path, model_id: str, stack: str) -> None:
    plan = planned(tmp_path, model_id, "", "inf2.xlarge", stack, machine={"instance": None})
    assert [one.id for one in plan.findings if one.id.startswith("model.")] == []


def test_model_qwen3_moe_batch(tmp_path: Path) -> None:
    def with_batch(sequences: int, stack: str = "sdk-2.28") -> Plan:
        text = f"engine: {{tensor_parallel_size: 8, max_num_seqs: {sequences}}}\n"
        return planned(tmp_path, QWEN3_30B, text, "trn2.48xlarge", stack)

    finding = only(with_batch(8), "model.qwen3-moe-batch", "error")
    assert finding.message == (
        "a batch of 8: SDK 2.28 (NxD Inference 0.8.16251+f3ca5575) supports Qwen3 MoE from 16 on only"
    )
    assert finding.fix == "set engine.max_num_seqs to 16 or more"
    assert str(finding.place) == "sample.yaml:2: engine.max_num_seqs"
    assert found(with_batch(16), "model.qwen3-moe-batch") == []
    assert found(with_batch(8, "sdk-2.29"), "model.qwen3-moe-batch") == []


# The shape of Qwen3-235B-A22B, of which 94 layers make 235 billion parameters.
QWEN3_235B = {
    "model_type": "qwen3_moe",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 94,
    "num_attention_heads": 64,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 1536,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "vocab_size": 151936,
    "tie_word_embeddings": False,
}


def test_model_qwen3_moe_235b_slow(tmp_path: Path) -> None:
    text = "engine: {tensor_parallel_size: 64, max_num_seqs: 16}\n"

    def slow(stack: str, **shape: Any) -> list[Finding]:
        plan = of_shape(
            tmp_path, "Qwen3MoeForCausalLM", text, "trn2.48xlarge", stack, **{**QWEN3_235B, **shape}
        )
        return found(plan, "model.qwen3-moe-235b-slow")

    (finding,) = slow("sdk-2.29")
    assert finding.severity == "warning"
    assert "NxD Inference 0.9.17334" in finding.message
    assert "SDK 2.28" in str(finding.fix)
    assert slow("sdk-2.28") == []
    assert slow("sdk-2.29", num_hidden_layers=48) == []


def qwen_vl(tmp_path: Path, text: str, family: str = "Qwen3", stack: str = "sdk-2.28") -> list[Finding]:
    plan = of_shape(
        tmp_path,
        f"{family}VLForConditionalGeneration",
        text,
        "trn2.48xlarge",
        stack,
        vision_config={"hidden_size": 64},
        max_position_embeddings=131072,
    )
    return found(plan, "model.qwen-vl-limits")


@pytest.mark.parametrize(
    ("text", "message", "fix", "key"),
    [
        (
            "engine: {max_model_len: 32769}\n",
            "32769 tokens: SDK 2.28 supports 32768 for Qwen3-VL, text and images together",
            "set engine.max_model_len to 32768 or less",
            "engine.max_model_len",
        ),
        (
            "neuron: {vision_neuron_config: {seq_len: 20000}}\n",
            "20000 tokens in the vision encoder: SDK 2.28 supports 16384 for Qwen3-VL",
            "set neuron.vision_neuron_config.seq_len to 16384 or less",
            "neuron.vision_neuron_config.seq_len",
        ),
        (
            "neuron: {vision_neuron_config: {batch_size: 2}}\n",
            "a batch of 2 in the vision encoder: SDK 2.28 supports 1 for Qwen-VL",
            "set neuron.vision_neuron_config.batch_size to 1",
            "neuron.vision_neuron_config.batch_size",
        ),
        (
            "engine: {limit_mm_per_prompt: {video: 1}}\n",
            "1 videos in a prompt: SDK 2.28 supports no videos for Qwen-VL",
            "set engine.limit_mm_per_prompt.video to 0",
            "engine.limit_mm_per_prompt",
        ),
    ],
)
def test_model_qwen_vl_limits(tmp_path: Path, text: str, message: str, fix: str, key: str) -> None:
    (finding,) = qwen_vl(tmp_path, text)
    assert (finding.severity, finding.message, finding.fix) == ("error", message, fix)
    assert finding.place is not None
    assert (finding.place.key, finding.place.line) == (key, 2)
    assert qwen_vl(tmp_path, text, stack="sdk-2.29") == []


def test_model_qwen_vl_limits_that_are_kept(tmp_path: Path) -> None:
    text = (
        "engine: {max_model_len: 32768, limit_mm_per_prompt: {video: 0, image: 2}}\n"
        "neuron: {vision_neuron_config: {seq_len: 16384, batch_size: 1}}\n"
    )
    assert qwen_vl(tmp_path, text) == []
    assert qwen_vl(tmp_path, "engine: {max_model_len: 32769}\n", family="Qwen2") == []


def test_model_moe_kernel_removed(tmp_path: Path) -> None:
    def plan(model_id: str, stack: str) -> Plan:
        return planned(tmp_path, model_id, "engine: {max_num_seqs: 16}\n", "trn2.48xlarge", stack)

    finding = only(plan(SCOUT, "sdk-2.29"), "model.moe-kernel-removed", "warning")
    assert "Llama4ForConditionalGeneration with NxD Inference 0.9.17334" in finding.message
    assert "SDK 2.28" in str(finding.fix)
    assert found(plan(SCOUT, "sdk-2.28"), "model.moe-kernel-removed") == []
    assert found(plan(QWEN3_30B, "sdk-2.29"), "model.moe-kernel-removed") == []


WITHOUT_KERNEL = "neuron: {on_device_sampling_config: {dynamic: true, top_k_kernel_enabled: false}}\n"


def top_k(tmp_path: Path, text: str, sequences: int, target: str, stack: str = "sdk-2.29") -> list[Finding]:
    text = f"engine: {{max_num_seqs: {sequences}}}\n{text}"
    return found(neuron_plan(tmp_path, text, target=target, stack=stack), "model.top-k-kernel-off")


def test_model_top_k_kernel_off(tmp_path: Path) -> None:
    (finding,) = top_k(tmp_path, WITHOUT_KERNEL, 4, "trn2.48xlarge")
    assert finding.severity == "warning"
    assert finding.message.startswith("a batch of 4 without the top-K kernel")
    assert finding.fix == "leave top_k_kernel_enabled out of on_device_sampling_config"
    assert top_k(tmp_path, WITHOUT_KERNEL, 5, "trn2.48xlarge") == []
    assert top_k(tmp_path, "", 4, "trn2.48xlarge") == []
    assert top_k(tmp_path, WITHOUT_KERNEL, 4, "trn2.48xlarge", "sdk-2.28") == []
    assert top_k(tmp_path, "neuron: {on_device_sampling_config: null}\n", 4, "trn2.48xlarge") == []


def test_model_top_k_kernel_off_where_it_is_never_on(tmp_path: Path) -> None:
    (finding,) = top_k(tmp_path, "", 4, "inf2.48xlarge")
    assert finding.fix == "use SDK 2.28 on this instance"


def test_model_llama_70b_on_trn1(tmp_path: Path) -> None:
    def plan(model_id: str, target: str, stack: str) -> Plan:
        return planned(tmp_path, model_id, "engine: {tensor_parallel_size: 32}\n", target, stack)

    finding = only(plan(LLAMA_70B, "trn1.32xlarge", "sdk-2.27"), "model.llama-70b-on-trn1", "warning")
    assert "Llama 70B on trn1.32xlarge with NxD Inference 0.7" in finding.message
    assert "reported to fail with NCC_INLA001" in finding.message
    assert "Trn2" in str(finding.fix)
    assert found(plan(LLAMA_70B, "trn2.48xlarge", "sdk-2.27"), "model.llama-70b-on-trn1") == []
    assert found(plan(LLAMA_70B, "trn1.32xlarge", "sdk-2.28"), "model.llama-70b-on-trn1") == []
    assert found(plan(LLAMA_8B, "trn1.32xlarge", "sdk-2.27"), "model.llama-70b-on-trn1") == []


def test_model_qwen_on_inf2(tmp_path: Path) -> None:
    def plan(model_id: str, target: str, stack: str) -> Plan:
        return planned(tmp_path, model_id, "engine: {tensor_parallel_size: 2}\n", target, stack)

    finding = only(plan(QWEN3_8B, "inf2.8xlarge", "sdk-2.28"), "model.qwen-on-inf2", "warning")
    assert finding.message.startswith("Qwen/Qwen3-8B on inf2.8xlarge with SDK 2.28")
    assert "reported to fail with NCC_IXCG856" in finding.message
    assert found(plan(QWEN2_7B, "inf2.8xlarge", "sdk-2.28"), "model.qwen-on-inf2") == []
    assert found(plan(QWEN3_8B, "trn2.48xlarge", "sdk-2.28"), "model.qwen-on-inf2") == []
    assert found(plan(QWEN3_8B, "inf2.8xlarge", "sdk-2.27"), "model.qwen-on-inf2") == []


def test_model_llama4_fused_moe(tmp_path: Path) -> None:
    def plan(model_id: str, target: str, stack: str) -> Plan:
        return planned(tmp_path, model_id, "engine: {tensor_parallel_size: 32}\n", target, stack)

    for target in ("trn1n.32xlarge", "trn2.48xlarge"):
        finding = only(plan(SCOUT, target, "sdk-2.27"), "model.llama4-fused-moe", "warning")
        assert finding.message.startswith(f"Llama 4 on {target} with vllm-neuron 0.3.0")
        assert "issue 11" in str(finding.fix)
    assert found(plan(SCOUT, "trn2.48xlarge", "sdk-2.28"), "model.llama4-fused-moe") == []
    assert found(plan(SCOUT, "trn1.32xlarge", "sdk-2.27"), "model.llama4-fused-moe") == []
    assert found(plan(LLAMA_8B, "trn2.48xlarge", "sdk-2.27"), "model.llama4-fused-moe") == []


def test_model_mllama_fused_qkv(tmp_path: Path) -> None:
    def fused(architecture: str, value: str) -> list[Finding]:
        text = f"neuron: {{fused_qkv: {value}}}\n"
        plan = of_shape(tmp_path, architecture, text, "trn2.48xlarge", "sdk-2.28")
        return found(plan, "model.mllama-fused-qkv")

    (finding,) = fused("MllamaForConditionalGeneration", "true")
    assert finding.severity == "warning"
    assert "qkv_proj.Wqkv.weight" in finding.message
    assert finding.fix == "set neuron.fused_qkv to false"
    assert str(finding.place) == "sample.yaml:2: neuron.fused_qkv"
    assert fused("MllamaForConditionalGeneration", "false") == []
    assert fused("LlamaForCausalLM", "true") == []


def test_model_gated(tmp_path: Path) -> None:
    def plan(model_id: str, **options: Any) -> Plan:
        text = f"model: {{id: {model_id}}}\n"
        return sample_plan(tmp_path, text, model=known(tmp_path, model_id), **options)

    finding = only(plan(LLAMA_8B), "model.gated", "warning")
    assert finding.message.startswith(f"{LLAMA_8B} is gated, its weights are not here")
    assert "hf auth login" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:1: model.id"
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        assert found(plan(LLAMA_8B, environ={variable: "hf_secret"}), "model.gated") == []
    assert len(found(plan(LLAMA_8B, environ={"HF_TOKEN": ""}), "model.gated")) == 1
    assert found(plan(QWEN3_8B), "model.gated") == []
    assert found(plan(LLAMA_8B, machine=sample_machine(assumed=True)), "model.gated") == []


@pytest.mark.parametrize("model_id", ["mistralai/Mistral-7B-Instruct-v0.3", "org/small"])
def test_model_gated_says_nothing_of_what_is_not_known(tmp_path: Path, model_id: str) -> None:
    """Sources differ about the first, and nothing is recorded of the second."""
    model = sample_model(id=model_id, here=False, commit=None)
    assert found(sample_plan(tmp_path, model=model), "model.gated") == []


def test_model_gated_says_nothing_once_the_weights_are_here(tmp_path: Path) -> None:
    assert found(sample_plan(tmp_path, model=sample_model(id=LLAMA_8B, here=True)), "model.gated") == []
