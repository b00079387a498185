"""The reference server: an OpenAI server without a model, whose times are known.

It answers each request with exactly the tokens that were asked for: the first TTFT after the request came,
then one each ITL. A client's numbers are held against it. Only the standard library and one file, so that it
runs in any Python from 3.10 on.

How its times stay right with many streams on a part of one core:

- Deadlines count from the request's arrival, so that one late token does not make the next one late.
- One heap of deadlines and one wait for all streams. `select` waits to the microsecond; `epoll` alone, and
  asyncio with it, rounds up to the next millisecond.
- What is sent is encoded beforehand, and goes out by one call a token. With 64 streams of 100 tokens a second
  a token is 0.2 ms late in the median on two cores that the client keeps busy too.
- A request has arrived when the loop woke up for it, not when its turn came; and the loop looks for new ones
  after every few tokens.

`/stats?last=N` says of the last N answers when their tokens were really sent and how late that was, so that
the server's own fault is not taken for the client's. As with vLLM the headers go out at once; unlike there,
the first chunk of a chat carries the first token along with the role, so that each chunk is a token.

It ends by TERM, by INT, and when its stdin is a pipe or a terminal and is closed.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import os
import random
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, Literal

# Words that the reference tokenizer knows, so that an answer has as many tokens for whoever counts them.
_WORDS = ("bado", "fige", "hako", "lumi", "nepu", "rosa", "tivo", "zeku")
# Tokens sent before the loop looks for requests again.
_TURN = 8
_KEPT_STREAMS = 10_000
_READ_BYTES = 256 * 1024
_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
}
_KINDS = {404: "NotFoundError", 429: "TooManyRequestsError", 500: "InternalServerError"}

Api = Literal["completions", "chat"]
_APIS: dict[str, Api] = {"/v1/completions": "completions", "/v1/chat/completions": "chat"}


@dataclass(frozen=True)
class Settings:
    """What the server does. `slower` multiplies both times; `jitter` is the relative noise of each, up to 1.

    Faults, 0 for never: it exits with 1 at the request after `die_after`; every `fail_every`th request gets
    status 500, every `refuse_every`th 429; every `cut_every`th stream is cut in the middle; request number
    `hang_on` is never answered.
    """

    model: str = "reference"
    ttft_s: float = 0.05
    itl_s: float = 0.01
    jitter: float = 0.0
    seed: int = 0
    slower: float = 1.0
    api_key: str | None = field(default=None, repr=False)
    die_after: int = 0
    fail_every: int = 0
    refuse_every: int = 0
    cut_every: int = 0
    hang_on: int = 0


def deadlines(settings: Settings, number: int, arrived_s: float) -> Iterator[float]:
    """When the tokens of request `number` are due, without end."""
    first_s, step_s = settings.ttft_s * settings.slower, settings.itl_s * settings.slower
    if not settings.jitter:
        return (arrived_s + first_s + step_s * token for token in count())
    return _noisy(random.Random(f"{settings.seed} {number}"), settings.jitter, arrived_s, first_s, step_s)


def _noisy(
    chance: random.Random, jitter: float, arrived_s: float, first_s: float, step_s: float
) -> Iterator[float]:
    due_s = arrived_s + first_s * (1 + chance.uniform(-jitter, jitter))
    while True:
        yield due_s
        due_s += step_s * (1 + chance.uniform(-jitter, jitter))


@dataclass(frozen=True)
class Question:
    """What a request for text asks for."""

    api: Api
    model: str
    prompt_tokens: int
    tokens: int
    stream: bool
    usage: bool


class BadRequest(ValueError):
    """The body is no request for text."""


def read_question(api: Api, body: bytes) -> Question:
    """A request's body; raises BadRequest."""
    try:
        asked = json.loads(body)
    except ValueError:
        raise BadRequest("the body is not JSON") from None
    if not isinstance(asked, dict):
        raise BadRequest("the body is not a JSON object")
    tokens = asked.get("max_completion_tokens") or asked.get("max_tokens") or 16
    if not isinstance(tokens, int) or tokens < 1:
        raise BadRequest("max_tokens must be at least 1")
    options = asked.get("stream_options")
    return Question(
        api=api,
        model=str(asked.get("model")),
        prompt_tokens=_words_in(asked.get("prompt") if api == "completions" else asked.get("messages")),
        tokens=tokens,
        stream=bool(asked.get("stream")),
        usage=isinstance(options, dict) and bool(options.get("include_usage")),
    )


