"""Rules about quantisation, sampling, speculative decoding and LoRA adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.plan_sample import MINIMAL, found, neuron_plan, only

EAGLE = f"{MINIMAL}features: {{speculative: {{method: eagle, model: org/draft, tokens: 5}}}}\n"
SCALARS = "XLA_HANDLE_SPECIAL_SCALAR"
CPU_SAMPLING = "NEURON_ON_DEVICE_SAMPLING_DISABLED"


def test_nxdi_quantized_needs_path(tmp_path: Path) -> None:
    plan = neuron_plan(tmp_path, "features: {quantization: {weights: int8}}\n")
    finding = only(found(plan, "nxdi.quantized-needs-path"))
    assert finding.severity == "error"
    assert "features.quantization.weights: int8 without a folder" in finding.message
    assert "quantized_checkpoints_path is required" in finding.message
    assert finding.fix == "set features.quantization.checkpoint to a folder that can be written"
    assert str(finding.place) == "sample.yaml:2: features.quantization.weights"
    raw = only(found(neuron_plan(tmp_path, "neuron: {quantized: true}\n"), "nxdi.quantized-needs-path"))
    assert str(raw.place) == "sample.yaml:2: neuron.quantized"
    good = "features: {quantization: {weights: int8, checkpoint: ./int8}}\n"
    assert not neuron_plan(tmp_path, good).errors


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("features: {quantization: {weights: fp8, checkpoint: ./fp8}}\n", "quantization_dtype f8e4m3"),
        ("neuron: {kv_cache_quant: true}\n", "kv_cache_quant"),
    ],
)
def test_nxdi_fp8_xla_scalar(tmp_path: Path, text: str, what: str) -> None:
    plan = neuron_plan(tmp_path, text, environ={SCALARS: "0"})
    finding = only(found(plan, "nxdi.fp8-xla-scalar"))
    assert finding.severity == "error"
    assert finding.message == f"{what} with {SCALARS} '0': results are wrong without 1"
    assert finding.fix == f'set env.{SCALARS}: "1"'
    assert str(finding.place) == f"env.{SCALARS}"
    assert not found(neuron_plan(tmp_path, f'{text}env: {{{SCALARS}: "1"}}\n'), "nxdi.fp8-xla-scalar")


def test_int8_does_not_want_the_variable_of_fp8(tmp_path: Path) -> None:
    text = "features: {quantization: {weights: int8, checkpoint: ./int8}}\n"
    assert not neuron_plan(tmp_path, text, environ={SCALARS: "0"}).errors


def test_nxdi_on_device_sampling_env(tmp_path: Path) -> None:
    text = f'env: {{{CPU_SAMPLING}: "1"}}\n'
    finding = only(found(neuron_plan(tmp_path, text, stack="sdk-2.26"), "nxdi.on-device-sampling-env"))
    assert finding.severity == "error"
    assert f"{CPU_SAMPLING}=1 makes vllm-neuron 0.2.0 fail: TypeError: 'module' object" in finding.message
    assert finding.fix == (
        f"remove env.{CPU_SAMPLING} from sample.yaml:2 and set features.sampling.on_device: false"
    )
    assert str(finding.place) == f"sample.yaml:2: env.{CPU_SAMPLING}"
    assert not found(neuron_plan(tmp_path, text, stack="sdk-2.28"), "nxdi.on-device-sampling-env")
    good = neuron_plan(tmp_path, "features: {sampling: {on_device: false}}\n", stack="sdk-2.26")
    assert not good.errors


def test_nxdi_sampling_not_dynamic(tmp_path: Path) -> None:
    text = "neuron: {on_device_sampling_config: {global_topk: 64}}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.sampling-not-dynamic"))
    assert finding.severity == "warning"
    assert "by its code (not run) temperature, top_k and top_p of requests are ignored" in finding.message
    assert finding.fix == "add dynamic: true, or use features.sampling.global_top_k"
    assert str(finding.place) == "sample.yaml:2: neuron.on_device_sampling_config"
    good = text.replace("{global_topk", "{dynamic: true, global_topk")
    assert not found(neuron_plan(tmp_path, good), "nxdi.sampling-not-dynamic")
    assert not found(neuron_plan(tmp_path), "nxdi.sampling-not-dynamic")


def test_nxdi_sampling_params_ignored(tmp_path: Path) -> None:
    text = "engine: {override_generation_config: {temperature: 0.5, repetition_penalty: 1.1, min_p: 0.1}}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.sampling-params-ignored"))
    assert finding.severity == "info"
    assert "which has no min_p, repetition_penalty" in finding.message
    assert finding.fix == "set features.sampling.on_device: false to sample on the host"
    assert str(finding.place) == "sample.yaml:2: engine.override_generation_config"
    on_host = f"{text}features: {{sampling: {{on_device: false}}}}\n"
    plain = "engine: {override_generation_config: {temperature: 0.5}}\n"
    for good in (on_host, plain):
        assert not found(neuron_plan(tmp_path, good), "nxdi.sampling-params-ignored")


def test_nxdi_speculative_method(tmp_path: Path) -> None:
    draft = "method: eagle3, model: org/draft, num_speculative_tokens: 5"
    text = f"{MINIMAL}engine:\n  speculative_config: {{{draft}}}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.speculative-method"))
    assert finding.severity == "warning"
    assert "by its code (not run) vllm-neuron 0.4.1 takes it for plain fused speculation" in finding.message
    assert finding.fix == "set method: eagle, and neuron.is_eagle3: true (NxD Inference 0.7 and later)"
    assert str(finding.place) == "sample.yaml:3: engine.speculative_config"
    assert not found(neuron_plan(tmp_path, text.replace("eagle3", "eagle")), "nxdi.speculative-method")


def test_nxdi_eagle_lm_head(tmp_path: Path) -> None:
    plan = neuron_plan(tmp_path, EAGLE)
    finding = only(found(plan, "nxdi.eagle-lm-head"))
    assert finding.severity == "info"
    assert "the EAGLE draft org/draft must hold lm_head.weight of org/small" in finding.message
    assert finding.fix == "copy lm_head.weight from the target into the draft's checkpoint"
    assert str(finding.place) == "sample.yaml:2: features.speculative"
    assert not plan.errors
    assert not found(neuron_plan(tmp_path), "nxdi.eagle-lm-head")


@pytest.mark.parametrize(
    ("text", "options", "message", "fix", "key"),
    [
        (
            "engine: {extra: {kv_transfer_config: {kv_role: kv_both}}}\n",
            {},
            "disaggregated inference (kv_transfer_config)",
            "use the native plugin",
            "engine.extra.kv_transfer_config",
        ),
        (
            MINIMAL,
            {"config": {"architectures": ["MllamaForConditionalGeneration"]}},
            "org/small is an mllama model",
            "use Llama 4 or Pixtral",
            "model.id",
        ),
        (
            f"{MINIMAL}engine: {{speculative_config: {{model: org/draft, num_speculative_tokens: 5}}}}\n",
            {},
            "speculative decoding with the draft model org/draft",
            "use an EAGLE draft",
            "engine.speculative_config",
        ),
    ],
)
def test_nxdi_v0_only(
    tmp_path: Path, text: str, options: dict[str, Any], message: str, fix: str, key: str
) -> None:
    finding = only(found(neuron_plan(tmp_path, text, **options), "nxdi.v0-only"))
    assert finding.severity == "error"
    assert message in finding.message and "only the fork of vLLM V0" in finding.message
    assert finding.fix is not None and fix in finding.fix
    assert finding.place is not None and finding.place.key == key
    assert finding.place.line in (1, 2)


def test_speculation_without_a_draft(tmp_path: Path) -> None:
    text = "engine: {speculative_config: {method: ngram, num_speculative_tokens: 3}}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.v0-only"))
    assert finding.severity == "error"
    assert "speculative method ngram" in finding.message and "a model named ngram" in finding.message
    assert str(finding.place) == "sample.yaml:2: engine.speculative_config"


def test_eagle_and_nothing_at_all_are_not_of_v0(tmp_path: Path) -> None:
    for text in (EAGLE, MINIMAL):
        assert not found(neuron_plan(tmp_path, text), "nxdi.v0-only")


IMAGES = {"architectures": ["LlavaForConditionalGeneration"], "vision_config": {}, "text_config": {}}


def test_nxdi_lora_with_images(tmp_path: Path) -> None:
    text = "features:\n  lora: {adapters: {sql: ./sql}}\n"
    plan = neuron_plan(tmp_path, text, config=IMAGES)
    assert [one.id for one in plan.errors] == ["nxdi.lora-with-images"]
    assert "requests are answered without them" in plan.errors[0].message
    assert plan.errors[0].fix == "remove features.lora, or merge the adapter into the checkpoint"
    assert str(plan.errors[0].place) == "sample.yaml:3: features.lora"
    assert plan.outlook is not None
    assert str(plan.outlook.settings["lora_ckpt_json"]).endswith(".json")
    assert not found(neuron_plan(tmp_path, text), "nxdi.lora-with-images")
    assert not found(neuron_plan(tmp_path, config=IMAGES), "nxdi.lora-with-images")


def test_nxdi_lora_0_2_0(tmp_path: Path) -> None:
    text = "features:\n  lora: {adapters: {sql: ./sql}}\n"
    plan = neuron_plan(tmp_path, text, stack="sdk-2.26")
    finding = only(found(plan, "nxdi.lora-0-2-0"))
    assert finding.severity == "error"
    assert "LoRA adapters with vllm-neuron 0.2.0: NotImplementedError: Multi-lora" in finding.message
    assert finding.fix == "use vllm-neuron 0.3.0 or later (SDK 2.27.1), or remove features.lora"
    assert str(finding.place) == "sample.yaml:3: features.lora"
    assert [one.id for one in plan.errors] == ["nxdi.lora-0-2-0"]
    assert not neuron_plan(tmp_path, text, stack="sdk-2.27").errors


def test_nxdi_lora_path_colon(tmp_path: Path) -> None:
    text = "neuron: {lora_config: {lora_ckpt_paths: ['sql:/data/a:b']}}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.lora-path-colon"))
    assert finding.severity == "warning"
    assert "sql:/data/a:b is split at its colons" in finding.message
    assert "looks for /data/a" in finding.message
    assert finding.fix == "write a mapping of names to paths, or features.lora.adapters"
    assert str(finding.place) == "sample.yaml:2: neuron.lora_config.lora_ckpt_paths"
    for good in (text.replace("a:b", "ab"), text.replace("['sql:/data/a:b']", "{sql: '/data/a:b'}")):
        assert not found(neuron_plan(tmp_path, good), "nxdi.lora-path-colon")


def test_nxdi_global_topk_limit(tmp_path: Path) -> None:
    text = "features:\n  sampling: {global_top_k: 512}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.global-topk-limit"))
    assert finding.severity == "warning"
    assert finding.message == "global_topk 512 is outside 1 to 256: the plugin uses 256"
    assert finding.fix == "set features.sampling.global_top_k to 256 or less"
    assert str(finding.place) == "sample.yaml:3: features.sampling.global_top_k"
    raw = "neuron: {on_device_sampling_config: {dynamic: true, global_topk: 0}}\n"
    setting = only(found(neuron_plan(tmp_path, raw), "nxdi.global-topk-limit"))
    assert str(setting.place) == "sample.yaml:2: neuron.on_device_sampling_config.global_topk"
    assert not found(neuron_plan(tmp_path, text.replace("512", "256")), "nxdi.global-topk-limit")


def test_nxdi_lora_max_adapters(tmp_path: Path) -> None:
    text = "features:\n  lora: {adapters: {a: ./a, b: ./b, c: ./c}, max_adapters: 2}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.lora-max-adapters"))
    assert finding.severity == "error"
    assert finding.message.startswith("3 adapters are named and 2 find a place in host memory")
    assert finding.fix == "set engine.extra.max_cpu_loras: 3, or name fewer adapters"
    assert str(finding.place) == "sample.yaml:3: features.lora.adapters"
    larger = f"{text}engine: {{extra: {{max_cpu_loras: 3}}}}\n"
    for good in (larger, text.replace(", max_adapters: 2", "")):
        assert not found(neuron_plan(tmp_path, good), "nxdi.lora-max-adapters")


def test_a_limit_of_the_device_where_the_host_samples(tmp_path: Path) -> None:
    text = "features:\n  sampling: {on_device: false, global_top_k: 5}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.global-topk-limit"))
    assert finding.severity == "warning"
    assert "global_top_k 5 has no effect: features.sampling.on_device is false" in finding.message
    assert str(finding.place) == "sample.yaml:3: features.sampling.global_top_k"
    for good in ("{on_device: false}", "{on_device: true, global_top_k: 5}"):
        good_text = f"features:\n  sampling: {good}\n"
        assert not found(neuron_plan(tmp_path, good_text), "nxdi.global-topk-limit")
