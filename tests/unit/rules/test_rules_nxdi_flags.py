"""Rules about vLLM's arguments: those that a version does not take, those that the plugin overrules."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import yaml

import neuronctl.stack.flags
from neuronctl.rules.nxdi_flags import _TRIED_NEXT
from tests.plan_sample import MINIMAL, found, neuron_plan, only


@pytest.mark.parametrize(
    ("stack", "tried"), [("sdk-2.26", ""), ("sdk-2.28", " (tried with 0.11.0)"), ("sdk-2.29", "")]
)
def test_vllm_flag_refused(tmp_path: Path, stack: str, tried: str) -> None:
    plan = neuron_plan(tmp_path, stack=stack, passthrough=("--device", "neuron"))
    finding = only(found(plan, "vllm.flag-refused"))
    assert finding.severity == "error"
    assert finding.message == (
        f"vLLM {plan.stack.vllm_version} does not take --device{tried}: unrecognized arguments: "
        "--device neuron"
    )
    assert finding.fix == "remove device"
    assert not found(neuron_plan(tmp_path, stack=stack), "vllm.flag-refused")


def test_the_flag_of_the_v0_fork_is_sent_to_the_profile(tmp_path: Path) -> None:
    words = ("--override-neuron-config", '{"tp_degree": 2}')
    finding = only(found(neuron_plan(tmp_path, passthrough=words), "vllm.flag-refused"))
    assert finding.fix == "remove it, and put the settings under neuron in the profile"


def test_swap_space_is_gone_from_vllm_0_24(tmp_path: Path) -> None:
    text = "engine:\n  swap_space: 4\n"
    plan = neuron_plan(tmp_path, text, stack="sdk-2.32", target="trn2.48xlarge")
    finding = only(found(plan, "vllm.flag-refused"))
    assert "vLLM 0.24.0 does not take --swap-space" in finding.message
    assert str(finding.place) == "sample.yaml:3: engine.swap_space"
    assert not found(neuron_plan(tmp_path, text), "vllm.flag-refused")


def test_a_value_that_no_version_takes(tmp_path: Path) -> None:
    """NxD Inference would refuse the data type as well; it is told once."""
    plan = neuron_plan(tmp_path, passthrough=("--dtype", "bf16"))
    finding = only(list(plan.errors))
    assert finding.id == "vllm.flag-refused"
    assert "invalid choice: 'bf16'" in finding.message
    assert finding.fix == "give dtype a value that vLLM takes"


def test_vllm_flag_doubtful(tmp_path: Path) -> None:
    """vLLM 0.11 refused blocks of 256 tokens, 0.16 takes them, 0.13 was not tried."""
    text = "features: {prefix_caching: true}\nengine: {block_size: 256}\n"
    finding = only(found(neuron_plan(tmp_path, text, stack="sdk-2.28"), "vllm.flag-doubtful"))
    assert finding.severity == "warning"
    assert finding.message.startswith(
        "vLLM 0.11.0 refused --block-size and 0.16.0 takes it; 0.13.0 was not tried: argument --block-size"
    )
    assert finding.fix == "give block_size a value that vLLM takes"
    assert str(finding.place) == "sample.yaml:3: engine.block_size"
    assert not found(neuron_plan(tmp_path, text, stack="sdk-2.29"), "vllm.flag-doubtful")
    assert found(neuron_plan(tmp_path, text, stack="sdk-2.26"), "vllm.flag-refused")


def test_the_order_in_which_versions_were_tried() -> None:
    path = Path(neuronctl.stack.flags.__file__).with_name("flags.yaml")
    versions = yaml.safe_load(path.read_text(encoding="utf-8"))["measured_versions"]
    assert dict(pairwise(versions)) == _TRIED_NEXT


@pytest.mark.parametrize(
    ("stack", "fix"),
    [
        (
            "sdk-2.28",
            (
                "remove it and set features.quantization.weights: int8 or fp8, and "
                "features.quantization.checkpoint to a folder that can be written"
            ),
        ),
        ("sdk-2.32", "remove it and use neuron.quantization, or a checkpoint that is quantised already"),
    ],
)
def test_neuron_quantization_neuron_quant(tmp_path: Path, stack: str, fix: str) -> None:
    text = "engine:\n  quantization: neuron_quant\n"
    finding = only(
        found(
            neuron_plan(tmp_path, text, stack=stack, target="trn2.48xlarge"),
            "neuron.quantization-neuron-quant",
        )
    )
    assert finding.severity == "error"
    assert finding.message.startswith("quantization neuron_quant must not be set")
    assert finding.fix == fix
    assert str(finding.place) == "sample.yaml:3: engine.quantization"
    good = neuron_plan(tmp_path, stack=stack, target="trn2.48xlarge")
    assert not found(good, "neuron.quantization-neuron-quant")


def test_nxdi_swap_space(tmp_path: Path) -> None:
    """Measured with 23.54 GiB: 4 GiB for each of 8 ranks is more than 70 % of it."""
    memory = {"memory_bytes": int(23.54 * 2**30)}
    text = "engine: {tensor_parallel_size: 8, max_model_len: 128}\n"
    finding = only(found(neuron_plan(tmp_path, text, machine=memory), "nxdi.swap-space"))
    assert finding.severity == "error"
    assert finding.message == (
        "Too large swap space. 32.00 GiB out of the 23.54 GiB total CPU memory is allocated for the swap "
        "space."
    )
    assert finding.fix == "set a smaller engine.swap_space (GiB for each rank; 0 is allowed)"
    assert str(finding.place) == "engine.swap_space"
    good = text.replace("8,", "8, swap_space: 0,")
    assert not found(neuron_plan(tmp_path, good, machine=memory), "nxdi.swap-space")


def test_swap_space_of_ranks_that_have_no_core_is_not_told(tmp_path: Path) -> None:
    text = "engine: {tensor_parallel_size: 8, max_model_len: 128}\n"
    plan = neuron_plan(tmp_path, text, target="inf2.xlarge")
    assert [one.id for one in plan.errors] == ["machine.too-many-cores"]


def test_nxdi_max_num_batched_tokens_forced(tmp_path: Path) -> None:
    text = "engine:\n  max_num_batched_tokens: 2048\n"
    plan = neuron_plan(tmp_path, text)
    finding = only(found(plan, "nxdi.max-num-batched-tokens-forced"))
    assert finding.severity == "warning"
    assert "max_num_batched_tokens 2048 becomes 131072" in finding.message
    assert finding.fix == "remove it; only features.chunked_prefill makes use of it"
    assert str(finding.place) == "sample.yaml:3: engine.max_num_batched_tokens"
    assert not found(plan, "nxdi.overruled")
    chunked = f"features: {{chunked_prefill: true}}\n{text}"
    assert not found(neuron_plan(tmp_path, chunked), "nxdi.max-num-batched-tokens-forced")


def test_nxdi_overruled(tmp_path: Path) -> None:
    text = "engine:\n  distributed_executor_backend: mp\n  tensor_parallel_size: 2\n"
    finding = only(found(neuron_plan(tmp_path, text), "nxdi.overruled"))
    assert finding.severity == "info"
    assert "distributed_executor_backend mp becomes uni" in finding.message
    assert str(finding.place) == "sample.yaml:3: engine.distributed_executor_backend"
    assert not found(neuron_plan(tmp_path, text.replace(" mp", " uni")), "nxdi.overruled")
    assert not neuron_plan(tmp_path).findings


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("scheduler_cls: my.Scheduler", "scheduler_cls my.Scheduler becomes vllm_neuron.core.scheduler."),
        ("gpu_memory_utilization: 0.5", "gpu_memory_utilization has no effect"),
    ],
)
def test_arguments_that_the_plugin_passes_over(tmp_path: Path, said: str, message: str) -> None:
    finding = only(found(neuron_plan(tmp_path, f"engine: {{{said}}}\n"), "nxdi.overruled"))
    assert (finding.severity, message in finding.message) == ("info", True)
    assert str(finding.place) == f"sample.yaml:2: engine.{said.partition(':')[0]}"


def test_vllms_scheduler_may_be_replaced(tmp_path: Path) -> None:
    text = "engine: {scheduler_cls: my.Scheduler}\nfeatures: {chunked_prefill: true}\n"
    assert not found(neuron_plan(tmp_path, text), "nxdi.overruled")


@pytest.mark.parametrize(
    ("speculative", "message", "fix"),
    [
        ("{method: eagle, tokens: 5}", "method eagle without a draft", "set features.speculative.model"),
        (
            "{method: eagle, model: org/draft}",
            "without num_speculative_tokens",
            "set features.speculative.tokens",
        ),
        (
            "{method: eagle, model: org/draft, tokens: 4096}",
            "with 4096 tokens at a time, and a sequence has 4096 (max_model_len)",
            "set features.speculative.tokens to a few",
        ),
    ],
)
def test_vllm_speculative_incomplete(tmp_path: Path, speculative: str, message: str, fix: str) -> None:
    plan = neuron_plan(tmp_path, f"{MINIMAL}features:\n  speculative: {speculative}\n")
    finding = only(found(plan, "vllm.speculative-incomplete"))
    assert (finding.severity, str(finding.fix).startswith(fix)) == ("error", True)
    assert message in finding.message
    assert str(finding.place) == "sample.yaml:3: features.speculative"
    if "model:" not in speculative:
        assert not found(plan, "nxdi.eagle-lm-head")
    good = f"{MINIMAL}features: {{speculative: {{method: eagle, model: org/draft, tokens: 5}}}}\n"
    assert not found(neuron_plan(tmp_path, good), "vllm.speculative-incomplete")
    assert not found(neuron_plan(tmp_path), "vllm.speculative-incomplete")
