"""Names that say that a secret stands under them, and values that yet are none."""

from __future__ import annotations

import re

from neuronctl.secret import HIDDEN, is_secret

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Beside those of secret.py, which also reads settings of vLLM and of models.
_FURTHER = frozenset(
    {
        "pwd",
        "sessionid",
        "jsessionid",
        "phpsessid",
        "asp.net_sessionid",
        "connect.sid",
        "dockerconfigjson",
        "dockercfg",
    }
)
_ENDINGS = (
    *(
        "accesskey",
        "accountkey",
        "authkey",
        "encryptionkey",
        "masterkey",
        "privatekey",
        "secretkey",
        "signingkey",
    ),
    *(
        "dbpass",
        "userpass",
        "rootpass",
        "adminpass",
        "passphrase",
        "passwd",
        "credentials",
        "sessionid",
        "csrftoken",
    ),
)
_EXCEPTIONS = ("Error", "Exception", "Warning")
# Under these, a word or the name of a weight is what it looks like.
_OFTEN_PLAIN = frozenset({"key", "keys", "token", "auth"})
_WORDS = re.compile(r"[A-Za-z_]{1,20}(?:[./_-](?:[A-Za-z_]{1,20}|[0-9]{1,3}))*")
# Under these, a number is a secret as well.
_OF_PEOPLE = re.compile(r"(?i)pass|pwd|pin|secret|otp")
_NUMBER = re.compile(r"-?\d{1,6}(?:\.\d{1,6})?")
_PLACEHOLDER = re.compile(
    r"[.…*xX]{2,}|\$\{?[A-Z_][A-Z0-9_]*\}?|\$\{\{.*|</?s>|<\|[^|<>\s]{1,40}\|>|<(?:pad|unk|bos|eos|mask|cls|sep)>"
)
_NOTHING = frozenset({"", "none", "null", "nil", "true", "false", "yes", "no", "unset", HIDDEN})
_PATH = re.compile(r"[/~.]|[A-Za-z]:[\\/]")
# Says where a secret is, and is none.
_PLACE = re.compile(r"(?i).*[_-](?:file|path|dir|folder)")
_VARIABLE = re.compile(r"(?i).*[_-]env(?:[_-]var)?")
_VARIABLE_NAME = re.compile(r"[A-Z][A-Z0-9_]{2,60}")
# Tokens of a language model have numbers.
_NUMBERED = re.compile(r"(?i)(?:.*[_-])?token[_-]?ids?")
# What a table's column is called, or what one says of a secret without telling it.
_STRONG = re.compile(
    r"(?i)(?:[a-z0-9]+[_.-])*(?:password|passwd|passphrase|secret|secret_key_base)|(?:[a-z0-9]+[_.-])+(?:key|token|pwd|pass|credential)|api_?key"
)


def is_secret_name(name: str) -> bool:
    """Whether a secret stands under this name, however it is spelt."""
    name = name.strip("-.")
    if _NUMBERED.fullmatch(name):
        return False
    spaced = name if name.endswith(_EXCEPTIONS) else _HUMP.sub("_", name)
    lowered = name.lower()
    return (
        is_secret((name,))
        or is_secret((spaced,))
        or lowered in _FURTHER
        or lowered.replace("_", "").endswith(_ENDINGS)
    )


def is_strong_name(name: str) -> bool:
    """Whether the name alone tells that a secret follows, with no more than blanks between them."""
    return _STRONG.fullmatch(name.strip("-")) is not None and is_secret_name(name)


def is_plain_value(name: str, value: str) -> bool:
    """Whether what stands under a secret name is none, as a number of a token, or a word in a sentence."""
    value = value.strip("\\\"'`,;)]} \t\r\n")
    lowered = name.strip("-").lower()
    if value.lower() in _NOTHING or _PLACEHOLDER.fullmatch(value):
        return True
    if lowered in ("pwd", "oldpwd") or _PLACE.fullmatch(lowered):  # the working folder, a file
        return _PATH.match(value) is not None and ";" not in value
    if _VARIABLE.fullmatch(lowered):
        return _VARIABLE_NAME.fullmatch(value) is not None
    if _NUMBER.fullmatch(value) and not _OF_PEOPLE.search(lowered):
        return True
    return lowered in _OFTEN_PLAIN and looks_like_words(value)


def looks_like_words(value: str) -> bool:
    """Whether it is made of words as people and programs use them, and not of what a generator gives."""
    return _WORDS.fullmatch(value) is not None and (
        value.islower() or (value.isalpha() and value[1:].islower())
    )
