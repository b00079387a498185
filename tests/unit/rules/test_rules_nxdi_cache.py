"""Rules about the KV cache: blocks, prefix caching, buckets, chunked prefill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.plan_sample import found, neuron_plan, only

PREFIX = "features: {prefix_caching: true}\n"
CHUNKED = "features: {chunked_prefill: true}\n"
SCHEDULER = "DISABLE_NEURON_CUSTOM_SCHEDULER"


def test_nxdi_num_gpu_blocks_override(tmp_path: Path) -> None:
    text = "engine:\n  max_num_seqs: 4\n  num_gpu_blocks_override: 8\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.num-gpu-blocks-override"))
    assert finding.severity == "error"
    assert "num_gpu_blocks_override 8 with the contiguous KV layout" in finding.message
    assert finding.fix == "set engine.num_gpu_blocks_override: 4, or leave it out"
    assert str(finding.place) == "sample.yaml:4: engine.num_gpu_blocks_override"
    assert not neuron_plan(tmp_path, text.replace(": 8", ": 4")).errors


def test_too_few_blocks_of_the_block_layout_name_the_number_that_is_enough(tmp_path: Path) -> None:
    sizes = "max_num_seqs: 4, max_model_len: 100, block_size: 32"
    text = f"{PREFIX}engine: {{{sizes}, num_gpu_blocks_override: 15}}\n"
    plan = neuron_plan(tmp_path, text)
    finding = only(found(plan, "nxdi.num-gpu-blocks-override"))
    assert finding.message.startswith("15 blocks of 32 tokens do not hold 4 sequences of 100 tokens")
    assert finding.fix == "set engine.num_gpu_blocks_override: 16, or leave it out"
    assert [one.id for one in plan.errors] == ["nxdi.num-gpu-blocks-override"]
    for enough in ("16", "64"):
        good = text.replace("override: 15", f"override: {enough}")
        assert not neuron_plan(tmp_path, good).errors


@pytest.mark.parametrize(
    ("feature", "blocks", "fix"),
    [
        ("", 64, "remove pa_num_blocks"),
        (PREFIX, 64, "remove pa_num_blocks"),
        (PREFIX, 600, "remove pa_num_blocks, or set engine.num_gpu_blocks_override: 600 as well"),
    ],
)
def test_nxdi_pa_blocks_mismatch(tmp_path: Path, feature: str, blocks: int, fix: str) -> None:
    """The twin is missing, with either layout; it is offered where the layout takes that number."""
    plan = neuron_plan(tmp_path, f"neuron: {{pa_num_blocks: {blocks}}}\n{feature}")
    finding = only(found(plan, "nxdi.pa-blocks-mismatch"))
    assert finding.severity == "error"
    assert (
        f"pa_num_blocks is {blocks}, and its twin num_gpu_blocks_override is not in the profile"
        in finding.message
    )
    assert finding.fix == fix
    assert str(finding.place) == "sample.yaml:2: neuron.pa_num_blocks"
    assert [one.id for one in plan.errors] == ["nxdi.pa-blocks-mismatch"]


def test_too_few_blocks_are_too_few_in_both_places(tmp_path: Path) -> None:
    text = f"{PREFIX}neuron: {{pa_num_blocks: 64}}\nengine: {{num_gpu_blocks_override: 64}}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.num-gpu-blocks-override"))
    assert str(finding.fix).endswith(", or leave it out; remove pa_num_blocks")


def test_two_numbers_of_blocks_must_be_one(tmp_path: Path) -> None:
    text = (
        f"{PREFIX}neuron: {{pa_num_blocks: 600}}\nengine: {{max_num_seqs: 4, num_gpu_blocks_override: 601}}\n"
    )
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.pa-blocks-mismatch"))
    assert "pa_num_blocks is 600, and num_gpu_blocks_override is 601" in finding.message
    assert not neuron_plan(tmp_path, text.replace("601", "600")).errors


def test_nxdi_blocks_rounding(tmp_path: Path) -> None:
    """neuronctl computes the blocks, but not for a number of sequences that it cannot read."""
    text = f"{PREFIX}engine: {{max_model_len: 100, block_size: 32}}\n"
    finding = only(
        found(neuron_plan(tmp_path, text, passthrough=("--max-num-seqs", "0x4")), "nxdi.blocks-rounding")
    )
    assert "max_model_len 100 is no multiple of block_size 32" in finding.message
    assert "At least" in finding.message
    assert (
        finding.fix
        == "leave num_gpu_blocks_override to neuronctl, or make the length a multiple of the block"
    )
    assert not found(neuron_plan(tmp_path, text), "nxdi.blocks-rounding")


def test_nxdi_prefix_caching_default(tmp_path: Path) -> None:
    """neuronctl gives a block size, so only one that is no number leaves the plugin without."""
    plan = neuron_plan(tmp_path, PREFIX, passthrough=("--block-size", "auto"))
    finding = only(found(plan, "nxdi.prefix-caching-default"))
    assert finding.severity == "error"
    assert "block_size must be set" in finding.message
    assert finding.fix == "set engine.block_size: 32, or features.prefix_caching: false"
    assert not neuron_plan(tmp_path, PREFIX).errors
    assert not neuron_plan(tmp_path, passthrough=("--enable-prefix-caching",)).errors


@pytest.mark.parametrize(
    ("stack", "later"), [("sdk-2.26", ""), ("sdk-2.28", "not known to be mended in 0.4.1")]
)
def test_nxdi_prefix_caching_batch_1(tmp_path: Path, stack: str, later: str) -> None:
    text = f"{PREFIX}engine:\n  max_num_seqs: 1\n"
    finding = only(found(neuron_plan(tmp_path, text, stack=stack), "nxdi.prefix-caching-batch-1"))
    assert finding.severity == "error"
    assert "prefix caching with max_num_seqs 1 gives wrong answers" in finding.message
    assert later in finding.message
    assert ("mended" in finding.message) is bool(later)
    assert finding.fix == "set engine.max_num_seqs: 2 or more, or features.prefix_caching: false"
    assert str(finding.place) == "sample.yaml:4: engine.max_num_seqs"
    for good in (text.replace(": 1", ": 2"), "engine: {max_num_seqs: 1}\n"):
        assert not neuron_plan(tmp_path, good, stack=stack).errors


def test_nxdi_prefix_bucket_overflow(tmp_path: Path) -> None:
    text = (
        "features: {prefix_caching: true, buckets: {prefill: [512, 2048]}}\n"
        "engine: {max_model_len: 4096}\nneuron: {prefix_buckets: [512, 2048]}\n"
    )
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.prefix-bucket-overflow"))
    assert finding.severity == "warning"
    assert "the largest of prefix_buckets is 2048, and a prefix may be 3584 tokens long" in finding.message
    assert finding.fix == "add 3584 to prefix_buckets"
    assert str(finding.place) == "sample.yaml:4: neuron.prefix_buckets"
    good = text.replace("prefix_buckets: [512, 2048]", "prefix_buckets: [512, 3584]")
    assert not found(neuron_plan(tmp_path, good), "nxdi.prefix-bucket-overflow")


def test_nxdi_prefix_buckets_none(tmp_path: Path) -> None:
    text = "features: {prefix_caching: true, buckets: {prefill: [512, 4096]}}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.prefix-buckets-none"))
    assert finding.severity == "error"
    assert "prefill buckets [512, 4096] with prefix caching and no prefix_buckets" in finding.message
    assert finding.fix == "set neuron.prefix_buckets as well, or leave both to NxD Inference"
    assert str(finding.place) == "sample.yaml:2: features.buckets.prefill"
    assert not neuron_plan(tmp_path, text.replace("prefix_caching: true", "prefix_caching: false")).errors


def test_nxdi_prefix_caching_trn1_compiler(tmp_path: Path) -> None:
    plan = neuron_plan(tmp_path, PREFIX, target="trn1.32xlarge", stack="sdk-2.29")
    finding = only(found(plan, "nxdi.prefix-caching-trn1-compiler"))
    assert finding.severity == "warning"
    assert "reported" in finding.message
    assert "this is trn1.32xlarge with neuronx-cc 2.24" in finding.message
    assert finding.fix == "set features.prefix_caching: false, or use trn2"
    assert str(finding.place) == "sample.yaml:2: features.prefix_caching"
    rule = "nxdi.prefix-caching-trn1-compiler"
    assert not found(neuron_plan(tmp_path, PREFIX, target="trn2.48xlarge"), rule)
    assert not found(neuron_plan(tmp_path, target="trn1.32xlarge"), rule)


def test_nxdi_chunked_prefill(tmp_path: Path) -> None:
    text = f'{CHUNKED}env:\n  {SCHEDULER}: "0"\n'
    plan = neuron_plan(tmp_path, text)
    finding = only(found(plan, "nxdi.chunked-prefill"))
    assert finding.severity == "error"
    assert "chunked prefill together with the plugin's own scheduler" in finding.message
    assert finding.fix == f'set env.{SCHEDULER}: "1", or features.chunked_prefill: false'
    assert str(finding.place) == f"sample.yaml:4: env.{SCHEDULER}"
    assert [one.id for one in plan.errors] == ["nxdi.chunked-prefill"]
    assert not neuron_plan(tmp_path, CHUNKED).errors


def test_chunked_prefill_with_the_plugins_scheduler_by_name(tmp_path: Path) -> None:
    scheduler = "vllm_neuron.core.scheduler.ContinuousBatchingNeuronScheduler"
    text = f"{CHUNKED}engine: {{scheduler_cls: {scheduler}}}\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.chunked-prefill"))
    assert f"the scheduler {scheduler}" in finding.message
    assert str(finding.place) == "sample.yaml:3: engine.scheduler_cls"


@pytest.mark.parametrize(
    ("text", "config", "fix"),
    [
        (
            CHUNKED,
            {"architectures": ["LlavaForConditionalGeneration"], "vision_config": {"hidden_size": 64}},
            "set features.chunked_prefill: false; no model that takes images has it",
        ),
        (
            f"{CHUNKED}neuron: {{is_block_kv_layout: false}}\n",
            {},
            "leave is_block_kv_layout and chunked_prefill_config out: features.chunked_prefill sets both",
        ),
    ],
)
def test_what_was_asked_for_already_is_not_the_fix_of_chunked_prefill(
    tmp_path: Path, text: str, config: dict[str, Any], fix: str
) -> None:
    plan = neuron_plan(tmp_path, text, config=config, stack="sdk-2.26.1")
    assert only(found(plan, "nxdi.chunked-prefill")).fix == fix


def test_vllms_scheduler_without_the_rest_of_chunked_prefill(tmp_path: Path) -> None:
    """Measured: DISABLE_NEURON_CUSTOM_SCHEDULER=1 by itself ends with an AssertionError without a text."""
    options: dict[str, Any] = {"environ": {SCHEDULER: "1"}, "stack": "sdk-2.26"}
    finding = only(
        found(
            neuron_plan(tmp_path, "neuron: {chunked_prefill_config: null}\n", **options),
            "nxdi.chunked-prefill",
        )
    )
    assert finding.message == (
        f"{SCHEDULER} is 1: chunked prefill is on and there is no chunked_prefill_config: AssertionError "
        "without a text"
    )
    assert (
        finding.fix
        == "set features.chunked_prefill: true, which sets all that it wants, or remove the variable"
    )
    assert not neuron_plan(tmp_path, **options).errors, "the plan sets the rest"
    assert not neuron_plan(tmp_path, CHUNKED, **options).errors


def test_nxdi_buckets_too_short(tmp_path: Path) -> None:
    text = "features:\n  buckets: {prefill: [128, 256], decode: [512]}\n"
    decode, prefill = found(neuron_plan(tmp_path, text), "nxdi.buckets-too-short")
    assert (decode.severity, prefill.severity) == ("warning", "warning")
    assert "the largest of token_generation_buckets is 512, and a request may be 4096" in decode.message
    assert "the largest of context_encoding_buckets is 256, and a prompt may be 4096" in prefill.message
    assert decode.fix == "add 4096 to the decode buckets, or set engine.max_model_len to 512"
    assert str(decode.place) == "sample.yaml:3: features.buckets.decode"
    raw = only(found(neuron_plan(tmp_path, "neuron: {token_generation_buckets: [128]}\n"), decode.id))
    assert str(raw.place) == "sample.yaml:2: neuron.token_generation_buckets"


@pytest.mark.parametrize(
    "text",
    [
        "features: {buckets: {prefill: [128, 4096], decode: [512, 4096]}}\n",
        "neuron: {context_encoding_buckets: [512], max_context_length: 512}\n",
        "neuron: {token_generation_buckets: [128], enable_bucketing: false}\n",
        "features: {chunked_prefill: true}\n",
    ],
)
def test_buckets_that_hold_the_longest_request(tmp_path: Path, text: str) -> None:
    assert not found(neuron_plan(tmp_path, text), "nxdi.buckets-too-short")
