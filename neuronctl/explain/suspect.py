"""Suspects: lines that look like errors, kept for the case that none of them is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from neuronctl.explain.line import clean_line, quote_line

MOST_SUSPECTS = 10
_WORDS = ("Error", "ERROR", "error:", "Exception", "FATAL", "fatal:")


def keep_suspects(lines: Iterable[str], kept: list[tuple[int, str]]) -> Iterator[str]:
    """Pass the lines on, and put into `kept` the first that look like errors, with their numbers from 1."""
    for number, line in enumerate(lines, 1):
        if len(kept) < MOST_SUSPECTS and any(word in line for word in _WORDS):
            text = quote_line(clean_line(line), _WORDS)
            if all(text != known for _, known in kept):
                kept.append((number, text))
        yield line
