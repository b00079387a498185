"""Command lines of programs whose short options take a password, glued to it or not."""

from __future__ import annotations

import re

from neuronctl.secret import HIDDEN

_BEFORE = r"(?<![A-Za-z0-9_.-])"
# Words are parted by blanks, in a printed list by quotes and commas, and in /proc by NUL.
_GAP = r"(?:[\"']?,?[ \t\0]+[\"']?|\0|[ \t]*\\\r?\n[ \t]*)"
_WORD = r"(?:'[^'\n]*'|\"[^\"\n]*\"|[^\s\0\"']+)"
_REST = r"(?:[^\n|;]|\\\r?\n|\|(?! ))*"


def _line(programs: str, option: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A command line of one of `programs`, and in it the option with what is secret behind it."""
    return (
        re.compile(rf"{_BEFORE}(?:{programs})(?:\.exe)?(?=[\s\0\"'\\,])(?:{_REST})"),
        re.compile(rf"((?<![A-Za-z0-9_-])(?:{option})){_WORD}"),
    )


_LINES = (
    _line(r"(?:mysql|mariadb)(?:[a-z]*|-[a-z]+)", r"-p(?=[^\s\0])"),
    _line(r"mongo(?:sh|dump|restore|export|import)?", rf"-p{_GAP}(?!-)|-p(?=[^\s\0])"),
    _line(r"redis-cli", rf"(?:-a|--pass){_GAP}|-a(?=[^\s\0])"),
    _line(r"sshpass", rf"-p{_GAP}?"),
    _line(
        r"(?:docker|podman|nerdctl|buildah|skopeo|oras|crane|helm)(?:[ ]registry)?[ ]login",
        rf"-p{_GAP}|-p(?=[^\s\0])",
    ),
    _line(r"ldap(?:search|modify|add|delete|passwd|whoami)", rf"-w{_GAP}?"),
    _line(r"7z[ar]?", r"-p(?=[^\s\0])"),
    _line(r"(?:un)?zip|sqlcmd|bcp|ipmitool|mosquitto_(?:pub|sub)", rf"-P{_GAP}"),
    _line(r"openssl", rf"-[kK]{_GAP}|(?:pass|-passin{_GAP}|-passout{_GAP}):"),
    _line(r"htpasswd", rf"-[a-zA-Z]*b[a-zA-Z]*{_GAP}[^\s\0]+{_GAP}[^\s\0]+{_GAP}"),
    _line(r"smbclient|rpcclient|net", rf"-U{_GAP}?[^\s\0%\"']+%"),
    _line(
        r"curl|wget|http|https", rf"(?:-u|-U|--user|--proxy-user)(?:=|{_GAP})?[\"']?[^\s\0:\"'/]{{0,100}}:"
    ),
    _line(r"kubectl|oc", rf"--from-literal(?:=|{_GAP})[\"']?[^\s\0=\"']+="),
)
_USER = re.compile(
    rf"({_BEFORE}(?:-u|--user|--proxy-user)(?:=|[ \t\0]{{1,3}})[\"']?[^\s\0:\"'/]{{0,100}}:)(?!//)[^\s\0\"']+"
)
# A word that is sent into a program that asks for a password.
_SENT = re.compile(
    r"(\b(?:echo|printf)[ \t]+(?:-[a-zA-Z]+[ \t]+)?)(?:'[^'\n]*'|\"[^\"\n]*\"|[^\s|]+)"
    r"(?=[ \t]*\|[^\n|]{0,200}(?:-stdin\b|--with-token\b|sudo[ \t]+-\w*S))"
)


def hide_in_commands(text: str) -> str:
    """`text` without the passwords in command lines that are told by their program."""
    for line, option in _LINES:
        text = line.sub(lambda found: option.sub(rf"\1{HIDDEN}", found[0]), text)  # noqa: B023
    return _SENT.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1{HIDDEN}", text))
