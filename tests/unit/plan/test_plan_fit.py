"""Estimates in plans: what the shipped profiles take, and what follows from a profile's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuronctl.host import Host
from neuronctl.machine.detect import detect_machine
from neuronctl.model.model import Model
from neuronctl.model.resolve import resolve_model
from neuronctl.neuron.estimate import Estimate
from neuronctl.plan.make import make_plan
from neuronctl.plan.plan import Plan, Setting
from neuronctl.plan.reference import MADE_FOR
from neuronctl.profile.resolve import load_profile
from neuronctl.profile.schema import ModelSection
from neuronctl.stack.assume import assume_stack
from tests.plan_sample import WIDTH, neuron_plan, sample_host, sample_model

FOLDER = Path(__file__).parents[3] / "profiles"
GIB = 2**30


def shipped(
    tmp_path: Path, name: str, target: str, stack: str = "sdk-2.28", sets: tuple[str, ...] = ()
) -> Plan:
    host = sample_host(tmp_path)
    profile = load_profile(str(FOLDER / f"{name}.yaml"), host, sets=sets)
    return make_plan(
        profile,
        resolve_model(profile.shape.model, host),
        detect_machine(host, target),
        assume_stack(stack),
        host.environ,
        home="/home/somebody/.cache/neuronctl",
    )


def estimated(plan: Plan) -> Estimate:
    assert plan.outlook is not None
    assert plan.outlook.estimate is not None
    return plan.outlook.estimate


def amounts(estimate: Estimate) -> dict[str, int]:
    """The parts of what a core must hold."""
    return {one.name: one.bytes for one in estimate.per_core}


def small(tmp_path: Path, text: str = "", **options: Any) -> Estimate:
    """The estimate for the sample's model, of which 8 heads share 2 KV heads."""
    return estimated(neuron_plan(tmp_path, text, **options))


@pytest.mark.parametrize(
    ("name", "target"), [(name, one) for name, instances in MADE_FOR.items() for one in instances]
)
def test_a_shipped_profile_fits_where_it_is_meant_to_run(tmp_path: Path, name: str, target: str) -> None:
    plan = shipped(tmp_path, name, target)
    estimate = estimated(plan)
    assert (estimate.refused, estimate.doubtful) == ((), ())
    assert (estimate.fits_core, estimate.fits_host, estimate.fits_disk) == (True, True, None)
    assert plan.outlook is not None
    assert plan.outlook.fitting == ()


@pytest.mark.parametrize(
    ("name", "weights", "kv_cache"),
    [
        # 1,100,048,384 parameters on 2 cores; 22 layers of 2 KV heads of 64 for each.
        ("tinyllama-tp2", 1_100_048_384 * 2 / 2, 2 * 22 * 2 * 64 * 2),
        # 8,030,261,248 on 8; 32 layers, one KV head of 128 for each.
        ("llama-3.1-8b", 8_030_261_248 * 2 / 8, 2 * 32 * 1 * 128 * 2),
        # 70,553,706,496 on 64, and each of 8 KV heads eight times: 56 more of 2 x 8192 x 128 in 80 layers.
        ("llama-3.3-70b", (70_553_706_496 + 56 * 80 * 2 * 8192 * 128) * 2 / 64, 2 * 80 * 1 * 128 * 2),
    ],
)
def test_weights_and_kv_cache_of_a_core(tmp_path: Path, name: str, weights: float, kv_cache: int) -> None:
    plan = shipped(tmp_path, name, MADE_FOR[name][0])
    tokens = 1
    for setting in ("max_model_len", "max_num_seqs"):
        value = plan.engine[setting].value
        assert isinstance(value, int)
        tokens *= value
    found = amounts(estimated(plan))
    assert (found["weights"], found["KV cache"]) == (weights, kv_cache * tokens)


@pytest.mark.parametrize("weights", ["int8", "fp8"])
def test_quantized_weights_take_less(tmp_path: Path, weights: str) -> None:
    """One byte a value, but for the two embeddings of 128,256 x 4096, which keep two."""
    found = amounts(estimated(shipped(tmp_path, f"llama-3.1-8b-{weights}", "trn2.48xlarge")))
    embeddings = 2 * 128_256 * 4096
    assert found["weights"] == (8_030_261_248 + embeddings) / 8


