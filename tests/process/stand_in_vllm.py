"""A stand-in for vLLM's OpenAI server: the same log phases and endpoints, and faults on demand.

Only the standard library, so it starts in a tenth of a second. `serve(...)` is the server; run as a script it
takes a few of vLLM's arguments. The log lines are those by which vLLM 0.32 on a CPU shows its phases.

Environment variable STAND_IN: a comma-separated list of behaviours, `name` or `name=value`:

    ready-after=S        seconds that the start takes, besides the compile (default 0.05)
    compile-s=S          seconds that a compile takes (default 0.1); nothing when the cache is full
    no-cache             compiles always and writes nothing
    die-at-once=CODE     exits at once
    die-saying=FILE      prints what FILE holds and exits with code 1
    die-in=PHASE         exits with code 1 and a traceback in a phase: import, load, compile, listen
    hang=PHASE           never leaves that phase, and prints nothing in it
    die-after-ready=S    exits with code 1 that long after it listens
    exit-after-ready=S   the same with code 0
    oom                  kills itself with SIGKILL while it loads the model
    ignore-signals       ignores INT, TERM and HUP
    flood=S              writes to stderr as fast as it can, from its start, for so long
    flood-junk=S         the same with bytes that are no text and have no newline
    grandchildren        starts two processes that ignore signals: one in its group, one in its own session
    completions=500      health is fine, requests for text get status 500
    completions=hang     the same, but they are never answered
    hang-after-ready=S   that long after it listens, health is not answered any more
    answer=KIND          kind of text: repeat, empty, nan (a log probability that is no number), wrong
    only-first=FILE      all the above only until FILE exists, which is made at the start
"""

# ruff: noqa: T201 - it speaks on stdout and stderr, as a server does

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import queue
import signal
import socketserver
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

VERSION = "0.32.0"


def behaviours() -> dict[str, str]:
    """What STAND_IN asks for."""
    wanted = {}
    for word in os.environ.get("STAND_IN", "").split(","):
        if word.strip():
            name, _, value = word.strip().partition("=")
            wanted[name] = value
    if first := wanted.get("only-first"):
        if Path(first).exists():
            return {}
        Path(first).touch()
    return wanted


def log(who: str, where: str, text: str, level: str = "INFO") -> None:
    """A line as vLLM writes it."""
    moment = time.strftime("%m-%d %H:%M:%S")
    print(f"({who} pid={os.getpid()}) {level} {moment} [{where}] {text}", file=sys.stderr, flush=True)


class DamagedCache(RuntimeError):
    """A file of the compile cache does not hold what was written into it."""


