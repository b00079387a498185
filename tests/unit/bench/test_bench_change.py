from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.bench.change import LEAST, Change, Noise, change_of, change_of_share, is_beyond, noise_of

times = st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=5)


def change(a: Sequence[float], b: Sequence[float], noise: Noise | None = None) -> Change:
    return change_of("ttft_p95", "lower", a, b, noise or noise_of((a, b)))


def repeats(chance: random.Random, level: float, deviation: float) -> list[float]:
    return [level * (1 + chance.gauss(0, deviation)) for _ in range(3)]


def told(deviation: float, level: float, points: int, times: int = 1000) -> float:
    """The share of comparisons that call the first point worse by more than a tenth."""
    chance = random.Random(f"{deviation} {level} {points}")
    count = 0
    for _ in range(times):
        a = [repeats(chance, 1.0, deviation) for _ in range(points)]
        b = [repeats(chance, level, deviation) for _ in range(points)]
        found = change(a[0], b[0], noise_of([*a, *b]))
        count += found.verdict == "worse" and (found.change or 0) > 0.1
    return count / times


@pytest.mark.parametrize("points", [1, 3])
@pytest.mark.parametrize(
    ("deviation", "at_most", "at_least"), [(0.02, 0, 1), (0.03, 0.002, 0.995), (0.05, 0.03, 0.94)]
)
def test_how_often_noise_and_a_regression_are_told_apart(
    points: int, deviation: float, at_most: float, at_least: float
) -> None:
    """The table in docs/bench.md."""
    assert told(deviation, 1.0, points) <= at_most
    assert told(deviation, 1.2, points) >= at_least


@pytest.mark.parametrize("deviation", [0.01, 0.03, 0.1])
def test_of_what_did_not_change_few_are_called_better_or_worse(deviation: float) -> None:
    chance = random.Random(7)
    found = [change(repeats(chance, 1.0, deviation), repeats(chance, 1.0, deviation)) for _ in range(1000)]
    for verdict in ("better", "worse"):
        assert sum(one.verdict == verdict for one in found) < 80


@given(times, times)
def test_what_is_worse_for_times_is_better_for_throughput(a: list[float], b: list[float]) -> None:
    other = {"better": "worse", "worse": "better"}
    slower = change_of("x", "lower", a, b, noise_of((a, b)))
    faster = change_of("x", "higher", a, b, noise_of((a, b)))
    assert faster.verdict == other.get(slower.verdict, slower.verdict)


@given(times, times)
def test_the_way_back_is_as_far(a: list[float], b: list[float]) -> None:
    there, back = change(a, b), change(b, a)
    assert there.change is not None
    assert back.change is not None
    assert (1 + there.change) * (1 + back.change) == pytest.approx(1)
    assert {there.verdict, back.verdict} in ({"better", "worse"}, {"within noise"})


@given(times, times, st.floats(0.001, 1000))
def test_the_unit_does_not_matter(a: list[float], b: list[float], unit: float) -> None:
    first = change(a, b)
    second = change([one * unit for one in a], [one * unit for one in b])
    assert first.change == pytest.approx(second.change)
    assert first.noise == pytest.approx(second.noise)


def test_one_bad_run_of_three_is_noise() -> None:
    assert change([1.0, 1.01, 0.99], [1.0, 1.01, 3.0]).verdict == "within noise"


def test_repeats_without_any_spread_do_not_make_everything_a_change() -> None:
    assert change([1.0] * 3, [1.0 + LEAST * 0.9] * 3).verdict == "within noise"
    assert change([1.0] * 3, [1.0 + LEAST * 1.1] * 3).verdict == "worse"


def test_noise_of_the_other_points_counts() -> None:
    """Three repeats that happen to agree are not believed alone."""
    a, b = [1.0, 1.001, 0.999], [1.06, 1.061, 1.059]
    assert change(a, b).verdict == "worse"
    loud = noise_of([a, b, *[[0.9, 1.0, 1.1]] * 4])
    assert change(a, b, loud).verdict == "within noise"


def test_single_runs_tell_only_what_is_large() -> None:
    small, large = change([1.0], [1.1]), change([1.0], [1.2])
    assert (small.verdict, large.verdict) == ("cannot tell", "worse")
    assert small.why == "too few repeats: a change below 15 % could be noise"
    assert change([1.0], [1.0]).verdict == "within noise"
    # With the noise of other points known, a single run tells more.
    quiet = noise_of([[1.0, 1.01, 0.99]] * 3)
    assert change([1.0], [1.1], quiet).verdict == "worse"


def test_what_one_side_lacks_cannot_be_told() -> None:
    found = change([], [1.0])
    assert (found.verdict, found.a, found.b, found.change) == ("cannot tell", None, 1.0, None)
    assert found.why == "A did not measure it"
    assert change([], []).why == "A and B did not measure it"


@pytest.mark.parametrize(
    ("a", "b", "verdict", "moved"),
    [
        ([5.0] * 3, [0.0] * 3, "worse", -1.0),
        ([5.0], [0.0], "worse", -1.0),
        ([0.0] * 3, [5.0] * 3, "better", None),
        ([0.0], [5.0], "cannot tell", None),
        ([0.0] * 3, [0.0] * 3, "within noise", None),
        ([0.0, 5.0, 5.0], [5.0, 5.0, 0.0], "within noise", 0.0),
    ],
)
def test_nothing_has_no_ratio(a: list[float], b: list[float], verdict: str, moved: float | None) -> None:
    found = change_of("goodput", "higher", a, b, noise_of((a, b)))
    assert (found.verdict, found.change) == (verdict, moved)


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ((0, 100), (0, 100), "within noise"),
        ((0, 100), (1, 100), "within noise"),
        ((0, 100), (5, 100), "worse"),
        ((5, 100), (0, 100), "better"),
        ((10, 100), (14, 100), "within noise"),
        ((1000, 10000), (1400, 10000), "worse"),
        ((0, 3), (3, 3), "worse"),
        ((0, 0), (1, 3), "cannot tell"),
    ],
)
def test_shares_differ_when_chance_would_not_do_it(
    a: tuple[int, int], b: tuple[int, int], verdict: str
) -> None:
    assert change_of_share("error_rate", "lower", a, b).verdict == verdict


def test_a_limit_is_exceeded_beyond_noise() -> None:
    loud, quiet = [1.02, 1.1, 0.94], [1.02, 1.021, 1.019]
    assert not is_beyond(loud, 1.0, noise_of([loud, loud]))
    assert is_beyond(quiet, 1.0, noise_of([quiet, quiet]))
    # Nothing is known of the noise of one run: the limit counts as it is.
    assert is_beyond([1.001], 1.0, noise_of([[1.001]]))
