"""Addresses: passwords before the host, and what lets whoever has the address in."""

from __future__ import annotations

import re

from neuronctl.secret import HIDDEN, hide_passwords

# Whoever has such an address may read what it names.
_SIGNED = re.compile(r"(?i)((?:x-amz-|x-goog-)?(?:signature|credential)|\bsig)(=|%3D)[^\s&\"'<>]+")
# The code of a login, and keys without a better name.
_ASKED = re.compile(
    r"(?i)((?:[?&]|%3F|%26)(?:code|key|session|sid|policy|assertion)(?:=|%3D))(?!\d{1,6}(?:[&\s]|$))[^\s&\"'<>]{8,}"
)
# To be allowed to write there is to know the path.
_HOOK = re.compile(
    r"(?i)(hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/"
    r"|webhook\.office\.com/|/bot(?=\d{6,}:))[^\s\"'<>]+"
)
# Also where no name stands before the host, or a slash in the password.
_USER = re.compile(
    r"(://)([^\s/@\"'<>]{1,1000}|[^\s/:@\"'<>]{0,1000}:(?!\d{1,5}[/?#])[^\s@\"'<>]{1,1000})(?=@)"
)
_ORACLE = re.compile(
    r"(?i)(jdbc:oracle:[a-z]+:[^/\s@\"']{1,200}/|\bsqlplus[ \t]+(?:-\w{1,9}[ \t]+){0,9}[^/\s@\"']{1,200}/)"
    r"[^\s@\"']{1,200}(?=@)"
)
# A line of .pgpass: host, port, database, user, password.
_PGPASS = re.compile(
    r"(?m)(^|[ \t\"'\[])([A-Za-z0-9_.*/-]{1,250}:(?:\d{4,5}|\*):[^:\s]{1,250}:[^:\s]{1,250}:)[^\s\"']+"
    r"(?=[\"'\]]|[ \t]*\r?$)"
)


def hide_in_addresses(text: str) -> str:
    """`text` without passwords, signatures and codes in addresses."""
    text = _ORACLE.sub(rf"\1{HIDDEN}", _PGPASS.sub(rf"\1\2{HIDDEN}", text))
    text = _HOOK.sub(rf"\1{HIDDEN}", _ASKED.sub(rf"\1{HIDDEN}", _SIGNED.sub(rf"\1\2{HIDDEN}", text)))
    return _USER.sub(rf"\1{HIDDEN}", hide_passwords(text))
