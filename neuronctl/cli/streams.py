"""stdout and stderr that are closed, full, or of an encoding that lacks a letter."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper


def open_missing_streams() -> None:
    """Give closed streams (`>&-`) a place to write to, else the next file opened would take their number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A letter that the terminal's encoding lacks is no reason to fail.
            stream.reconfigure(errors="backslashreplace")


def discard_unwritable() -> None:
    """Let Python's own flush at exit go nowhere where it would fail: it would complain once more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