def test_a_draft_model_is_counted_with_the_head_it_must_have(tmp_path: Path) -> None:
    plan = shipped(tmp_path, "llama-3.1-8b-eagle", "trn2.48xlarge")
    assert amounts(estimated(plan))["draft"] > 128_256 * 4096 * 2 / 8
    assert "draft" not in amounts(estimated(shipped(tmp_path, "llama-3.1-8b", "trn2.48xlarge")))


def test_adapters_are_counted(tmp_path: Path) -> None:
    with_two = amounts(estimated(shipped(tmp_path, "llama-3.1-8b-lora", "trn2.48xlarge")))
    more = ("features.lora.max_rank=32",)
    with_rank = amounts(estimated(shipped(tmp_path, "llama-3.1-8b-lora", "trn2.48xlarge", sets=more)))
    assert 0 < with_two["LoRA adapters"] < with_rank["LoRA adapters"]


def test_the_block_layout_counts_blocks(tmp_path: Path) -> None:
    """32 blocks of 32 tokens for each of 4 sequences, the plugin's null block, and one of NxD Inference."""
    text = "engine: {tensor_parallel_size: 2, max_model_len: 1024, max_num_seqs: 4}\n"
    prefix = small(tmp_path, text + "features: {prefix_caching: true}\n")
    one_token = 2 * 3 * 1 * 8 * 2  # K and V, layers, KV heads, head size, bytes
    assert amounts(prefix)["KV cache"] == (32 * 4 + 1 + 1) * 32 * one_token
    assert amounts(small(tmp_path, text))["KV cache"] == 1024 * 4 * one_token


def test_settings_that_win_over_vllm_s_arguments_are_what_is_estimated(tmp_path: Path) -> None:
    text = "engine: {tensor_parallel_size: 2, max_model_len: 1024, max_num_seqs: 4}\n"
    twice = small(tmp_path, text + "neuron: {batch_size: 8}\n")
    assert amounts(twice)["KV cache"] == 2 * amounts(small(tmp_path, text))["KV cache"]


def test_the_smallest_tensor_parallel_size_that_fits_is_chosen(tmp_path: Path) -> None:
    def degree(target: str, *sets: str) -> Setting:
        unsaid = ("engine.tensor_parallel_size=null", "engine.max_num_seqs=4", *sets)
        return shipped(tmp_path, "llama-3.3-70b", target, sets=unsaid).engine["tensor_parallel_size"]

    assert degree("trn2.48xlarge").value == 8
    # With LNC 1 nobody says how much memory a core has.
    assert degree("trn2.48xlarge", 'env.NEURON_LOGICAL_NC_CONFIG="1"').value == 64
    assert degree("trn2.48xlarge", "neuron.logical_nc_config=1").value == 64
    assert degree("trn2.48xlarge", "features.lora={adapters: {a: ./a}, max_rank: 256}").value == 16
    assert degree("trn1.32xlarge").value == 16
    assert "the smallest degree" in degree("trn1.32xlarge").origin


def test_nothing_is_estimated_where_machine_or_model_say_too_little(tmp_path: Path) -> None:
    unknown = neuron_plan(tmp_path, machine={"instance": None})
    assert unknown.outlook is not None
    assert unknown.outlook.estimate is None
    nameless = neuron_plan(tmp_path, model=sample_model(commit="c" * 40))
    assert "intermediate_size" not in nameless.model.config
    assert nameless.outlook is not None
    assert nameless.outlook.estimate is None


def test_a_checkpoint_that_was_measured_counts_for_more_than_the_configuration(tmp_path: Path) -> None:
    model = sample_model(WIDTH, weights=(5 * GIB, "the files"), commit="c" * 40)
    host = {one.name: one.bytes for one in small(tmp_path, model=model).host}
    assert host["checkpoint"] == 5 * GIB


def test_a_full_disk_does_not_call_for_another_machine(tmp_path: Path) -> None:
    plan = neuron_plan(tmp_path, model=sample_model(WIDTH, here=False), machine={"disk_free_bytes": 1})
    assert estimated(plan).refused == ("disk",)
    assert plan.outlook is not None
    assert plan.outlook.fitting == ()


def test_the_native_plugin_is_given_room_for_one_sequence(tmp_path: Path) -> None:
    text = "engine: {tensor_parallel_size: 2, max_model_len: 1024, max_num_seqs: 64}\n"
    found = small(tmp_path, text, target="trn2.3xlarge", stack="sdk-2.32")
    assert amounts(found)["KV cache"] == 1024 * 2 * 3 * 1 * 8 * 2


