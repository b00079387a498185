"""Picture: a chart as SVG or PNG, by vl-convert, which draws Vega-Lite offline and without a browser."""

from __future__ import annotations

import sys
import textwrap
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType
from typing import Literal

from neuronctl.bench.charts import Chart, charts
from neuronctl.bench.look import ON_PAPER
from neuronctl.bench.schema import BenchResult
from neuronctl.errors import StackUnfit
from neuronctl.stack.install import pip_words

Format = Literal["svg", "png"]

# Sharp on screens with two pixels for one, and in print.
_SCALE = 2.0
# Letters of a note side by side on the narrowest chart.
_LINE = 58
_SVG = "http://www.w3.org/2000/svg"


def check_pictures() -> None:
    """Raise StackUnfit where nothing can be drawn. Ask before hours of measuring, not after."""
    _vl_convert()


def chart_files(result: BenchResult, format: Format) -> dict[str, bytes]:  # noqa: A002
    """Each chart of the result as a file that stands alone: name → content."""
    draw = _png if format == "png" else _file_svg
    return {f"{chart.name}.{format}": draw(chart) for chart in charts(result, ON_PAPER)}


def page_svg(chart: Chart) -> str:
    """The chart for a page, which has its title beside it and its colours in the style sheet.

    What a mark says to a screen reader is shown where the pointer rests on it, too.
    """
    drawn = _vl_convert().vegalite_to_svg(chart.spec, allowed_base_urls=[])
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(drawn)
    for mark in root.iter():
        said = mark.get("aria-label")
        if said and mark.get("aria-roledescription") in ("point", "bar"):
            ElementTree.SubElement(mark, f"{{{_SVG}}}title").text = said
    root.set("role", "img")
    root.set("aria-label", chart.title)
    return ElementTree.tostring(root, encoding="unicode")


def _file_svg(chart: Chart) -> bytes:
    drawn: str = _vl_convert().vegalite_to_svg(_titled(chart), allowed_base_urls=[])
    return drawn.encode()


def _png(chart: Chart) -> bytes:
    drawn: bytes = _vl_convert().vegalite_to_png(_titled(chart), scale=_SCALE, allowed_base_urls=[])
    return drawn


def _titled(chart: Chart) -> dict[str, object]:
    return chart.spec | {"title": {"text": chart.title, "subtitle": textwrap.wrap(chart.note, _LINE)}}


def _vl_convert() -> ModuleType:
    try:
        import vl_convert
    except ImportError as error:
        raise StackUnfit(
            f"pictures cannot be drawn, as vl-convert-python cannot be imported: {error}",
            fix=pip_words(Path(sys.executable), "install", "neuronctl[report]"),
        ) from None
    return vl_convert
