"""RequestLog: what was asked of the hub, and what it sent."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Host = Literal["hub", "cdn"]


@dataclass
class Request:
    """One request. `path` is decoded and has no query; `range` is the header as it came.

    `sent` are the bytes of the body so far, counted before they are written: who has read a body finds all of
    it counted. `status` is None as long as nothing is answered, and for ever where a fault swallows it.
    """

    method: str
    host: Host
    path: str
    query: str
    range: str | None
    authorized: bool
    agent: str
    status: int | None = None
    sent: int = 0


class RequestLog:
    """All requests since the start, oldest first."""

    def __init__(self) -> None:
        self._requests: list[Request] = []
        self._lock = threading.Lock()

    def begin(self, request: Request) -> None:
        """Note a request as it comes in."""
        with self._lock:
            self._requests.append(request)

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._requests.clear()

    def matching(
        self, path: str = "*", *, method: str | None = None, host: Host | None = None
    ) -> list[Request]:
        """Requests whose path matches, as fnmatch does."""
        with self._lock:
            return [
                request
                for request in self._requests
                if fnmatchcase(request.path, path)
                and method in (None, request.method)
                and host in (None, request.host)
            ]
