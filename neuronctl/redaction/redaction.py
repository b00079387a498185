"""Redaction: taking secrets out of text that somebody else will read, wherever in it they stand.

secret.py knows which names and values look secret; here they are found inside logs, JSON and mount options.
Too much is hidden rather than too little.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from neuronctl.redaction.address import hide_in_addresses
from neuronctl.redaction.command import hide_in_commands
from neuronctl.redaction.header import hide_headers
from neuronctl.redaction.key_block import hide_key_blocks
from neuronctl.redaction.name import is_plain_value, is_secret_name
from neuronctl.redaction.named_value import hide_named
from neuronctl.redaction.nested import redact_lines, redact_prefixed, redact_strings
from neuronctl.redaction.token import hide_tokens
from neuronctl.redaction.yaml_block import hide_blocks
from neuronctl.secret import HIDDEN, SHORTEST

# Colours, titles and links of a terminal.
_CODES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07\x1b\n]{0,4000}(?:\x07|\x1b\\)?)")
# So deep may text be escaped within text, as JSON in JSON in a line of a log.
_DEPTH = 3
# A variable, as Kubernetes and AWS write it.
_NAMES = ("name", "Name", "key", "Key", "ParameterKey")
_VALUES = ("value", "default", "parametervalue")


class Redaction:
    """Hides secrets in text and in data: those it is told of, and what looks like one.

    `secrets` are values that must not be shown anywhere, in whatever way they are escaped; those of fewer
    than SHORTEST characters are passed over. `plain` are values that are none, whatever they are called: the
    keys of artifacts.
    """

    def __init__(self, secrets: Iterable[str], *, plain: Iterable[str] = ()) -> None:
        self._secrets = _spellings(secrets)
        self._plain = frozenset(plain)
        # The same names stand in each of many manifests.
        self._name = lru_cache(maxsize=4096)(self.text)

    def text(self, text: str) -> str:
        """`text` without secrets and without the codes that colour a terminal."""
        return self._text(_CODES.sub("", text), _DEPTH)

    def _text(self, text: str, depth: int) -> str:
        text = self.known(text)
        if depth:
            text = redact_strings(text, lambda said: self._text(_CODES.sub("", said), depth - 1))
            text = redact_lines(text, lambda said: self._text(said, depth - 1))
            text = redact_prefixed(text, lambda said: self._text(said, depth - 1))
        text = hide_blocks(hide_headers(hide_key_blocks(text)))
        text = hide_in_commands(hide_named(text, self._plain.__contains__))
        return self.known(hide_tokens(hide_in_addresses(text)))

    def data(self, value: object, path: tuple[str, ...] = ()) -> object:
        """JSON data without secrets: what stands under a name that looks secret, and secrets in any text.

        The `key` of a document itself, and of a finding or an error in it, is the key of an artifact or the
        place of a setting: it is read as text.
        """
        named = path[:-1] if _names_a_place(path) else path
        hides = any(map(is_secret_name, named))
        if isinstance(value, Mapping):
            pairs = _hide_pair(value).items()
            return {self._name(str(name)): self.data(inner, (*path, str(name))) for name, inner in pairs}
        if isinstance(value, (list, tuple)):
            return HIDDEN if hides else [self.data(inner, path) for inner in self._words(value)]
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (int, float)):
            return HIDDEN if hides else value
        if hides and not self._is_plain_here(named, str(value)):
            return HIDDEN
        return self.text(str(value))

    def _is_plain_here(self, path: tuple[str, ...], value: str) -> bool:
        """Whether a text is no secret although a name above it is one."""
        above = any(map(is_secret_name, path[:-1]))
        return value in self._plain or (not above and is_plain_value(path[-1], value))

    def _words(self, words: Sequence[object]) -> Sequence[object]:
        """A list; where it is a command line, without the passwords that only the words before them tell."""
        said = [word for word in words if isinstance(word, str) and "\0" not in word]
        if len(said) < len(words) or not any(word.startswith("-") for word in said):
            return words
        shown = self.text("\0".join(said)).split("\0")
        return shown if len(shown) == len(words) else [HIDDEN for _ in words]

    def known(self, text: str) -> str:
        """`text` without the secrets it was told of, and nothing else changed."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        # What hides one may make up another: one that is a part of `(hidden)`, or begins before it.
        while left := [secret for secret in self._secrets if secret in text]:
            for secret in left:
                text = text.replace(secret, "")
        return text


def _hide_pair(value: Mapping[Any, object]) -> Mapping[Any, object]:
    """A mapping; where it is a variable, as of a container, without a value that its name makes secret."""
    names = [said for said in map(value.get, _NAMES) if isinstance(said, str)]
    if not any(map(is_secret_name, names)):
        return value
    return {name: HIDDEN if str(name).lower() in _VALUES else inner for name, inner in value.items()}


def _spellings(secrets: Iterable[str]) -> tuple[str, ...]:
    """Each secret as it is, as JSON, Python, addresses and base64 write it, by lines; the longest first."""
    found: set[str] = set()
    for secret in secrets:
        parts = {secret, secret.strip(), unquote(secret)}
        parts.update(line.strip() for line in secret.splitlines() if len(line.strip()) >= 12)
        for part in parts:
            found |= {part, json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1]}
            found |= {repr(part)[1:-1], json.dumps(part)[1:-1].replace("/", "\\/")}
            encoded = part.encode("utf-8", "surrogatepass")
            found |= {quote(encoded, safe=""), quote(encoded), quote_plus(encoded)}
            found.add(b64encode(encoded).decode())
    return tuple(sorted((one for one in found if len(one) >= SHORTEST), key=lambda one: (-len(one), one)))


def _names_a_place(path: tuple[str, ...]) -> bool:
    return path == ("key",) or path[-2:] in (("findings", "key"), ("errors", "key"))