def test_llama_4_is_padded_as_aws_runs_it(tmp_path: Path) -> None:
    host = Host(environ={"HOME": str(tmp_path)}, cwd=tmp_path)
    section = ModelSection(id="meta-llama/Llama-4-Scout-17B-16E-Instruct")
    plan = neuron_plan(tmp_path, target="trn2.48xlarge", model=resolve_model(section, host))
    assert plan.engine["tensor_parallel_size"].value == 16
    assert not [one.id for one in plan.errors]


def test_only_granted_cores_are_counted_on(tmp_path: Path) -> None:
    host = Host(environ={"HOME": str(tmp_path)}, cwd=tmp_path)
    section = ModelSection(id="meta-llama/Llama-3.1-8B-Instruct")
    text = 'env: {NEURON_RT_VISIBLE_CORES: "4-5"}\n'
    plan = neuron_plan(tmp_path, text, target="trn1.32xlarge", model=resolve_model(section, host))
    assert plan.engine["tensor_parallel_size"].value == 2
    assert plan.environment["NEURON_RT_VISIBLE_CORES"].value == "4-5"


def test_another_machine_is_never_the_same_one(tmp_path: Path) -> None:
    """A host with less memory than its type has: the type is no answer."""
    model = resolve_model(ModelSection(id="meta-llama/Llama-3.1-8B-Instruct"), sample_host(tmp_path))
    here = {"memory_bytes": 20 * GIB}
    text = "model: {id: meta-llama/Llama-3.1-8B-Instruct}\nengine: {tensor_parallel_size: 2}\n"
    plan = neuron_plan(tmp_path, text, target="inf2.8xlarge", machine=here, model=model)
    assert plan.outlook is not None
    assert plan.outlook.fitting
    assert not [one for one in plan.outlook.fitting if one.startswith("inf2.8xlarge")]


def test_no_degree_is_chosen_at_which_weights_do_not_load(tmp_path: Path) -> None:
    """24 heads and 6 KV heads: 4 neither divides the KV heads nor is divided by them."""
    heads = {"num_attention_heads": 24, "num_key_value_heads": 6, "hidden_size": 192, "num_hidden_layers": 3}
    plan = neuron_plan(tmp_path, config=heads)
    assert plan.outlook is not None
    assert plan.outlook.degrees == (1, 2, 24)


def test_degrees_divide_what_sequence_parallelism_shares(tmp_path: Path) -> None:
    heads = {"num_attention_heads": 48, "num_key_value_heads": 24, "hidden_size": 384, "num_hidden_layers": 3}
    found = []
    for text in ("", "neuron: {sequence_parallel_enabled: true}\n"):
        plan = neuron_plan(tmp_path, text, config=heads)
        assert plan.outlook is not None
        found.append(24 in plan.outlook.degrees)
    assert found == [True, False]


def of_hub(tmp_path: Path, model_id: str) -> Model:
    host = Host(environ={"HOME": str(tmp_path)}, cwd=tmp_path)
    return resolve_model(ModelSection(id=model_id), host)


def test_what_neuronctl_chooses_for_qwen3_with_experts_is_supported(tmp_path: Path) -> None:
    plan = neuron_plan(tmp_path, target="trn2.48xlarge", model=of_hub(tmp_path, "Qwen/Qwen3-30B-A3B"))
    assert plan.engine["max_num_seqs"].value == 16
    assert not plan.errors


@pytest.mark.parametrize(
    "model_id", ["TinyLlama/TinyLlama-1.1B-Chat-v1.0", "meta-llama/Llama-3.3-70B-Instruct"]
)
@pytest.mark.parametrize("target", ["trn2.48xlarge", "trn3.gen1.ultraserver"])
def test_what_neuronctl_chooses_for_the_native_plugin_passes_its_rules(
    tmp_path: Path, model_id: str, target: str
) -> None:
    plan = neuron_plan(tmp_path, target=target, stack="sdk-2.32", model=of_hub(tmp_path, model_id))
    assert plan.engine["tensor_parallel_size"].value != 1
    assert not plan.errors


def test_asking_for_vllm_s_own_scheduler_is_asking_for_chunked_prefill(tmp_path: Path) -> None:
    plan = neuron_plan(tmp_path, 'env: {DISABLE_NEURON_CUSTOM_SCHEDULER: "1"}\n', target="trn2.48xlarge")
    assert plan.engine["enable_chunked_prefill"].value is True
    assert plan.engine["block_size"].value == 32
    assert not plan.errors
