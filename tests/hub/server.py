"""Hub: the stand-in as a server on loopback, with its CDN on a second port."""

from __future__ import annotations

import os
import re
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote

from tests.hub.answer import Answer, answer_error
from tests.hub.blob import Blob, make_blob
from tests.hub.fault import Fault, Faults
from tests.hub.protocol import Asked, Protocol, Token
from tests.hub.repository import Repository
from tests.hub.request_log import Host, Request, RequestLog

__all__ = ["Hub", "Token"]

_ADDRESS = "127.0.0.1"
_CHUNK_BYTES = 64 * 1024
# How often a slow body gets its next bytes.
_SLOW_STEP_S = 0.05
_RATE_WINDOW_S, _RATE_LIMIT = 300, 3000
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Hub:
    """A hub with some repositories, from `with` to its end.

    `tokens` maps a bearer token to a user's name or a Token. Clients find the hub through the environment
    variable HF_ENDPOINT; `endpoint` is its value. Raises at its end what the stand-in itself did wrong.
    """

    def __init__(
        self,
        *repositories: Repository,
        tokens: Mapping[str, str | Token] | None = None,
        page_size: int = 1000,
        resolve_cache: bool = True,
        tells_blobs: bool = True,
        port: int = 0,
    ) -> None:
        self.protocol = Protocol(page_size=page_size, resolve_cache=resolve_cache, tells_blobs=tells_blobs)
        self.log = RequestLog()
        self.faults = Faults()
        self._ports: dict[Host, int] = {"hub": port, "cdn": 0}
        self._listeners: list[_Listener] = []
        self._errors: list[BaseException] = []
        for repo in repositories:
            self.add(repo)
        for token, whose in (tokens or {}).items():
            self.protocol.add_token(token, Token(whose) if isinstance(whose, str) else whose)

    @property
    def endpoint(self) -> str:
        """The address of the hub."""
        return self.protocol.endpoint

    def add(self, repo: Repository) -> Repository:
        """Put one more repository on the hub."""
        self.protocol.add(repo)
        return repo

    def rename(self, old: str, new: str) -> None:
        """Give a repository another id; the old one leads to it from now on."""
        self.protocol.rename(old, new)

    def fail(self, path: str = "*", **happens: Any) -> Fault:
        """Let something go wrong with requests to a path: the arguments are those of Fault."""
        fault = Fault(path, **happens)
        self.faults.add(fault)
        return fault

    def heal(self, fault: Fault | None = None) -> None:
        """Nothing goes wrong any more, or not this."""
        self.faults.lift(fault)

    def requests(
        self, path: str = "*", *, method: str | None = None, host: Host | None = None
    ) -> list[Request]:
        """The requests so far, oldest first."""
        return self.log.matching(path, method=method, host=host)

    def sent_bytes(self, path: str = "*", *, host: Host | None = None) -> int:
        """How many bytes of bodies were sent."""
        return sum(request.sent for request in self.requests(path, host=host))

    def start(self) -> None:
        """Listen, on the same ports as before if there were any."""
        for host in ("hub", "cdn"):
            listener = _Listener(self, host, self._ports[host])
            self._ports[host] = listener.server_address[1]
            self._listeners.append(listener)
        self.protocol.endpoint = f"http://{_ADDRESS}:{self._ports['hub']}"
        self.protocol.cdn = f"http://{_ADDRESS}:{self._ports['cdn']}"
        for listener in self._listeners:
            listener.begin()

    def stop(self) -> None:
        """Cut all connections and refuse new ones."""
        for listener in self._listeners:
            listener.end()
        self._listeners.clear()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nothing listens for a while: connections are refused."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def note_error(self, error: BaseException) -> None:
        """Remember what must not have happened in a handler."""
        self._errors.append(error)

    def __enter__(self) -> Hub:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None and self._errors:
            raise RuntimeError("the stand-in hub itself failed") from self._errors[0]


