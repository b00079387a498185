"""Reading a server's log while it is written: phases, marks, the last lines, and lines that name an error."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from neuronctl.backends.phases import Mark, Phase

LAST_LINES = 40
ERROR_LINES = 10
SHOWN_CHARACTERS = 1000

# It says only that an error follows, and a person who reads it looks for a fault of neuronctl.
_TRACEBACK = "(most recent call last):"


class LogWatch:
    """Takes blocks of whole lines from the thread that reads the child.

    Patterns are searched for in the block as a whole, and only until they are found, so a flood of output
    costs little; `^` and `$` stand for the ends of a line. Memory is bounded.
    """

    def __init__(
        self,
        phases: tuple[Phase, ...],
        marks: tuple[Mark, ...],
        on_phase: Callable[[Phase], None],
        now: Callable[[], float],
        on_mark: Callable[[Mark], None] = lambda mark: None,
    ) -> None:
        self.output_at: float | None = None
        self.marks: set[str] = set()
        self.last: deque[str] = deque(maxlen=LAST_LINES)
        self.errors: list[str] = []
        self._phases = [(_compiled(phase.pattern), phase) for phase in phases]
        self._marks = [(_compiled(mark.pattern), mark) for mark in marks]
        self._on_phase = on_phase
        self._on_mark = on_mark
        self._now = now

    @property
    def last_line(self) -> str:
        """The last line that is not empty, as text fit for a terminal."""
        return self.last[-1] if self.last else ""

    def feed(self, block: bytes) -> None:
        """Take a block of lines."""
        self.output_at = self._now()
        self._find_phases(block)
        for pattern, mark in list(self._marks):
            if pattern.search(block):
                self.marks.add(mark.name)
                self._marks.remove((pattern, mark))
                self._on_mark(mark)
        if len(self.errors) < ERROR_LINES:
            self._find_errors(block)
        # Enough of the end of the block for the last lines, however long the block is.
        tail = block[-LAST_LINES * SHOWN_CHARACTERS :].replace(b"\r", b"\n").split(b"\n")
        shown = (_shown(line) for line in tail[-2 * LAST_LINES :])
        self.last.extend(text for text in shown if text and not text.endswith(_TRACEBACK))

    def _find_phases(self, block: bytes) -> None:
        seen = []
        for pattern, phase in self._phases:
            if found := pattern.search(block):
                seen.append((found.start(), pattern, phase))
        for _, pattern, phase in sorted(seen, key=lambda item: item[0]):
            self._phases.remove((pattern, phase))
            self._on_phase(phase)

    def _find_errors(self, block: bytes) -> None:
        """Lines such as `ValueError: …`: the first of them is the cause, the last only what it led to."""
        for word in (b"Error: ", b"error: "):
            at = block.find(word)
            while at >= 0 and len(self.errors) < ERROR_LINES:
                begin = max(block.rfind(b"\n", 0, at), block.rfind(b"\r", 0, at)) + 1
                end = block.find(b"\n", at)
                line = block[begin : end if end >= 0 else len(block)]
                text = _shown(line)
                # A warning that quotes an error is not why a server died.
                if text not in self.errors and b" WARNING " not in line and b" INFO " not in line:
                    self.errors.append(text)
                at = block.find(word, end) if end >= 0 else -1


def _compiled(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode(), re.MULTILINE)


_ESCAPES = rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])"


def _shown(line: bytes) -> str:
    """A line as text: without colours and control characters, and not longer than is useful."""
    if b"\x1b" in line:
        line = re.sub(_ESCAPES, b"", line)
    text = line[: 4 * SHOWN_CHARACTERS].decode("utf-8", "replace").replace("\t", "    ")
    return "".join(c for c in text if c.isprintable())[:SHOWN_CHARACTERS].rstrip()
