"""Show: a resolved profile as values with their origins, and as YAML that loads to the same profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msgspec import Struct, to_builtins

from neuronctl.profile.kind import section_of
from neuronctl.profile.load import dotted
from neuronctl.profile.origin import Origin
from neuronctl.profile.resolve import Profile
from neuronctl.profile.scalar import Ambiguous, read_plain
from neuronctl.profile.schema import ProfileShape
from neuronctl.secret import redact


@dataclass(frozen=True)
class Value:
    """One resolved value. Values that look secret are `(hidden)`."""

    key: str
    value: object
    origin: Origin


def values_of(profile: Profile) -> list[Value]:
    """Every value that is not None, built-in ones included, in the order of the schema."""
    found: list[Value] = []
    _collect(_shown(profile), (), profile, found)
    return found


def profile_as_yaml(profile: Profile, *, origins: bool = False) -> str:
    """The whole resolved profile as YAML; with `origins`, each value's origin stands behind it.

    Loading the text gives an equal profile, except for values that look secret: they are `(hidden)`.
    """
    lines: list[str] = []
    _write(_shown(profile), (), profile if origins else None, lines)
    return "\n".join(lines) + "\n"


def _shown(profile: Profile) -> dict[str, Any]:
    """The values that are there, secrets hidden: without None and without mappings nobody said."""
    return _tidy(redact((), to_builtins(profile.shape)), (), profile, ProfileShape)


def _tidy(data: Any, path: tuple[str, ...], profile: Profile, section: type[Struct]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for key, inner in data.items():
        below = section_of(section.__annotations__[key])
        kept = _tidy(inner, (*path, key), profile, below) if below else inner
        is_empty = kept is None or (kept == {} and dotted((*path, key)) not in profile.said)
        if not is_empty and (*path, key) != ("extends",):
            shown[key] = kept
    return shown


def _collect(data: dict[str, Any], path: tuple[str, ...], profile: Profile, found: list[Value]) -> None:
    for key, value in data.items():
        here = (*path, key)
        if isinstance(value, dict) and value:
            _collect(value, here, profile, found)
        else:
            found.append(Value(dotted(here), value, profile.origin(dotted(here))))


def _write(data: dict[str, Any], path: tuple[str, ...], profile: Profile | None, lines: list[str]) -> None:
    for key, value in data.items():
        here = (*path, key)
        head = "  " * len(path) + scalar_text(key, is_key=True) + ":"
        if isinstance(value, dict) and value:
            lines.append(head)
            _write(value, here, profile, lines)
        else:
            comment = f"  # {profile.origin(dotted(here))}" if profile else ""
            lines.append(f"{head} {_flow(value)}{comment}")


def _flow(value: object) -> str:
    if isinstance(value, dict):
        entries = (f"{scalar_text(str(key), is_key=True)}: {_flow(inner)}" for key, inner in value.items())
        return "{" + ", ".join(entries) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return scalar_text(str(value))


def scalar_text(text: str, *, is_key: bool = False) -> str:
    """A text as YAML: plain where every reader takes it for that text, else in double quotes."""
    is_plain = (
        text.isascii()
        and text[:1].isalnum()
        and all(letter.isalnum() or letter in "-_./+" or (letter == " " and not is_key) for letter in text)
        and text == text.strip()
    )
    if is_plain:
        try:
            if isinstance(read_plain(text), str):
                return text
        except Ambiguous:
            pass
    return '"' + "".join(_escaped(letter) for letter in text) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    if letter == "\n":
        return "\\n"
    code = ord(letter)
    if letter.isprintable():
        return letter
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
