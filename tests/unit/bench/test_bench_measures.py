"""From records to numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.bench.measures import MEASURES, distribution, measure, quantile
from neuronctl.bench.record import Record, Sent
from neuronctl.bench.schema import Objective

ONE = Record(0.0, 0.1, (0.02, 0.04), 0.16, 10, 3)
OTHER = Record(0.1, 0.3, (0.05,), 0.35, 20, 2)
FAILED = Record(0.2, None, (), None, 5, 0, "connection")


def test_the_numbers_of_a_run_by_hand() -> None:
    run = measure(Sent((ONE, OTHER, FAILED), 0.5, cpu_s=0.25))
    assert (run.requests, run.succeeded, run.errors) == (3, 2, {"connection": 1})
    assert (run.input_tokens, run.output_tokens) == (30, 5)
    assert (run.request_rps, run.output_tokens_per_s, run.total_tokens_per_s) == (4.0, 10.0, 70.0)
    assert run.client_cpu == 0.5
    assert run.ttft_s is not None and run.ttft_s.mean == pytest.approx(0.2)
    assert run.itl_s is not None and (run.itl_s.count, run.itl_s.p50) == (3, 0.04)
    assert run.tpot_s is not None and run.tpot_s.mean == pytest.approx((0.03 + 0.05) / 2)
    assert run.e2e_s is not None and run.e2e_s.grid[-1] == 0.35


def test_goodput_wants_every_part_of_the_objective() -> None:
    sent = Sent((ONE, OTHER, FAILED), 0.5)
    assert measure(sent, Objective(ttft_s=0.2)).goodput_rps == 2.0
    assert measure(sent, Objective(ttft_s=0.2, tpot_s=0.01)).goodput_rps == 0.0
    assert measure(sent, Objective(e2e_s=1.0)).goodput_rps == 4.0
    assert measure(sent).goodput_rps is None


def test_an_answer_of_one_token_has_no_time_per_further_token() -> None:
    one = Record(0.0, 0.1, (), 0.1, 1, 1)
    run = measure(Sent((one,), 1.0), Objective(tpot_s=0.001))
    assert run.tpot_s is None and run.goodput_rps == 1.0


def test_without_an_answer_there_are_no_times() -> None:
    run = measure(Sent((FAILED,), 1.0))
    assert (run.ttft_s, run.itl_s, run.tpot_s, run.e2e_s, run.timeline) == (None, None, None, None, None)
    assert MEASURES["error_rate"].of(run) == 1.0
    assert MEASURES["ttft_p95"].of(run) is None


def test_a_timeline_holds_every_token_and_all_time_in_flight() -> None:
    run = measure(Sent((ONE, OTHER), 0.5))
    assert run.timeline is not None
    width = run.timeline.width_s
    assert sum(run.timeline.tokens_per_s) * width == pytest.approx(5, rel=0.02)
    assert sum(run.timeline.in_flight) * width == pytest.approx(0.16 + 0.35, rel=0.02)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_a_quantile_lies_between_the_ends_and_grows(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = quantile(ordered, share)
    assert ordered[0] <= found * (1 + 1e-9) + 1e-9 and found <= ordered[-1] * (1 + 1e-9) + 1e-9
    made = distribution(values)
    assert made is not None and list(made.grid) == sorted(made.grid)
