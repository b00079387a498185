"""Reference: the shape of a result told to others, as JSON Schema, and its measures as a table for the docs.

`python -m neuronctl.bench.reference` writes both into a checkout again after they have changed.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import msgspec

from neuronctl.bench.measures import MEASURES
from neuronctl.bench.schema import BenchResult
from neuronctl.page_marks import between_marks
from neuronctl.profile.reference import DIALECT

TABLE_BEGINS = "<!-- measures: begin (python -m neuronctl.bench.reference) -->"
TABLE_ENDS = "<!-- measures: end -->"


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a result's file."""
    told = {"$schema": DIALECT, "title": "neuronctl bench result", **msgspec.json.schema(BenchResult)}
    for part in told["$defs"].values():
        part["description"] = inspect.cleandoc(part["description"])
    return told


def schema_text() -> str:
    """The JSON Schema as the text of `docs/bench-result.schema.json`."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def measures_table() -> str:
    """Every measure with its unit, which way is better, and its meaning, as Markdown."""
    lines = ["| measure | unit | better | meaning |", "|---|---|---|---|"]
    lines += [f"| `{one.name}` | {one.unit} | {one.better} | {one.meaning} |" for one in MEASURES.values()]
    return "\n".join(lines)


def with_measures_table(page: str) -> str:
    """A docs page with the table between its two marks made new. Raises ValueError without the marks."""
    return between_marks(page, TABLE_BEGINS, TABLE_ENDS, measures_table())


def _write(root: Path) -> None:
    (root / "docs" / "bench-result.schema.json").write_text(schema_text(), encoding="utf-8")
    page = root / "docs" / "bench.md"
    page.write_text(with_measures_table(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    _write(Path(__file__).resolve().parents[2])