class Cache:
    """Compile output in the two folders that the real one uses: each file begins with a hash of its rest."""

    NAMES = (
        ("VLLM_CACHE_ROOT", "torch_compile_cache/0f1e2d3c4b/rank_0_0/backbone/computation_graph.py", 3000),
        ("VLLM_CACHE_ROOT", "torch_compile_cache/0f1e2d3c4b/rank_0_0/backbone/vllm_compile_cache.py", 200),
        ("TORCHINDUCTOR_CACHE_DIR", "fxgraph/kq/fkq2/graph", 20_000),
        ("TORCHINDUCTOR_CACHE_DIR", "ab/cab2x7.main.so", 300_000),
        ("TORCHINDUCTOR_CACHE_DIR", "cd/ccd9qz.py", 4000),
    )

    def __init__(self) -> None:
        self.files = [
            (Path(os.environ[variable]) / name, size)
            for variable, name, size in self.NAMES
            if os.environ.get(variable)
        ]

    def load(self) -> bool:
        """Whether all files are there and whole; raises DamagedCache for one that is not whole."""
        for path, _ in self.files:
            if path.exists():
                head, _, body = path.read_bytes().partition(b"\n")
                if head.decode("utf-8", "replace") != hashlib.sha256(body).hexdigest():
                    raise DamagedCache(f"cannot load {path}: bad magic number")
        return bool(self.files) and all(path.exists() for path, _ in self.files)

    def write(self) -> None:
        """Make what is missing."""
        for path, size in self.files:
            path.parent.mkdir(parents=True, exist_ok=True)
            body = (path.name.encode() * (size // len(path.name) + 1))[:size]
            path.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def answer_to(prompt: str, kind: str) -> str:
    """A fixed text for a prompt, or one that is bad in the way asked for."""
    if kind == "empty":
        return ""
    if kind == "repeat":
        return "the the the the the the the the the the the the the the the the"
    if kind == "wrong":
        return "Bananas grow upwards because they like the light."
    if "capital of France" in prompt:
        return "The capital of France is Paris."
    words = " ".join(prompt.split()[-6:]) or "nothing"
    number = int(hashlib.sha256(prompt.encode()).hexdigest()[:4], 16)
    return f"You asked about {words}; my answer to that is number {number}."


class Handler(BaseHTTPRequestHandler):
    """The few endpoints that a client of vLLM uses first."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if self.path == "/health":
            if self.server.health_hangs:
                self.server.over.wait()
            self.reply(200, None)
        elif self.path == "/version":
            self.reply(200, {"version": VERSION})
        elif self.path == "/v1/models" and self.allowed():
            card = {"id": self.server.served, "object": "model", "owned_by": "vllm", "max_model_len": 2048}
            self.reply(200, {"object": "list", "data": [card]})
        elif self.path != "/v1/models":
            self.reply(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path not in ("/v1/chat/completions", "/v1/completions"):
            self.reply(404, {"detail": "Not Found"})
            return
        if not self.allowed():
            return
        fault = self.server.wanted.get("completions")
        if fault == "hang":
            self.server.over.wait()
        if fault == "500":
            self.problem(500, "EngineCore encountered an issue.")
            return
        try:
            request = json.loads(body)
            model = request["model"]
        except (ValueError, KeyError, TypeError):
            self.problem(400, "the body is not a request")
            return
        if model != self.server.served:
            self.problem(404, f"The model `{model}` does not exist.")
            return
        if self.path == "/v1/chat/completions":
            self.chat(request)
        else:
            self.complete(request)

    def allowed(self) -> bool:
        key = self.server.api_key
        if key and self.headers.get("Authorization") != f"Bearer {key}":
            self.reply(401, {"error": "Unauthorized"})
            return False
        return True

    def chat(self, request: dict[str, Any]) -> None:
        text = answer_to(request["messages"][-1]["content"], self.server.answer)
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": None,
            "finish_reason": "stop",
        }
        if request.get("logprobs"):
            content = [{"token": t, "logprob": p, "top_logprobs": []} for t, p in self.tokens(text)]
            choice["logprobs"] = {"content": content}
        if request.get("stream"):
            self.stream(text)
        else:
            self.reply(200, self.completion("chat.completion", choice, text))

    def complete(self, request: dict[str, Any]) -> None:
        prompt = request.get("prompt", "")
        text = answer_to(prompt if isinstance(prompt, str) else str(prompt), self.server.answer)
        choice: dict[str, Any] = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}
        if request.get("logprobs") is not None:
            tokens = self.tokens(text)
            choice["logprobs"] = {
                "tokens": [token for token, _ in tokens],
                "token_logprobs": [value for _, value in tokens],
                "top_logprobs": [{token: value} for token, value in tokens],
                "text_offset": [0] * len(tokens),
            }
        self.reply(200, self.completion("text_completion", choice, text))

    def tokens(self, text: str) -> list[tuple[str, float]]:
        value = float("nan") if self.server.answer == "nan" else -0.125
        return [(word + " ", value) for word in text.split()]

    def completion(self, kind: str, choice: dict[str, Any], text: str) -> dict[str, Any]:
        count = len(text.split())
        usage = {"prompt_tokens": 8, "completion_tokens": count, "total_tokens": 8 + count}
        return {
            "id": "cmpl-1",
            "object": kind,
            "created": int(time.time()),
            "model": self.server.served,
            "choices": [choice],
            "usage": usage,
        }

    def stream(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for word in text.split():
            piece = {"index": 0, "delta": {"content": word + " "}, "finish_reason": None}
            part = {"object": "chat.completion.chunk", "model": self.server.served, "choices": [piece]}
            self.wfile.write(b"data: " + json.dumps(part).encode() + b"\n\n")
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def problem(self, status: int, message: str) -> None:
        self.reply(status, {"error": {"message": message, "type": "InternalServerError", "code": status}})

    def reply(self, status: int, content: object) -> None:
        data = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the inherited name
        line = f'{self.client_address[0]}:{self.client_address[1]} - "{self.requestline}" {args[1]}'
        print(f"INFO:     {line}", flush=True)


class Server(ThreadingHTTPServer):
    """The listening socket, and what the handlers need to know."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, host: str, port: int, served: str, api_key: str | None, wanted: dict[str, str]
    ) -> None:
        self.served = served
        self.api_key = api_key
        self.wanted = wanted
        self.answer = wanted.get("answer", "")
        self.health_hangs = False
        self.over = threading.Event()
        super().__init__((host, port), Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # the inherited one looks up the host's name, slowly
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


def flood(seconds: float, piece: bytes) -> None:
    def run() -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            os.write(2, piece)

    threading.Thread(target=run, daemon=True).start()


def enter(phase: str, wanted: dict[str, str]) -> None:
    """Faults that are bound to a phase."""
    if wanted.get("hang") == phase:
        while True:
            time.sleep(3600)
    if wanted.get("die-in") == phase:
        log("EngineCore", "core.py:1510", "EngineCore failed to start.", "ERROR")
        raise RuntimeError(f"stand-in was told to die in {phase}")


def start_grandchildren() -> None:
    stubborn = (
        "import signal, time\n"
        "for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(s, signal.SIG_IGN)\n"
        "print('grandchild ready', flush=True)\n"
        "time.sleep(3600)\n"
    )
    for own_session in (False, True):
        child = subprocess.Popen(
            [sys.executable, "-S", "-c", stubborn],
            stdout=subprocess.PIPE,
            start_new_session=own_session,
            # One of them forgets where it comes from, as programs that rename themselves do.
            env={} if own_session else None,
        )
        assert child.stdout is not None
        child.stdout.readline()
        log("EngineCore", "core.py:1", f"grandchild {child.pid} started")


def compile_or_load(wanted: dict[str, str]) -> None:
    log("EngineCore", "cpu_model_runner.py:87", "Warming up model for the compilation...")
    enter("compile", wanted)
    cache = Cache()
    begun = time.monotonic()
    if "no-cache" in wanted or not cache.load():
        time.sleep(float(wanted.get("compile-s", "0.1")))
        if "no-cache" not in wanted:
            cache.write()
    took = time.monotonic() - begun
    log("EngineCore", "cpu_model_runner.py:91", "Warming up done.")
    what = "init engine (profile, create kv cache, warmup model)"
    log("EngineCore", "core.py:402", f"{what} took {took:.2f} s")


def serve(host: str, port: int, model: str, served: str, api_key: str | None) -> int:
    """Start, serve until INT or TERM, and return the exit code."""
    wanted = behaviours()
    if "die-at-once" in wanted:
        return int(wanted["die-at-once"] or 1)
    if "die-saying" in wanted:
        sys.stderr.write(Path(wanted["die-saying"]).read_text())
        return 1
    if "ignore-signals" in wanted:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    if "flood" in wanted:
        line = b"(EngineCore pid=1) WARNING 01-01 00:00:00 [flood.py:1] the same line again and again\n"
        flood(float(wanted["flood"] or 1), line * 1000)
    if "flood-junk" in wanted:
        flood(float(wanted["flood-junk"] or 1), bytes(b for b in range(256) if b not in b"\r\n") * 400)
    if "grandchildren" in wanted:
        start_grandchildren()
    pause_s = float(wanted.get("ready-after", "0.05")) / 3
    enter("import", wanted)
    time.sleep(pause_s)
    log("APIServer", "api_utils.py:286", f"non-default args: {{'host': '{host}', 'port': {port}}}")
    what = f"Initializing a V1 LLM engine (v{VERSION}) with config: model='{model}'"
    log("EngineCore", "core.py:133", what)
    log("EngineCore", "cpu_model_runner.py:68", f"Starting to load model {model}...")
    enter("load", wanted)
    if "oom" in wanted:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(pause_s)
    log("EngineCore", "default_loader.py:501", "Loading weights took 1.07 seconds")
    compile_or_load(wanted)
    time.sleep(pause_s)
    log("APIServer", "entry.py:140", f"Starting vLLM server on http://{host}:{port}")
    enter("listen", wanted)
    server = Server(host, port, served, api_key, wanted)
    code = run(server, wanted)
    log("APIServer", "launcher.py:304", "[shutdown] API server: shutting down FastAPI HTTP server")
    return code


def run(server: Server, wanted: dict[str, str]) -> int:
    """Answer requests until a signal, or a fault that was asked for."""
    # A signal handler may put into this queue; to set the event that its own thread waits for would hang.
    codes: queue.SimpleQueue[int] = queue.SimpleQueue()

    def stop(number: int, frame: FrameType | None) -> None:
        codes.put(0)

    def later(seconds: str, then: int) -> None:
        timer = threading.Timer(float(seconds or 0), lambda: codes.put(then))
        timer.daemon = True
        timer.start()

    if "ignore-signals" not in wanted:
        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
    if "die-after-ready" in wanted:
        later(wanted["die-after-ready"], 1)
    if "exit-after-ready" in wanted:
        later(wanted["exit-after-ready"], 0)
    if "hang-after-ready" in wanted:
        timer = threading.Timer(
            float(wanted["hang-after-ready"] or 0), lambda: setattr(server, "health_hangs", True)
        )
        timer.daemon = True
        timer.start()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    print("INFO:     Application startup complete.", flush=True)
    code = None
    while code is None:
        # A signal that comes just before the wait begins is not handled before the wait ends.
        with contextlib.suppress(queue.Empty):
            code = codes.get(timeout=0.1)
    server.over.set()
    server.shutdown()
    server.server_close()
    if code:
        print("Traceback (most recent call last):\nvllm.EngineDeadError: told to die", file=sys.stderr)
    return code


def arguments(argv: list[str]) -> argparse.Namespace:
    """Some of vLLM's arguments; an unknown one ends with code 2, as there."""
    parser = argparse.ArgumentParser("api_server.py", allow_abbrev=False)
    parser.add_argument("model_tag", nargs="?")
    parser.add_argument("--model", default="Qwen/Qwen3-0.6B")
    parser.add_argument("--served-model-name", nargs="+")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--api-key", nargs="*")
    parser.add_argument("--lora-modules", nargs="+")
    for name in ("dtype", "seed", "max-model-len", "max-num-seqs", "max-num-batched-tokens", "block-size",
                 "tensor-parallel-size", "gpu-memory-utilization", "kv-cache-memory-bytes", "tokenizer",
                 "num-gpu-blocks-override", "chat-template", "tool-call-parser", "load-format",
                 "kv-cache-dtype", "quantization", "revision", "generation-config", "compilation-config",
                 "additional-config", "hf-overrides", "speculative-config", "limit-mm-per-prompt",
                 "max-lora-rank", "max-loras", "max-logprobs", "uvicorn-log-level",
                 "swap-space"):  # fmt: skip
        parser.add_argument(f"--{name}")
    for name in ("enable-prefix-caching", "enable-chunked-prefill", "trust-remote-code", "enforce-eager",
                 "enable-auto-tool-choice", "enable-lora", "disable-log-requests", "enable-log-requests",
                 "disable-log-stats"):  # fmt: skip
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    given = arguments(sys.argv[1:] if argv is None else argv)
    model = given.model_tag or given.model
    served = given.served_model_name[0] if given.served_model_name else model
    api_key = given.api_key[0] if given.api_key else os.environ.get("VLLM_API_KEY")
    return serve(given.host, given.port, model, served, api_key)


if __name__ == "__main__":
    sys.exit(main())
