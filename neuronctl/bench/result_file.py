"""A result as a file: small JSON that reads well in a diff, and clear words where a file is none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from neuronctl.bench.schema import SCHEMA, BenchResult
from neuronctl.bench.written_file import write_file
from neuronctl.errors import Place, UsageError
from neuronctl.profile.suggest import nearest_word

# What is no longer than this stands on one line; so do lists of numbers, however long.
_LINE = 90
_FAMILY, _VERSION = SCHEMA.split("/")
_FIX = "name a file that `neuronctl bench` wrote"
_UNKNOWN_KEY = "Object contains unknown field"


def result_text(result: BenchResult) -> str:
    """The JSON of a result: the same text for the same result, one fact a line."""
    return _text(msgspec.to_builtins(result), "") + "\n"


def write_result(path: Path, result: BenchResult) -> None:
    """Put a result into a file. Raises MachineUnfit where it cannot be."""
    write_file(path, result_text(result).encode())


def read_result(path: Path) -> BenchResult:
    """The result in a file. Raises UsageError where there is none, with its line or key."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _no_result(path, f"cannot be read: {(error.strerror or str(error)).lower()}") from error
    found = _decoded(path, content)
    if not isinstance(found, dict) or not str(found.get("schema", "")).startswith(f"{_FAMILY}/"):
        raise _no_result(path, f"is not a result of bench: it has no `schema: {SCHEMA}`")
    if found["schema"] != SCHEMA:
        raise _other_version(path, found["schema"])
    try:
        return msgspec.convert(found, BenchResult)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `")
        key = where.rstrip("`").removeprefix("$").removeprefix(".")
        raise _no_result(path, f"is not a result: {_with_near(what, found, key)}", key=key or None) from error


def _decoded(path: Path, content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        at = re.search(r"byte (\d+)", str(error))
        # Data that ends too early ends in its last line.
        until = int(at[1]) if at else len(content.rstrip())
        what = str(error).removeprefix("JSON is malformed: ")
        raise _no_result(path, f"is not JSON: {what}", line=content[:until].count(b"\n") + 1) from error
    except UnicodeDecodeError as error:
        raise _no_result(path, "is not JSON: it is not UTF-8 text") from error
    except RecursionError as error:
        raise _no_result(path, "is not a result: it is nested without end") from error


def _other_version(path: Path, schema: str) -> UsageError:
    version = schema.partition("/")[2]
    if version.isdecimal() and int(version) > int(_VERSION):
        return _no_result(
            path,
            f"was written by a newer neuronctl ({schema}; this one reads {SCHEMA})",
            fix="update neuronctl, or measure again with this one",
            key="schema",
        )
    return _no_result(
        path, f"has a shape that neuronctl does not know ({schema}, not {SCHEMA})", key="schema"
    )


def _with_near(what: str, found: Any, key: str) -> str:
    """What msgspec says, with the key that was probably meant."""
    if not what.startswith(_UNKNOWN_KEY):
        return what
    unknown = what.removeprefix(_UNKNOWN_KEY).strip(" `")
    near = nearest_word(unknown, _keys_beside(key))
    return f"unknown key `{unknown}`" + (f" (did you mean `{near}`?)" if near else "")


def _keys_beside(key: str) -> list[str]:
    """The known keys of the part at a path such as `points[0].load`."""
    annotation: Any = msgspec.inspect.type_info(BenchResult)
    for word in re.findall(r"\w+|\[[^]]*\]", key):
        annotation = _inner(annotation, word)
        if annotation is None:
            return []
    part = _struct(annotation)
    return [] if part is None else [field.encode_name for field in part.fields]


def _inner(annotation: Any, word: str) -> Any:
    """The type of what stands under a key or an index."""
    if word.startswith("["):
        return getattr(annotation, "item_type", None)
    part = _struct(annotation)
    fields = () if part is None else part.fields
    return next((field.type for field in fields if field.encode_name == word), None)


def _struct(annotation: Any) -> msgspec.inspect.StructType | None:
    """The part that a type allows, with null or without."""
    for one in getattr(annotation, "types", (annotation,)):
        if isinstance(one, msgspec.inspect.StructType):
            return one
    return None


def _no_result(
    path: Path, what: str, *, fix: str = _FIX, line: int | None = None, key: str | None = None
) -> UsageError:
    place = Place(str(path), line, key) if line or key else None
    subject = "this file" if place else str(path)
    return UsageError(f"{subject} {what}", fix=fix, place=place, code="bench.no-result")


def _text(value: Any, margin: str) -> str:
    short = json.dumps(value, ensure_ascii=False)
    if len(short) <= _LINE or not _is_nested(value):
        return short
    inner = margin + "  "
    if isinstance(value, dict):
        rows = [f"{json.dumps(key, ensure_ascii=False)}: {_text(one, inner)}" for key, one in value.items()]
        return "{\n" + ",\n".join(inner + row for row in rows) + f"\n{margin}}}"
    if not any(map(_is_nested, value)):
        return short
    rows = [_text(one, inner) for one in value]
    return "[\n" + ",\n".join(inner + row for row in rows) + f"\n{margin}]"


def _is_nested(value: Any) -> bool:
    return isinstance(value, (dict, list, tuple))
