from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
import yaml
from msgspec.structs import replace

from neuronctl.bench.advice import Advice, advise
from neuronctl.bench.advice_text import advice_data, advice_text
from neuronctl.bench.lengths import lengths
from neuronctl.bench.padding import padded_tokens
from neuronctl.bench.schema import BenchResult
from neuronctl.bench.sweep import Shape, sweep
from neuronctl.neuron.estimate import GIB, Amount, Estimate
from neuronctl.profile.schema import BenchSection, ProfileShape
from tests.bench_sample import result

MIXED = [(200, 20)] * 60 + [(600, 40)] * 30 + [(1700, 100)] * 10


def curve(throughputs: Mapping[int, float], batch: int | None = 4) -> BenchResult:
    """A result with this many output tokens a second by concurrency."""
    made = result(concurrencies=tuple(throughputs))
    points = tuple(
        replace(
            point,
            runs=tuple(replace(run, output_tokens_per_s=tokens) for run in point.runs),
        )
        for point, tokens in zip(made.points, throughputs.values(), strict=True)
    )
    return replace(made, points=points, target=replace(made.target, batch=batch))


def only(found: Sequence[Advice], id_: str) -> Advice:
    (one,) = [advice for advice in found if advice.id == id_]
    return one


def setting(one: Advice) -> dict[str, Any]:
    """What the profile says with it."""
    assert one.setting is not None
    (data,) = msgspec.convert(advice_data([one])["advice"], list[dict[str, Any]])
    profile = yaml.safe_load(data["yaml"])
    assert profile == one.setting
    msgspec.convert({"model": {"id": "a/b"}, **profile}, ProfileShape)
    return dict(one.setting)


def estimate(kv_bytes: int, free_bytes: int) -> Estimate:
    amounts = (
        Amount("weights", GIB, "", "derived", ""),
        Amount("KV cache", kv_bytes, "", "derived", ""),
    )
    return Estimate(amounts, GIB + kv_bytes + free_bytes, (), None, (), None, "minutes", "")


def test_buckets_that_pad_less() -> None:
    one = only(advise(result(), MIXED), "buckets")
    assert setting(one) == {"features": {"buckets": {"prefill": [256, 640, 2048]}}}
    now, then = (
        padded_tokens({200: 60, 600: 30, 1700: 10}, sizes) for sizes in ((128, 512, 2048), (256, 640, 2048))
    )
    assert f"{(now - then) / now * 100:.0f} % fewer tokens to prefill" in one.gain
    real = 200 * 60 + 600 * 30 + 1700 * 10
    assert f"{(1 - real / now) * 100:.0f} % of the prefilled tokens are padding" in one.text
    # The compile that was measured: as many graphs as now take as long.
    assert "as many buckets as now: about the 15 min that were measured" in one.cost
    assert one.basis.startswith("lengths that were given (100)")


def test_more_buckets_cost_more_of_the_measured_compile() -> None:
    wide = [(size, 10) for size in (100, 250, 380, 510, 760, 1020, 1500)]
    one = only(advise(result(), wide), "buckets")
    count = len(setting(one)["features"]["buckets"]["prefill"])
    assert count > 3
    assert (
        f"{count} prefill buckets instead of 3: about {(count - 3) * 5} min more than the 15 min" in one.cost
    )
    assert "with no more buckets than now" in one.text
    assert "no compile was measured" in only(advise(replace(result(), startup=()), wide), "buckets").cost


def test_buckets_that_fit_are_left_alone() -> None:
    fitting = [(128, 1), (500, 1), (2040, 1)] * 10
    assert [one.id for one in advise(result(), fitting) if one.id == "buckets"] == []


def test_fewer_buckets_do_where_requests_are_somebody_s_own() -> None:
    short = [(100, 1800)] * 10
    one = only(advise(result(), short), "buckets")
    assert setting(one) == {"features": {"buckets": {"prefill": [128, 2048]}}}
    assert "about 5 min less than" in one.cost
    # Random prompts of one length say nothing about a bucket that nobody used.
    assert "buckets" not in [one.id for one in advise(result())]


def test_measured_lengths_count_where_none_are_given() -> None:
    kept = lengths(MIXED)
    made = result(concurrencies=(1,))
    runs = tuple(
        replace(run, lengths=kept, succeeded=100, input_tokens=sum(into for into, _ in MIXED))
        for run in made.points[0].runs
    )
    made = replace(made, points=(replace(made.points[0], runs=runs),))
    one = only(advise(made), "buckets")
    assert setting(one) == setting(only(advise(made, MIXED), "buckets"))
    assert "300 requests that were measured (random: good for traffic like it only)" in one.basis
    own = replace(made, workload=replace(made.workload, kind="sharegpt"))
    assert "(random" not in only(advise(own), "buckets").basis
    # A point that is there for the edge of a bucket is no traffic.
    edge = replace(made.points[0], load=replace(made.points[0].load, edge="128"))
    assert advise(replace(made, points=(edge,))) == ()


@pytest.mark.parametrize("fields", [{"backend": "cpu"}, {"backend": "native"}, {"input_buckets": ()}])
def test_no_buckets_where_none_are_known(fields: dict[str, Any]) -> None:
    made = replace(result(), target=replace(result().target, **fields))
    assert "buckets" not in [one.id for one in advise(made, MIXED)]


