"""Answer: what the hub says to a request, before anything goes wrong with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.hub.blob import Blob


@dataclass(frozen=True)
class Answer:
    """Status, headers and the whole body, of which a range is sent where it is asked for and allowed."""

    status: int
    body: bytes | Blob = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    ranges: bool = False


def answer_json(value: Any, **headers: str) -> Answer:
    """A good answer of the API."""
    body = json.dumps(value).encode()
    return Answer(200, body, {"Content-Type": "application/json; charset=utf-8", **_named(headers)})


def answer_error(status: int, message: str, code: str | None = None, **headers: str) -> Answer:
    """An error as the hub gives it: the code and the message are headers, the message is in the body too."""
    told = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    body = json.dumps({"error": message}).encode()
    content = {"Content-Type": "application/json; charset=utf-8"}
    return Answer(status, body, {**content, **told, **_named(headers)})


def answer_redirect(status: int, location: str, **headers: str) -> Answer:
    """A redirect; a location without a host is on the same one."""
    body = f"Redirecting to {location}".encode()
    content = {"Content-Type": "text/plain; charset=utf-8", "Location": location}
    return Answer(status, body, {**content, **_named(headers)})


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers whose names were written as Python's names are: X_Repo_Commit."""
    return {name.replace("_", "-"): value for name, value in headers.items()}
