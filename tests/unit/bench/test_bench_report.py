from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from msgspec import convert
from msgspec.structs import replace

from neuronctl.bench.measures import MEASURES
from neuronctl.bench.picture import chart_files, check_pictures
from neuronctl.bench.report import report_html
from neuronctl.bench.schema import BenchResult, Remark
from neuronctl.errors import Exit, StackUnfit
from tests.bench_odd import odd_results
from tests.bench_sample import result
from tests.browser import Element, read_page

ODD = odd_results()


def own_text(page: Element) -> str:
    """All text but the JSON and the style."""
    (body,) = page.all("body")
    return "".join(
        one if isinstance(one, str) else one.text if one.name != "script" else "" for one in body.children
    )


@pytest.mark.parametrize("name", ODD)
def test_every_result_is_a_sound_page(name: str) -> None:
    html = report_html(ODD[name])
    page = read_page(html)
    (script,) = page.all("script")
    assert convert(json.loads(script.text), BenchResult) == ODD[name]
    text = own_text(page)
    for wrong in ("NaN", "Infinity", "None", "undefined", "null"):
        assert wrong not in text
    for element in page.all("figure"):
        (svg,) = element.all("svg")
        assert svg.attributes["viewbox"]
    # Nothing is asked for, and nothing runs.
    assert script.attributes["type"] == "application/json"
    for dangerous in ("img", "link", "iframe", "object", "embed", "base", "form", "image", "use"):
        assert not page.all(dangerous), dangerous
    assert " src=" not in html and "href=" not in html.replace("xmlns:xlink=", "")
    assert "url(" not in html and "@import" not in html
    identities = [one.attributes["id"] for one in page.all("figure")]
    assert len(identities) == len(set(identities))


def test_remarks_come_before_everything_else() -> None:
    remark = Remark(id="few-samples", severity="warning", text="p99 of 8 requests is a guess")
    text = own_text(read_page(report_html(replace(result(), remarks=(remark,)))))
    assert text.index("p99 of 8 requests is a guess") < text.index("highest throughput")


def test_a_partial_result_says_so_even_without_a_remark() -> None:
    text = own_text(read_page(report_html(ODD["partial"])))
    assert "partial" in text and "^C" in text


def test_what_no_point_has_is_no_column_and_what_one_lacks_is_a_dash() -> None:
    found = result()
    assert "good" not in heads(replace(found, points=tuple(without_goodput(found))))
    broken = replace(found, points=(ODD["errors only"].points[0], *found.points[1:]))
    page = read_page(report_html(broken))
    times = page.all("tbody")[1]
    first, second, _ = times.all("tr")
    assert [cell.text for cell in first.all("td")[1:]] == ["–"] * 12
    assert "–" not in [cell.text for cell in second.all("td")]
    assert "HTTP 500: 21" in page.all("tbody")[0].text


def heads(found: BenchResult) -> list[str]:
    return [head.text for head in read_page(report_html(found)).all("thead")[0].all("th")]


def without_goodput(found: BenchResult) -> list[object]:
    return [
        replace(point, runs=tuple(replace(run, goodput_rps=None) for run in point.runs))
        for point in found.points
    ]


def test_every_measure_is_defined() -> None:
    definitions = read_page(report_html(result())).all("table", **{"class": "definitions"})[0]
    assert [row.all("code")[0].text for row in definitions.one("tbody").all("tr")] == list(MEASURES)


def test_the_environment_is_told() -> None:
    text = own_text(read_page(report_html(replace(result(), server_memory_bytes=3 << 30))))
    for said in (
        "3.11.7",
        "inf2.xlarge",
        "128, 512, 2,048",
        "TTFT within 200 ms",
        "$0.7582 an hour",
        "3.0 GiB",
    ):
        assert said in text


def test_marks_say_what_they_are_where_the_pointer_rests() -> None:
    page = read_page(report_html(result()))
    figure = page.one("figure", id="throughput-tpot")
    (mark, *_) = (one for one in figure.all("path") if "tpot p50" in (one.attributes.get("aria-label") or ""))
    assert mark.one("title").text == mark.attributes["aria-label"]
    assert "runs" in mark.one("title").text


@pytest.mark.parametrize("name", ["plain", "evil", "one point"])
def test_pictures_are_whole_files(name: str) -> None:
    drawings = chart_files(ODD[name], "svg")
    assert drawings
    for file, content in drawings.items():
        assert file.endswith(".svg")
        text = "".join(ElementTree.fromstring(content).itertext())
        assert len(text) > 10
        assert b"var(--" not in content


def test_pictures_carry_their_titles() -> None:
    content = chart_files(result(concurrencies=(1, 2)), "svg")["throughput-ttft.svg"]
    assert "Throughput against time to first token" in "".join(ElementTree.fromstring(content).itertext())


def test_a_picture_without_data_is_not_there() -> None:
    assert chart_files(ODD["nothing"], "png") == {}


def test_without_vl_convert_it_is_said_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    check_pictures()
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(StackUnfit) as raised:
        check_pictures()
    assert raised.value.exit_code is Exit.STACK_UNFIT
    assert raised.value.fix == f"{sys.executable} -m pip install 'neuronctl[report]'"
