"""Scalar: what a plain (unquoted) YAML word means.

YAML 1.1 and 1.2 readers disagree about a handful of words (`on`, `010`, `1_000`, `12:30`, dates). Such a
word is refused with both readings' way out, because the profile's author and their editor may follow
either. Everything both agree on is read as they agree.
"""

from __future__ import annotations

Scalar = str | int | float | bool | None

_CONSTANTS: dict[str, bool | None] = {
    "null": None,
    "Null": None,
    "NULL": None,
    "~": None,
    "": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_YAML_1_1_TRUTH = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_LARGEST = 2**63 - 1
_MOST_DIGITS = 19


class Ambiguous(ValueError):
    """A word with more than one reading. The text says what to write instead."""


def read_plain(text: str) -> Scalar:
    """The value of an unquoted word. Raises Ambiguous."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    # All that could be a number or a date begins like one; a word never gets past this line.
    if text[0] not in "+-.0123456789":
        if text.lower() in _YAML_1_1_TRUTH and text in (text.lower(), text.upper(), text.title()):
            raise Ambiguous(
                f"`{text}` is true or false to some YAML readers and a word to others; "
                f'write {_YAML_1_1_TRUTH[text.lower()]}, or "{text}" for the word'
            )
        return text
    return _read_number(text)


def _read_number(text: str) -> Scalar:
    sign = text[0] if text[0] in "+-" else ""
    digits = text[len(sign) :]
    if digits.isascii() and digits.isdecimal():
        return _read_integer(text, digits)
    if digits.lower() in (".inf", ".nan"):
        raise Ambiguous(f'`{text}` is not a finite number; write a number, or "{text}" for the word')
    if digits[:2] in ("0x", "0X") and _only(digits[2:], "0123456789abcdefABCDEF"):
        return _bounded(int(sign + digits, 16), text)
    if digits[:2] in ("0b", "0o", "0B", "0O") and _only(digits[2:], "01234567_"):
        raise Ambiguous(f'`{text}` is a number to some YAML readers only; write it in decimal, or "{text}"')
    if "_" in digits and digits[0] in "0123456789" and _only(digits, "0123456789_."):
        plain = text.replace("_", "")
        raise Ambiguous(
            f'`{text}` is a number to some YAML readers only; write {plain}, or "{text}" for the word'
        )
    if ":" in digits and _only(digits, "0123456789_:."):
        raise Ambiguous(f'`{text}` is a number in base 60 to some YAML readers; put it in quotes: "{text}"')
    if _looks_like_date(digits) and not sign:
        raise Ambiguous(f'`{text}` is a date to some YAML readers; put it in quotes: "{text}"')
    if _only(digits, "0123456789.eE+-") and any(digit in "0123456789" for digit in digits):
        try:
            number = float(text)
        except ValueError:
            return text
        if number in (float("inf"), float("-inf")):
            raise Ambiguous(f'`{text}` is too large for a number; put it in quotes if it is text: "{text}"')
        return number
    return text


def _read_integer(text: str, digits: str) -> int:
    if len(digits) > 1 and digits[0] == "0":
        plain = digits.lstrip("0") or "0"
        raise Ambiguous(
            f'`{text}` is octal to some YAML readers; write {plain} for the number, or "{text}" for the text'
        )
    if len(digits) > _MOST_DIGITS:
        raise Ambiguous(f"`{_short(text)}` is too large for a number; put it in quotes if it is text")
    return _bounded(int(text), text)


def _bounded(number: int, text: str) -> int:
    if abs(number) > _LARGEST:
        raise Ambiguous(f"`{_short(text)}` is too large for a number; put it in quotes if it is text")
    return number


def _looks_like_date(text: str) -> bool:
    parts = text[:10].rstrip("Tt ").split("-")
    return (
        len(parts) == 3
        and len(parts[0]) == 4
        and all(part.isascii() and part.isdecimal() and len(part) <= 4 for part in parts)
        and _only(text[8:], "0123456789-:.TtZz+ \t")
    )


def _only(text: str, allowed: str) -> bool:
    return bool(text) and all(letter in allowed for letter in text)


def _short(text: str) -> str:
    return text if len(text) <= 24 else text[:20] + "…"
