"""Wide text: logs of Windows and PowerShell, in UTF-16 or UTF-32, with or without a mark, whole or in pieces.

Whoever looks for secrets in them must see their letters, not letters with zeros between them.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as the mark of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LETTER = rb"[\t\n\r\x1b\x20-\x7e]"


def _run(letter: bytes, width: int) -> bytes:
    """Letters of English, with a single one of another script here and there."""
    return rb"(?:%b){4,}(?:[\s\S]{%d}(?:%b){2,})*" % (letter, width, letter)


# Pieces within other text, as where two programs have appended to one file.
_PIECES = (
    (re.compile(_run(_LETTER + rb"\0\0\0", 4)), "utf-32-le"),
    (re.compile(_run(rb"\0\0\0" + _LETTER, 4)), "utf-32-be"),
    (re.compile(_run(_LETTER + rb"\0", 2)), "utf-16-le"),
    (re.compile(_run(rb"\0" + _LETTER, 2)), "utf-16-be"),
)
# What may be narrow text in a wide file: wide text in the scripts of Europe has zeros.
_NO_ZEROS = re.compile(rb"[^\0]{16,}")
_LETTERS = re.compile(_LETTER)


def encoding_of(head: bytes, data: bytes) -> str | None:
    """The wide encoding of a file, None for any other: by its beginning, `head`, or by the zeros in `data`.

    `data` is a part of it that begins where a wide letter does.
    """
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec
    pairs = len(data) // 2
    first, second = data[: pairs * 2 : 2].count(0), data[1 : pairs * 2 : 2].count(0)
    if pairs < 4 or min(first, second) > pairs / 10 or max(first, second) < pairs / 2:
        return None
    return "utf-16-le" if second > first else "utf-16-be"


def read_wide(data: bytes, encoding: str | None) -> str:
    """The text in `data`; bytes that are no UTF-8 become lone surrogates where the encoding is not wide."""
    if encoding is not None:
        return "".join(_parts(data, encoding)).replace("\ufeff", "")
    for piece, codec in _PIECES:
        data = piece.sub(lambda found: found[0].decode(codec, "replace").encode(), data)  # noqa: B023
    return data.decode("utf-8", "surrogateescape")


def _parts(data: bytes, encoding: str) -> Iterator[str]:
    """A wide file part by part: another program may have appended narrow text to it."""
    end = 0
    for run in _NO_ZEROS.finditer(data):
        # The zeros beside it belong to letters whose other halves are in it.
        start = run.start() + (run.start() > 0 and encoding.endswith("be"))
        stop = run.end() - (run.end() < len(data) and encoding.endswith("le"))
        if len(_LETTERS.findall(data, start, stop)) < 0.7 * (stop - start):
            continue
        yield data[end:start].decode(encoding, "replace")
        yield data[start:stop].decode("utf-8", "replace")
        end = stop
    yield data[end:].decode(encoding, "replace")
