"""Values that stand beside a name that says that they are secret: in shells, configurations, JSON, tables."""

from __future__ import annotations

import re
from collections.abc import Callable

from neuronctl.redaction.name import is_plain_value, is_secret_name, is_strong_name, looks_like_words
from neuronctl.secret import HIDDEN

# A quote, also as JSON within JSON and as HTML write it.
_MARK = r"(?:\\{0,16}[\"']|&quot;|&#3[49];|&apos;|\\{1,16}u002[27])"
# Where a name may begin; also behind a sign that an address has encoded.
_START = r"(?:(?<![A-Za-z0-9_.-])|(?<=%[0-9A-Fa-f]{2})|(?<=%25[0-9A-Fa-f]{2}))"
_NAME = r"(?P<name>[A-Za-z_.-][A-Za-z0-9_.-]{0,200})"
# In the same line, or a string in a later one.
_GAP = rf"(?:[ \t]{{0,80}}(?=[^\s])|\s{{0,80}}(?=[bBrRuUfF]{{0,2}}{_MARK}|\[))"

# What may stand before the value itself: the type of a YAML value, a call, the letter of a string.
_LEAD = re.compile(
    r"(?:[!&][^\s,\]}]{1,40}[ \t]+)?(?:[bBrRuUfF]{1,2}(?=[\"'])|[A-Za-z_][A-Za-z0-9_.]{0,60}\((?=[\"']))?"
)
_STRINGS = (
    r"\"{3}(?:(?!\"{3}).){0,4000}\"{0,3}|'{3}(?:(?!'{3}).){0,4000}'{0,3}"
    r"|\\{1,16}\"[^\"\\]*\\{1,16}\"|\\{1,16}'[^'\\]*\\{1,16}'|\"(?:[^\"\\\n]|\\.)*\"?|'(?:[^'\\\n]|\\.)*'?"
    r"|&quot;(?:(?!&quot;)[^\n]){0,4000}(?:&quot;)?|&#(3[49]);(?:(?!&#3)[^\n]){0,4000}(?:&#3[49];)?"
    r"|\\{1,16}u002[27](?:(?!\\{1,16}u002)[^\n]){0,4000}(?:\\{1,16}u002[27])?"
)
# A list of strings may have many lines.
_LISTS = r"[\[{]\s*[\"'][^\]}]{0,4000}[\]}]?|[\[{(][^\])}\n]*(?:[\])}][^\s,;\"'\])}]*)?"
# What ends a word that has no quotes: the next of several values, the end of a string around it, a tag.
_WORD = (
    r"(?:[^\s\0&;,\"'<>]|[&;,](?![A-Za-z_][A-Za-z0-9_. -]{0,40}(?:=|%3D)|quot;|apos;|#3|\s|$)"
    r"|[\"'](?![\s,;:)\]}]|$)|[<>](?![/A-Za-z]))+"
)
_VALUE = re.compile(rf"{_STRINGS}|{_LISTS}|{_WORD}", re.MULTILINE)
_QUOTED = re.compile(_MARK)
# One that is hidden already, and not a part of it.
_DONE = re.compile(rf"{re.escape(HIDDEN)}(?![^\s\\\"',;:)\]}}&<|])")

