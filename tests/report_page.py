"""The report of bench as a browser has it: its charts, marks and numbers, held against the result's JSON."""

from __future__ import annotations

import json
import statistics
from typing import Any

import pytest

from tests.browser import Element


def figures_of(page: Element) -> dict[str, Element]:
    """The charts by their names."""
    return {one.attributes["id"] or "": one for one in page.all("figure")}


def marks(figure: Element, name: str, kind: str) -> list[str]:
    """What the marks of this kind say of themselves."""
    said = (one.attributes.get("aria-label") or "" for one in figure.all("path", aria_roledescription=kind))
    return [text for text in said if name in text]


def shown(cell: Element) -> float:
    """The number in a cell of a table."""
    return float(cell.one("data").text.replace(",", "").strip("$%\u00a0 "))


def assert_tells(page: Element, result: dict[str, Any]) -> None:
    """The page holds the result whole; its tables have the medians; each point is drawn in each plane."""
    assert json.loads(page.one("script").text) == result
    rates, times, *_ = page.all("tbody")
    for row, point in zip(rates.all("tr"), result["points"], strict=True):
        pace = statistics.median(run["output_tokens_per_s"] for run in point["runs"])
        assert shown(row.all("td")[1]) == pytest.approx(pace, rel=6e-3)
    for row, point in zip(times.all("tr"), result["points"], strict=True):
        cells = row.all("td")[1:]
        wanted = [
            statistics.median(run[f"{name}_s"][key] for run in point["runs"]) * 1000
            for name in ("ttft", "itl", "tpot", "e2e")
            for key in ("p50", "p90", "p99")
        ]
        assert [shown(cell) for cell in cells] == pytest.approx(wanted, rel=6e-3)
    figures = figures_of(page)
    for name in ("ttft", "tpot", "e2e"):
        for share in ("p50", "p99"):
            drawn = marks(figures[f"throughput-{name}"], f"{name} {share}", "point")
            assert len(drawn) == len(result["points"])
    for one in result["startup"]:
        bars = marks(figures[f"startup-{one['kind']}"], "", "bar")
        assert [bar.partition(":")[0] for bar in bars] == [phase["name"] for phase in one["phases"]]
