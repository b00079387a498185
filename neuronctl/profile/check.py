"""Check: a tree of nodes against the schema → plain data with an origin for each value.

Nothing stops at the first mistake: each is reported with its file, line and key path, and what to type.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct, ValidationError, field

from neuronctl.errors import Place, ProfileError
from neuronctl.profile.kind import annotation_at, in_words, is_path, kinds_of, mapping_types, section_of
from neuronctl.profile.load import Node, dotted
from neuronctl.profile.origin import Origin
from neuronctl.profile.schema import ProfileShape
from neuronctl.secret import is_secret
from neuronctl.typed import convert

KeyPath = tuple[str, ...]
MAX_SUGGESTIONS = 50  # comparing one key with all others takes half a millisecond


class Layer(Struct):
    """What one source says: nested plain data, and who said each value. None in it means: the built-in."""

    data: dict[str, Any] = {}
    origins: dict[KeyPath, Origin] = {}


class Checker(Struct):
    """Checks what one source says; collects its errors.

    `base` is the folder where relative paths begin. `bare_paths` says whether a path may be written
    without `./`: a shell's user expects that, a file's author would have to know the working folder.
    """

    origin: Callable[[int | None], Origin]
    base: Path
    home: Path
    shown: str | None = None
    spoken: str = ""
    bare_paths: bool = False
    layer: Layer = field(default_factory=Layer)
    errors: list[ProfileError] = []

    def document(self, node: Node) -> Layer:
        """Check a whole profile."""
        if isinstance(node.value, dict):
            self._section(ProfileShape, node, (), self.layer.data)
        else:
            self._fail(
                (),
                node.line,
                f"a profile is a mapping of keys, this is {_seen((), node)}",
                "write  key: value",
            )
        return self.layer

    def single(self, path: KeyPath, node: Node) -> Layer:
        """Check one value that stands at a key path, as a variable or a flag says it."""
        for length in range(1, len(path) + 1):
            if annotation_at(path[:length], ProfileShape) is None:
                self._unknown(path[:length], node.line)
                return self.layer
            mapping = mapping_types(annotation_at(path[: length - 1], ProfileShape))
            if mapping and not self._is_key(mapping[0], path[:length], node.line):
                return self.layer
        data = self.layer.data
        for key in path[:-1]:
            data = data.setdefault(key, {})
        self._value(annotation_at(path, ProfileShape), node, path, data)
        return self.layer

    def _section(self, section: type[Struct], node: Node, path: KeyPath, data: dict[str, Any]) -> None:
        assert isinstance(node.value, dict)
        known = section.__annotations__
        for key, inner in node.value.items():
            if key in known:
                self._value(known[key], inner, (*path, key), data)
            else:
                self._unknown((*path, key), node.key_lines.get(key))

    def _value(self, annotation: Any, node: Node, path: KeyPath, data: dict[str, Any]) -> None:
        key = path[-1]
        if node.is_refused:
            return
        if node.value is None:
            section = section_of(annotation)
            if node.plain != "":
                data[key] = None
                self.layer.origins[path] = self.origin(node.line)
            elif section is None and annotation is not Any and mapping_types(annotation) is None:
                # A section with nothing under it says nothing; a key with nothing after it is unfinished.
                self._fail(
                    path,
                    node.line,
                    "nothing stands after the colon",
                    f"write {in_words(annotation)}, or null",
                )
            return
        section = section_of(annotation)
        if section is not None:
            if not isinstance(node.value, dict):
                what, fix = (
                    f"this is a section, found {_seen(path, node)}",
                    f"write  {key}: {{…}}  with its keys",
                )
                if path == ("model",):
                    fix = "write  model: {id: …}"
                self._fail(path, node.line, what, fix)
                return
            self._section(section, node, path, data.setdefault(key, {}))
        elif isinstance(node.value, dict) and (mapping := mapping_types(annotation)):
            self._mapping(mapping, node, path, data.setdefault(key, {}))
        elif annotation is Any and isinstance(node.value, dict):
            self._mapping((str, Any), node, path, data.setdefault(key, {}))
        else:
            self._leaf(annotation, node, path, data)

    def _mapping(self, types: tuple[Any, Any], node: Node, path: KeyPath, data: dict[str, Any]) -> None:
        assert isinstance(node.value, dict)
        keys, values = types
        if not node.value:
            self.layer.origins[path] = self.origin(node.line)
        for key, inner in node.value.items():
            if self._is_key(keys, (*path, key), node.key_lines.get(key)):
                self._value(values, inner, (*path, key), data)

    def _is_key(self, keys: Any, path: KeyPath, line: int | None) -> bool:
        """Whether the last key of a path may stand in its mapping."""
        try:
            convert(path[-1], keys)
        except ValidationError:
            self._fail(path, line, f"a key here is {in_words(keys)}", None)
            return False
        if path[:-1] == ("engine", "extra") and (known := _known_argument(path[-1])):
            self._fail(path, line, "this has a key of its own", f"write it as engine.{known}")
            return False
        return True

    def _leaf(self, annotation: Any, node: Node, path: KeyPath, data: dict[str, Any]) -> None:
        value = node.data()
        try:
            if annotation is not Any:
                convert(value, annotation)
        except ValidationError:
            self._wrong(annotation, node, path)
            return
        data[path[-1]] = self._path(annotation, value, node, path) if isinstance(value, str) else value
        self.layer.origins[path] = self.origin(node.line)

    def _path(self, annotation: Any, value: str, node: Node, path: KeyPath) -> str:
        """Where a path leads, as an absolute path; anything else unchanged."""
        if annotation is str or annotation is Any or (meaning := is_path(annotation)) is None:
            return value
        if value in ("~", "~/") or value.startswith("~/"):
            return os.path.normpath(self.home / value[2:])
        if value in (".", "..") or value.startswith(("./", "../")):
            return os.path.normpath(self.base / value)
        if meaning == "path" and not os.path.isabs(value):
            if self.bare_paths:
                return os.path.normpath(self.base / value)
            shown = "…" if is_secret(path, value) else value
            self._fail(
                path,
                node.line,
                "a path begins with ./, ../, ~/ or /",
                f"write ./{shown} for a file beside this one",
            )
        return value

    def _unknown(self, path: KeyPath, line: int | None) -> None:
        near = None
        if len(self.errors) < MAX_SUGGESTIONS:
            from neuronctl.profile.suggest import nearest_key

            near = nearest_key(path)
        fix = f"did you mean {near}?" if near else None
        if path[0] == "engine" and len(path) == 2:
            last = f"if vLLM knows it, say engine.extra.{path[1]}"
            fix = f"{fix} ({last})" if fix else last
        elif fix is None:
            fix = "neuronctl profiles schema lists all keys"
        self._fail(path, line, "no such key", fix, code="profile.unknown-key")

    def _wrong(self, annotation: Any, node: Node, path: KeyPath) -> None:
        fix = None
        secret = is_secret(path, node.value)
        kinds = kinds_of(annotation)
        choices = [choice for kind in kinds for choice in kind.choices]
        if isinstance(node.value, str) and choices:
            from neuronctl.profile.suggest import nearest_word

            near = nearest_word(node.value.lower(), choices)
            fix = f"did you mean {near}?" if near else None
        if isinstance(node.value, (bool, int, float)) and any(kind.name == "text" for kind in kinds):
            said = node.plain if node.plain is not None else str(node.value)
            fix = "put the value in quotes" if secret else f'put it in quotes: "{said[:60]}"'
        elif isinstance(node.value, str) and any(
            kind.name in ("integer", "number", "boolean") for kind in kinds
        ):
            fix = fix or _without_quotes(node, annotation)
        if node.value == "":
            fix = "leave the key out, or give it a value"
        self._fail(
            path,
            node.line,
            f"expected {in_words(annotation)}, found {_seen(path, node)}",
            fix or "neuronctl profiles schema says what each key takes",
            code="profile.type",
        )

    def _fail(
        self, path: KeyPath, line: int | None, what: str, fix: str | None, *, code: str | None = None
    ) -> None:
        place = Place(self.shown, line if self.shown else None, dotted(path) or None)
        text = f"{self.spoken}: {what}" if self.spoken else what
        self.errors.append(ProfileError(text, fix=fix, place=place, code=code))


def _known_argument(key: str) -> str | None:
    name = key.lstrip("-").replace("-", "_")
    return name if name in annotation_at(("engine",), ProfileShape).__origin__.__annotations__ else None


def _without_quotes(node: Node, annotation: Any) -> str | None:
    """For a quoted number or truth: the same without quotes, where that would be right."""
    from neuronctl.profile.scalar import Ambiguous, read_plain

    assert isinstance(node.value, str)
    if node.plain is not None:
        return None
    try:
        convert(read_plain(node.value.strip()), annotation)
    except (Ambiguous, ValidationError):
        return None
    return f"leave the quotes out: {node.value.strip()}"


def _seen(path: KeyPath, node: Node) -> str:
    """What was found, in words, with the value where it is short and no secret."""
    value = node.value
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    names = {bool: "a truth value", int: "the number", float: "the number", str: "the text"}
    if is_secret(path, value):
        return f"{names[type(value)]} (hidden)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value == "":
        return "an empty text"
    if isinstance(value, str):
        short = value if len(value) <= 40 else value[:37] + "…"
        return 'the text "' + short.replace("\n", "\\n") + '"'
    return f"the number {node.plain or value}"
