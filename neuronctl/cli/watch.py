"""The live table of `neuronctl doctor --watch`: snapshots, drawn or told until somebody stops it."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict
from typing import TextIO

from neuronctl.cli.render import harmless, write_answer
from neuronctl.doctor.snapshot import Snapshot
from neuronctl.doctor.table import table

_PLAIN_WIDTH = 120
# Lines are not broken while the table is drawn: a letter of double width must not shift the rest.
_BEGIN, _END = "\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h"
_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"


def show_snapshots(
    snapshots: Generator[Snapshot], stream: TextIO, *, environ: Mapping[str, str], as_json: bool = False
) -> None:
    """Write each snapshot to `stream`, until ^C or until there are no more.

    On a terminal the table stays where it is; elsewhere each is written below the last, and `as_json` makes
    each one line of JSON. However it ends, the snapshots are closed and the cursor is shown again.
    BrokenPipeError where nobody reads any more, AnswerNotWritten where nothing can be written.
    """
    is_live = not as_json and stream.isatty() and environ.get("TERM", "dumb") != "dumb"
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        stack.enter_context(closing(snapshots))
        if is_live:
            stack.callback(_show, stream, _END)
            _show(stream, _BEGIN + _HOME + _CLEAR_REST)
        for snapshot in snapshots:
            if as_json:
                text = json.dumps(asdict(snapshot))
            elif is_live:
                text = _drawn(snapshot, *_size(stream))
            else:
                text = _plain(table(snapshot, _PLAIN_WIDTH)) + "\n"
            write_answer(text, stream)


def _drawn(snapshot: Snapshot, width: int, height: int) -> str:
    lines = _plain(table(snapshot, width)).split("\n")
    if len(lines) > height - 1:
        left_out = len(lines) - max(1, height - 2)
        lines = [*lines[: max(1, height - 2)], f"… {left_out} more lines"[:width]]
    return _HOME + f"{_CLEAR_LINE}\n".join(lines) + _CLEAR_REST


def _plain(text: str) -> str:
    """A table has no colours of its own; what neuron-ls said, which stands in a note, may have some."""
    return harmless(text.replace("\x1b", "\ufffd"))


def _size(stream: TextIO) -> tuple[int, int]:
    """Columns and lines now: a window changes its size while we watch. A terminal that has none says 0."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return 80, 24
    return size.columns or 80, size.lines or 24


def _show(stream: TextIO, codes: str) -> None:
    with suppress(OSError, ValueError):  # a terminal that was closed
        stream.write(codes)
        stream.flush()
