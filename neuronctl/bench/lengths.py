"""Lengths: how long requests are, kept in a few numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from neuronctl.bench.schema import Lengths
from neuronctl.errors import Place, UsageError

# More groups would only be lines in git. Sizes that are compiled are multiples of 128, so few are split.
_GROUPS = 24
_STEP = 128


def lengths(requests: Sequence[tuple[int, int]]) -> Lengths | None:
    """The lengths of (prompt, answer) pairs; None for none.

    Each length of a prompt is kept as it is where they are few; else they are counted up to multiples of 128
    tokens, or of 256, 512, … where those are many too.
    """
    if not requests:
        return None
    counted = Counter(into for into, _ in requests)
    step = _STEP
    while len(counted) > _GROUPS:
        counted = grouped(counted, step)
        step *= 2
    upto = sorted(counted)
    return Lengths(
        upto=tuple(upto),
        count=tuple(counted[size] for size in upto),
        longest=max(into + out for into, out in requests),
    )


def grouped(counted: Counter[int], step: int) -> Counter[int]:
    """The same counts by lengths rounded up to multiples of `step`."""
    groups: Counter[int] = Counter()
    for length, count in counted.items():
        groups[-(-length // step) * step] += count
    return groups


def read_lengths(path: Path) -> tuple[tuple[int, int], ...]:
    """The requests of a file, one a line: tokens of the prompt and of the answer.

    A space or a comma is between; empty lines and what follows a # are left out. Raises UsageError with the
    line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise _no_lengths(path, None, f"cannot be read: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise _no_lengths(path, None, "is not UTF-8 text") from error
    found = []
    for number, line in enumerate(lines, 1):
        said = line.partition("#")[0].replace(",", " ").split()
        if not said:
            continue
        if len(said) != 2 or not all(word.isdecimal() and len(word) < 10 for word in said):
            raise _no_lengths(path, number, "has a line that is not two numbers of tokens")
        found.append((int(said[0]), int(said[1])))
    if not found:
        raise _no_lengths(path, None, "holds no lengths")
    return tuple(found)


def _no_lengths(path: Path, line: int | None, what: str) -> UsageError:
    return UsageError(
        f"the file of lengths {what}",
        fix="give each request a line: the tokens of its prompt, and those of its answer",
        place=Place(str(path), line),
        code="bench.no-lengths",
    )
