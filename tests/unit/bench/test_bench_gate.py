from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from neuronctl.bench.condition import parse_conditions
from neuronctl.bench.gate import Breach, judge
from neuronctl.bench.measures import measure
from neuronctl.bench.record import Sent
from neuronctl.bench.schema import BenchResult
from neuronctl.errors import UsageError
from tests.bench_sample import records, result


def breaches(found: BenchResult, text: str, baseline: BenchResult | None = None) -> tuple[Breach, ...]:
    return judge(found, parse_conditions([text]), baseline).breaches


def noisy(seed: int, deviation: float, slower: float = 1.0) -> BenchResult:
    """A result whose runs, not only their requests, differ: each is slower or faster as a whole."""
    chance = random.Random(seed)
    made = result(concurrencies=(1, 4), slower=slower)
    points = []
    for point in made.points:
        runs = []
        for repeat in range(3):
            level = slower * (1 + chance.gauss(0, deviation))
            one = records(point.load, ttft_s=0.05 * level, itl_s=0.01 * level, seed=seed * 10 + repeat)
            took = max((record.start_s or 0) + (record.e2e_s or 0) for record in one)
            runs.append(measure(Sent(tuple(one), took)))
        points.append(replace(point, runs=tuple(runs)))
    return replace(made, points=tuple(points))


GATE = "ttft_p95>+10%, itl_p50>+10%, output_throughput<-10%, error_rate>0"


@pytest.mark.parametrize("deviation", [0.02, 0.035])
def test_twenty_times_the_same_server_passes(deviation: float) -> None:
    for seed in range(20):
        assert breaches(noisy(seed, deviation), GATE, noisy(seed + 100, deviation)) == ()


@pytest.mark.parametrize("deviation", [0.02, 0.035, 0.05])
def test_twenty_regressions_of_a_fifth_fail(deviation: float) -> None:
    for seed in range(20):
        found = breaches(noisy(seed, deviation, slower=1.2), "ttft_p95>+10%", noisy(seed + 100, deviation))
        assert {one.kind for one in found} == {"regression"}


def test_a_breach_says_what_where_and_how_much() -> None:
    found = breaches(result(slower=1.2), "ttft_p95@c4>+10%", result())
    assert [one.text for one in found] == [
        "ttft_p95 at c4 128 →16: 105 ms → 126 ms (+20 %; the limit is +10 %)"
    ]
    (one,) = breaches(result(), "ttft_p95@c4>100ms")
    assert (one.kind, one.point) == ("limit", "c4 128 →16")
    assert one.text == "ttft_p95 at c4 128 →16 is 105 ms, and the limit is 100 ms"


def test_what_is_better_passes() -> None:
    assert breaches(result(slower=0.7), "ttft_p95>+0%, output_throughput<-0%", result()) == ()


def test_a_regression_below_its_value_passes() -> None:
    assert breaches(result(slower=1.2), "ttft_p95>+30%", result()) == ()


def test_no_noise_fails_a_limit_or_a_change_and_it_is_told() -> None:
    loud = noisy(1, 0.3)
    baseline = noisy(2, 0.3)
    conditions = parse_conditions(["ttft_p95@c1>+0%", "itl_mean@c1>+0%", "output_throughput@c1<-0%"])
    assert judge(loud, conditions, baseline).breaches == ()
    told = judge(loud, conditions, baseline).doubts + judge(baseline, conditions, loud).doubts
    assert told
    assert all("within noise" in one.text for one in told)


def test_a_limit_that_only_noise_exceeds() -> None:
    made = noisy(3, 0.1)
    run = made.points[0].runs
    middle = sorted(one.ttft_s.p95 for one in run if one.ttft_s)[1]
    below = parse_conditions([f"ttft_p95@c1>{middle * 0.99:.6f}s"])
    assert judge(made, below, None).breaches == ()
    assert [one.point for one in judge(made, below, None).doubts] == ["c1 128 →16"]
    far = parse_conditions([f"ttft_p95@c1>{middle * 0.5:.6f}s"])
    assert [one.kind for one in judge(made, far, None).breaches] == ["limit"]


