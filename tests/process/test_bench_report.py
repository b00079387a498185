"""The report of bench as its reader sees it: in a browser, without a network, on a screen and on a phone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from neuronctl.bench.result_file import write_result
from neuronctl.bench.schema import BenchResult
from neuronctl.bench.spread import median_run
from tests.bench_odd import EVIL, odd_results
from tests.bench_sample import result
from tests.browser import dump_dom, pages, read_page
from tests.process.terminal import Terminal
from tests.report_page import assert_tells, figures_of, marks

CHARTS = {"throughput-ttft", "throughput-tpot", "throughput-e2e", "throughput-by-concurrency"} | {
    *("goodput-by-concurrency", "distribution-ttft", "distribution-itl", "startup-cold", "startup-warm"),
    *("timeline-01", "timeline-02", "timeline-03"),
}
# Runs in a page of the same server: what only a browser knows of the page in the frame.
MEASURES = """<!doctype html><body><iframe src="/report" width="390" height="800"></iframe><pre></pre><script>
addEventListener("load", () => {
  const frame = document.querySelector("iframe").contentDocument;
  const style = (one) => frame.defaultView.getComputedStyle(one);
  const figure = frame.querySelector("#throughput-ttft");
  document.querySelector("pre").textContent = JSON.stringify({
    wide: frame.documentElement.scrollWidth - frame.documentElement.clientWidth,
    ground: style(frame.body).backgroundColor,
    label: style(figure.querySelector("svg text")).fill,
    mark: style(figure.querySelector('path[aria-label*="ttft p50"]')).fill,
    chart: figure.querySelector("svg").getBoundingClientRect().width,
  });
});
</script></body>"""


def report(terminal: Terminal, found: BenchResult) -> str:
    write_result(terminal.cwd / "a.json", found)
    terminal.run("bench", "report", "a.json", "--html", "a.html").expect(0)
    return (terminal.cwd / "a.html").read_text(encoding="utf-8")


def test_a_report_shows_in_a_browser_what_the_result_says(terminal: Terminal) -> None:
    found = result()
    path = terminal.cwd / "a.html"
    report(terminal, found)
    page = read_page(dump_dom(path.as_uri(), terminal.folder))

    assert_tells(page, json.loads(msgspec.json.encode(found)))
    figures = figures_of(page)
    assert set(figures) == CHARTS
    for times in ("ttft", "tpot", "e2e"):
        written = {text.text for text in figures[f"throughput-{times}"].all("text")}
        assert {"c1", "c4", "c8", "output tokens a second"} <= written
    assert len(marks(figures["distribution-itl"], "itl", "point")) == len(found.points)
    assert marks(figures["startup-cold"], "", "bar") == [
        "compile: 15 min",
        "load: 30 s",
        "first answer: 900 ms",
    ]


def test_a_mark_lies_where_its_value_is(terminal: Terminal) -> None:
    """Places on the chart are as far apart as the numbers."""
    found = result(concurrencies=(1, 4, 8))
    page = read_page(report(terminal, found))
    figure = page.one("figure", id="throughput-ttft")
    places = []
    for one in figure.all("path", aria_roledescription="point"):
        if "p50" in (one.attributes["aria-label"] or ""):
            place = re.match(r"translate\(([\d.]+),([\d.]+)\)", one.attributes["transform"] or "")
            assert place is not None
            places.append((float(place[1]), float(place[2])))
    runs = [median_run(point) for point in found.points]
    paces = [run.output_tokens_per_s for run in runs if run]
    (left, _), (middle, _), (right, _) = places
    assert (middle - left) / (right - left) == pytest.approx(
        (paces[1] - paces[0]) / (paces[2] - paces[0]), abs=0.01
    )
    assert places[0][1] > places[1][1] > places[2][1]


def test_a_report_asks_nothing_of_the_network_and_runs_nothing(terminal: Terminal) -> None:
    html = report(terminal, odd_results()["evil"])
    assert html.count(EVIL[:9]) == html.count("</script>") == 1
    # A page that did hold such things would get nothing either.
    spy = (
        "<img src='/leak.png'><script>document.title = 'owned'</script><link rel=stylesheet href='/leak.css'>"
    )
    with pages({"/report": html.replace("<h1>", spy + "<h1>"), "/open": spy}) as (url, asked):
        dom = dump_dom(f"{url}/report", terminal.folder)
        of_report = [path for path in asked if "leak" in path]
        dump_dom(f"{url}/open", terminal.folder)
    assert of_report == []
    assert "/leak.png" in asked, "the browser would have asked"
    assert "neuronctl bench" in read_page(dom).one("head").one("title").text


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_report_fits_a_phone_and_follows_its_colours(terminal: Terminal, dark: bool) -> None:
    html = report(terminal, odd_results()["evil"])
    with pages({"/report": html, "/": MEASURES}) as (url, _):
        seen = json.loads(read_page(dump_dom(f"{url}/", terminal.folder, dark=dark)).one("pre").text)
    assert seen["wide"] == 0, "the page is wider than the screen"
    assert 250 < seen["chart"] <= 390
    assert (lightness(seen["ground"]) < 60) == dark
    for name in ("label", "mark"):
        assert abs(lightness(seen[name]) - lightness(seen["ground"])) > 70, name


def lightness(colour: str) -> float:
    """Of `rgb(…)`, from 0 to 255."""
    red, green, blue = (float(part) for part in re.findall(r"[\d.]+", colour)[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_pictures_are_files_of_their_own(terminal: Terminal) -> None:
    write_result(terminal.cwd / "a.json", result())
    for kind, begin in (("svg", b"<svg"), ("png", b"\x89PNG\r\n")):
        terminal.run("bench", "report", "a.json", "--pictures", kind, "--format", kind).expect(0)
        files = {path.stem: path.read_bytes() for path in (terminal.cwd / kind).iterdir()}
        assert set(files) == CHARTS
        assert all(content.startswith(begin) for content in files.values())


def test_without_the_library_it_is_said_what_to_type(terminal: Terminal) -> None:
    write_result(terminal.cwd / "a.json", result())
    hidden = terminal.folder / "hidden"
    hidden.mkdir()
    (hidden / "vl_convert.py").write_text("raise ImportError('No module named vl_convert')\n")
    path = f"{hidden}:{terminal.env['PYTHONPATH']}"
    said = terminal.run("bench", "report", "a.json", "--html", "a.html", env={"PYTHONPATH": path})
    said.expect(31, f"{sys.executable} -m pip install 'neuronctl[report]'")
    assert not (terminal.cwd / "a.html").exists()
    # The terminal needs no pictures.
    terminal.run("bench", "report", "a.json", env={"PYTHONPATH": path}).expect(0, "TTFT, ms")


def test_a_terminal_of_any_width_shows_whole_lines(terminal: Terminal) -> None:
    write_result(terminal.cwd / "a.json", odd_results()["evil"])
    for width in (60, 80, 120):
        said = terminal.run("bench", "report", "a.json", env={"COLUMNS": str(width)}).expect(0)
        assert max(map(len, said.out.splitlines())) <= width
        assert "c8 128" in said.out and "█" in said.out


def test_bench_does_not_import_the_library_before_it_draws() -> None:
    code = (
        "import sys, neuronctl.bench.report, neuronctl.bench.picture, neuronctl.cli.bench\n"
        "assert 'vl_convert' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], timeout=60)