# What stands before a value. The value itself is only taken where the name is secret: others have more names
# in theirs, as config={'api_key': …}.
_ASSIGNED = re.compile(rf"{_START}{_NAME}{_MARK}?[\]}}]?\s{{0,3}}(?:=>|->|[:=]|%(?:25)?3[DdAa]){_GAP}")
# A flag and its value as two words, or as two strings of a printed list.
_FLAG = re.compile(
    r"(?<![A-Za-z0-9_-])(?P<name>--[A-Za-z][A-Za-z0-9_.-]{0,200})"
    rf"(?:{_MARK},\s{{0,80}}|[ \t]*\\\r?\n[ \t]*|[ \t]{{1,3}}|\0|\r?\n[ \t]*-[ \t]+)(?![-\\])"
)
_SHORT_FLAG = re.compile(
    r"(?<![A-Za-z0-9_-])(?P<name>-(?:password|passwd|passphrase|pass|pwd|token|secret|apikey|api-key))"
    rf"(?:{_MARK},\s{{0,80}}|[ \t]{{1,3}}|\0)(?!-)"
)
# A name and a value as two strings of a printed pair, or as two entries: {"name": …, "value": …}.
_PAIR = re.compile(
    r"[\"'](?P<name>[A-Za-z][A-Za-z0-9_.-]{0,200})\\{0,4}[\"']\s{0,3},\s{0,80}"
    r"(?:\\{0,4}[\"'](?i:value|default)\\{0,4}[\"']\s?:\s?)?(?=b?\\{0,4}[\"'])"
)
# The same in YAML, HTML, a form, a list of properties, Terraform.
_ENTRY = re.compile(
    r"(?i:\bname|\bkey)[\"']?[ \t]*:[ \t]*[\"']?(?P<name>[A-Za-z][A-Za-z0-9_.-]{0,200})[\"']?"
    r"(?:[ \t]*\r?\n[ \t]*|[ \t]*,[ \t]*)(?i:value)[\"']?[ \t]*:[ \t]*(?=\S)"
)
_ATTRIBUTE = re.compile(
    r"(?i:\b(?:name|key|id))=[\"'](?P<name>[A-Za-z][A-Za-z0-9_.-]{0,200})[\"']"
    r"(?:(?i:[ \t]+[A-Za-z-]{1,40}=[\"'][^\"'<>]{0,200}[\"']){0,4}(?i:[ \t]+value=)"
    r"|\r?\n(?:[^\r\n]+\r?\n){0,3}[ \t]*\r?\n[ \t]*)"
)
_PLIST = re.compile(r"<key>(?P<name>[A-Za-z][A-Za-z0-9_.-]{0,200})</key>\s{0,80}<string>")
_ELEMENT = re.compile(
    r"<(?P<name>[A-Za-z][A-Za-z0-9_.:-]{0,200})(?:[ \t][^<>\n]{0,400})?>(?=[^<>]{1,4000}</)"
)
_TERRAFORM = re.compile(
    r"variable[ \t]+\"(?P<name>[A-Za-z][A-Za-z0-9_.-]{0,200})\"[ \t]*\{[^{}]{0,400}?default[ \t]*=[ \t]*"
)
_SET = re.compile(
    r"\b(?:setenv|setx|set[ \t]+-[A-Za-z]{1,3}|configure[ \t]+set)[ \t]+"
    r"(?P<name>[A-Za-z_][A-Za-z0-9_.]{0,200})[ \t]+(?=\S)"
)
_AWS = re.compile(r"(?i)(?P<name>aws_(?:secret_access_key|session_token|access_key_id))\s+(?![=:])")
# machine … login … password …, also in lines of their own.
_NETRC = re.compile(
    r"\b(?:login[ \t]+\S{1,200}|machine[ \t]+\S{1,200})\s{1,80}(?P<name>password|passwd)[ \t]+(?=\S)"
)
# Cells of a table. The name must be one by which nothing else is called.
_CELL = re.compile(
    r"(?<![A-Za-z0-9_.-])(?P<name>[A-Za-z][A-Za-z0-9_.-]{2,100})"
    r"(?:[ \t]*[|│┃┆][ \t]*|[ \t]{2,80}|\t)(?=[^\s|│┃┆])"
)
# One word in the line below.
_BELOW = re.compile(
    r"(?<![A-Za-z0-9_.-])(?P<name>[A-Za-z][A-Za-z0-9_.-]{2,100})[\"']?:[ \t]*\r?\n[ \t]*(?:-[ \t]+)?"
    r"(?=\S{8,1000}[ \t]*(?:\r?\n|$))"
)
# `password "…"`, and what is said to be one.
_TOLD = re.compile(
    r"(?i)\b(?P<name>passphrase|password|passwd|secret|token|api[ _-]key)\s+(?:is[ \t]+|(?=[\"']))"
)
# The name in two words.
_TWO_WORDS = re.compile(r"(?i)\b(?P<name>pass[ \t](?:phrase|word|code))[\"']?[ \t]*[:=][ \t]*(?=\S)")
# A strong name, one blank and what no person would say: letters and digits.
_SPACED = re.compile(
    r"(?<![A-Za-z0-9_.-])(?P<name>[A-Za-z][A-Za-z0-9_.-]{2,100})[ \t]"
    r"(?![\"'`/.~(\[{<])(?=[^\s]*[A-Za-z])(?=[^\s]*\d)(?=[^\s]{6})"
)
_PROMPT = re.compile(r"(?i)\b(?P<name>password|passphrase) for [^\n]{1,200}?:[ \t]+(?=\S)")

_SURE: tuple[re.Pattern[str], ...] = (
    *(_PAIR, _ENTRY, _ATTRIBUTE, _PLIST, _ELEMENT, _TERRAFORM, _SET),
    *(_ASSIGNED, _FLAG, _SHORT_FLAG, _AWS, _NETRC, _PROMPT),
)
# Further values of one flag, as vLLM's --api-key takes them.
_MORE = re.compile(r"(?:[ \t]+(?=[^\s\-|&;<>]*\d)[^\s\-|&;<>\"']{6,})+")


def hide_named(text: str, is_plain: Callable[[str], bool]) -> str:
    """`text` without the values of secret names; `is_plain` says of a value that it is known to be none."""
    for before in _SURE:
        text = _hide(
            before, text, is_secret_name, lambda name, value: is_plain_value(name, value) or is_plain(value)
        )
    for before, is_named in (
        (_CELL, is_strong_name),
        (_SPACED, is_strong_name),
        (_TWO_WORDS, _is_any),
        (_TOLD, is_secret_name),
        (_BELOW, is_secret_name),
    ):
        text = _hide(
            before,
            text,
            is_named,
            lambda _, value: looks_like_words(value.strip(".,;:!?\"'")) or is_plain_value(_, value),
        )
    return text


def _is_any(name: str) -> bool:
    """Where the pattern itself knows the name."""
    return bool(name)


def _hide(
    before: re.Pattern[str],
    text: str,
    is_named: Callable[[str], bool],
    is_plain: Callable[[str, str], bool],
) -> str:
    """`text` without the values behind `before`, which is a name and what parts it from its value."""
    shown: list[str] = []
    end = 0
    while match := before.search(text, end):
        shown.append(text[end : match.end()])
        end = match.end()
        name = match["name"]
        behind_escape = text[match.start("name") - 1 : match.start("name")] == "\\" and name[0] in "nrt"
        if not is_named(name) and not (behind_escape and is_named(name[1:])):
            continue
        lead = _LEAD.match(text, end)
        start = lead.end() if lead else end
        value = None if _DONE.match(text, start) else _VALUE.match(text, start)
        if value is None or is_plain(name, value[0]):
            continue
        mark = _QUOTED.match(value[0])
        shown.append(text[end:start] + (f"{mark[0]}{HIDDEN}{mark[0]}" if mark else HIDDEN))
        end = value.end()
        if before is _FLAG and (more := _MORE.match(text, end)):
            shown.append(f" {HIDDEN}")
            end = more.end()
    return "".join(shown) + text[end:]
