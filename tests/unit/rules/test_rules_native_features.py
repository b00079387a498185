"""Rules about what the native plugin can do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuronctl.plan.plan import Plan
from tests.plan_sample import found, neuron_plan

OLD = "sdk-2.31:native"
MODEL = "model: {id: org/small}\n"


def native(tmp_path: Path, text: str = "", **facts: Any) -> Plan:
    return neuron_plan(tmp_path, MODEL + text, **{"target": "trn2.3xlarge", "stack": "sdk-2.32", **facts})


def test_native_async_cpu_sampling(tmp_path: Path) -> None:
    text = "engine: {async_scheduling: true}\nfeatures: {sampling: {on_device: false}}\n"
    (finding,) = found(native(tmp_path, text), "native.async-cpu-sampling")
    assert finding.severity == "error"
    assert "async_scheduling needs sampling on the device" in finding.message
    assert "engine.async_scheduling: false" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:2: engine.async_scheduling"
    # Where nobody says it, neuronctl turns it off.
    assert native(tmp_path, "features: {sampling: {on_device: false}}\n").errors == ()
    assert native(tmp_path, "engine: {async_scheduling: true}\n").errors == ()
    # Where the setting comes after `--`, it cannot.
    words = ("--additional-config", '{"neuron_config": {"on_device_sampling_config": null}}')
    assert found(native(tmp_path, passthrough=words), "native.async-cpu-sampling")


def test_native_structured_outputs(tmp_path: Path) -> None:
    text = "features: {tools: {parser: hermes}}\nneuron:\n  enable_structured_outputs: false\n"
    (finding,) = found(native(tmp_path, text), "native.structured-outputs")
    assert finding.severity == "warning"
    assert "tool_call_parser hermes without enable_structured_outputs" in finding.message
    assert "neuron.enable_structured_outputs: true" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:4: neuron.enable_structured_outputs"
    assert not found(native(tmp_path, "features: {tools: {parser: hermes}}\n"), "native.structured-outputs")
    assert found(native(tmp_path, "engine: {tool_call_parser: hermes}\n"), "native.structured-outputs")


def test_structured_outputs_of_plugin_0_21_want_no_async_scheduling(tmp_path: Path) -> None:
    text = "neuron: {enable_structured_outputs: true}\nengine:\n  async_scheduling: true\n"
    (finding,) = found(native(tmp_path, text, stack=OLD), "native.structured-outputs")
    assert "vllm-neuron 0.21.0.1.0.0 is reported to need asynchronous scheduling off" in finding.message
    assert str(finding.place) == "sample.yaml:4: engine.async_scheduling"
    assert not found(native(tmp_path, text), "native.structured-outputs")
    assert not found(
        native(tmp_path, text.replace("_scheduling: true", "_scheduling: false"), stack=OLD),
        "native.structured-outputs",
    )


EAGLE = "features:\n  speculative: {method: eagle, model: %s, tokens: 3}\n"


def test_native_speculative_method(tmp_path: Path) -> None:
    plan = native(tmp_path, EAGLE % "yuhuili/EAGLE-LLaMA3.1-Instruct-8B")
    (finding,) = found(plan, "native.speculative-method")
    assert finding.severity == "error"
    assert "speculative method eagle (yuhuili/EAGLE-LLaMA3.1-Instruct-8B)" in finding.message
    assert "--stack sdk-2.31" in str(finding.fix)
    assert finding.place is not None
    assert finding.place.line == 3
    good = native(tmp_path, EAGLE % "RedHatAI/Llama-3.1-8B-Instruct-speculator.eagle3")
    assert good.errors == ()
    words = ("--speculative-config", '{"method": "ngram", "num_speculative_tokens": 2}')
    assert found(native(tmp_path, passthrough=words), "native.speculative-method")


def test_native_eagle3_layout(tmp_path: Path) -> None:
    community = EAGLE % "yuhuili/EAGLE3-LLaMA3.1-Instruct-8B"
    (finding,) = found(native(tmp_path, community, stack=OLD), "native.eagle3-layout")
    assert finding.severity == "warning"
    assert "yuhuili/EAGLE3-LLaMA3.1-Instruct-8B" in finding.message
    assert "midlayer" in str(finding.fix)
    assert not found(native(tmp_path, community), "native.eagle3-layout")
    good = EAGLE % "RedHatAI/Llama-3.1-8B-Instruct-speculator.eagle3"
    assert not found(native(tmp_path, good, stack=OLD), "native.eagle3-layout")


def test_native_expert_parallel(tmp_path: Path) -> None:
    text = "engine: {tensor_parallel_size: 4}\nneuron:\n  ep_degree: 2\n"
    (finding,) = found(native(tmp_path, text), "native.expert-parallel")
    assert finding.severity == "error"
    assert finding.message == "ep_degree 2 requires --enable-expert-parallel"
    assert finding.fix == "set engine.extra.enable_expert_parallel: true"
    assert str(finding.place) == "sample.yaml:4: neuron.ep_degree"
    both = text.replace("size: 4", "size: 4, extra: {enable_expert_parallel: true}")
    assert not found(native(tmp_path, both), "native.expert-parallel")
    assert not found(
        native(tmp_path, text, passthrough=("--enable-expert-parallel",)), "native.expert-parallel"
    )
    (finding,) = found(native(tmp_path, both.replace("degree: 2", "degree: 3")), "native.expert-parallel")
    assert "ep_degree 3 does not divide the 4 cores" in finding.message


def test_native_component_dp(tmp_path: Path) -> None:
    text = "neuron:\n  mlp_dp_size: 2\n"
    (finding,) = found(native(tmp_path, text), "native.component-dp")
    assert finding.severity == "error"
    assert (
        "mlp_dp_size 2 wants engine.extra.kv_transfer_config and engine.data_parallel_size" in finding.message
    )
    assert "remove mlp_dp_size" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:3: neuron.mlp_dp_size"
    words = ("--data-parallel-size", "2", "--kv-transfer-config")
    consumer = (*words, '{"kv_role": "kv_consumer"}')
    assert not found(native(tmp_path, text, passthrough=consumer), "native.component-dp")
    producer = (*words, '{"kv_role": "kv_producer"}')
    assert found(native(tmp_path, text, passthrough=producer), "native.component-dp")


MXFP4 = {"quantization_config": {"quant_method": "mxfp4"}, "architectures": ["GptOssForCausalLM"]}
UNPACKED = "neuron: {quantization: bf16}\nengine: {hf_overrides: {quantization_config: {}}}\n"


def test_native_mxfp4_on_trn2(tmp_path: Path) -> None:
    (finding,) = found(native(tmp_path, "neuron: {quantization: mxfp4}\n"), "native.mxfp4-on-trn2")
    assert finding.severity == "error"
    assert "mxfp4 is not supported on trn2.3xlarge" in finding.message
    assert "neuron.quantization: bf16 and engine.hf_overrides" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:2: neuron.quantization"
    assert not found(native(tmp_path, "neuron: {quantization: bf16}\n"), "native.mxfp4-on-trn2")


def test_a_checkpoint_in_mxfp4(tmp_path: Path) -> None:
    (finding,) = found(native(tmp_path, config=MXFP4), "native.mxfp4-on-trn2")
    assert "a checkpoint in MXFP4 is not supported" in finding.message
    assert not found(native(tmp_path, UNPACKED, config=MXFP4), "native.mxfp4-on-trn2")
    assert not found(native(tmp_path, config=MXFP4, target="trn3.gen1.ultraserver"), "native.mxfp4-on-trn2")


@pytest.mark.parametrize("weights", ["int8", "fp8"])
def test_native_quantization(tmp_path: Path, weights: str) -> None:
    text = f"features:\n  quantization: {{weights: {weights}, checkpoint: ./q}}\n"
    (finding,) = found(native(tmp_path, text), "native.quantization")
    assert finding.severity == "error"
    assert f"features.quantization.weights {weights}: the native plugin does not quantise" in finding.message
    assert "has no quantised weights" in finding.message
    assert "--stack sdk-2.31" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:3: features.quantization.weights"
    modelopt = {"quantization_config": {"quant_method": "modelopt"}}
    assert bool(found(native(tmp_path, text, config=modelopt), "native.quantization")) is (weights == "int8")


def test_native_compressed_tensors_weights(tmp_path: Path) -> None:
    groups = {"group_0": {"weights": {"num_bits": 8}}}
    config = {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": groups}}
    (finding,) = found(native(tmp_path, config=config), "native.compressed-tensors-weights")
    assert finding.severity == "error"
    assert "quantised with compressed-tensors (group_0)" in finding.message
    assert "ModelOpt" in str(finding.fix)
    mxfp8 = native(tmp_path, "neuron: {quantization: mxfp8}\n", config=config)
    assert not found(mxfp8, "native.compressed-tensors-weights")
    groups["group_0"] = {"weights": {}}
    assert not found(native(tmp_path, config=config), "native.compressed-tensors-weights")


def test_native_lora(tmp_path: Path) -> None:
    plan = native(tmp_path, "features:\n  lora: {adapters: {sql: ./sql}}\n")
    (finding,) = found(plan, "native.lora")
    assert finding.severity == "warning"
    assert "by its code (not run) vllm-neuron 0.24.0.1.1.0 does not apply them" in finding.message
    assert "--stack sdk-2.31" in str(finding.fix)
    assert finding.place is not None
    assert finding.place.line == 3
    assert not found(native(tmp_path), "native.lora")


def test_native_model_not_listed(tmp_path: Path) -> None:
    plan = native(tmp_path, config={"architectures": ["Qwen3MoeForCausalLM"]})
    (finding,) = found(plan, "native.model-not-listed")
    assert finding.severity == "warning"
    assert "Qwen3MoeForCausalLM is not one of the models of 0.24.0.1.1.0" in finding.message
    assert "--stack sdk-2.31" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:1: model.id"
    unknown = native(tmp_path, config={"architectures": ["MadeUpForCausalLM"]})
    assert found(unknown, "native.model-not-listed")[0].fix == "take one of these models"
    assert not found(native(tmp_path), "native.model-not-listed")


def test_native_vision_config(tmp_path: Path) -> None:
    text = "engine: {tensor_parallel_size: 4}\nneuron:\n  vision_neuron_config: {%s}\n"
    both = text % "num_vision_tokens_buckets: [2048], max_vision_seq_len: 2048"
    (finding,) = found(native(tmp_path, both), "native.vision-config")
    assert finding.severity == "error"
    assert "both num_vision_tokens_buckets and max_vision_seq_len" in finding.message
    assert "keep one" in str(finding.fix)
    assert finding.place is not None
    assert finding.place.line == 4
    (finding,) = found(native(tmp_path, text % "tp_size: 2, dp_size: 4"), "native.vision-config")
    assert "tp_size 2 x dp_size 4 of vision_neuron_config do not make the 4 cores" in finding.message
    assert found(native(tmp_path, text % "tp_size: 3"), "native.vision-config")
    for good in ("tp_size: 2, dp_size: 2", "tp_size: 2", "max_vision_seq_len: 2048"):
        assert not found(native(tmp_path, text % good), "native.vision-config")


def test_native_scheduling_policy(tmp_path: Path) -> None:
    text = "engine: {extra: {scheduling_policy: priority}}\n"
    (finding,) = found(native(tmp_path, text), "native.scheduling-policy")
    assert finding.severity == "error"
    assert "scheduling_policy priority: the native plugin has fcfs only" in finding.message
    assert finding.fix == "remove engine.extra.scheduling_policy"
    assert str(finding.place) == "sample.yaml:2: engine.extra.scheduling_policy"
    assert not found(native(tmp_path, text.replace("priority", "fcfs")), "native.scheduling-policy")


def test_native_nixl(tmp_path: Path) -> None:
    text = "engine: {extra: {kv_transfer_config: {kv_connector: NeuronNixlConnector}}}\n"
    (finding,) = found(native(tmp_path, text), "native.nixl")
    assert finding.severity == "info"
    assert "libfabric.so.1" in finding.message
    assert "ldconfig -p" in str(finding.fix)
    assert finding.place is not None
    assert finding.place.line == 2
    assert not found(native(tmp_path), "native.nixl")


def test_native_heads(tmp_path: Path) -> None:
    text = "engine: {tensor_parallel_size: %d}\n"
    (finding,) = found(native(tmp_path, text % 12, target="trn2.48xlarge"), "native.heads")
    assert finding.severity == "warning"
    assert "tensor parallel size 12 does not divide the 8 attention heads" in finding.message
    assert finding.fix == "set engine.tensor_parallel_size to 1, 2, 4 or 8"
    assert str(finding.place) == "sample.yaml:2: engine.tensor_parallel_size"
    assert not found(native(tmp_path, text % 4), "native.heads")
    # None fits: then those that divide the heads, up to the cores.
    large = {"num_attention_heads": 40, "num_hidden_layers": 400, "hidden_size": 20480, "head_dim": 512}
    (finding,) = found(native(tmp_path, text % 3, target="trn2.3xlarge", config=large), "native.heads")
    assert finding.fix == "set engine.tensor_parallel_size to 1, 2 or 4"


def test_native_executor(tmp_path: Path) -> None:
    text = "engine: {distributed_executor_backend: %s}\n"
    (finding,) = found(native(tmp_path, text % "ray"), "native.executor")
    assert finding.severity == "warning"
    assert "distributed_executor_backend ray" in finding.message
    assert finding.fix == "remove it, or set it to mp"
    assert str(finding.place) == "sample.yaml:2: engine.distributed_executor_backend"
    assert not found(native(tmp_path, text % "mp"), "native.executor")
    assert not found(native(tmp_path), "native.executor")


def test_native_top_k_off_device(tmp_path: Path) -> None:
    text = "features: {sampling: {on_device: %s, global_top_k: 5}}\n"
    (finding,) = found(native(tmp_path, text % "false"), "native.top-k-off-device")
    assert finding.severity == "warning"
    assert "global_top_k 5 has no effect" in finding.message
    assert finding.fix == "remove one of the two"
    assert str(finding.place) == "sample.yaml:2: features.sampling.global_top_k"
    assert not found(native(tmp_path, text % "true"), "native.top-k-off-device")
