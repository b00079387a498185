from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.neuron.heads import shard_heads


def test_the_measured_crash() -> None:
    """SmolLM2 135M at TP 2: measured with NxD Inference 0.9.0."""
    plan = shard_heads(9, 3, 2)
    assert plan.crashes
    assert plan.strategy == "convert-to-mha"
    assert (plan.kv_heads_after * 64 // 2, plan.found_kv_heads * 64 // 2) == (320, 960)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "tp", "padded", "kv_after", "wasted"),
    [
        (28, 4, 8, 32, 8, 4 / 32),  # Qwen2.5 7B
        (32, 8, 8, 32, 8, 0),
        (32, 8, 32, 32, 32, 0),
        (64, 8, 32, 64, 32, 0),
        (56, 8, 32, 64, 32, 8 / 64),
        (4, 2, 2, 4, 2, 0),
        (14, 2, 1, 14, 2, 0),
        (12, 12, 8, 16, 16, 4 / 16),  # not grouped: padded at the end
    ],
)
def test_padding_and_what_it_costs(
    heads: int, kv_heads: int, tp: int, padded: int, kv_after: int, wasted: float
) -> None:
    plan = shard_heads(heads, kv_heads, tp)
    assert (plan.padded_heads, plan.kv_heads_after) == (padded, kv_after)
    assert plan.heads_per_core == padded // tp
    assert plan.wasted_fraction == wasted
    assert not plan.crashes
    assert ("is padding" in plan.why) == (padded > heads)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "tp", "said"),
    [
        (28, 4, 8, "are padded to 32: 12% of the attention work is padding"),
        (32, 8, 32, "each KV head is stored 4 times"),
        (32, 8, 8, "4 a core, nothing is padded"),
        (9, 3, 2, "pads their weights to 30 heads where it expects 10"),
    ],
)
def test_it_says_why(heads: int, kv_heads: int, tp: int, said: str) -> None:
    assert said in shard_heads(heads, kv_heads, tp).why


@given(st.integers(1, 16), st.integers(1, 16), st.integers(1, 64))
def test_heads_always_divide_the_cores(groups: int, kv_heads: int, tp: int) -> None:
    plan = shard_heads(groups * kv_heads, kv_heads, tp)
    assert plan.padded_heads % tp == 0
    assert plan.kv_heads_after % tp == 0
    assert 0 <= plan.wasted_fraction < 1
    assert plan.crashes == (groups > 1 and tp % kv_heads != 0 and kv_heads % tp != 0)


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_no_heads_is_an_error(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        shard_heads(*numbers)
