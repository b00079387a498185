from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from neuronctl.bench.compare import Comparison, compare
from neuronctl.bench.compare_text import comparison_data, comparison_text
from neuronctl.bench.schema import BenchResult, Delay, Remark
from tests.bench_sample import result


def changed(part: str, **fields: Any) -> BenchResult:
    made = result(seed=1)
    inner: Struct = getattr(made, part)
    return replace(made, **{part: replace(inner, **fields)})


def ids(comparison: Comparison) -> list[tuple[str, str]]:
    return [(warning.id, warning.severity) for warning in comparison.warnings]


def verdicts(comparison: Comparison, measure: str) -> list[str]:
    return [
        change.verdict for point in comparison.points for change in point.changes if change.measure == measure
    ]


def test_the_same_server_twice() -> None:
    found = compare(result(), result(seed=1))
    assert {change.verdict for point in found.points for change in point.changes} == {"within noise"}
    assert (found.warnings, found.differences, found.only_a, found.only_b) == ((), (), (), ())


def test_a_slower_server_is_worse_in_times_and_throughput() -> None:
    found = compare(result(), result(seed=1, slower=1.2))
    for measure in ("ttft_p95", "itl_p50", "e2e_mean", "output_throughput"):
        assert verdicts(found, measure) == ["worse"] * 3
    assert verdicts(compare(result(seed=1, slower=1.2), result()), "ttft_p95") == ["better"] * 3


def test_failed_requests_are_told_by_their_share() -> None:
    found = compare(result(), result(seed=1, failing=6))
    assert verdicts(found, "error_rate") == ["worse"] * 3


def test_what_can_be_compared() -> None:
    failed = Remark(id="errors", severity="error", text="1 of 8 requests got no whole answer")
    assert compare(result(), result(slower=1.3)).is_comparable
    assert compare(result(), replace(result(), remarks=(failed,))).is_comparable
    assert not compare(result(), changed("target", model="other")).is_comparable
    assert not compare(result(), changed("workload", kind="sharegpt")).is_comparable
    assert not compare(result(concurrencies=(1,)), result(concurrencies=(4,))).is_comparable


def test_points_are_paired_by_their_load() -> None:
    found = compare(result(concurrencies=(1, 4)), result(concurrencies=(4, 8)))
    assert [point.name.split()[0] for point in found.points] == ["c4"]
    assert [name.split()[0] for name in (*found.only_a, *found.only_b)] == ["c1", "c8"]


def test_a_measure_that_one_side_lacks() -> None:
    found = compare(result(), replace_goodput(result(seed=1)))
    assert verdicts(found, "goodput") == ["cannot tell"] * 3


def replace_goodput(made: BenchResult) -> BenchResult:
    points = tuple(
        replace(point, runs=tuple(replace(run, goodput_rps=None) for run in point.runs))
        for point in made.points
    )
    return replace(made, points=points)


@pytest.mark.parametrize(
    ("part", "fields", "id_", "severity"),
    [
        ("target", {"model": "other/model"}, "compare.model", "error"),
        ("workload", {"kind": "sharegpt"}, "compare.workload", "error"),
        ("workload", {"digest": "f" * 64}, "compare.workload", "error"),
        ("workload", {"ignore_eos": False}, "compare.workload", "error"),
        ("workload", {"seed": 3}, "compare.workload", "warning"),
        ("engine", {"name": "guidellm"}, "compare.engine", "warning"),
        ("engine", {"version": "0.31.0"}, "compare.engine", "warning"),
        ("target", {"instance": "trn1.2xlarge"}, "compare.instance", "warning"),
        ("objective", {"ttft_s": 0.1}, "compare.objective", "warning"),
    ],
)
def test_what_makes_results_hard_to_compare(
    part: str, fields: dict[str, object], id_: str, severity: str
) -> None:
    assert ids(compare(result(), changed(part, **fields))) == [(id_, severity)]


def test_the_same_model_in_another_folder() -> None:
    here = replace(result(), target=replace(result().target, model="/home/a/llama"))
    there = replace(result(), target=replace(result().target, model="/mnt/llama"))
    assert ids(compare(here, there)) == []


def test_the_same_prompts_under_another_name() -> None:
    one, other = (changed("workload", kind="jsonl", dataset=name, digest="f" * 64) for name in ("a", "b"))
    assert ids(compare(one, other)) == []


def test_a_client_that_adds_more_is_told_where_it_matters() -> None:
    slow = replace(result(), client_delay=(Delay(concurrency=1, ttft_s=0.011, itl_s=0.0001),))
    (warning,) = compare(result(), slow).warnings
    assert warning.id == "compare.client-delay"
    assert warning.text == "at c1 the client itself adds 10.0 ms more to ttft in B, of 51.3 ms in A"
    little = replace(result(), client_delay=(Delay(concurrency=1, ttft_s=0.0015, itl_s=0.0001),))
    assert compare(result(), little).warnings == ()


def test_other_numbers_of_requests_processors_and_what_bench_said_itself() -> None:
    one = result()
    point = one.points[0]
    more = replace(point, load=replace(point.load, requests=800))
    other = replace(
        one,
        points=(more, *one.points[1:]),
        environment={**one.environment, "processors": "64"},
        status="partial",
        why_partial="stopped by ^C",
        remarks=(Remark(id="client-saturated", severity="error", text="too busy"),),
    )
    found = compare(one, other)
    assert ids(found) == [
        ("compare.requests", "warning"),
        ("compare.machine", "warning"),
        ("compare.partial", "warning"),
        ("client-saturated", "error"),
    ]


def test_what_may_be_the_very_thing_to_compare_is_listed() -> None:
    other = replace(
        changed("target", batch=8, server_version="0.24"),
        environment={"python": "3.11.7", "neuron driver": "2.2"},
    )
    assert [(one.name, one.a, one.b) for one in compare(result(), other).differences] == [
        ("batch", "4", "8"),
        ("server_version", "unknown", "0.24"),
        ("neuron driver", "unknown", "2.2"),
        ("vllm", "0.32.0", "unknown"),
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    other = replace(result(slower=1.2, concurrencies=(1, 16)), name="x" * 300)
    text = comparison_text(compare(result(), other), width)
    assert max(map(len, text.splitlines())) <= max(width, 40)
    assert "ttft_p95" in text
    assert "worse" in text


def test_the_text_of_a_comparison() -> None:
    lines = comparison_text(compare(result(), result(slower=1.2, concurrencies=(1, 2))), 80).splitlines()
    (row,) = [line.split() for line in lines if line.strip().startswith("ttft_p95")]
    assert row == ["ttft_p95", "52.1", "ms", "62.5", "ms", "+20", "%", "±3", "%", "worse"]
    assert "! only in A: c4 128 →16, c8 128 →16" in lines
    assert any(line.startswith("of 25 numbers (all with --json): 24 worse, 1 within noise") for line in lines)


def test_results_without_a_load_in_common() -> None:
    text = comparison_text(compare(result(concurrencies=(1,)), result(concurrencies=(2,))), 80)
    assert "no load in common" in text


def test_the_data_of_a_comparison_has_every_number() -> None:
    data: Any = comparison_data(compare(result(), result(seed=1)))
    assert len(data["points"]) == 3
    assert len(data["points"][0]["changes"]) == 25
    assert data["points"][0]["changes"][0]["measure"] == "ttft_mean"


def test_a_name_cannot_speak_to_the_terminal() -> None:
    loud = replace(result(), name="\x1b[31mred\n")
    assert "\x1b" not in comparison_text(compare(loud, loud), 80)
