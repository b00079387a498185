"""What a command returns: frozen data, rendered once by `cli/render.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from neuronctl.errors import Exit, Place

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Finding:
    """The result of one rule: what was noticed, how bad it is, what to do, and who says so.

    `id` is stable and names the rule's page in the docs; `source` is the document, code or measurement
    that the rule rests on.
    """

    id: str
    severity: Severity
    message: str
    fix: str | None = None
    source: str | None = None
    place: Place | None = None


@dataclass(frozen=True)
class Message:
    """One line of the story, told on stderr while a command runs."""

    text: str
    kind: Literal["step", "done", "warn", "note"] = "note"


@dataclass(frozen=True)
class Progress:
    """What a running step is doing now; the next one takes its place on a terminal.

    `elapsed_s` counts from the start of the step; `line` is the last line of its log.
    """

    step: str
    elapsed_s: float
    line: str = ""


# Where a running command tells its story.
Tell = Callable[[Message | Progress], None]


@dataclass(frozen=True)
class Result:
    """A command's answer.

    `data` is plain JSON data; `text` is the same answer for a person, or None where the renderer makes
    it from `data`.
    """

    command: str
    data: dict[str, object]
    exit_code: Exit = Exit.DONE
    findings: tuple[Finding, ...] = ()
    text: str | None = None
    errors: tuple[dict[str, object], ...] = field(default=())
