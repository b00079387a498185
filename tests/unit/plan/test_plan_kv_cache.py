"""The size of the KV cache on a CPU, against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.plan.cpu import MEMORY_ARGUMENTS, cpu_kv_cache
from tests.plan_sample import sample_machine, sample_model, sample_plan

# The sample model: 3 layers, 2 KV heads of 64 / 8 = 8 numbers. Keys and values of one token in float32:
# 2 * 3 * 2 * 8 * 4 bytes = 384 bytes.
TOKEN_BYTES = 384


def size(engine: dict[str, object], *, memory_bytes: int | None = 16 * 2**30, **config: object) -> int | None:
    setting = cpu_kv_cache(sample_model(config), sample_machine(memory_bytes=memory_bytes), engine, {})
    if setting is None:
        return None
    assert isinstance(setting.value, int)
    return setting.value


def test_sequences_times_length_and_one_block() -> None:
    # (1000 + 128) tokens * 4 sequences * 384 bytes
    assert size({"max_model_len": 1000, "max_num_seqs": 4, "dtype": "float32"}) == 1_732_608


@pytest.mark.parametrize(
    ("dtype", "factor"), [("float32", 1), ("float", 1), ("bfloat16", 0.5), ("half", 0.5)]
)
def test_half_precision_takes_half(dtype: str, factor: float) -> None:
    assert size({"max_model_len": 1000, "max_num_seqs": 4, "dtype": dtype}) == 1_732_608 * factor


def test_an_unknown_type_is_reckoned_as_the_widest() -> None:
    assert size({"max_model_len": 1000, "max_num_seqs": 4, "dtype": "auto"}) == 1_732_608


def test_without_a_length_the_model_s_context_counts() -> None:
    assert size({"max_num_seqs": 1}) == (4096 + 128) * TOKEN_BYTES


def test_never_more_than_a_quarter_of_the_memory() -> None:
    assert size({"max_model_len": 1000, "max_num_seqs": 4}, memory_bytes=4_000_000) == 1_000_000


def test_never_less_than_one_sequence() -> None:
    assert size({"max_model_len": 1000, "max_num_seqs": 4}, memory_bytes=1000) == 1128 * TOKEN_BYTES


def test_without_a_number_of_sequences_a_quarter_of_the_memory() -> None:
    assert size({"max_model_len": 1000}, memory_bytes=4_000_000) == 1_000_000


def test_memory_that_cannot_be_read() -> None:
    assert size({"max_model_len": 1000, "max_num_seqs": 4}, memory_bytes=None) == 1_732_608
    assert size({"max_model_len": 1000}, memory_bytes=None) == 1128 * TOKEN_BYTES


@pytest.mark.parametrize("fact", ["num_hidden_layers", "num_attention_heads", "max_position_embeddings"])
def test_a_model_that_does_not_say_enough_is_left_to_vllm(fact: str) -> None:
    assert size({}, **{fact: None, "num_key_value_heads": None}) is None


@pytest.mark.parametrize("name", sorted(MEMORY_ARGUMENTS))
def test_whoever_says_how_much_is_heard(tmp_path: Path, name: str) -> None:
    assert size({name: 1}) is None
    flag = "--" + name.replace("_", "-")
    assert "kv_cache_memory_bytes" not in sample_plan(tmp_path, passthrough=(flag, "1")).engine
    assert "kv_cache_memory_bytes" in sample_plan(tmp_path, passthrough=("--other", "1")).engine


def test_so_is_vllm_s_own_variable(tmp_path: Path) -> None:
    assert "kv_cache_memory_bytes" not in sample_plan(tmp_path, 'env: {VLLM_CPU_KVCACHE_SPACE: "4"}').engine
    by_user = sample_plan(tmp_path, environ={"VLLM_CPU_KVCACHE_SPACE": "4"})
    assert "kv_cache_memory_bytes" not in by_user.engine