def _words_in(said: object) -> int:
    """How many tokens the reference tokenizer makes of a prompt, of tokens or of messages."""
    if isinstance(said, str):
        return len(said.split())
    if isinstance(said, int):
        return 1
    if isinstance(said, dict):
        return _words_in(said.get("content", said.get("text")))
    if isinstance(said, list):
        return sum(map(_words_in, said))
    return 0


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _chunk(data: bytes) -> bytes:
    """One chunk of HTTP's chunked encoding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(value: object) -> bytes:
    return b"data: " + _json(value) + b"\n\n"


def _response(status: int, value: object) -> bytes:
    body = b"" if value is None else _json(value)
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: application/json\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n%b" % (len(body), body)


def _failure(status: int, message: str, param: str | None = None) -> bytes:
    """An error as vLLM words it."""
    kind = _KINDS.get(status, "BadRequestError")
    return _response(status, {"error": {"message": message, "type": kind, "param": param, "code": status}})


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)


class Texts:
    """What is sent, encoded once; the shapes are those of vLLM 0.32."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.created = int(time.time())
        self.first = {api: _chunk(self._token(api, 0)) for api in _APIS.values()}
        self.middle = {
            api: [_chunk(self._token(api, token)) for token in range(1, len(_WORDS) + 1)]
            for api in _APIS.values()
        }

    def pieces(self, question: Question) -> Iterator[bytes]:
        """What to send for each token; the last one ends the answer."""
        last = self.last(question)
        if question.tokens > 1:
            yield self.first[question.api]
            middle = self.middle[question.api]
            for token in range(question.tokens - 2):
                yield middle[token % len(middle)]
        yield last

    def last(self, question: Question) -> bytes:
        """The last token and the end of the stream."""
        text = self._token(question.api, question.tokens - 1, "length")
        if question.usage:
            text += _event({**self._envelope(question.api, True), "choices": [], "usage": _usage(question)})
        return _chunk(text + b"data: [DONE]\n\n") + b"0\r\n\r\n"

    def whole(self, question: Question) -> bytes:
        """The answer to a request that does not want a stream."""
        text = "".join(_word(token) for token in range(question.tokens))
        choice: dict[str, Any] = {
            "index": 0,
            "logprobs": None,
            "finish_reason": "length",
            "stop_reason": None,
        }
        if question.api == "chat":
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        answer = {**self._envelope(question.api, False), "choices": [choice], "usage": _usage(question)}
        return _response(200, answer)

    def _envelope(self, api: Api, stream: bool) -> dict[str, Any]:
        if api == "chat":
            return {
                "id": "chatcmpl-reference",
                "object": "chat.completion.chunk" if stream else "chat.completion",
                "created": self.created,
                "model": self.model,
            }
        return {
            "id": "cmpl-reference",
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
        }

    def _token(self, api: Api, token: int, finish: str | None = None) -> bytes:
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": finish}
        if api == "chat":
            delta = {"content": _word(token)}
            choice["delta"] = delta if token else {"role": "assistant", **delta}
        else:
            choice |= {"text": _word(token), "stop_reason": None}
        return _event({**self._envelope(api, True), "choices": [choice]})


def _word(token: int) -> str:
    return (" " if token else "") + _WORDS[token % len(_WORDS)]


