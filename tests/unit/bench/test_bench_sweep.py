"""Which loads are measured."""

from __future__ import annotations

import pytest

from neuronctl.bench.sweep import Shape, sweep
from neuronctl.errors import UsageError
from neuronctl.profile.schema import BenchSection

COMPILED = Shape(batch=4, input_buckets=(128, 512), max_model_len=512)


def names(said: BenchSection) -> list[str]:
    return [load.name for load in sweep(said, Shape())]


def test_without_a_word_a_server_is_asked_at_doubling_concurrencies() -> None:
    assert names(BenchSection()) == [
        "c1 512 →128",
        "c2 512 →128",
        "c4 512 →128",
        "c8 512 →128",
        "c16 512 →128",
    ]


def test_without_a_word_the_compiled_sizes_are_followed_and_left_by_one() -> None:
    loads = sweep(BenchSection(), COMPILED)
    assert [(load.name, load.edge) for load in loads] == [
        ("c1 128 →128", "input bucket 128"),
        ("c2 128 →128", "input bucket 128"),
        ("c4 128 →128", "batch 4"),
        ("c5 128 →128", "above batch 4"),
        ("c1 129 →128", "above input bucket 128"),
        ("c1 511 →1", "input bucket 512"),
    ]


def test_every_length_of_answers_is_measured_at_each_concurrency() -> None:
    loads = sweep(BenchSection(output_len=(32, 64)), COMPILED)
    assert [load.name for load in loads][:8] == [f"c{c} 128 →{out}" for out in (32, 64) for c in (1, 2, 4, 5)]


def test_a_bucket_is_filled_as_far_as_answers_leave_room() -> None:
    shape = Shape(batch=1, input_buckets=(128, 256, 512), max_model_len=512)
    found = [(load.name, load.edge) for load in sweep(BenchSection(output_len=300, max_concurrency=1), shape)]
    assert found == [
        ("c1 128 →300", "batch 1"),
        ("c1 129 →300", "batch 1"),
        ("c1 212 →300", "batch 1"),
    ]
    found = [(load.name, load.edge) for load in sweep(BenchSection(output_len=300), shape)]
    assert found[-2:] == [("c1 129 →300", "above input bucket 128"), ("c1 212 →300", "input bucket 256")]


def test_a_rate_is_held_for_half_a_minute() -> None:
    (slow, fast) = sweep(BenchSection(request_rate=(0.5, 100)), Shape())
    assert (slow.requests, fast.requests) == (32, 3000)


def test_a_prefix_and_prompts_that_share_one_belong_together() -> None:
    for said in (BenchSection(dataset_name="shared-prefix"), BenchSection(prefix_len=8)):
        with pytest.raises(UsageError, match="prefix"):
            sweep(said, Shape())


def test_a_template_would_overfill_the_buckets() -> None:
    with pytest.raises(UsageError, match="template"):
        sweep(BenchSection(api="chat"), COMPILED)
    assert sweep(BenchSection(api="chat", input_len=100), COMPILED)


def test_what_is_said_is_done_and_nothing_else() -> None:
    said = BenchSection(max_concurrency=(3,), input_len=(10, 20), output_len=5, num_prompts=7)
    loads = sweep(said, COMPILED)
    assert [load.name for load in loads] == ["c3 10 →5", "c3 20 →5"]
    assert {load.requests for load in loads} == {7}


def test_rates_are_open_unless_a_concurrency_is_said() -> None:
    assert names(BenchSection(request_rate=(1, 2.5))) == ["c∞ r1 512 →128", "c∞ r2.5 512 →128"]
    assert names(BenchSection(request_rate=2, max_concurrency=8)) == ["c8 r2 512 →128"]


def test_a_shared_prefix_is_part_of_the_prompt_and_of_the_bucket() -> None:
    said = BenchSection(dataset_name="shared-prefix", prefix_len=100, max_concurrency=1)
    assert [load.name for load in sweep(said, COMPILED)] == [
        "c1 100+28 →128",
        "c1 100+29 →128",
        "c1 100+411 →1",
    ]


def test_own_prompts_decide_lengths() -> None:
    (load,) = sweep(BenchSection(dataset_name="jsonl", max_concurrency=2), COMPILED, 50)
    assert (load.name, load.requests, load.input_tokens) == ("c2", 50, None)


def test_what_the_model_cannot_take_is_refused() -> None:
    with pytest.raises(UsageError, match="600 tokens of prompt and 10 of answer"):
        sweep(BenchSection(input_len=600, output_len=10), COMPILED)


def test_too_many_points_are_refused() -> None:
    with pytest.raises(UsageError, match="121 points"):
        sweep(BenchSection(input_len=tuple(range(1, 12)), max_concurrency=tuple(range(1, 12))), Shape())
