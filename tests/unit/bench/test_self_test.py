"""The self-test's verdict, from literal numbers."""

from __future__ import annotations

from neuronctl.bench.measures import measure
from neuronctl.bench.record import Record, Sent
from neuronctl.bench.reference_process import Served
from neuronctl.bench.schema import Delay
from neuronctl.bench.self_test import SelfTest, Trial


def trial(
    concurrency: int,
    ttft_s: float = 0.05,
    itl_s: float = 0.01,
    *,
    slowest_s: float = 0.0,
    failed: int = 0,
    late_s: float = 0.0002,
) -> Trial:
    """A client that reports these times for 200 requests; the first one's TTFT is `slowest_s` more."""
    made = [
        Record(0.0, ttft_s + (slowest_s if number < 4 else 0), (itl_s,) * 3, ttft_s + 3 * itl_s, 32, 4)
        for number in range(200)
    ]
    made += [Record(0.0, None, (), None, 0, 0, "HTTP 500") for _ in range(failed)]
    served = Served(200, ttft_p50_s=0.05, ttft_p99_s=0.05, itl_p50_s=0.01, itl_p99_s=0.01, late_p99_s=late_s)
    return Trial(concurrency, measure(Sent(tuple(made), 2.0, cpu_s=0.5)), served)


def test_a_client_that_is_right_says_so() -> None:
    tested = SelfTest((trial(1), trial(16, 0.053), trial(64, 0.0549, 0.0101)))
    assert tested.reproduced
    assert tested.limit == 64
    assert tested.sentences == (
        "The client reports TTFT and ITL within 5 ms of what was sent (medians), up to concurrency 64.",
    )
    assert tested.delays == (
        Delay(concurrency=1, ttft_s=0.0, itl_s=0.0),
        Delay(concurrency=16, ttft_s=0.003, itl_s=0.0),
        Delay(concurrency=64, ttft_s=0.0049, itl_s=0.0001),
    )


def test_a_client_that_is_too_slow_for_many_is_the_limit_there() -> None:
    tested = SelfTest((trial(1), trial(16), trial(64, 0.0598, 0.0162)))
    assert not tested.reproduced
    assert tested.limit == 16
    assert tested.sentences[0] == (
        "The client reports TTFT 9.8 ms too high and ITL 6.2 ms too high at concurrency 64: beyond 5 ms."
    )
    assert tested.sentences[1] == (
        "The client is the limit above concurrency 16: what it reports there holds its own delay."
    )


def test_a_client_that_is_too_slow_for_few_is_not_trusted_with_many() -> None:
    tested = SelfTest((trial(1, 0.06), trial(16)))
    assert tested.limit is None
    assert "The client is the limit at every concurrency" in tested.sentences[1]


def test_times_that_are_too_low_are_as_wrong() -> None:
    tested = SelfTest((trial(1, 0.043),))
    assert "TTFT 7 ms too low at concurrency 1" in tested.sentences[0]


def test_late_outliers_are_told_and_leave_the_medians_alone() -> None:
    tested = SelfTest((trial(16, slowest_s=0.0215),))
    assert tested.reproduced
    assert tested.sentences[1] == (
        "It reports TTFT 21.5 ms too high (p99) at concurrency 16: there p99 says little of a server."
    )


def test_requests_that_fail_are_not_reproduced() -> None:
    tested = SelfTest((trial(1), trial(16, failed=3)))
    assert tested.limit == 1
    assert tested.sentences == (
        "3 of 203 requests got no whole answer at concurrency 16 (HTTP 500 3).",
        "Nothing is known of the client above concurrency 1: not all of its requests were answered.",
    )


def test_nothing_is_said_of_a_delay_where_nothing_came() -> None:
    nothing = Trial(4, measure(Sent((Record(0.0, None, (), None, 0, 0, "connection"),), 1.0)), None)
    tested = SelfTest((nothing,))
    assert tested.delays == ()
    assert not tested.reproduced
    assert "1 of 1 requests got no whole answer at concurrency 4 (connection 1)." in tested.text
    assert tested.as_data()["limit"] is None


def test_a_server_that_was_late_itself_is_told() -> None:
    tested = SelfTest((trial(64, late_s=0.0071),))
    assert "itself late (99 of 100 tokens by no more than 7.1 ms at concurrency 64)" in tested.sentences[-1]


def test_the_table_and_the_data_say_the_same() -> None:
    tested = SelfTest((trial(1), trial(64, 0.0598)))
    rows = [line.split() for line in tested.text.splitlines()[3:5]]
    assert rows == [
        ["1", "+0.0", "+0.0", "+0.0", "+0.0", "0.2", "25%"],
        ["64", "+9.8", "+9.8", "+0.0", "+0.0", "0.2", "25%"],
    ]
    trials = tested.as_data()["trials"]
    assert isinstance(trials, list)
    assert trials[1]["added_s"] == {"ttft_p50": 0.0098, "ttft_p99": 0.0098, "itl_p50": 0.0, "itl_p99": 0.0}
