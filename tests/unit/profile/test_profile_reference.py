"""The schema as it is told to editors and in the docs is the schema that is checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neuronctl.profile.kind import annotation_at, fields_of, in_words
from neuronctl.profile.reference import json_schema, keys_table, schema_text, with_keys_table
from neuronctl.profile.resolve import load_profile, validate_profile
from neuronctl.profile.schema import ProfileShape

ROOT = Path(__file__).resolve().parents[3]
AGAIN = "python -m neuronctl.profile.reference"


def test_the_files_are_up_to_date() -> None:
    assert (ROOT / "profiles/schema.json").read_text(encoding="utf-8") == schema_text(), f"run {AGAIN}"
    page = (ROOT / "docs/profiles.md").read_text(encoding="utf-8")
    assert with_keys_table(page) == page, f"run {AGAIN}"


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks"):
        with_keys_table("a page")


def test_every_key_is_described_and_in_words() -> None:
    for field in fields_of(ProfileShape):
        assert field.description.endswith((".", "`", ")")), field.path
        if field.section is None:
            assert in_words(field.annotation)
            assert f"| `{'.'.join(field.path)}` |" in keys_table()


def _schema_at(path: tuple[str, ...]) -> dict[str, Any]:
    told = json_schema()
    for key in path:
        told = told["properties"][key]
    return told


def test_the_json_schema_knows_the_same_keys_and_no_others() -> None:
    for field in fields_of(ProfileShape):
        told = _schema_at(field.path)
        assert told["description"] == field.description
        if field.section is not None:
            assert told["additionalProperties"] is False
            assert set(told["properties"]) == set(field.section.__annotations__)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("engine", "max_model_len"), {"type": ["integer", "null"], "minimum": 1, "maximum": 2**31 - 1}),
        (("backend",), {"enum": ["auto", "nxdi", "native", "cpu", None], "default": "auto"}),
        (
            ("neuron",),
            {"type": ["object", "null"], "additionalProperties": {}, "propertyNames": {"minLength": 1}},
        ),
        (
            ("server", "replicas"),
            {
                "anyOf": [
                    {"enum": ["auto"]},
                    {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
                    {"type": "null"},
                ],
                "default": "auto",
            },
        ),
        (
            ("features", "buckets", "decode"),
            {"type": ["array", "null"], "items": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}},
        ),
    ],
)
def test_types_are_told_to_editors(path: tuple[str, ...], expected: dict[str, Any]) -> None:
    told = _schema_at(path)
    told.pop("description")
    told.pop("examples", None)
    assert told == expected


def test_the_json_schema_is_json() -> None:
    assert json.loads(schema_text())["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_examples_and_built_in_values_are_right(world) -> None:
    for field in fields_of(ProfileShape):
        if field.path == ("extends",):
            continue
        values = [*field.examples]
        if field.section is None and field.default not in (None, {}, ()):
            values.append(field.default)
        for value in values:
            world.write("p.yaml", "model: {id: org/name}\n")
            flags = {".".join(field.path): (value, "--flag")}
            assert validate_profile("p.yaml", world.host, flags=flags) == (), (field.path, value)


def test_the_examples_in_the_docs_load(world) -> None:
    page = (ROOT / "docs/profiles.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in page.split("```yaml\n")[1:]]
    assert len(blocks) >= 2
    world.write("profiles/llama-3.1-8b.yaml", "model: {id: meta-llama/Llama-3.1-8B-Instruct}\n")
    for block in blocks:
        world.write("p.yaml", block)
        assert load_profile("p.yaml", world.host).shape.model.id


def test_annotations_are_found_by_path() -> None:
    assert annotation_at(("engine", "nothing"), ProfileShape) is None
    assert annotation_at(("neuron", "a", "b"), ProfileShape) is Any
    assert annotation_at(("engine", "seed", "x"), ProfileShape) is None
