"""Redaction: taking secrets out of text that somebody else will read, wherever in it they stand.

secret.py knows which names and values look secret; here they are found inside logs, JSON and mount options.
Too much is hidden rather than too little.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import quote, quote_plus, unquote

from neuronctl.secret import HIDDEN, SHORTEST, hide_passwords, is_secret

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----"
    r"(?:.{0,20000}?-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----|(?:(?:\s|\\n)*[A-Za-z0-9+/=]{16,})*)",
    re.DOTALL,
)
_KEY_END = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----")
_KEY_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\\ \t\r\n")
# Their values have spaces in them: all of it goes, to the end of the line or of the string.
_HEADER = re.compile(
    r"(?i)((?:proxy-)?authorization|(?:set-)?cookie)(\\*[\"']?\s*[:=,]\s*\\*[\"']?)[^\"'\r\n\\]+"
)
_SCHEME = re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{6,}")
_QUOTED = r"\"{3}(?:(?!\"{3}).){0,4000}\"{0,3}|'{3}(?:(?!'{3}).){0,4000}'{0,3}|"
_QUOTED += r"\\+\"[^\"\\]*\\+\"|\\+'[^'\\]*\\+'|\"(?:[^\"\\\n]|\\.)*\"?|'(?:[^'\\\n]|\\.)*'?"
_VALUE = re.compile(rf"{_QUOTED}|[\[{{(][^\])}}\n]*[\])}}]?|[^\s&\"'<>]+")
# What stands before a value. The value itself is only taken where the name is secret: others have more names
# in theirs, as config={'api_key': …}.
_ASSIGNED = re.compile(
    r"(?<![A-Za-z0-9_.-])(?P<name>[A-Za-z_-][A-Za-z0-9_.-]{0,200})\\*[\"']?\s{0,3}(?:=>|[:=]|%3[DdAa])\s{0,3}"
)
# A flag and its value as two words, or as two strings of a printed list.
_FLAG = re.compile(
    r"(?<![A-Za-z0-9_-])(?P<name>--[A-Za-z][A-Za-z0-9_.-]{0,200})(?:\\*[\"'],\s?|\s{1,3})(?!-)"
)
# A name and a value as two strings of a printed pair, or as two entries: {"name": …, "value": …}.
_PAIR = re.compile(
    r"[\"'](?P<name>[A-Za-z][A-Za-z0-9_.-]{0,200})\\{0,4}[\"']\s?,\s?"
    r"(?:\\{0,4}[\"'](?i:value)\\{0,4}[\"']\s?:\s?)?(?=\\{0,4}[\"'])"
)
# A list or a block of YAML below the name.
_BLOCK = re.compile(
    r"(?m)^(?P<indent>[ \t]*)(?P<name>[A-Za-z][A-Za-z0-9_.-]{0,200}):[ \t]*[|>]?[-+]?[ \t]*\n"
    r"(?P<below>(?:(?P=indent)(?:[ \t]+|-[ \t]).*(?:\n|$))+)"
)
_TOLD = re.compile(r"(?i)\b(passphrase|password|passwd|token|secret)(\s+is\s+)[^\s\"'<>]{4,}")
_LOGIN = re.compile(r"((?<![\w-])(?:-u|--user)[= ]{1,2}[^\s:\"']{0,100}:|\bsshpass\s+-p\s?)[^\s\"']+")
_AWS = re.compile(r"(?i)(?P<name>aws_(?:secret_access_key|session_token|access_key_id))\s+(?![=:])")
# Whoever has such an address may read what it names.
_SIGNED = re.compile(r"(?i)((?:x-amz-|x-goog-)?(?:signature|credential)|\bsig)(=|%3D)[^\s&\"'<>]+")
_WEB_TOKEN = re.compile(
    r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]+)?"
)
_WORD = re.compile(r"[A-Za-z0-9_-]{10,}")
# Also where no name stands before the host, or a slash in the password.
_USER = re.compile(
    r"(://)([^\s/@\"'<>]{1,1000}|[^\s/:@\"'<>]{0,1000}:(?!\d{1,5}[/?#])[^\s@\"'<>]{1,1000})(?=@)"
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_MARK = re.compile(r"\\*[\"']")
_PLAIN_VALUES = frozenset({"none", "null", "true", "false", HIDDEN})


class Redaction:
    """Hides secrets in text and in data: those it is told of, and what looks like one.

    `secrets` are values that must not be shown anywhere, in whatever way they are escaped; those of fewer
    than SHORTEST characters are passed over.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = _spellings(secrets)

    def text(self, text: str) -> str:
        """`text` without secrets and without the codes that colour a terminal."""
        text = self.known(_COLOUR.sub("", text))
        text = _hide_key_rests(_KEY_BLOCK.sub(HIDDEN, text))
        text = _HEADER.sub(rf"\1\2{HIDDEN}", text)
        text = _SCHEME.sub(rf"\1\2{HIDDEN}", text)
        text = _BLOCK.sub(_hide_block, text)
        for pattern in (_ASSIGNED, _FLAG, _AWS, _PAIR):
            text = _hide_values(pattern, text)
        text = _LOGIN.sub(rf"\1{HIDDEN}", _TOLD.sub(rf"\1\2{HIDDEN}", text))
        text = _SIGNED.sub(rf"\1\2{HIDDEN}", text)
        text = _WORD.sub(_hide_word, _WEB_TOKEN.sub(HIDDEN, text))
        return self.known(_USER.sub(rf"\1{HIDDEN}", hide_passwords(text)))

    def data(self, value: object, path: tuple[str, ...] = ()) -> object:
        """JSON data without secrets: what stands under a name that looks secret, and secrets in any text.

        The `key` of a document itself, and of a finding or an error in it, is the key of an artifact or the
        place of a setting: it is read as text.
        """
        hides = is_secret(path[:-1] if _names_a_place(path) else path)
        if isinstance(value, Mapping):
            named = next((value[one] for one in ("name", "Name") if isinstance(value.get(one), str)), None)
            if named is not None and "value" in value and _is_secret_name(str(named)):
                value = {**value, "value": HIDDEN}
            return {self.text(str(key)): self.data(inner, (*path, str(key))) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return HIDDEN if hides else [self.data(inner, path) for inner in _without_flags(value)]
        if value is None or isinstance(value, bool):
            return value
        if hides:
            return HIDDEN
        if isinstance(value, (int, float)):
            return value
        return self.text(str(value))

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


def _without_flags(words: Sequence[object]) -> Iterator[object]:
    """A list, without the word after a flag that is secret: it may be a command line."""
    is_secret_flag = False
    for word in words:
        yield HIDDEN if is_secret_flag and isinstance(word, str) else word
        flag = isinstance(word, str) and word.startswith("--") and "=" not in word
        is_secret_flag = flag and _is_secret_name(str(word).strip("-"))


def _hide_block(match: re.Match[str]) -> str:
    if not _is_secret_name(match["name"]):
        return match[0]
    return f"{match['indent']}{match['name']}: {HIDDEN}\n"


def _spellings(secrets: Iterable[str]) -> tuple[str, ...]:
    """Each secret as it is, as JSON, Python and addresses write it, and line by line; the longest first."""
    found: set[str] = set()
    for secret in secrets:
        parts = {secret, secret.strip(), unquote(secret)}
        parts.update(line.strip() for line in secret.splitlines() if len(line.strip()) >= 12)
        for part in parts:
            found |= {part, json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1]}
            found |= {repr(part)[1:-1], json.dumps(part)[1:-1].replace("/", "\\/")}
            encoded = part.encode("utf-8", "surrogatepass")
            found |= {quote(encoded, safe=""), quote(encoded), quote_plus(encoded)}
    return tuple(sorted((one for one in found if len(one) >= SHORTEST), key=lambda one: (-len(one), one)))


