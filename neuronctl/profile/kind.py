"""Kind: what a field's annotation says, taken apart, and put in words a person would use.

Structs stand here and in the other inner modules of the package where a frozen dataclass would do: they
are made five times as fast, and every command waits for them.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from msgspec import Meta, Struct


class Kind(Struct, frozen=True):
    """One type that a field accepts.

    `name` is one of text, integer, number, boolean, choice, list, mapping, anything, nothing; `choices`
    are those of a choice; `inner` are the kinds of a list's items or a mapping's values, `keys` those of
    its keys; `meta` holds bounds and patterns.
    """

    name: str
    meta: Meta | None = None
    choices: tuple[str, ...] = ()
    keys: tuple[Kind, ...] = ()
    inner: tuple[Kind, ...] = ()


class Field(Struct, frozen=True):
    """One key of the schema: its path, its annotation, its section, its built-in value, its description."""

    path: tuple[str, ...]
    annotation: Any
    section: type[Struct] | None
    default: object
    description: str
    examples: tuple[object, ...]


def section_of(annotation: Any) -> type[Struct] | None:
    """The section behind an annotation, or None where it is a value."""
    inner = (
        getattr(annotation, "__origin__", annotation) if hasattr(annotation, "__metadata__") else annotation
    )
    return inner if isinstance(inner, type) and issubclass(inner, Struct) else None


def annotation_at(path: tuple[str, ...], shape: type[Struct]) -> Any:
    """The annotation of a key path, None if there is no such key. Inside a mapping: that of its values."""
    annotation: Any = shape
    for key in path:
        section = section_of(annotation)
        if section is not None:
            annotation = section.__annotations__.get(key)
        else:
            mapping = mapping_types(annotation)
            annotation = mapping[1] if mapping else Any if annotation is Any else None
        if annotation is None:
            return None
    return annotation


def mapping_types(annotation: Any) -> tuple[Any, Any] | None:
    """The key and value types of a mapping, or None where the annotation takes no mapping."""
    for part in _parts(annotation):
        if get_origin(part) is dict:
            keys, values = get_args(part)
            return keys, values
    return None


def is_path(annotation: Any) -> Literal["path", "path or id"] | None:
    """Whether a value is a path, which then begins at the file that says it."""
    for kind in kinds_of(annotation):
        extra = kind.meta.extra if kind.meta is not None else None
        if extra and extra.get("path"):
            return "path" if extra["words"] == "a path" else "path or id"
    return None


def kinds_of(annotation: Any) -> tuple[Kind, ...]:
    """All that an annotation accepts."""
    return tuple(_kind(part, meta) for part, meta in _parts_with_meta(annotation, None))


def accepts_text_only(annotation: Any) -> bool:
    """Whether a bare word is meant as text, whatever it looks like: no number or truth is accepted."""
    names = {kind.name for kind in kinds_of(annotation)}
    return bool(names & {"text", "choice"}) and not names & {"integer", "number", "boolean", "anything"}


def fields_of(shape: type[Struct], path: tuple[str, ...] = ()) -> Iterator[Field]:
    """Every key of a section and of the sections in it, a section before what is in it."""
    defaults = _defaults(shape)
    for name, annotation in shape.__annotations__.items():
        section = section_of(annotation)
        # The bounds of a named type come first, the field's own words last.
        meta = getattr(annotation, "__metadata__", (Meta(),))[-1]
        description, examples = meta.description or "", tuple(meta.examples or ())
        yield Field((*path, name), annotation, section, defaults.get(name), description, examples)
        if section is not None:
            yield from fields_of(section, (*path, name))


def in_words(annotation: Any) -> str:
    """What is expected, for an error message: `a whole number from 1 to 65535`."""
    words = [_words(kind) for kind in kinds_of(annotation) if kind.name != "nothing"]
    return " or ".join(dict.fromkeys(words))


def _defaults(shape: type[Struct]) -> dict[str, object]:
    from msgspec import NODEFAULT
    from msgspec.structs import fields

    found: dict[str, object] = {}
    for each in fields(shape):
        if each.default is not NODEFAULT:
            found[each.name] = each.default
        elif each.default_factory is not NODEFAULT:
            found[each.name] = each.default_factory()
    return found


def _parts(annotation: Any) -> list[Any]:
    return [part for part, _ in _parts_with_meta(annotation, None)]


def _parts_with_meta(annotation: Any, meta: Meta | None) -> list[tuple[Any, Meta | None]]:
    if hasattr(annotation, "__metadata__"):
        own = next((part for part in annotation.__metadata__ if isinstance(part, Meta)), None)
        return _parts_with_meta(annotation.__origin__, own or meta)
    if get_origin(annotation) in (Union, types.UnionType):
        return [found for part in get_args(annotation) for found in _parts_with_meta(part, None)]
    return [(annotation, meta)]


def _kind(annotation: Any, meta: Meta | None) -> Kind:
    origin = get_origin(annotation)
    if origin is Literal:
        return Kind("choice", choices=get_args(annotation))
    if origin is tuple:
        return Kind("list", meta, inner=kinds_of(get_args(annotation)[0]))
    if origin is dict:
        keys, values = get_args(annotation)
        return Kind("mapping", meta, keys=kinds_of(keys), inner=kinds_of(values))
    names = {
        str: "text",
        int: "integer",
        float: "number",
        bool: "boolean",
        type(None): "nothing",
        Any: "anything",
    }
    return Kind(names[annotation], meta)


def _words(kind: Kind) -> str:
    meta = kind.meta
    if meta is not None and meta.extra and "words" in meta.extra:
        return str(meta.extra["words"])
    if kind.name == "choice":
        return ("one of " if len(kind.choices) > 1 else "") + ", ".join(kind.choices)
    if kind.name == "list":
        inner = " or ".join(_words(each) for each in kind.inner)
        return f"a list, each {inner}" if kind.inner else "a list"
    if kind.name == "mapping":
        inner = " or ".join(_words(each) for each in kind.inner if each.name != "anything")
        return f"a mapping, each value {inner}" if inner else "a mapping"
    words = {"text": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
    return words.get(kind.name, "anything") + (_bounds(meta) if kind.name in ("integer", "number") else "")


def _bounds(meta: Meta | None) -> str:
    if meta is None:
        return ""
    low = (
        f" from {_figure(meta.ge)}"
        if meta.ge is not None
        else f" above {_figure(meta.gt)}"
        if meta.gt is not None
        else ""
    )
    is_limit = meta.le is not None and meta.le != 2**31 - 1  # the width of an int is no limit to talk about
    return low + (f" to {_figure(meta.le)}" if is_limit else "")


def _figure(number: float | None) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)
