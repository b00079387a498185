"""Text within text: where ends of lines are escaped, and lines behind the prefix of a logger."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import groupby

Redact = Callable[[str], str]

# One that does not end is taken to the end of its line: an apostrophe, or what was cut off.
_STRING = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"?|'(?:[^'\\\n]|\\.)*'?")
_LINE_END = re.compile(r"\\([nr])")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))")
_MEANT = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}
# Of a worker of vLLM, of vLLM's own logger (which repeats it in each line of a message), of Docker Compose.
_PREFIX = re.compile(
    r"(?:\([^()\n]{1,80}\)[ ])?(?:(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)[ ][^\]\n]{0,80}\][ ])?"
    r"(?:[A-Za-z0-9._-]{1,60}[ ]{1,30}\|[ ])?"
)


def redact_strings(text: str, redact: Redact) -> str:
    """`text` with `redact` applied to what its escaped strings say; what that leaves alone is as it was."""

    def one(match: re.Match[str]) -> str:
        if "\\" not in match[0]:
            return match[0]
        mark, inner = match[0][0], match[0][1:]
        end = mark if inner.endswith(mark) else ""
        said = _ESCAPE.sub(_meant, inner.removesuffix(end))
        shown = redact(said)
        return match[0] if shown == said else f"{mark}{_escaped(shown, mark)}{end}"

    return _STRING.sub(one, text) if "\\" in text else text


def redact_lines(text: str, redact: Redact) -> str:
    """The same for lines in which ends of lines are escaped without quotes around them, as logfmt does."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if _LINE_END.search(line) and "\r" not in line.rstrip("\r"):
            bare = line.rstrip("\r")
            said = _LINE_END.sub(lambda found: _MEANT[found[1]], bare)
            if (shown := redact(said)) != said:
                ends = shown.replace("\r", "\\r").replace("\n", "\\n")
                lines[number] = ends + line[len(bare) :]
    return "\n".join(lines)


def redact_prefixed(text: str, redact: Redact) -> str:
    """The same for what stands behind a prefix that several lines share."""
    shown: list[str] = []
    for prefix, group in groupby(text.splitlines(keepends=True), _prefix):
        lines = list(group)
        if prefix and len(lines) > 1:
            said = "".join(line[len(prefix) :] for line in lines)
            if (changed := redact(said)) != said:
                lines = [prefix + line for line in changed.splitlines(keepends=True)]
        shown += lines
    return "".join(shown)


def _prefix(line: str) -> str:
    found = _PREFIX.match(line)
    return found[0] if found else ""


def _meant(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else _MEANT.get(match[3], match[3])


def _escaped(text: str, mark: str) -> str:
    inner = json.dumps(text, ensure_ascii=False)[1:-1]
    return inner if mark == '"' else inner.replace('\\"', '"').replace("'", "\\'")