class _Listener(ThreadingHTTPServer):
    """One port. Its connections are known, so that its end does not wait for clients that keep them."""

    # The end waits for the threads of all connections: nothing is left that could warn or write later.
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, hub: Hub, host: Host, port: int) -> None:
        self.hub = hub
        self.host: Host = host
        self.ending = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        super().__init__((_ADDRESS, port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer looks up the machine's name here, which may take seconds without a name server.
        socketserver.TCPServer.server_bind(self)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self.ending.set()
        self.shutdown()
        self._thread.join()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        # A client that goes away in the middle is nothing special.
        if error is not None and not isinstance(error, ConnectionError):
            self.hub.note_error(error)


class _Gone(ConnectionError):
    """The connection was ended on purpose."""


class _Handler(BaseHTTPRequestHandler):
    """One connection, and the requests on it one after the other."""

    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        asked = Asked(self.command, self.server.host, self.path, _Headers(self.headers.items()), body)
        noted = Request(
            method=asked.method,
            host=asked.host,
            path=unquote(asked.raw_path),
            query=asked.query,
            range=asked.range,
            authorized=asked.bearer is not None,
            agent=asked.headers.get("User-Agent") or "",
        )
        hub = self.server.hub
        hub.log.begin(noted)
        answer = hub.protocol.answer(asked)
        good_body = asked.method != "HEAD" and answer.status == 200
        fault = hub.faults.take(asked.method, noted.path, good_body=good_body, ranged=asked.range is not None)
        fault = fault or Fault()
        self._before(fault)
        if fault.status is not None:
            answer = _failure(fault.status, fault)
        self._send(asked, answer, fault, noted)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *words: Any) -> None:
        """Say nothing; the hub's log has it."""

    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()

    def _before(self, fault: Fault) -> None:
        """What happens before anything is answered."""
        if fault.delay_s:
            self._wait(fault.delay_s)
        if fault.hang:
            self.server.ending.wait()
            self._end_connection(reset=False)
        if fault.drop:
            self._end_connection(reset=True)

    def _send(self, asked: Asked, answer: Answer, fault: Fault, noted: Request) -> None:
        blob = answer.body if isinstance(answer.body, Blob) else make_blob(answer.body)
        status, headers = answer.status, dict(answer.headers)
        size = blob.size
        spoiled = fault if asked.method != "HEAD" and status == 200 else Fault()
        size = max(0, size - spoiled.shorter_by)
        start, end = 0, size
        if answer.ranges and not spoiled.ignore_range and (found := _read_range(asked.range, size)):
            start, end = found
            if start >= end:
                status, start, end = 416, 0, 0
                headers["Content-Range"] = f"bytes */{size}"
            else:
                status = 206
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        noted.status = status
        self.send_response(status)
        for name, value in {**headers, **self._everywhere(headers)}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if asked.method != "HEAD":
            self._send_body(blob, start, end, spoiled, noted)

    def _send_body(self, blob: Blob, start: int, end: int, fault: Fault, noted: Request) -> None:
        step = _CHUNK_BYTES
        if fault.bytes_per_s is not None:
            step = max(1, min(step, int(fault.bytes_per_s * _SLOW_STEP_S)))
        stops = [start + after for after in (fault.cut_after, fault.stall_after) if after is not None]
        cut = min([end, *stops])
        flip = None if fault.flip_at is None else fault.flip_at % max(1, blob.size)
        while start < cut:
            chunk = blob.read(start, min(step, cut - start))
            if flip is not None and start <= flip < start + len(chunk):
                changed = bytearray(chunk)
                changed[flip - start] ^= 0xFF
                chunk = bytes(changed)
            noted.sent += len(chunk)
            self.wfile.write(chunk)
            start += len(chunk)
            if fault.bytes_per_s is not None and start < end:
                self._wait(len(chunk) / fault.bytes_per_s)
        if cut < end:
            if fault.cut_after is None:
                self.server.ending.wait()
            self._end_connection(reset=fault.reset)

    def _everywhere(self, headers: Mapping[str, str]) -> dict[str, str]:
        """What the hub says with every answer of its own."""
        if self.server.host == "cdn":
            return {}
        told = {"X-Request-Id": f"Root=1-{time.time_ns():x}", "X-Powered-By": "stand-in"}
        if "RateLimit" not in headers:
            told["RateLimit"] = f'"api";r={_RATE_LIMIT - 1};t={_RATE_WINDOW_S}'
        told["RateLimit-Policy"] = f'"fixed window";"api";q={_RATE_LIMIT};w={_RATE_WINDOW_S}'
        return told

    def _wait(self, seconds: float) -> None:
        """Wait, but not beyond the end of the server."""
        if self.server.ending.wait(seconds):
            self._end_connection(reset=False)

    def _end_connection(self, *, reset: bool) -> None:
        """End the connection at once: with a reset, or as if all had been said."""
        with suppress(OSError):
            if reset:
                # A socket that does not linger is reset as it closes. Closing its descriptor is the only way:
                # the streams that this handler reads and writes hold the socket itself open.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.connection.detach())
            else:
                self.connection.shutdown(socket.SHUT_RDWR)
        raise _Gone


class _Headers(dict[str, str]):
    """Headers by any spelling of their names."""

    def __init__(self, items: Any) -> None:
        super().__init__((name.lower(), value) for name, value in items)

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key.lower(), default)


def _failure(status: int, fault: Fault) -> Answer:
    """The error that a fault asks for."""
    told = {429: "Too Many Requests", 503: "Service Unavailable"}.get(status, "Internal Error")
    headers = {}
    if fault.retry_after_s is not None:
        headers["Retry-After"] = str(fault.retry_after_s)
        if status == 429:
            headers["RateLimit"] = f'"api";r=0;t={fault.retry_after_s}'
    return answer_error(status, fault.message or told, fault.error_code, **headers)


def _read_range(asked: str | None, size: int) -> tuple[int, int] | None:
    """Begin and end of a single range, the end not in it; None for none, or one that is not understood."""
    found = _RANGE.fullmatch((asked or "").strip())
    if not found or found[1] == found[2] == "":
        return None
    if found[1] == "":
        return max(0, size - int(found[2])), size
    last = min(size - 1, int(found[2])) if found[2] else size - 1
    return int(found[1]), last + 1
