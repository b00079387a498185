"""Private keys in blocks of their own, whole or cut off at either end."""

from __future__ import annotations

import re

from neuronctl.secret import HIDDEN

_BLOCK = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----"
    r"(?:(?:(?!-----BEGIN).){0,20000}?-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----"
    r"|(?:(?:\s|\\n){1,40}(?:Proc-Type|DEK-Info|Comment|Version):[^\n]*)*(?:(?:\s|\\n)*[A-Za-z0-9+/=]{16,})*)",
    re.DOTALL,
)
_END = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----")
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\\ \t\r\n")
# PuTTY's own format.
_PUTTY = re.compile(r"(Private-Lines:[ \t]*\d+[ \t]*\r?\n)(?:[ \t]*[A-Za-z0-9+/=]{16,}[ \t]*(?:\r?\n|$))+")
_PUTTY_SEAL = re.compile(r"(Private-MAC:\s*)[A-Za-z0-9]+")


def hide_key_blocks(text: str) -> str:
    """`text` without private keys."""
    text = _PUTTY_SEAL.sub(rf"\1{HIDDEN}", _PUTTY.sub(rf"\1{HIDDEN}\n", text))
    return _hide_rests(_BLOCK.sub(HIDDEN, text))


def _hide_rests(text: str) -> str:
    """Keys whose beginning was cut off: what stands before their end and may be a part of them."""
    shown: list[str] = []
    end = 0
    for match in _END.finditer(text):
        start = match.start()
        while start > end and text[start - 1] in _LETTERS:
            start -= 1
        shown += [text[end:start], HIDDEN]
        end = match.end()
    return "".join(shown) + text[end:]