def _names_a_place(path: tuple[str, ...]) -> bool:
    return path == ("key",) or path[-2:] in (("findings", "key"), ("errors", "key"))


def _hide_values(before: re.Pattern[str], text: str) -> str:
    """`text` without the values of secret names; `before` is a name and what parts it from its value."""
    shown: list[str] = []
    end = 0
    while match := before.search(text, end):
        shown.append(text[end : match.end()])
        end = match.end()
        if not _is_secret_name(match["name"].strip("-")):
            continue
        value = _VALUE.match(text, end)
        if value is None or value[0].strip("\\\"',;)]}").lower() in _PLAIN_VALUES:
            continue
        mark = _MARK.match(value[0])
        shown.append(f"{mark[0]}{HIDDEN}{mark[0]}" if mark else HIDDEN)
        end = value.end()
    return "".join(shown) + text[end:]


def _is_secret_name(name: str) -> bool:
    spaced = name if name.endswith(("Error", "Exception")) else _HUMP.sub("_", name)
    return is_secret((name,)) or is_secret((spaced,))


def _hide_key_rests(text: str) -> str:
    """Private keys whose beginning was cut off: what stands before their end and may be a part of them."""
    shown: list[str] = []
    end = 0
    for match in _KEY_END.finditer(text):
        start = match.start()
        while start > end and text[start - 1] in _KEY_LETTERS:
            start -= 1
        shown += [text[end:start], HIDDEN]
        end = match.end()
    return "".join(shown) + text[end:]


def _hide_word(match: re.Match[str]) -> str:
    """Tokens begin as those of a service do, go on for some time, and are no words: hf_overrides is none."""
    before, word = "", match[0]
    if word[0] in "nrt" and match.string[: match.start()].endswith("\\"):  # the n of an escaped \n
        before, word = word[0], word[1:]
    start = word.lstrip("_-")
    if not is_secret((), start):
        return match[0]
    rest = re.sub(r"^[A-Za-z]+[_-]", "", start)
    if len(rest) < SHORTEST or (rest.islower() and not re.search(r"[0-9]|[a-z]{20}", rest)):
        return match[0]
    return before + word[: len(word) - len(start)] + HIDDEN
