"""Prompts: the user's own file of them, looked at line by line before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuronctl.errors import Place, UsageError
from neuronctl.whole_file import write_whole

# What an answer is allowed where nobody says.
DEFAULT_TOKENS = 128
_LIMITS = ("output_tokens", "max_tokens", "max_completion_tokens")


@dataclass(frozen=True)
class Prompts:
    """The prompts of a file: each a text, and the tokens that its answer may have."""

    texts: tuple[tuple[str, int], ...]

    def write(self, path: Path) -> None:
        """Write them in the form that `vllm bench serve` reads."""
        lines = (json.dumps({"prompt": text, "output_tokens": tokens}) + "\n" for text, tokens in self.texts)
        write_whole(path, "".join(lines).encode())


def read_prompts(path: Path, output_len: int | None) -> Prompts:
    """A JSONL file: an object a line with `prompt` or `messages` (one of a user's), and its answer's length.

    That is `output_len` for all, else the line's `output_tokens`, `max_tokens` or
    `max_completion_tokens`, else 128. Raises UsageError with the line.
    """
    texts = []
    for number, line in _lines(path):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _bad(path, number, f"is not JSON: {error}") from None
        if not isinstance(said, dict):
            raise _bad(path, number, "is not an object")
        texts.append((_text(said, path, number), output_len or _limit(said, path, number)))
    if not texts:
        raise _bad(path, None, "has no prompts")
    return Prompts(tuple(texts))


def check_sharegpt(path: Path) -> int:
    """How many conversations of two turns a file in ShareGPT's form has. Raises UsageError for others."""
    try:
        said = json.loads(_content(path))
    except (ValueError, RecursionError) as error:
        raise _bad(path, None, f"is not JSON: {error}") from None
    if not isinstance(said, list):
        raise _bad(path, None, "is not a list of conversations")
    count = 0
    for number, one in enumerate(said, 1):
        turns = one.get("conversations") if isinstance(one, dict) else None
        if not isinstance(turns, list) or not all(
            isinstance(turn, dict) and "value" in turn for turn in turns
        ):
            raise _bad(
                path, None, f": conversation {number} has no list `conversations` of turns with `value`"
            )
        count += len(turns) >= 2
    if not count:
        raise _bad(path, None, "has no conversation of two turns")
    return count


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    # Not splitlines, which also ends lines at letters that may stand in a JSON string, as U+2028.
    for number, line in enumerate(_content(path).split("\n"), 1):
        if line.strip():
            yield number, line


def _content(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise _bad(path, None, "is no file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise _bad(path, None, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise _bad(path, None, f"is not UTF-8: {error.reason} at byte {error.start}") from None


def _text(said: Mapping[str, Any], path: Path, number: int) -> str:
    if "messages" in said:
        turns = said["messages"]
        if not isinstance(turns, list) or len(turns) != 1 or not isinstance(turns[0], dict):
            raise _bad(path, number, "has `messages` of several turns; one of a user's can be sent")
        text = turns[0].get("content")
    elif "prompt" in said:
        text = said["prompt"]
    else:
        raise _bad(path, number, "has no `prompt`")
    if not isinstance(text, str) or not text:
        raise _bad(path, number, "has a prompt that is no text")
    return text


def _limit(said: Mapping[str, Any], path: Path, number: int) -> int:
    for key in _LIMITS:
        if (value := said.get(key)) is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise _bad(path, number, f"has {key} {value!r}, which is no number of tokens")
            return value
    return DEFAULT_TOKENS


def _bad(path: Path, number: int | None, why: str) -> UsageError:
    where = f"line {number} of the prompts" if number else "the file of prompts"
    return UsageError(
        f"{where} {why}".replace(" :", ":"),
        place=Place(str(path), number),
        fix='a line looks like this: {"prompt": "Why is the sky blue?", "output_tokens": 128}'
        if path.suffix != ".json"
        else "see docs/bench.md for the forms of prompts",
        code="bench.bad-prompts",
    )