def test_no_buckets_from_prompts_whose_beginning_may_be_cached() -> None:
    made = result()
    shared = tuple(replace(point, load=replace(point.load, prefix_tokens=64)) for point in made.points)
    assert "buckets" not in [one.id for one in advise(replace(made, points=shared), MIXED)]


def test_a_prompt_that_fits_no_bucket() -> None:
    made = replace(result(), target=replace(result().target, input_buckets=(128, 512)))
    one = only(advise(made, [(1000, 10)]), "buckets")
    assert setting(one) == {"features": {"buckets": {"prefill": [128, 512, 1024]}}}


@pytest.mark.parametrize(
    ("batch", "paces", "best"),
    [
        (4, {1: 100, 2: 195, 4: 380, 5: 385}, 8),
        (16, {1: 100, 2: 190, 4: 370, 8: 700, 16: 1300, 17: 1310}, 32),
        (16, {1: 100, 2: 190, 4: 370, 8: 375, 16: 378, 17: 376}, 4),
    ],
)
def test_the_default_sweep_speaks_for_another_batch(batch: int, paces: dict[int, float], best: int) -> None:
    loads = sweep(BenchSection(), Shape(batch=batch, input_buckets=(128, 512), max_model_len=2048))
    (first,) = result(concurrencies=(4,)).points
    points = tuple(
        replace(
            first,
            load=load,
            runs=tuple(replace(run, output_tokens_per_s=paces[load.concurrency or 1]) for run in first.runs),
        )
        for load in loads
    )
    made = result()
    found = advise(replace(made, points=points, target=replace(made.target, batch=batch)))
    assert setting(only(found, "batch")) == {"engine": {"max_num_seqs": best}}
    assert not [one for one in found if one.id == "concurrency"]


def test_a_larger_batch_where_the_batch_is_full() -> None:
    found = curve({1: 100, 2: 190, 4: 340, 8: 345})
    one = only(advise(found), "batch")
    assert setting(one) == {"engine": {"max_num_seqs": 8}}
    assert "not known before it is measured; the last doubling up to the batch brought 79 %" in one.gain
    assert "15 min" in one.cost
    assert "4 at once 340" in one.basis
    # No more than the plan's estimate lets in, and nothing where nothing more fits.
    some = only(advise(found, estimate=estimate(kv_bytes=4 * GIB, free_bytes=2 * GIB)), "batch")
    assert setting(some) == {"engine": {"max_num_seqs": 6}}
    assert advise(found, estimate=estimate(kv_bytes=4 * GIB, free_bytes=GIB // 2)) == ()


def test_a_batch_that_is_full_and_brought_nothing() -> None:
    assert advise(curve({1: 100, 2: 200, 4: 212, 8: 211})) == ()


def test_a_smaller_batch_where_less_is_enough() -> None:
    found = curve({1: 100, 2: 190, 4: 195, 8: 196, 16: 197}, batch=16)
    one = only(advise(found, estimate=estimate(4 * GIB, GIB)), "batch")
    assert setting(one) == {"engine": {"max_num_seqs": 2}}
    assert "88 % less KV cache (3.50 GiB of each core" in one.gain
    # Not where so many at once were never sent.
    assert advise(curve({1: 100, 2: 190, 4: 195}, batch=16)) == ()


def test_throughput_that_still_grows_wants_more_points() -> None:
    for batch in (16, None):
        (one,) = advise(curve({1: 100, 2: 190, 4: 350}, batch=batch))
        assert (one.id, one.setting) == ("concurrency", None)
    assert advise(curve({1: 100, 4: 350})) == ()


def test_a_shorter_length_where_requests_are_short() -> None:
    one = only(advise(result(), [(300, 50)] * 10, estimate(2 * GIB, GIB)), "length")
    # 350 and a quarter, in steps of 128; the buckets must not be longer.
    assert setting(one) == {
        "engine": {"max_model_len": 512},
        "features": {"buckets": {"prefill": [128, 512]}},
    }
    assert "75 % less KV cache (1.50 GiB of each core" in one.gain
    assert "3 decode buckets instead of 5" in one.gain
    assert "more than 512 tokens is refused" in one.cost
    # Nobody's own requests are as short as random prompts are.
    assert "length" not in [one.id for one in advise(result())]
    assert "length" not in [one.id for one in advise(result(), [(1500, 100)])]


def test_a_longer_length_where_requests_do_not_fit() -> None:
    one = only(advise(result(), [(2000, 100)]), "length")
    assert setting(one) == {"engine": {"max_model_len": 2176}}
    assert "6.2 % more KV cache" in one.cost


@pytest.mark.parametrize("width", [10, 40, 80, 300])
def test_advice_in_a_terminal(width: int) -> None:
    found = advise(result(), MIXED)
    text = advice_text(found, width)
    assert "           prefill: [256, 640, 2048]" in text.splitlines()
    prose = [line for line in text.splitlines() if "prefill: [" not in line]
    assert max(map(len, prose)) <= max(width, 40)
    assert "gain: " in text
    assert "basis: " in text


def test_no_advice_says_what_it_would_want() -> None:
    assert "--prompts FILE" in advice_text((), 80)
    assert advice_data(()) == {"advice": []}
