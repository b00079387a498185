from __future__ import annotations

import json
import math
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from neuronctl.bench.charts import Chart, charts
from neuronctl.bench.drawing import HEIGHT, WIDTH
from neuronctl.bench.labels import place
from neuronctl.bench.look import ON_PAGE, ON_PAPER
from neuronctl.bench.schema import BenchResult
from tests.bench_odd import odd_results
from tests.bench_sample import result

ODD = odd_results()


def drawn(found: BenchResult) -> dict[str, Chart]:
    return {chart.name: chart for chart in charts(found, ON_PAPER)}


def rows(chart: Chart) -> list[dict[str, object]]:
    """The rows that marks with words of their own are made from."""
    return [
        row
        for layer in chart.spec["layer"]
        if "description" in layer["encoding"]
        for row in layer["data"]["values"]
    ]


def numbers(value: object) -> Iterator[float]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, float):
        yield value


@pytest.mark.parametrize("name", ODD)
def test_every_chart_is_plain_data_with_finite_numbers_and_no_nothing(name: str) -> None:
    for chart in charts(ODD[name], ON_PAGE):
        text = json.dumps(chart.spec)
        assert all(map(math.isfinite, numbers(chart.spec))), chart.name
        assert '"said": ""' not in text
        assert '"y": null' not in text and '"x": null' not in text


def test_points_are_where_their_medians_are() -> None:
    found = result(concurrencies=(1, 4))
    at = [row for row in rows(drawn(found)["throughput-ttft"]) if "p50" in str(row["said"])]
    wanted = []
    for point in found.points:
        ttfts = sorted(run.ttft_s.p50 for run in point.runs if run.ttft_s)
        wanted.append((ttfts[1] * 1000, ttfts[0] * 1000, ttfts[2] * 1000))
    assert [(row["y"], row["y_low"], row["y_high"]) for row in at] == wanted


def test_what_was_not_measured_is_left_out() -> None:
    one, *others = result().points
    broken = ODD["errors only"].points[0]
    mixed = replace(result(), points=(broken, *others))
    said = [str(row["said"]) for row in rows(drawn(mixed)["throughput-ttft"]) if "p50" in str(row["said"])]
    assert [text.split(":")[0] for text in said] == [point.load.name for point in others]
    assert one.load.name == broken.load.name
    assert set(drawn(ODD["errors only"])) == {"startup-cold", "startup-warm"}
    assert not any("first" in name or "ttft" in name for name in drawn(ODD["no first token"]))
    assert not any(name.startswith("timeline") for name in drawn(ODD["no timelines"]))
    assert drawn(ODD["nothing"]) == {}
    assert "goodput-by-concurrency" not in drawn(
        replace(
            result(),
            points=tuple(
                replace(point, runs=tuple(replace(run, goodput_rps=None) for run in point.runs))
                for point in result().points
            ),
        )
    )


def test_phases_follow_one_another() -> None:
    cold = rows(drawn(result())["startup-cold"])
    assert [(row["name"], row["since"], row["until"]) for row in cold] == [
        ("compile", 0, 15),
        ("load", 15, 15.5),
        ("first answer", 15.5, pytest.approx(15.515)),
    ]


def test_two_starts_of_a_kind_are_two_charts() -> None:
    found = result()
    warm = found.startup[1]
    assert {"startup-warm", "startup-warm-2"} <= set(drawn(replace(found, startup=(warm, warm))))


def test_lengths_of_prompts_are_drawn_with_the_edges_of_buckets() -> None:
    chart = drawn(ODD["many"])["ttft-by-prompt"]
    assert [row["x"] for row in chart.spec["layer"][0]["data"]["values"]] == [128, 512, 2048]
    # Answers of two lengths do not make two series of what comes before them.
    assert len({str(row["series"]) for row in rows(chart)}) == 5
    assert "ttft-by-prompt" not in drawn(result())


def test_rates_are_an_axis_of_their_own() -> None:
    chart = drawn(ODD["rates"])["throughput-by-rate"]
    assert [row["x"] for row in rows(chart)] == [0.5, 2.0]
    labels = {row["label"] for row in rows(drawn(ODD["rates"])["throughput-ttft"])} - {""}
    assert labels == {"0.5/s", "2/s", "unpaced"}


def test_a_scale_is_by_powers_where_values_are_far_apart() -> None:
    near, far = result(), result(slower=100)
    apart = replace(near, points=(near.points[0], *far.points[1:]))
    scales = {
        name: drawn(found)["throughput-ttft"].spec["layer"][0]["encoding"]["y"]
        for name, found in (("near", near), ("apart", apart))
    }
    assert "type" not in scales["near"]["scale"] and scales["near"]["scale"]["domain"][0] == 0
    assert scales["apart"]["scale"]["type"] == "log" and "log scale" in scales["apart"]["title"]


def test_labels_cover_no_mark_no_line_and_no_other_label() -> None:
    assert place([(50, 50)], ["c1"], [], (WIDTH, HEIGHT)) == ["below right"]
    # Something is below on the right; the border is on the right.
    assert place([(50, 50), (60, 58)], ["c1", ""], [], (WIDTH, HEIGHT)) == ["above left", None]
    assert place([(50, 50)], ["c1"], [[(50, 50), (90, 70)]], (WIDTH, HEIGHT)) != ["below right"]
    assert place([(WIDTH - 1, 50)], ["c1"], [], (WIDTH, HEIGHT)) == ["above left"]
    # No room at all: no label.
    assert place([(5, 5)], ["a long label"], [], (20, 10)) == [None]
    crowd = [(50.0, 50.0)] * 20
    assert sum(side is not None for side in place(crowd, ["c1"] * 20, [], (WIDTH, HEIGHT))) <= 6
