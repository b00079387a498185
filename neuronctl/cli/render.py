"""The only writer to stdout, and the story on stderr.

stdout is the answer: text for a person, or one JSON envelope. stderr is the story of how it came about.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from typing import TextIO

from neuronctl.errors import Exit, NeuronctlError, PlanRefused, ProfileErrors
from neuronctl.result import Finding, Message, Progress, Result

SCHEMA = "neuronctl/1"

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1"}
_MARKS = {"step": ("→", "cyan"), "done": ("✓", "green"), "warn": ("!", "yellow"), "note": (" ", "dim")}
_SEVERITY_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}
# Without a terminal a line is told when the step changes, and again after this long.
_QUIET_EVERY_S = 30.0
# What a terminal obeys, but for colours: a model's configuration or a file's name may hold anything.
_OBEYED = re.compile(r"\x1b\[[0-9;]*m|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    """`text` with \ufffd for what would move a terminal's cursor, set its title or clear it."""
    return _OBEYED.sub(lambda found: found[0] if len(found[0]) > 1 else "\ufffd", text)


class Story:
    """Tells on stderr what happens: messages stay, progress is replaced by the next on a terminal."""

    def __init__(self, stream: TextIO | None = None, *, environ: Mapping[str, str] | None = None) -> None:
        self._stream = stream or sys.stderr
        self._environ = os.environ if environ is None else environ
        self._live = self._stream.isatty() and self._environ.get("TERM") != "dumb"
        self._shown = False
        self._last: tuple[str, float] = ("", 0.0)

    def tell(self, told: Message | Progress) -> None:
        """Tell one thing; a stream that is gone does not stop the work."""
        try:
            if isinstance(told, Progress):
                self._progress(told)
            else:
                self._message(told)
            self._stream.flush()
        except (OSError, ValueError):
            pass

    def end(self) -> None:
        """Take the last progress away."""
        try:
            self._wipe()
            self._stream.flush()
        except (OSError, ValueError):
            pass

    def _message(self, message: Message) -> None:
        self._wipe()
        mark, colour = _MARKS[message.kind]
        first, *rest = harmless(message.text).split("\n")
        self._stream.write(f"{self._paint(mark, colour)} {first}\n")
        for line in rest:
            self._stream.write(f"  {line}\n")

    def _progress(self, progress: Progress) -> None:
        if self._live:
            width = _columns() - 1
            head = f"{_spinner(progress.elapsed_s)} {progress.step} {_clock(progress.elapsed_s)}"
            line = harmless(f"{head}  {progress.line}")[:width]
            self._stream.write(f"\r\x1b[K{line[: len(head)]}{self._paint(line[len(head) :], 'dim')}")
            self._shown = True
            return
        step, told_at = self._last
        if progress.step == step and progress.elapsed_s - told_at < _QUIET_EVERY_S:
            return
        self._last = (progress.step, progress.elapsed_s)
        tail = f"  {harmless(progress.line)}" if progress.line else ""
        self._stream.write(f"  {progress.step} {_clock(progress.elapsed_s)}{tail}\n")

    def _wipe(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._shown = False

    def _paint(self, text: str, colour: str) -> str:
        return paint(text, colour, self._stream, self._environ)


def paint(text: str, colour: str, stream: TextIO, environ: Mapping[str, str] | None = None) -> str:
    """`text` in a colour where the stream is a terminal that has some, and NO_COLOR is not set."""
    environ = os.environ if environ is None else environ
    if not text or environ.get("NO_COLOR") or environ.get("TERM") == "dumb" or not stream.isatty():
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


class AnswerNotWritten(NeuronctlError):
    """stdout takes no more, as on a full disk."""

    code = "answer.not-written"
    exit_code = Exit.MACHINE_UNFIT


def render_result(result: Result, *, as_json: bool) -> None:
    """Write the answer. Raises AnswerNotWritten, and BrokenPipeError where nobody reads it."""
    if as_json:
        _write_envelope(
            envelope(
                result.command,
                result.exit_code,
                data=result.data,
                findings=result.findings,
                errors=list(result.errors),
            )
        )
        return
    if result.text:
        write_answer(harmless(result.text.rstrip("\n")))


def render_error(command: str, error: NeuronctlError, *, as_json: bool, data: Mapping[str, object]) -> None:
    """Write a failure: on stderr for a person; in JSON mode the envelope on stdout."""
    errors = error.errors if isinstance(error, ProfileErrors) else [error]
    findings = error.findings if isinstance(error, PlanRefused) else ()
    if as_json and not isinstance(error, AnswerNotWritten):
        described = [_describe_error(one) for one in errors]
        _write_envelope(envelope(command, error.exit_code, data=data, findings=findings, errors=described))
        return
    stream = sys.stderr
    shown = [finding for finding in findings if finding.severity == "error"]
    if shown:
        stream.write(harmless("".join(finding_text(finding, stream) for finding in shown)))
        stream.flush()
        return
    for one in errors:
        stream.write(harmless(_error_text(one, stream)))
    stream.flush()


def _error_text(error: NeuronctlError, stream: TextIO) -> str:
    """An error for a person: what failed, the last lines of a log, what is known of it, what to type."""
    lines = [f"{paint('error', 'red', stream)}: {error}"]
    last_lines = error.details.get("last_lines")
    if isinstance(last_lines, list):
        lines += [f"  | {line}" for line in last_lines]
    known = error.details.get("explained")
    if isinstance(known, dict):
        lines += [f"  {known['id']}: {known['title']}", f"  why: {known['why']}"]
    if error.fix:
        lines.append(f"  {paint('try', 'cyan', stream)}: {error.fix}")
    log = error.details.get("log")
    if log and str(log) not in str(error.fix):
        lines.append(f"  log: {log}")
    return "\n".join(lines) + "\n"


def finding_text(finding: Finding, stream: TextIO, *, indent: int = 0) -> str:
    """A finding in two to three lines; on a terminal in as many as its width asks for, less `indent`."""
    place = f" ({finding.place})" if finding.place else ""
    text = fitted(f"{finding.severity} {finding.id}: {finding.message}{place}", "  ", stream, indent)
    head = paint(finding.severity, _SEVERITY_COLOURS[finding.severity], stream)
    text = head + text.removeprefix(finding.severity) + "\n"
    if finding.fix:
        fix = fitted(f"  try: {finding.fix}", "       ", stream, indent)
        text += f"  {paint('try', 'cyan', stream)}" + fix.removeprefix("  try") + "\n"
    return text


def fitted(text: str, hanging: str, stream: TextIO, indent: int = 0) -> str:
    """`text` broken between words for the width of a terminal, less `indent`; as it is for a file."""
    if not stream.isatty():
        return text
    import shutil
    import textwrap

    width = max(40, shutil.get_terminal_size().columns - indent)
    lines = textwrap.wrap(
        text, width, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines)


def _describe_error(error: NeuronctlError) -> dict[str, object]:
    place = error.place
    return {
        "code": error.error_code,
        "message": error.what,
        "fix": error.fix,
        "file": place.file if place else None,
        "line": place.line if place else None,
        "key": place.key if place else None,
        "details": error.details,
    }


def _describe_finding(finding: Finding) -> dict[str, object]:
    place = finding.place
    return {
        "id": finding.id,
        "severity": finding.severity,
        "message": finding.message,
        "fix": finding.fix,
        "source": finding.source,
        "file": place.file if place else None,
        "line": place.line if place else None,
        "key": place.key if place else None,
    }


def envelope(
    command: str,
    exit_code: Exit,
    *,
    data: Mapping[str, object],
    findings: tuple[Finding, ...],
    errors: list[dict[str, object]],
) -> dict[str, object]:
    """The one JSON object that a command answers with."""
    return {
        "schema": SCHEMA,
        "command": command,
        "status": "ok" if exit_code == Exit.DONE else exit_code.name.lower().replace("_", "-"),
        "exit_code": int(exit_code),
        "data": data,
        "findings": [_describe_finding(finding) for finding in findings],
        "errors": errors,
    }


def _write_envelope(answer: Mapping[str, object]) -> None:
    # In another encoding a letter may have to be escaped, and JSON has escapes of its own.
    as_it_is = sys.stdout.encoding.lower().replace("-", "") == "utf8"
    write_answer(json.dumps(answer, indent=2, default=str, ensure_ascii=not as_it_is))


def write_answer(text: str, stream: TextIO | None = None) -> None:
    """Write `text` and the end of its line to stdout; see render_result for what is raised."""
    stream = stream or sys.stdout
    try:
        stream.write(text + "\n")
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise AnswerNotWritten(
            f"the answer cannot be written to stdout: {error.strerror}",
            fix="write it to another place; the work itself was done",
        ) from None


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return 80


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _spinner(seconds: float) -> str:
    return "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"[int(seconds) % 10]
