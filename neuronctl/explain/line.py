"""Lines of a log: read within bounds, cleaned, and quoted without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from neuronctl.secret import HIDDEN, is_secret

# A compiler's command with all its arguments is one line; what is longer than this is no line of a log.
LONGEST_BYTES = 1 << 20
# Of a long line only so much before and after a mark is looked at: no error needs more, and searching and
# hiding would take their time with it.
NEAR_CHARACTERS = 2000
SHOWN_CHARACTERS = 300

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_WORD = re.compile(r"[^\s\"'`,;()\[\]{}<>=]+")
_BEARER = re.compile(r"(?i)\b(bearer|basic)(\s+)\S+")
_PAIR = re.compile(
    r"(?<![\w.])(?<!\w-)([A-Za-z_][\w.-]{0,80})([\"']?\s*[=:]\s*[\"']?|\s+(?=\S))([^\s\"',;}\])]+)"
)


def read_lines(stream: BinaryIO) -> Iterator[str]:
    """The lines of a log, whatever is in it; of a line beyond LONGEST_BYTES only the beginning."""
    continued = False
    while raw := stream.readline(LONGEST_BYTES):
        if not continued:
            yield raw.decode("utf-8", "replace")
        continued = not raw.endswith(b"\n")


def clean_line(text: str) -> str:
    """`text` without colours, control characters and the end of the line."""
    text = text.rstrip("\r\n")
    if text.isprintable():
        return text
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    return "".join(c if c.isprintable() else " " if c in "\t\r" else "" for c in text)


def hide_secrets(text: str) -> str:
    """`text` with (hidden) for what looks like a token, a key or a password."""
    text = _BEARER.sub(rf"\1\2{HIDDEN}", text)
    text = _WORD.sub(lambda found: HIDDEN if is_secret((), found[0]) else found[0], text)
    return _PAIR.sub(_hide_pair, text)


def _hide_pair(found: re.Match[str]) -> str:
    """`NAME=VALUE`, `"name": "value"` and `--name value`, the value hidden where the name looks secret."""
    name, between, value = found.groups()
    is_flag = between.isspace()
    if is_flag and not found.string[: found.start()].endswith("--"):
        return found[0]
    return f"{name}{between}{HIDDEN}" if is_secret((name,), value) else found[0]


def near_mark(text: str, marks: tuple[str, ...]) -> str:
    """The part of a line around the first of the marks that is in it; the beginning if none is."""
    at = next((at for mark in marks if (at := text.find(mark)) >= 0), 0)
    return text[max(0, at - NEAR_CHARACTERS) : at + NEAR_CHARACTERS]


def quote_line(text: str, marks: tuple[str, ...] = ()) -> str:
    """A clean line as it may be shown: no secrets, and of a long one the part around a mark."""
    near = near_mark(text, marks)
    shown = hide_secrets(near).strip()
    if len(shown) <= SHOWN_CHARACTERS:
        return shown if len(near) == len(text) else f"…{shown}…"
    at = next((at for mark in marks if (at := shown.find(mark)) >= 0), 0)
    begin = max(0, min(at - SHOWN_CHARACTERS // 3, len(shown) - SHOWN_CHARACTERS))
    end = begin + SHOWN_CHARACTERS
    before = "…" if begin or not text.startswith(near) else ""
    after = "…" if end < len(shown) or not text.endswith(near) else ""
    return f"{before}{shown[begin:end]}{after}"
