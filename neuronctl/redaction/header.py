"""Headers of HTTP: who asks, and the cookies that prove it."""

from __future__ import annotations

import re

from neuronctl.redaction.name import looks_like_words
from neuronctl.secret import HIDDEN

_NAMES = r"(?:proxy-)?authorization|(?:set-)?cookie"
# A header that goes on in a line which begins with a blank (RFC 9112, 5.2). Where the name itself does not
# begin its line, the next line belongs to it only if nothing but a scheme stands behind the name.
_FOLDED = re.compile(
    rf"(?i)((?:{_NAMES})[ \t]*:)[ \t]*(?:[A-Za-z0-9-]{{1,20}}[ \t]*)?\r?\n[ \t]+"
    r"(?![A-Za-z-]{1,60}:[ \t])[^\s\"'][^\r\n]*"
)
_ON = re.compile(
    rf"(?im)^((?:[<>][ \t])?(?:{_NAMES})[ \t]*:)[^\r\n]*(?:\r?\n[ \t]+(?![A-Za-z-]{{1,60}}:[ \t])[^\r\n]+)+"
)
# The values have spaces in them: all of it goes, to the end of the line or of the string; to the end of the
# line where there are strings within it.
_HEADER = re.compile(
    rf"(?i)({_NAMES})(\\{{0,16}}[\"']?\s{{0,3}}[:=,]\s{{0,3}}b?\\{{0,16}}[\"']?)"
    r"(?:(?:digest|oauth|hawk|aws4[a-z0-9-]*)\s[^\r\n]+|[^\"'\r\n\\]+)"
)
_SCHEME = re.compile(r"(?i)(?<![\w.-])(bearer|basic)([ \t]+|[ \t]*\r?\n[ \t]+)([A-Za-z0-9._~+/=-]{6,})")


def hide_headers(text: str) -> str:
    """`text` without the values of such headers, and without what follows the word Bearer or Basic."""
    for pattern in (_ON, _FOLDED):
        text = pattern.sub(rf"\1 {HIDDEN}", text)
    return _SCHEME.sub(_hide_scheme, _HEADER.sub(rf"\1\2{HIDDEN}", text))


def _hide_scheme(match: re.Match[str]) -> str:
    """Ordinary words follow the word `basic` in prose."""
    return match[0] if looks_like_words(match[3]) else f"{match[1]}{match[2]}{HIDDEN}"
