from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from neuronctl.bench.measures import MEASURES
from neuronctl.bench.reference import json_schema, schema_text, with_measures_table
from neuronctl.bench.result_file import result_text
from tests.bench_sample import result

DOCS = Path(__file__).parents[3] / "docs"


def test_the_schema_and_the_table_in_the_docs_are_those_of_the_program() -> None:
    made_by = "python -m neuronctl.bench.reference"
    page = (DOCS / "bench.md").read_text(encoding="utf-8")
    assert (DOCS / "bench-result.schema.json").read_text(encoding="utf-8") == schema_text(), made_by
    assert with_measures_table(page) == page, made_by
    assert all(f"| `{name}` |" in page for name in MEASURES)


def fits(value: Any, told: dict[str, Any], parts: dict[str, Any]) -> bool:
    """Whether a value is what a part of the schema says; of JSON Schema only what ours uses."""
    if "$ref" in told:
        return fits(value, parts[told["$ref"].rpartition("/")[2]], parts)
    if "anyOf" in told:
        return any(fits(value, one, parts) for one in told["anyOf"])
    if "enum" in told:
        return value in told["enum"]
    if told["type"] == "object":
        named = told.get("properties", {})
        other = told.get("additionalProperties", False)
        return (
            isinstance(value, dict)
            and set(told.get("required", ())) <= set(value)
            and all(
                fits(one, named[key], parts) if key in named else other and fits(one, other, parts)
                for key, one in value.items()
            )
        )
    if told["type"] == "array":
        return isinstance(value, list) and all(fits(one, told["items"], parts) for one in value)
    kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)}
    return isinstance(value, kinds[told["type"]])


def test_a_result_is_what_the_schema_says() -> None:
    schema = json_schema()
    data = json.loads(result_text(result(failing=1)))
    assert fits(data, schema, schema["$defs"])
    data["points"][0]["runs"][0]["ttft_s"]["p95"] = "fast"
    assert not fits(data, schema, schema["$defs"])


def test_every_part_is_described() -> None:
    for name, part in json_schema()["$defs"].items():
        assert part["description"], name
        assert "\n    " not in part["description"]
