"""The native backend's part of a plan: what becomes of intent, and what is compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronctl.errors import UsageError
from neuronctl.neuron.native import RENAMED, SEGMENT_SIZES
from neuronctl.plan.plan import Plan
from tests.plan_sample import neuron_plan
from tests.reference import reference

OLD = "sdk-2.31:native"
MODEL = "model: {id: org/small}\n"
CONTEXT = {"max_position_embeddings": 2**20}


def native(tmp_path: Path, text: str = "", **facts: Any) -> Plan:
    return neuron_plan(tmp_path, MODEL + text, **{"target": "trn2.3xlarge", "stack": "sdk-2.32", **facts})


def neuron(plan: Plan) -> dict[str, Any]:
    assert plan.outlook is not None
    config = plan.engine["additional_config"].value
    assert isinstance(config, dict)
    assert config["neuron_config"] == plan.outlook.settings
    return dict(config["neuron_config"])


def said(plan: Plan, name: str) -> object:
    return plan.engine[name].value if name in plan.engine else None


def test_a_plain_profile(tmp_path: Path) -> None:
    plan = native(tmp_path)
    assert plan.backend == "native"
    assert neuron(plan) == {}
    assert said(plan, "max_num_batched_tokens") == 2048
    assert said(plan, "enable_prefix_caching") is None
    assert said(plan, "async_scheduling") is None
    assert said(plan, "num_gpu_blocks_override") is None
    assert plan.environment["NEURON_VISIBLE_DEVICES"].value == "0-1", "one core alone can crash"
    assert "NEURON_RT_VISIBLE_CORES" not in plan.environment
    assert "NEURON_COMPILED_ARTIFACTS" not in plan.environment
    assert plan.findings == ()


@pytest.mark.parametrize(
    ("length", "tokens", "caching"),
    [
        (256, 256, False),
        (512, 512, False),
        (513, 512, None),
        (2048, 1024, None),
        (2049, 2048, None),
        (100_000, 2048, None),
    ],
)
def test_prefill_is_segmented_where_there_is_a_segment(
    tmp_path: Path, length: int, tokens: int, caching: bool | None
) -> None:
    plan = native(tmp_path, f"engine: {{max_model_len: {length}}}\n", config=CONTEXT)
    assert said(plan, "max_num_batched_tokens") == tokens
    assert said(plan, "enable_prefix_caching") is caching
    assert plan.errors == ()


def test_several_prefill_buckets_want_whole_prompts(tmp_path: Path) -> None:
    plan = native(tmp_path, "features: {buckets: {prefill: [2048, 512, 8192]}}\n")
    assert neuron(plan)["num_batched_tokens_buckets"] == [512, 2048, 4096]
    assert said(plan, "max_num_batched_tokens") == 4096
    assert said(plan, "enable_prefix_caching") is False
    assert "several are asked for" in plan.engine["max_num_batched_tokens"].origin
    assert plan.errors == ()


def test_one_prefill_bucket_is_the_segment(tmp_path: Path) -> None:
    plan = native(tmp_path, "features: {buckets: {prefill: [1024]}}\n")
    assert neuron(plan)["num_batched_tokens_buckets"] == [1024]
    assert said(plan, "max_num_batched_tokens") == 1024
    assert said(plan, "enable_prefix_caching") is None
    assert plan.findings == ()


def test_what_the_profile_says_of_prefill_stands(tmp_path: Path) -> None:
    plan = native(tmp_path, "engine: {max_num_batched_tokens: 512}\n")
    assert said(plan, "max_num_batched_tokens") == 512
    plan = native(tmp_path, "features: {chunked_prefill: false, prefix_caching: false}\n")
    assert said(plan, "max_num_batched_tokens") == 4096
    assert plan.errors == ()
    plan = native(tmp_path, passthrough=("--max-num-batched-tokens", "4096"))
    assert "max_num_batched_tokens" not in plan.engine
    assert said(plan, "enable_prefix_caching") is False
    assert plan.errors == ()


def test_images_are_prefilled_whole(tmp_path: Path) -> None:
    config = {"architectures": ["Qwen3VLForConditionalGeneration"], "vision_config": {"hidden_size": 8}}
    plan = native(tmp_path, config=config)
    assert said(plan, "max_num_batched_tokens") == 4096
    assert said(plan, "enable_prefix_caching") is False
    assert plan.errors == ()


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 40_000),
    prefill=st.none() | st.lists(st.integers(1, 40_000), min_size=1, max_size=4),
    decode=st.none() | st.lists(st.integers(1, 40_000), min_size=1, max_size=4),
    caching=st.none() | st.booleans(),
    sequences=st.integers(1, 9),
)
def test_what_the_plan_decides_itself_the_plugin_takes(
    tmp_path_factory: pytest.TempPathFactory,
    length: int,
    prefill: list[int] | None,
    decode: list[int] | None,
    caching: bool | None,
    sequences: int,
) -> None:
    """Whatever lengths are asked for, no rule about buckets and segments is broken by the plan."""
    text = f"engine: {{max_model_len: {length}, max_num_seqs: {sequences}}}\nfeatures:\n  buckets: {{"
    text += ", ".join(
        f"{name}: {sizes}" for name, sizes in (("prefill", prefill), ("decode", decode)) if sizes
    )
    text += "}\n"
    if caching is not None:
        text += f"  prefix_caching: {str(caching).lower()}\n"
    plan = native(tmp_path_factory.mktemp("plan"), text, config=CONTEXT)
    found = {one.id for one in plan.errors} & {
        "native.buckets",
        "native.segment-size",
        "native.prefix-caching-single-shot",
    }
    # A context without any segment cannot have what is insisted on.
    impossible = caching is True and length <= min(SEGMENT_SIZES)
    assert found == ({"native.prefix-caching-single-shot"} if impossible else set())


def test_decode_buckets_keep_to_the_kernel_s_tile(tmp_path: Path) -> None:
    plan = native(tmp_path, "features: {buckets: {decode: [1000, 2048, 4096, 9000]}}\n")
    assert neuron(plan)["decode_context_length_buckets"] == [1024, 2048]
    assert "decode_context_length_buckets" not in neuron(
        native(tmp_path, "features: {buckets: {decode: [4096]}}\n")
    )


def test_sampling_on_the_cpu_turns_asynchronous_scheduling_off(tmp_path: Path) -> None:
    plan = native(tmp_path, "features: {sampling: {on_device: false}}\n")
    assert neuron(plan) == {"on_device_sampling_config": None}
    assert said(plan, "async_scheduling") is False
    plan = native(tmp_path, "features: {sampling: {on_device: true, global_top_k: 64}}\n")
    assert neuron(plan) == {"on_device_sampling_config": {"max_top_k": 64}}
    assert said(plan, "async_scheduling") is None


@pytest.mark.parametrize(("stack", "scheduling"), [(OLD, False), ("sdk-2.32", None)])
def test_tools_turn_structured_outputs_on(tmp_path: Path, stack: str, scheduling: bool | None) -> None:
    plan = native(tmp_path, "features: {tools: {parser: llama3_json}}\n", stack=stack)
    assert neuron(plan) == {"enable_structured_outputs": True}
    assert said(plan, "tool_call_parser") == "llama3_json"
    assert said(plan, "async_scheduling") is scheduling
    assert plan.findings == ()


@pytest.mark.parametrize(
    ("draft", "method"),
    [("RedHatAI/Llama-3.1-8B-Instruct-speculator.eagle3", "eagle3"), ("org/EAGLE-small", "eagle")],
)
def test_a_draft_s_name_tells_its_method(tmp_path: Path, draft: str, method: str) -> None:
    text = f"features: {{speculative: {{method: eagle, model: {draft}, tokens: 3}}}}\n"
    expected = {"method": method, "model": draft, "num_speculative_tokens": 3}
    assert said(native(tmp_path, text), "speculative_config") == expected
    own = text + "engine: {speculative_config: {method: eagle3, model: mine}}\n"
    assert said(native(tmp_path, own), "speculative_config") == {"method": "eagle3", "model": "mine"}


def test_the_profile_s_own_neuron_settings_win(tmp_path: Path) -> None:
    text = (
        "features: {sampling: {global_top_k: 64}}\nneuron: {on_device_sampling_config: {all_greedy: true}}\n"
    )
    assert neuron(native(tmp_path, text)) == {"on_device_sampling_config": {"all_greedy": True}}


def test_cores_for_every_rank(tmp_path: Path) -> None:
    text = "engine: {tensor_parallel_size: 4, data_parallel_size: 2}\n"
    plan = native(tmp_path, text, target="trn2.48xlarge")
    assert plan.environment["NEURON_VISIBLE_DEVICES"].value == "0-7"
    one = {"NEURON_VISIBLE_DEVICES": "8-15"}
    here = native(tmp_path, text, target="trn2.48xlarge", environ=one, machine={"assumed": False})
    assert "NEURON_VISIBLE_DEVICES" not in here.environment  # The user's own stands.
    assert here.outlook is not None
    assert str(here.outlook.assigned) == "8-15"
    elsewhere = native(tmp_path, text, target="trn2.48xlarge", environ=one)
    assert elsewhere.environment["NEURON_VISIBLE_DEVICES"].value == "0-7"


def test_cores_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a core nor a range"):
        native(tmp_path, "env: {NEURON_VISIBLE_DEVICES: 'all'}\n")


def test_timeouts_for_a_cold_compile(tmp_path: Path) -> None:
    names = reference("env_vars")["rename_0_21_to_0_24"]
    assert {name: new for name, new in names.items() if name != "basis"} == dict(RENAMED)
    for stack in (OLD, "sdk-2.32"):
        environment = native(tmp_path, stack=stack).environment
        limits = {name: setting.value for name, setting in environment.items() if "TIMEOUT" in name}
        assert limits == {
            "VLLM_ENGINE_READY_TIMEOUT_S": "5400",
            "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "1200",
            "VLLM_NEURON_COMPILATION_TIMEOUT": "1200",
            "NEURON_LIBTORCH_COMPILATION_TIMEOUT": "1200",
        }


@pytest.mark.parametrize("in_profile", [True, False])
def test_the_user_s_timeout_counts_under_both_names(tmp_path: Path, in_profile: bool) -> None:
    old = {"VLLM_NEURON_COMPILATION_TIMEOUT": "3000"}
    text = "env: {VLLM_NEURON_COMPILATION_TIMEOUT: '3000'}\n" if in_profile else ""
    plan = native(tmp_path, text, environ={} if in_profile else old)
    assert plan.environment["NEURON_LIBTORCH_COMPILATION_TIMEOUT"].value == "3000"
    mine = plan.environment.get("VLLM_NEURON_COMPILATION_TIMEOUT")
    assert mine is None or mine.value == "3000"


def test_a_machine_without_efa(tmp_path: Path) -> None:
    assert native(tmp_path).environment["NEURON_SKIP_EFA_AFFINITY"].value == "1"
    assert "NEURON_SKIP_EFA_AFFINITY" not in native(tmp_path, target="trn2.48xlarge").environment
    for has_efa in (True, False):
        here = {"assumed": False, "has_efa": has_efa}
        environment = native(tmp_path, machine=here).environment
        assert ("NEURON_SKIP_EFA_AFFINITY" in environment) is not has_efa


def test_what_only_serving_reads_is_not_in_the_key(tmp_path: Path) -> None:
    plain = native(tmp_path)
    served = native(tmp_path, "env: {VLLM_ENGINE_READY_TIMEOUT_S: '9000', VLLM_CACHE_ROOT: /there}\n")
    assert served.key == plain.key
    compiled = native(tmp_path, "env: {VLLM_NEURON_KV_GMU_BUDGET_CAP_FRACTION: '0.25'}\n")
    assert compiled.key != plain.key
    assert native(tmp_path, "neuron: {num_seqs_buckets: [4]}\n").key != plain.key
    assert native(tmp_path, stack=OLD).key != plain.key
