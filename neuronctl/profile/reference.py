"""Reference: the schema told to others, as JSON Schema for editors and as a table for the docs.

`python -m neuronctl.profile.reference` writes both into a checkout again after the schema has changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins

from neuronctl.page_marks import between_marks
from neuronctl.profile.kind import Kind, fields_of, in_words, kinds_of, section_of
from neuronctl.profile.schema import ProfileShape

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TABLE_BEGINS = "<!-- keys: begin (python -m neuronctl.profile.reference) -->"
TABLE_ENDS = "<!-- keys: end -->"

_TYPES = {"text": "string", "integer": "integer", "number": "number", "boolean": "boolean", "nothing": "null"}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one profile file.

    No key is required, since a file may extend another, and each takes null, which goes back to the
    built-in value.
    """
    return {
        "$schema": DIALECT,
        "title": "neuronctl profile",
        "description": "What neuronctl compiles and serves.",
        **_section(ProfileShape),
    }


def keys_table() -> str:
    """Every key with what it takes, its built-in value and its meaning, as Markdown."""
    lines = ["| key | takes | built-in | meaning |", "|---|---|---|---|"]
    for field in fields_of(ProfileShape):
        name = ".".join(field.path)
        if field.section is not None:
            lines.append(f"| **{name}** | section | | {_cell(field.description)} |")
            continue
        default = field.default
        built_in = (
            ""
            if default in (None, {}, ())
            else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        )
        lines.append(
            f"| `{name}` | {_cell(in_words(field.annotation))} | {built_in} | {_cell(field.description)} |"
        )
    return "\n".join(lines)


def with_keys_table(page: str) -> str:
    """A docs page with the table between its two marks made new. Raises ValueError without the marks."""
    return between_marks(page, TABLE_BEGINS, TABLE_ENDS, keys_table())


def schema_text() -> str:
    """The JSON Schema as the text of `profiles/schema.json`."""
    import json

    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _section(section: type[Struct]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for field in fields_of(section):
        if len(field.path) > 1:
            continue  # told by its own section
        inner = section_of(field.annotation)
        told = (
            {**_section(inner), "type": ["object", "null"]} if inner else _any_of(kinds_of(field.annotation))
        )
        told["description"] = field.description
        if inner is None and field.default not in (None, {}, ()):
            told["default"] = to_builtins(field.default)
        if field.examples:
            told["examples"] = to_builtins(field.examples)
        properties[field.path[0]] = told
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _any_of(kinds: tuple[Kind, ...], *, nullable: bool = True) -> dict[str, Any]:
    if any(kind.name == "anything" for kind in kinds):
        return {}
    told = [_kind(kind) for kind in kinds if kind.name != "nothing"]
    if not nullable:
        return told[0] if len(told) == 1 else {"anyOf": told}
    if len(told) == 1 and "type" in told[0]:
        return {**told[0], "type": [told[0]["type"], "null"]}
    if len(told) == 1:
        return {"enum": [*told[0]["enum"], None]}
    return {"anyOf": [*told, {"type": "null"}]}


def _kind(kind: Kind) -> dict[str, Any]:
    if kind.name == "choice":
        return {"enum": list(kind.choices)}
    if kind.name == "list":
        return {"type": "array", "items": _any_of(kind.inner, nullable=False)}
    if kind.name == "mapping":
        told: dict[str, Any] = {"type": "object", "additionalProperties": _any_of(kind.inner)}
        names = _any_of(kind.keys, nullable=False)
        names.pop("type")
        return {**told, "propertyNames": names} if names else told
    told = {"type": _TYPES[kind.name]}
    meta = kind.meta
    if meta is not None:
        limits = {
            "minimum": meta.ge,
            "exclusiveMinimum": meta.gt,
            "maximum": meta.le,
            "minLength": meta.min_length,
            "pattern": meta.pattern,
        }
        told.update({name: limit for name, limit in limits.items() if limit is not None})
    return told


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _write(root: Path) -> None:
    (root / "profiles" / "schema.json").write_text(schema_text(), encoding="utf-8")
    page = root / "docs" / "profiles.md"
    page.write_text(with_keys_table(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    _write(Path(__file__).resolve().parents[2])
