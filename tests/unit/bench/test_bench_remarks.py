"""What is said before the numbers."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from neuronctl.bench.measures import samples_needed
from neuronctl.bench.remarks import remarks
from neuronctl.bench.schema import BenchResult, Delay
from tests.bench_sample import result

WORKLOAD = result().workload


def ids(made: BenchResult, delays: tuple[Delay, ...] = (), why: str | None = None) -> list[str]:
    return [remark.id for remark in remarks(made.points, delays, made.workload, why)]


def with_runs(made: BenchResult, **changes: Any) -> BenchResult:
    points = [replace(p, runs=tuple(replace(run, **changes) for run in p.runs)) for p in made.points]
    return replace(made, points=tuple(points))


def test_a_good_result_says_only_how_few_its_samples_are() -> None:
    (few,) = remarks(result().points, (), WORKLOAD, None)
    assert few.id == "few-samples"
    assert "8 answers" in few.text and "p99 wants 299" in few.text


def test_enough_samples_are_not_talked_about() -> None:
    made = result(concurrencies=(64,))  # 512 requests
    assert ids(made) == []


def test_errors_come_first_and_are_counted_by_kind() -> None:
    first = remarks(result(failing=2).points, (), WORKLOAD, None)[0]
    assert (first.id, first.severity) == ("errors", "error")
    assert "6 of 24 requests" in first.text and "HTTP 500 6" in first.text


def test_a_client_at_its_limit_is_an_error() -> None:
    assert ids(with_runs(result(), client_cpu=0.95))[0] == "client-saturated"
    assert "client-saturated" not in ids(with_runs(result(), client_cpu=0.5))


def test_a_delay_counts_by_what_was_measured() -> None:
    made = result(concurrencies=(1,))  # 50 ms
    assert "client-delay" in ids(made, (Delay(concurrency=1, ttft_s=0.006, itl_s=0),))
    assert "client-delay" not in ids(made, (Delay(concurrency=1, ttft_s=0.004, itl_s=0),))
    assert "client-delay" not in ids(made, (Delay(concurrency=2, ttft_s=0.006, itl_s=0),))


def test_answers_that_end_early_and_prompts_of_other_lengths() -> None:
    assert "short-answers" in ids(with_runs(result(), output_tokens=10))
    assert "other-prompts" in ids(with_runs(result(), input_tokens=10))


def test_prompts_that_a_template_made_longer_are_not_the_tokenizers_fault() -> None:
    made = with_runs(result(), input_tokens=10)
    chat = remarks(made.points, (), replace(WORKLOAD, api="chat"), None)
    assert "template" in next(one.text for one in chat if one.id == "other-prompts")


def test_a_delay_that_is_not_known_is_told() -> None:
    found = remarks(result().points, (), WORKLOAD, None, no_delays="the port is taken")
    assert (found[0].id, found[0].severity) == ("no-client-delay", "warning")


def test_repeats_that_differ_are_told() -> None:
    made = result()
    assert "unsteady" not in ids(made)
    first, *others = made.points[0].runs
    slow = replace(made.points[0], runs=(replace(first, output_tokens_per_s=4.0), *others))
    (told,) = (one for one in remarks([slow], (), WORKLOAD, None) if one.id == "unsteady")
    assert "from 4 to" in told.text


def test_fewer_requests_than_are_to_be_sent_at_once_are_told() -> None:
    made = result(concurrencies=(8,))
    few = [replace(one, load=replace(one.load, requests=4)) for one in made.points]
    assert "fewer-at-once" in [one.id for one in remarks(few, (), WORKLOAD, None)]
    assert "fewer-at-once" not in ids(made)


def test_a_rate_that_was_not_reached() -> None:
    made = result()
    slow = replace(made.points[0], load=replace(made.points[0].load, rate_rps=1000.0))
    assert "rate-not-reached" in [remark.id for remark in remarks([slow], (), WORKLOAD, None)]


def test_a_run_is_not_behind_because_its_last_answer_takes_its_time() -> None:
    made = result(concurrencies=(8,)).points[0]  # 64 requests
    (run, *_) = made.runs
    for took_s, is_behind in ((1.5, False), (3.0, True)):  # 50 a second are sent in 1.28 s
        runs = (replace(run, took_s=took_s, request_rps=run.requests / took_s),)
        point = replace(made, load=replace(made.load, rate_rps=50.0), runs=runs)
        told = [remark.id for remark in remarks([point], (), WORKLOAD, None)]
        assert ("rate-not-reached" in told) == is_behind


def test_one_run_and_a_part_of_a_result() -> None:
    assert "one-run" in ids(result(repeats=1))
    assert remarks(result().points, (), WORKLOAD, "stopped by ^C")[0].id == "partial"


def test_samples_needed() -> None:
    """So many that one in twenty times at most none of them lies beyond the quantile."""
    for share in (0.9, 0.95, 0.99):
        assert share ** samples_needed(share) <= 0.05 < share ** (samples_needed(share) - 1)


def test_prompts_of_a_file_are_sent_again_in_each_run() -> None:
    made = result()
    of_file = replace(made, workload=replace(made.workload, kind="jsonl"))
    assert "same-prompts" in ids(of_file) and "same-prompts" not in ids(made)
    once = replace(of_file, points=tuple(replace(one, runs=one.runs[:1]) for one in made.points[:1]))
    assert "same-prompts" not in ids(once)
