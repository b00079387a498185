"""Tokens that are known by their look, wherever they stand."""

from __future__ import annotations

import re

from neuronctl.secret import HIDDEN, SHORTEST, is_secret

# Also behind an escaped end of a line, and behind a sign that an address has encoded.
_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2}))"
# What secret.py does not know: these are too short, or have signs of their own.
_OF_SERVICES = re.compile(
    _START + r"(?:xapp-\d-[A-Za-z0-9-]{10,}|ya29\.[A-Za-z0-9_-]{10,}|GOCSPX-[A-Za-z0-9_-]{10,}"
    r"|SG\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}|nvapi-[A-Za-z0-9_-]{10,}|r8_[A-Za-z0-9]{20,}"
    r"|gsk_[A-Za-z0-9]{20,}|do[opr]_v1_[a-f0-9]{20,}|dapi[a-f0-9]{32}|hv[bs]\.[A-Za-z0-9_-]{20,}"
    r"|AGE-SECRET-KEY-1[A-Za-z0-9]{10,}|shp(?:at|ca|pa|ss)_[a-f0-9]{32}|tskey-[A-Za-z0-9-]{10,}"
    r"|[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{20,})"
)
# An access key of AWS with the secret one behind it, as in a table.
_AWS_PAIR = re.compile(
    _START + r"((?:AKIA|ASIA)[A-Z0-9]{12,})([\s,:;|\"']{1,4})[A-Za-z0-9/+=]{40}(?![A-Za-z0-9/+=])"
)
_WEB = re.compile(_START + r"eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]+)?")
# As in /etc/shadow and in files of htpasswd.
_HASH = re.compile(r"\$(?:apr1|1|2[aby]|5|6|y|argon2[a-z]{1,2})\$[A-Za-z0-9./$=,+-]{16,}")
_WORD = re.compile(r"[A-Za-z0-9_-]{10,}")
_REST = re.compile(r"^[A-Za-z]+[_-]")
_NO_WORD = re.compile(r"[0-9]|[a-z]{20}")


def hide_tokens(text: str) -> str:
    """`text` without what begins and goes on as the tokens of well-known services do."""
    text = _AWS_PAIR.sub(rf"{HIDDEN}\2{HIDDEN}", _WEB.sub(HIDDEN, text))
    return _WORD.sub(_hide_word, _HASH.sub(HIDDEN, _OF_SERVICES.sub(HIDDEN, text)))


def _hide_word(match: re.Match[str]) -> str:
    """Tokens go on for some time, and are no words: hf_overrides is none."""
    before, word = "", match[0]
    at = match.start()
    if word[0] in "nrt" and match.string[at - 1 : at] == "\\":  # the n of an escaped \n
        before, word = word[0], word[1:]
    elif match.string[at - 1 : at] == "%":  # an encoded sign
        before, word = word[:2], word[2:]
    start = word.lstrip("_-")
    if not is_secret((), start):
        return match[0]
    rest = _REST.sub("", start)
    if len(rest) < SHORTEST or (rest.islower() and not _NO_WORD.search(rest)):
        return match[0]
    return before + word[: len(word) - len(start)] + HIDDEN
