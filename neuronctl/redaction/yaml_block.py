"""Blocks of YAML below a name that says that they are secret."""

from __future__ import annotations

import re

from neuronctl.redaction.name import is_secret_name
from neuronctl.secret import HIDDEN

_NAME = r"[\"']?(?P<name>[A-Za-z_.][A-Za-z0-9_.-]{0,200})[\"']?:(?:[ \t]+[!&]\S{1,40}){0,2}[ \t]*"
_HEAD = re.compile(rf"(?P<indent>[ \t]*(?:-[ \t]+)*){_NAME}(?:[|>][-+0-9]{{0,2}})?[ \t]*(?:#.*)?$")
# The same behind something else in its line, as the prefix of a logger.
_LATE_HEAD = re.compile(rf"(?P<indent>[ \t]*)\S.{{0,400}}?[\s\]]{_NAME}[|>][-+0-9]{{0,2}}[ \t]*$")


def hide_blocks(text: str) -> str:
    """`text` without what stands in deeper lines, or in a list, below a secret name."""
    lines = text.splitlines(keepends=True)
    shown: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        head = _head(line.rstrip("\r\n"))
        end = at if head is None else _end_of_block(lines, at, len(head["indent"]))
        if head is None or end == at or not is_secret_name(head["name"]):
            shown.append(line)
            continue
        shown.append(f"{line[: head.end('name')]}: {HIDDEN}\n")
        at = end
    return "".join(shown)


def _head(line: str) -> re.Match[str] | None:
    return (_HEAD.match(line) or _LATE_HEAD.match(line)) if ":" in line else None


def _end_of_block(lines: list[str], at: int, indent: int) -> int:
    """The number of the first line that is not deeper; blank lines at the end are not part of it."""
    end = at
    for number in range(at, len(lines)):
        bare = lines[number].strip()
        depth = len(lines[number]) - len(lines[number].lstrip(" \t"))
        if bare and depth <= indent and not (depth == indent and bare.startswith("- ")):
            break
        if bare:
            end = number + 1
    return end