def test_single_runs_do_not_fail_on_what_may_be_noise_but_it_is_told() -> None:
    conditions = parse_conditions(["ttft_p95>+5%"])
    found, baseline = result(repeats=1, slower=1.1), result(repeats=1)
    assert judge(found, conditions, baseline).breaches == ()
    assert "too few repeats" in judge(found, conditions, baseline).doubts[0].text
    assert len(breaches(result(repeats=1, slower=1.3), "ttft_p95>+5%", baseline)) == 3


def test_a_point_that_is_missing_fails() -> None:
    one, two = result(concurrencies=(1,)), result(concurrencies=(1, 4))
    for found, baseline, where in ((one, two, "the result"), (two, one, "the baseline")):
        (breach,) = breaches(found, "ttft_p95>+10%", baseline)
        assert (breach.kind, breach.point) == ("missing", "c4 128 →16")
        assert breach.text == f"ttft_p95 at c4 128 →16 was not measured in {where}, which is no pass"
    (nowhere,) = breaches(one, "ttft_p95@c99>200ms")
    assert nowhere.text == "nothing was measured at @c99; points: c1 128 →16"
    assert breaches(one, "ttft_p95@c99>+10%", two)[0].kind == "missing"
    assert breaches(replace(one, points=()), "ttft_p95>200ms")[0].kind == "missing"


def test_a_measure_that_is_missing_fails() -> None:
    """Where no request got an answer there is no time that could be too long."""
    dead = result(concurrencies=(1,), failing=8)
    assert [one.kind for one in breaches(dead, "ttft_p95>200ms")] == ["missing"]
    assert [one.kind for one in breaches(dead, "ttft_p95>+10%", result(concurrencies=(1,)))] == ["missing"]
    assert [one.kind for one in breaches(result(concurrencies=(1,)), "ttft_p95>+10%", dead)] == ["missing"]


def test_errors_count_through_the_error_rate() -> None:
    failing = result(failing=1)
    assert breaches(failing, "ttft_p95>200ms") == ()
    assert {one.kind for one in breaches(failing, "error_rate>0")} == {"limit"}
    assert [one.point for one in breaches(failing, "error_rate>5%")] == ["c1 128 →16"]
    assert breaches(result(), "error_rate>0") == ()
    assert len(breaches(result(failing=6), "error_rate>+10%", result())) == 3
    assert breaches(result(), "error_rate>+10%", result()) == ()


def test_a_broken_off_result_and_another_model_fail() -> None:
    partial = replace(result(), status="partial", why_partial="stopped by ^C")
    (breach,) = breaches(partial, "error_rate>0")
    assert (breach.kind, breach.point) == ("partial", None)
    assert breach.text == "the result is not whole: stopped by ^C; what is missing cannot pass"
    assert judge(partial, (), None).breaches == ()
    other = replace(result(), target=replace(result().target, model="other/model"))
    (breach,) = breaches(other, "ttft_p95>+10%", result())
    assert breach.kind == "not comparable"
    assert "other/model in B" in breach.text
    # A limit needs no baseline, and does not mind it.
    assert breaches(other, "ttft_p95>1s", result()) == ()


def test_a_relative_condition_wants_a_baseline() -> None:
    with pytest.raises(UsageError) as caught:
        breaches(result(), "error_rate>0, ttft_p95>+10%")
    assert caught.value.error_code == "bench.no-baseline"
    assert "`ttft_p95>+10%`" in caught.value.what


def test_a_limit_that_is_exceeded_by_noise_alone_is_a_doubt_at_a_single_point_too() -> None:
    made = result(concurrencies=(1,))
    (point,) = made.points
    runs = tuple(
        replace(run, output_tokens_per_s=pace)
        for run, pace in zip(point.runs, (100.0, 90.0, 70.0), strict=True)
    )
    found = replace(made, points=(replace(point, runs=runs),))
    near, far = parse_conditions(["output_throughput<95"]), parse_conditions(["output_throughput<300"])
    assert not judge(found, near, None).breaches and judge(found, near, None).doubts
    assert judge(found, far, None).breaches
