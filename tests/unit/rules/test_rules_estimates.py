"""Rules about what fits in a core, in the host's memory and on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuronctl.model.model import Model
from neuronctl.model.resolve import resolve_model
from neuronctl.plan.plan import Plan
from neuronctl.profile.schema import ModelSection
from neuronctl.result import Finding
from tests.plan_sample import found, neuron_plan, sample_host, sample_model

GIB = 2**30
LLAMA_8B, LLAMA_70B = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"


def known(tmp_path: Path, model_id: str) -> Model:
    return resolve_model(ModelSection(id=model_id), sample_host(tmp_path))


def planned(
    tmp_path: Path, model_id: str, degree: int, length: int, sequences: int, target: str, **options: Any
) -> Plan:
    text = (
        f"model: {{id: {model_id}}}\n"
        "engine:\n"
        f"  tensor_parallel_size: {degree}\n"
        f"  max_model_len: {length}\n"
        f"  max_num_seqs: {sequences}\n"
    )
    return neuron_plan(tmp_path, text, target=target, model=known(tmp_path, model_id), **options)


def only(plan: Plan, rule: str, severity: str) -> Finding:
    (finding,) = found(plan, rule)
    assert finding.severity == severity
    return finding


def test_estimate_core(tmp_path: Path) -> None:
    """70.6 billion parameters of two bytes on two cores: 65.7 GiB each."""
    plan = planned(tmp_path, LLAMA_70B, 2, 4096, 4, "inf2.xlarge")
    finding = only(plan, "estimate.core", "error")
    assert finding.message == (
        "with tensor_parallel_size 2, max_model_len 4096, max_num_seqs 4 a logical core must hold 68.2 GiB "
        "(weights 65.7 GiB, KV cache 2.5 GiB), and inf2.xlarge has 16.0 GiB on each"
    )
    assert finding.fix == "what would fit: trn1.32xlarge with engine.tensor_parallel_size: 16"
    assert str(finding.place) == "sample.yaml:3: engine.tensor_parallel_size"
    assert found(plan, "estimate.core-tight") == []


def test_estimate_core_where_it_fits(tmp_path: Path) -> None:
    plan = planned(tmp_path, LLAMA_70B, 16, 4096, 4, "trn1.32xlarge")
    assert [one.id for one in plan.findings if one.id.startswith("estimate.")] == []


def test_estimate_core_names_the_tensor_parallel_size_of_the_same_machine(tmp_path: Path) -> None:
    finding = only(planned(tmp_path, LLAMA_70B, 8, 4096, 4, "trn1.32xlarge"), "estimate.core", "error")
    assert finding.fix == "what would fit: engine.tensor_parallel_size: 16"


def test_estimate_core_for_the_native_plugin(tmp_path: Path) -> None:
    finding = only(
        planned(tmp_path, LLAMA_70B, 4, 4096, 4, "trn2.3xlarge", stack="sdk-2.32"), "estimate.core", "error"
    )
    assert "weights 32.9 GiB" in finding.message
    assert "trn2.3xlarge has 24.0 GiB on each" in finding.message


def test_estimate_core_names_each_way_out(tmp_path: Path) -> None:
    """On two cores a shorter length fits, or fewer sequences; or all of it on a larger instance."""
    finding = only(planned(tmp_path, LLAMA_8B, 2, 8192, 20, "inf2.8xlarge"), "estimate.core", "error")
    ways = str(finding.fix).removeprefix("what would fit: ").split(", or ")
    assert [way.split(":")[0] for way in ways] == [
        "engine.max_model_len",
        "engine.max_num_seqs",
        "trn2.3xlarge",
    ]


def test_estimate_core_with_nothing_that_fits(tmp_path: Path) -> None:
    finding = only(planned(tmp_path, LLAMA_8B, 1, 131072, 4096, "inf2.xlarge"), "estimate.core", "error")
    assert "features.quantization.weights: int8" in str(finding.fix)


def test_estimate_core_where_no_source_states_a_core_s_memory(tmp_path: Path) -> None:
    """With LNC 1 two cores of Trainium2 share a bank of 24 GiB; nobody says how."""
    plan = planned(tmp_path, LLAMA_8B, 2, 8192, 16, "trn2.3xlarge", machine={"lnc": 1})
    assert plan.outlook is not None
    assert plan.outlook.lnc == 1
    assert plan.outlook.estimate is not None
    assert plan.outlook.estimate.core_bytes > 12 * GIB
    assert [one.id for one in plan.findings if one.id.startswith("estimate.core")] == []


def test_estimate_core_tight(tmp_path: Path) -> None:
    """15.5 GiB of weights and KV cache leave no room for a workspace that nobody knows."""
    plan = planned(tmp_path, LLAMA_8B, 2, 8192, 16, "trn1.32xlarge")
    finding = only(plan, "estimate.core-tight", "warning")
    assert "must hold about 16.4 GiB (weights 7.5 GiB, KV cache 8.0 GiB, workspace" in finding.message
    assert "GiB guessed), and trn1.32xlarge has 16.0 GiB on each" in finding.message
    assert finding.fix == "what would fit: engine.tensor_parallel_size: 8"
    assert found(plan, "estimate.core") == []
    assert found(planned(tmp_path, LLAMA_8B, 2, 8192, 8, "trn1.32xlarge"), "estimate.core-tight") == []


def test_estimate_host(tmp_path: Path) -> None:
    plan = planned(tmp_path, LLAMA_8B, 2, 2048, 1, "inf2.xlarge")
    finding = only(plan, "estimate.host", "error")
    assert finding.message == (
        "compiling takes 29.9 GiB (checkpoint 15.0 GiB, shards 15.0 GiB) of the host's memory, "
        "and inf2.xlarge has 16.0 GiB"
    )
    assert finding.fix == "what would fit: inf2.8xlarge"
    assert str(finding.place) == "sample.yaml:1: model.id"
    assert found(plan, "estimate.host-tight") == []
    assert found(planned(tmp_path, LLAMA_8B, 2, 2048, 1, "inf2.8xlarge"), "estimate.host") == []


def test_estimate_host_tight(tmp_path: Path) -> None:
    """As reported: killed while it was compiled on a trn1.2xlarge (aws-neuron/neuronx-distributed#53)."""
    plan = planned(tmp_path, LLAMA_8B, 2, 2048, 1, "trn1.2xlarge")
    finding = only(plan, "estimate.host-tight", "warning")
    assert finding.message == (
        "compiling takes about 35.9 GiB (checkpoint 15.0 GiB, shards 15.0 GiB, compiler 4.0 GiB guessed, "
        "processes 2.0 GiB guessed) of the host's memory, and trn1.2xlarge has 32.0 GiB"
    )
    assert finding.fix == "what would fit: inf2.8xlarge"
    assert found(plan, "estimate.host") == []
    assert found(planned(tmp_path, LLAMA_8B, 2, 2048, 1, "inf2.8xlarge"), "estimate.host-tight") == []


def with_disk(tmp_path: Path, free_gib: float) -> Plan:
    machine = {"disk_free_bytes": int(free_gib * GIB)}
    return planned(tmp_path, LLAMA_8B, 8, 2048, 1, "trn1.32xlarge", machine=machine)


def test_estimate_disk(tmp_path: Path) -> None:
    finding = only(with_disk(tmp_path, 20), "estimate.disk", "error")
    assert finding.message == (
        "29.9 GiB (download 15.0 GiB, sharded weights 15.0 GiB) are to be written, and 20.0 GiB are free "
        "where neuronctl keeps its artifacts"
    )
    assert "NEURONCTL_HOME" in str(finding.fix)
    assert found(with_disk(tmp_path, 100), "estimate.disk") == []


def test_estimate_disk_tight(tmp_path: Path) -> None:
    finding = only(with_disk(tmp_path, 30), "estimate.disk-tight", "warning")
    assert "compiled graphs" in finding.message
    assert "30.0 GiB are free" in finding.message
    assert "NEURONCTL_HOME" in str(finding.fix)
    assert found(with_disk(tmp_path, 30), "estimate.disk") == []
    assert found(with_disk(tmp_path, 100), "estimate.disk-tight") == []


def test_a_disk_that_nobody_looked_at_says_nothing(tmp_path: Path) -> None:
    plan = planned(tmp_path, LLAMA_8B, 8, 2048, 1, "trn1.32xlarge")
    assert [one for one in plan.findings if one.id.startswith("estimate.disk")] == []


@pytest.mark.parametrize("rule", ["estimate.core", "estimate.host"])
def test_force_goes_on_in_spite_of_an_estimate(tmp_path: Path, rule: str) -> None:
    plan = planned(tmp_path, LLAMA_70B, 2, 4096, 4, "inf2.xlarge")
    forced = planned(tmp_path, LLAMA_70B, 2, 4096, 4, "inf2.xlarge", force=True)
    assert rule in {one.id for one in plan.errors}
    assert rule not in {one.id for one in forced.errors}
    assert only(forced, rule, "warning").message == only(plan, rule, "error").message


def test_adapters_that_no_core_can_hold_are_refused_and_named(tmp_path: Path) -> None:
    text = (
        f"model: {{id: {LLAMA_8B}}}\nengine: {{tensor_parallel_size: 8}}\n"
        "features: {lora: {adapters: {one: /adapters/one}, max_rank: %d}}\n"
    )
    facts: dict[str, Any] = {"target": "trn2.48xlarge", "model": known(tmp_path, LLAMA_8B)}
    finding = only(neuron_plan(tmp_path, text % 1_000_000, **facts), "estimate.core", "error")
    assert "LoRA at least 38.1 GiB" in finding.message
    assert str(finding.fix).startswith(
        "lower features.lora.max_rank or features.lora.max_loras (now max_lora_rank"
    )
    plan = neuron_plan(tmp_path, text % 16, **facts)
    assert not found(plan, "estimate.core") + found(plan, "estimate.core-tight")


def test_estimate_none(tmp_path: Path) -> None:
    finding = only(neuron_plan(tmp_path, config={"vocab_size": None}), "estimate.none", "info")
    assert finding.message == "whether the model fits is not estimated: config.json does not say vocab_size"
    unknown = neuron_plan(tmp_path, config={"architectures": ["OddForCausalLM"]})
    assert "the size of a OddForCausalLM" in only(unknown, "estimate.none", "info").message
    assert not found(neuron_plan(tmp_path), "estimate.none")


def test_weights_of_no_size_are_counted_from_the_configuration(tmp_path: Path) -> None:
    model = sample_model({"intermediate_size": 256, "num_hidden_layers": 10**9}, weights=(0, "an empty file"))
    assert only(neuron_plan(tmp_path, model=model), "estimate.core", "error")


def test_who_has_the_artifact_needs_no_room_to_compile(tmp_path: Path) -> None:
    small = {"machine": {"disk_free_bytes": 1000, "memory_bytes": 1000, "assumed": False}}
    plan = neuron_plan(tmp_path, **small)
    wanted = {"estimate.disk", "estimate.host"}
    assert wanted <= {finding.id for finding in plan.errors}
    assert not wanted & {
        finding.id for finding in neuron_plan(tmp_path, compiled=(plan.key,), **small).errors
    }
    always = "artifacts: {policy: always}"
    assert wanted <= {one.id for one in neuron_plan(tmp_path, always, compiled=(plan.key,), **small).errors}