def _usage(question: Question) -> dict[str, int]:
    return {
        "prompt_tokens": question.prompt_tokens,
        "completion_tokens": question.tokens,
        "total_tokens": question.prompt_tokens + question.tokens,
    }


@dataclass(eq=False)
class Connection:
    """A client's connection: what came and was not understood yet, and what waits for room to be sent."""

    sock: socket.socket
    received: bytes = b""
    unsent: bytes = b""
    answering: bool = False
    closed: bool = False


@dataclass(eq=False)
class Stream:
    """An answer that is being sent, in so many `tokens`; one to be cut ends after `cut_at` of them.

    `sent_s` are the moments at which they were handed to the kernel, `late_s` says how late that was.
    """

    connection: Connection
    arrived_s: float
    due: Iterator[float]
    pieces: Iterator[bytes]
    tokens: int
    cut_at: int | None
    sent_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)


class Ending(Exception):
    """The server was told to end. `code` is its exit code."""

    def __init__(self, code: int = 0) -> None:
        super().__init__(code)
        self.code = code


class Server:
    """The loop, and all that it remembers."""

    def __init__(self, settings: Settings, host: str = "127.0.0.1", port: int = 0) -> None:
        self.settings = settings
        self.texts = Texts(settings.model)
        self.listener = socket.create_server((host, port), backlog=1024)
        self.listener.setblocking(False)
        self.port = int(self.listener.getsockname()[1])
        self.epoll = select.epoll()
        self.epoll.register(self.listener, select.EPOLLIN)
        self.lifeline = -1
        self.connections: dict[int, Connection] = {}
        self.queue: list[tuple[float, int, Stream]] = []
        self.turns = count()
        self.asked = 0
        self.streams: deque[Stream] = deque(maxlen=_KEPT_STREAMS)
        self.away_s: deque[float] = deque(maxlen=_KEPT_STREAMS)
        self.blocked = 0

    def end_with(self, fd: int) -> None:
        """End when `fd` is closed. What is neither a pipe nor a terminal never is: the kernel refuses it."""
        with contextlib.suppress(OSError):
            self.epoll.register(fd, select.EPOLLIN)
            self.lifeline = fd

    def serve(self) -> None:
        """Serve; raises Ending."""
        while True:
            self._wait()
            woke_s = time.monotonic()
            for fd, mask in self.epoll.poll(0):
                self._look_at(fd, mask, woke_s)
            self._send_due()
            self.away_s.append(time.monotonic() - woke_s)

    def _wait(self) -> None:
        wait_s = self.queue[0][0] - time.monotonic() if self.queue else None
        if wait_s is None or wait_s > 0:
            select.select([self.epoll], [], [], wait_s)

    def _look_at(self, fd: int, mask: int, woke_s: float) -> None:
        if fd == self.listener.fileno():
            self._accept()
        elif fd == self.lifeline:
            if not os.read(fd, _READ_BYTES):
                raise Ending
        elif connection := self.connections.get(fd):
            if mask & select.EPOLLOUT:
                self._send(connection, b"")
            if mask & ~select.EPOLLOUT:
                self._receive(connection, woke_s)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # no more of them, or one that is gone already
            while True:
                sock, _ = self.listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections[sock.fileno()] = Connection(sock)
                self.epoll.register(sock, select.EPOLLIN)

    def _receive(self, connection: Connection, woke_s: float) -> None:
        try:
            came = connection.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            came = b""
        if not came:
            self._close(connection)
            return
        connection.received += came
        self._understand(connection, woke_s)

    def _understand(self, connection: Connection, now_s: float) -> None:
        """Answer what came whole; a next request waits until the answer before it is sent."""
        while not connection.answering and not connection.closed:
            head, found, rest = connection.received.partition(b"\r\n\r\n")
            if not found:
                return
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {
                name.strip().lower(): value.strip()
                for name, _, value in (one.partition(":") for one in lines)
            }
            try:
                length = int(headers.get("content-length", "0"))
                method, path, _ = first.split(" ")
            except ValueError:
                self._close(connection)
                return
            if len(rest) < length:
                return
            connection.received = rest[length:]
            self._answer(connection, f"{method} {path}", headers, rest[:length], now_s)

    def _answer(
        self, connection: Connection, what: str, headers: dict[str, str], body: bytes, now_s: float
    ) -> None:
        path, _, query = what.partition("?")
        method, _, path = path.partition(" ")
        key = self.settings.api_key
        if path.startswith("/v1/") and key and headers.get("authorization") != f"Bearer {key}":
            self._send(connection, _response(401, {"error": "Unauthorized"}))
        elif method == "POST" and path in _APIS:
            self._answer_question(connection, _APIS[path], body, now_s)
        elif method == "GET":
            self._send(connection, self._get(path, query))
        else:
            self._send(connection, _response(404, {"detail": "Not Found"}))

    def _get(self, path: str, query: str) -> bytes:
        if path == "/health":
            return _response(200, None)
        if path == "/version":
            return _response(200, {"version": "reference"})
        if path == "/v1/models":
            model = self.settings.model
            card = {"id": model, "object": "model", "created": self.texts.created, "owned_by": "neuronctl"}
            return _response(
                200, {"object": "list", "data": [{**card, "root": model, "max_model_len": 32768}]}
            )
        if path == "/stats":
            last = query.removeprefix("last=")
            return _response(200, self.stats(int(last) if last.isdecimal() else _KEPT_STREAMS))
        return _response(404, {"detail": "Not Found"})

    def _answer_question(self, connection: Connection, api: Api, body: bytes, now_s: float) -> None:
        settings = self.settings
        try:
            question = read_question(api, body)
        except BadRequest as error:
            self._send(connection, _failure(400, str(error)))
            return
        if question.model != settings.model:
            text = f"The model `{question.model}` does not exist."
            self._send(connection, _failure(404, text, "model"))
            return
        self.asked += 1
        if settings.die_after and self.asked > settings.die_after:
            raise Ending(1)
        if self.asked == settings.hang_on:
            connection.answering = True
        elif _is_turn(self.asked, settings.fail_every):
            self._send(connection, _failure(500, "The reference server was told to fail."))
        elif _is_turn(self.asked, settings.refuse_every):
            self._send(connection, _failure(429, "The reference server was told to refuse."))
        else:
            self._begin(connection, question, now_s)

    def _begin(self, connection: Connection, question: Question, now_s: float) -> None:
        due = deadlines(self.settings, self.asked, now_s)
        pieces = self.texts.pieces(question)
        tokens = question.tokens
        if question.stream:
            self._send(connection, STREAM_HEAD)
        else:
            due, pieces, tokens = islice(due, tokens - 1, None), iter([self.texts.whole(question)]), 1
        cut = question.stream and _is_turn(self.asked, self.settings.cut_every)
        connection.answering = True
        stream = Stream(connection, now_s, due, pieces, tokens, tokens // 2 if cut else None)
        self.streams.append(stream)
        self._queue(stream)

    def _queue(self, stream: Stream) -> None:
        heapq.heappush(self.queue, (next(stream.due), next(self.turns), stream))

    def _send_due(self) -> None:
        for _ in range(_TURN):
            if not self.queue or self.queue[0][0] > time.monotonic():
                return
            due_s, _, stream = heapq.heappop(self.queue)
            if not stream.connection.closed:
                self._send_token(stream, due_s)

    def _send_token(self, stream: Stream, due_s: float) -> None:
        connection = stream.connection
        if len(stream.sent_s) == stream.cut_at:
            self._close(connection)
            return
        piece = next(stream.pieces)
        # Before the call: it wakes the client, which on a busy machine runs at once in our stead.
        now_s = time.monotonic()
        self._send(connection, piece)
        stream.sent_s.append(now_s)
        stream.late_s.append(now_s - due_s)
        if len(stream.sent_s) < stream.tokens:
            self._queue(stream)
        else:
            connection.answering = False
            self._understand(connection, now_s)

    def _send(self, connection: Connection, data: bytes) -> None:
        if connection.closed:
            return
        waiting = connection.unsent
        data = waiting + data
        try:
            data = data[connection.sock.send(data) :]
        except BlockingIOError:
            pass
        except OSError:
            self._close(connection)
            return
        connection.unsent = data
        if bool(data) != bool(waiting):
            self.blocked += bool(data)
            self.epoll.modify(connection.sock, select.EPOLLIN | (select.EPOLLOUT if data else 0))

    def _close(self, connection: Connection) -> None:
        if not connection.closed:
            connection.closed = True
            del self.connections[connection.sock.fileno()]
            connection.sock.close()

    def stats(self, last: int) -> dict[str, Any]:
        """What was really sent in the last so many answers, in seconds.

        `late_s`: tokens after their deadlines. `away_s`: how long the loop did not look for requests.
        `blocked`: how often a client did not take what was sent.
        """
        streams = list(self.streams)[-last:]
        whole = [one for one in streams if len(one.sent_s) == one.tokens]
        return {
            "requests": self.asked,
            "answers": len(whole),
            "ttft_s": _shares(one.sent_s[0] - one.arrived_s for one in whole),
            "itl_s": _shares(
                after - before
                for one in whole
                for before, after in zip(one.sent_s, one.sent_s[1:], strict=False)
            ),
            "late_s": _shares(late for one in streams for late in one.late_s),
            "away_s": _shares(self.away_s),
            "blocked": self.blocked,
            "cpu_s": time.process_time(),
        }


def _is_turn(number: int, every: int) -> bool:
    return every > 0 and number % every == 0


def _shares(values: Iterable[float]) -> dict[str, float] | None:
    """A few quantiles; None for no values."""
    ordered = sorted(values)
    if not ordered:
        return None
    return {name: round(_quantile(ordered, share), 6) for name, share in _SHARES.items()}


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Between neighbours by straight line, as in measures.py."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def main() -> int:
    """Serve until told to end; the port is one line of JSON on stdout."""
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end)
        asked = _arguments()
        server = Server(_settings(asked), asked.host, asked.port)
        server.end_with(0)
        sys.stdout.write(json.dumps({"port": server.port, "pid": os.getpid()}) + "\n")
        sys.stdout.flush()
        server.serve()
    except Ending as ending:
        return ending.code
    except OSError as error:
        sys.stderr.write(f"the reference server cannot listen: {error}\n")
    return 1


