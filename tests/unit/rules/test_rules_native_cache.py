"""Rules about what the native plugin compiles and how much memory its KV cache gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuronctl.plan.plan import Plan
from tests.plan_sample import found, neuron_plan

NATIVE = {"target": "trn2.3xlarge", "stack": "sdk-2.32"}
CAP = "VLLM_NEURON_KV_GMU_BUDGET_CAP_FRACTION"


def native(tmp_path: Path, text: str, **facts: Any) -> Plan:
    return neuron_plan(tmp_path, text, **{**NATIVE, **facts})


@pytest.mark.parametrize(
    ("text", "said", "fix"),
    [
        ("neuron: {num_seqs_buckets: [1, 2]}", "num_seqs_buckets ends at 2, and must end at", "at 4"),
        ("neuron: {num_seqs_buckets: [2, 1, 4]}", "positive numbers that ascend", "at 4"),
        ("neuron: {num_seqs_buckets: []}", "positive numbers that ascend", "at 4"),
        ("neuron: {kv_segment_size_buckets: [512, 1024]}", "[512, 1024] must be one of", "one of them"),
        ("neuron: {kv_segment_size_buckets: [256]}", "[256] must be one of 512", "one of them"),
        ("neuron: {decode_context_length_buckets: [4096]}", "stay below max_model_len 4096", "leave out"),
        ("neuron: {decode_context_length_buckets: [1000]}", "multiples of 128", "leave out"),
        ("neuron: {num_batched_tokens_buckets: [1024, 2048]}", "must be [2048]", "[2048]"),
    ],
)
def test_native_buckets(tmp_path: Path, text: str, said: str, fix: str) -> None:
    (finding,) = found(native(tmp_path, f"{text}\n"), "native.buckets")
    assert finding.severity == "error"
    assert said in finding.message
    assert fix in str(finding.fix)
    assert str(finding.place).startswith("sample.yaml:2: neuron.")


def test_a_segment_is_whole_blocks(tmp_path: Path) -> None:
    (finding,) = found(native(tmp_path, "engine: {block_size: 48}\n"), "native.buckets")
    assert "a segment of 2048 tokens is not a number of blocks of block_size 48" in finding.message
    assert str(finding.place) == "sample.yaml:2: engine.block_size"
    assert not found(native(tmp_path, "engine: {block_size: 128}\n"), "native.buckets")


def test_a_null_that_is_said_is_an_empty_list(tmp_path: Path) -> None:
    words = ("--additional-config", '{"neuron_config": {"num_seqs_buckets": null}}')
    (finding,) = found(native(tmp_path, "", passthrough=words), "native.buckets")
    assert "num_seqs_buckets [] must be positive numbers that ascend" in finding.message
    assert finding.place is None


def test_prefill_buckets_that_end_elsewhere(tmp_path: Path) -> None:
    whole = "engine: {max_num_batched_tokens: 4096, enable_prefix_caching: false}\n"
    bad = whole + "neuron: {num_batched_tokens_buckets: [512, 1024]}\n"
    (finding,) = found(native(tmp_path, bad), "native.buckets")
    assert "ends at 1024, and must end at the most tokens of one prefill, 4096" in finding.message
    good = whole + "neuron: {num_batched_tokens_buckets: [512, 4096]}\n"
    assert native(tmp_path, good).errors == ()


@pytest.mark.parametrize(
    "neuron",
    [
        "{num_seqs_buckets: [1, 4]}",
        "{kv_segment_size_buckets: [2048], num_batched_tokens_buckets: [2048]}",
        "{decode_context_length_buckets: [1024, 2048]}",
        "{num_batched_tokens_buckets: [2048]}",
    ],
)
def test_buckets_that_the_plugin_takes(tmp_path: Path, neuron: str) -> None:
    assert native(tmp_path, f"neuron: {neuron}\n").errors == ()


def test_native_segment_size(tmp_path: Path) -> None:
    (finding,) = found(native(tmp_path, "engine: {max_num_batched_tokens: 3000}\n"), "native.segment-size")
    assert finding.severity == "error"
    assert "max_num_batched_tokens 3000 is below max_model_len 4096" in finding.message
    assert "512, 1024, 2048, 4096, 8192" in finding.message
    assert str(finding.place) == "sample.yaml:2: engine.max_num_batched_tokens"
    assert native(tmp_path, "engine: {max_num_batched_tokens: 1024}\n").errors == ()


def test_a_long_context_is_not_prefilled_whole(tmp_path: Path) -> None:
    text = (
        "engine: {max_num_batched_tokens: 32768, max_model_len: 32768}\nfeatures: {prefix_caching: false}\n"
    )
    config = {"max_position_embeddings": 32768}
    (finding,) = found(native(tmp_path, text, config=config), "native.segment-size")
    assert "max_model_len 32768 cannot be prefilled whole: only up to 16384" in finding.message
    assert "engine.max_num_batched_tokens" in str(finding.fix)
    shorter = text.replace("32768", "16384")
    assert not found(native(tmp_path, shorter, config=config), "native.segment-size")


def test_segments_are_chunked_prefill(tmp_path: Path) -> None:
    text = "features:\n  chunked_prefill: false\nengine: {max_model_len: 20000}\n"
    config = {"max_position_embeddings": 32768}
    (finding,) = found(native(tmp_path, text, config=config), "native.segment-size")
    assert "chunked prefill is turned off, and prompts of max_model_len 20000" in finding.message
    assert "16384 or less" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:3: features.chunked_prefill"
    assert native(tmp_path, text.replace("20000", "16000"), config=config).errors == ()


def test_native_prefix_caching_single_shot(tmp_path: Path) -> None:
    text = "engine: {max_num_batched_tokens: 4096}\nfeatures:\n  prefix_caching: true\n"
    (finding,) = found(native(tmp_path, text), "native.prefix-caching-single-shot")
    assert finding.severity == "error"
    assert "prompts of max_model_len 4096 are prefilled whole" in finding.message
    assert "features.prefix_caching: false, or engine.max_num_batched_tokens: 2048" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:4: features.prefix_caching"
    rule = "native.prefix-caching-single-shot"
    assert not found(native(tmp_path, text.replace("4096", "2048")), rule)
    assert not found(native(tmp_path, text + "neuron: {kv_segment_size_buckets: [4096]}\n"), rule)
    # Said after `--`, where the plan cannot turn anything off.
    words = ("--enable-prefix-caching", "--max-num-batched-tokens", "4096")
    assert found(native(tmp_path, "engine: {max_model_len: 4096}\n", passthrough=words), rule)


def test_native_prefill_buckets_one(tmp_path: Path) -> None:
    text = "features:\n  prefix_caching: true\n  buckets: {prefill: [512, 1024]}\n"
    plan = native(tmp_path, text)
    (finding,) = found(plan, "native.prefill-buckets-one")
    assert finding.severity == "warning"
    assert finding.message == ("features.buckets.prefill 512: not compiled; the prefill buckets are [1024]")
    assert "features.prefix_caching: false" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:4: features.buckets.prefill"
    assert plan.errors == ()
    good = native(tmp_path, text.replace("true", "false"))
    assert not found(good, "native.prefill-buckets-one")
    assert good.errors == ()


VISION = {"vision_config": {"hidden_size": 8}}


def test_native_vision_prefix_caching(tmp_path: Path) -> None:
    text = "engine: {max_num_batched_tokens: 2048}\n"
    (finding,) = found(native(tmp_path, text, config=VISION), "native.vision-prefix-caching")
    assert finding.severity == "warning"
    assert "in segments of 2048 tokens" in finding.message
    assert "engine.max_num_batched_tokens: 4096" in str(finding.fix)
    assert not found(native(tmp_path, "", config=VISION), "native.vision-prefix-caching")
    assert not found(native(tmp_path, text), "native.vision-prefix-caching")


def test_native_kv_budget(tmp_path: Path) -> None:
    text = f"env: {{{CAP}: '0.04'}}\n"
    plan = native(tmp_path, text)
    (finding,) = found(plan, "native.kv-budget")
    assert finding.severity == "error"
    assert "the KV cache gets 0.86 GiB of a core and the plugin wants 1.00 GiB" in finding.message
    assert "vLLM is granted 21.60 GiB" in finding.message
    assert f"raise {CAP} (now 0.04)" in str(finding.fix)
    assert found(native(tmp_path, text, force=True), "native.kv-budget")[0].severity == "warning"
    least = f"env: {{VLLM_NEURON_MIN_KV_BUDGET_GIB: '0.5', {CAP}: '0.04'}}\n"
    assert not found(native(tmp_path, least), "native.kv-budget")


def test_a_sequence_that_the_kv_cache_does_not_hold(tmp_path: Path) -> None:
    large = {
        "num_hidden_layers": 80,
        "max_position_embeddings": 2**20,
        "num_key_value_heads": 8,
        "head_dim": 128,
    }
    text = "engine: {max_model_len: 100000, tensor_parallel_size: 1}\n"
    (finding,) = found(native(tmp_path, text, config=large), "native.kv-budget")
    assert "one sequence of max_model_len 100000 takes 30.52 GiB" in finding.message
    assert "engine.tensor_parallel_size, or lower engine.max_model_len" in str(finding.fix)
    assert not found(native(tmp_path, "engine: {max_model_len: 4096}\n", config=large), "native.kv-budget")


@pytest.mark.parametrize("value", ["0", "1.5", "much"])
def test_native_kv_cap_range(tmp_path: Path, value: str) -> None:
    (finding,) = found(native(tmp_path, f"env: {{{CAP}: '{value}'}}\n"), "native.kv-cap-range")
    assert finding.severity == "error"
    assert f"{CAP} is {value}, and must be a number above 0 and at most 1" in finding.message
    assert str(finding.place) == f"sample.yaml:2: env.{CAP}"
    assert not found(native(tmp_path, f"env: {{{CAP}: '1'}}\n"), "native.kv-cap-range")


def test_native_kv_cap_high(tmp_path: Path) -> None:
    plan = native(tmp_path, "engine: {max_num_seqs: 4}\n", environ={CAP: "0.35"})
    (finding,) = found(plan, "native.kv-cap-high")
    assert finding.severity == "warning"
    assert "is 0.35, above the plugin's own 0.3: the compile may fail with NCC_EVRF009" in finding.message
    assert "lower it" in str(finding.fix)
    assert not found(native(tmp_path, f"env: {{{CAP}: '0.30'}}\n"), "native.kv-cap-high")