def _end(number: int, frame: object) -> None:
    raise Ending


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--model", default=Settings.model)
    parser.add_argument("--ttft-ms", type=float, default=Settings.ttft_s * 1000)
    parser.add_argument("--itl-ms", type=float, default=Settings.itl_s * 1000)
    parser.add_argument("--jitter", type=float, default=0.0, help="relative noise of each time, 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--slower", type=float, default=1.0, help="multiplies both times")
    parser.add_argument("--api-key-env", metavar="NAME", help="require the key that this variable holds")
    for fault in ("die-after", "fail-every", "refuse-every", "cut-every", "hang-on"):
        parser.add_argument(f"--{fault}", type=int, default=0, metavar="N")
    return parser.parse_args()


def _settings(asked: argparse.Namespace) -> Settings:
    return Settings(
        model=asked.model,
        ttft_s=asked.ttft_ms / 1000,
        itl_s=asked.itl_ms / 1000,
        jitter=asked.jitter,
        seed=asked.seed,
        slower=asked.slower,
        api_key=os.environ.get(asked.api_key_env) if asked.api_key_env else None,
        die_after=asked.die_after,
        fail_every=asked.fail_every,
        refuse_every=asked.refuse_every,
        cut_every=asked.cut_every,
        hang_on=asked.hang_on,
    )


if __name__ == "__main__":
    sys.exit(main())
