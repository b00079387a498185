"""The reference server as a real process, and the self-test with a client of the test's own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from neuronctl.bench.engine import Job, OnDone
from neuronctl.bench.record import Record, Sent
from neuronctl.bench.reference_process import ReferenceProcess, reference_process
from neuronctl.bench.schema import Engine
from neuronctl.bench.self_test import measure_delay, run_self_test
from neuronctl.errors import ServerNotReady

PROJECT = Path(__file__).parents[2]
SCRIPT = PROJECT / "neuronctl" / "bench" / "reference_server.py"
LIMIT_S = 60.0


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[ReferenceProcess]:
    """A fast one; a test may give it more options."""
    with reference_process(0.01, 0.002, *getattr(request, "param", ())) as one:
        yield one


def with_options(*words: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("server", [words], indirect=True)


def ask(
    connection: HTTPConnection,
    tokens: int = 3,
    *,
    path: str = "/v1/completions",
    headers: dict[str, str] | None = None,
    **more: object,
) -> HTTPResponse:
    """Ask for tokens on a connection that is kept."""
    asked = {"model": "reference", "prompt": "bado fige", "max_tokens": tokens, "stream": True, **more}
    connection.request("POST", path, json.dumps(asked), headers or {})
    return connection.getresponse()


def connect(server: ReferenceProcess) -> closing[HTTPConnection]:
    return closing(HTTPConnection("127.0.0.1", server.port, timeout=LIMIT_S))


def get(server: ReferenceProcess, path: str) -> tuple[int, Any]:
    with connect(server) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if body else None


def is_up(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def stream(port: int, tokens: int) -> Record:
    """One request as a client sees it: a connection, and the moments at which chunks came."""
    body = json.dumps({"model": "reference", "prompt": "bado", "max_tokens": tokens, "stream": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    writer.write(head + body)
    at = []
    await reader.readuntil(b"\r\n\r\n")
    while size := int(await reader.readline(), 16):
        await reader.readexactly(size + 2)
        at.append(time.monotonic())
    writer.close()
    await writer.wait_closed()
    gaps = tuple(after - before for before, after in pairwise(at))
    return Record(began, at[0] - began, gaps, at[-1] - began, 1, len(at))


async def send(port: int, concurrency: int, requests: int, tokens: int) -> tuple[Record, ...]:
    gate = asyncio.Semaphore(concurrency)

    async def one() -> Record:
        async with gate:
            return await stream(port, tokens)

    return tuple(await asyncio.gather(*(one() for _ in range(requests))))


@dataclass
class OwnSession:
    """A client of our own. `late_s`: it claims so much more until the first token."""

    late_s: float = 0.0
    jobs: list[Job] = field(default_factory=list)
    engine: Engine = field(default_factory=lambda: Engine(name="vllm", version="own", python=sys.executable))

    def run(self, job: Job, on_done: OnDone) -> Sent:
        self.jobs.append(job)
        assert job.load.concurrency and job.load.output_tokens
        port = int(job.url.rpartition(":")[2])
        began = time.monotonic()
        made = asyncio.run(send(port, job.load.concurrency, job.load.requests, job.load.output_tokens))
        on_done(len(made))
        said = tuple(
            Record(one.start_s, (one.ttft_s or 0) + self.late_s, one.itls_s, one.e2e_s, 1, one.output_tokens)
            for one in made
        )
        return Sent(said, time.monotonic() - began)


def test_its_times_are_what_they_are_said_to_be() -> None:
    """Never early, whatever the machine does; and never later in its own words than in a client's."""
    with reference_process(0.05, 0.01) as server:
        records = asyncio.run(send(server.port, 64, 128, 12))
        served = server.served(128)
        late_s = get(server, "/stats?last=128")[1]["late_s"]["max"]
    assert served is not None and served.answers == 128
    for record in records:
        assert record.output_tokens == 12
        assert record.e2e_s is not None and record.e2e_s >= 0.05 + 11 * 0.01
    # However busy the machine is: what it says of its lateness explains all that is not as it should be.
    assert 0.05 <= served.ttft_p50_s <= served.ttft_p99_s <= 0.0501 + late_s
    assert served.itl_p99_s <= 0.0101 + late_s
    middle = sorted(record.ttft_s or 0 for record in records)[64]
    assert middle >= served.ttft_p50_s - 0.001


@with_options("--slower", "3")
def test_an_artificial_regression(server: ReferenceProcess) -> None:
    (record,) = asyncio.run(send(server.port, 1, 1, 5))
    assert record.e2e_s is not None and record.e2e_s >= 3 * (0.01 + 4 * 0.002)


def test_it_speaks_as_vllm_does(server: ReferenceProcess) -> None:
    assert get(server, "/health") == (200, None)
    assert get(server, "/version") == (200, {"version": "reference"})
    assert get(server, "/metrics")[0] == 404
    (card,) = get(server, "/v1/models")[1]["data"]
    assert card["id"] == card["root"] == "reference"
    with connect(server) as connection:
        chat = ask(
            connection,
            path="/v1/chat/completions",
            messages=[{"role": "user", "content": "bado"}],
            stream_options={"include_usage": True},
        ).read()
        assert chat.count(b'"delta"') == 3
        assert b'"completion_tokens":3' in chat and chat.endswith(b"data: [DONE]\n\n")
        whole = json.loads(ask(connection, 5, stream=False).read())
        assert whole["usage"] == {"prompt_tokens": 2, "completion_tokens": 5, "total_tokens": 7}
        wrong = ask(connection, model="other")
        assert wrong.status == 404
        assert json.loads(wrong.read())["error"]["message"] == "The model `other` does not exist."
        assert ask(connection, max_tokens=-1).status == 400


def test_what_comes_in_pieces_and_what_comes_too_early_is_answered(server: ReferenceProcess) -> None:
    body = b'{"model": "reference", "prompt": "a", "max_tokens": 2, "stream": true}'
    request = b"POST /v1/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) as client:
        for piece in (request[:30], request[30:100], request[100:] + request + request[:5], request[5:]):
            client.sendall(piece)
            get(server, "/health")  # it has read what came before
        came = b""
        while came.count(b"data: [DONE]") < 3:
            came += client.recv(65536)
    assert came.count(b"HTTP/1.1 200 OK") == 3
    assert came.count(b'"text"') == 6


@with_options("--fail-every", "3", "--refuse-every", "2")
def test_faults_by_status(server: ReferenceProcess) -> None:
    with connect(server) as connection:
        statuses = []
        for _ in range(6):
            answer = ask(connection)
            answer.read()
            statuses.append(answer.status)
    assert statuses == [200, 429, 500, 429, 200, 500]


@with_options("--cut-every", "2")
def test_a_stream_that_is_cut(server: ReferenceProcess) -> None:
    with connect(server) as connection:
        assert ask(connection, 4).read().endswith(b"data: [DONE]\n\n")
        with pytest.raises(HTTPException):
            ask(connection, 4).read()
    served = server.served(10)
    assert served is not None and served.answers == 1


@with_options("--hang-on", "1")
def test_a_request_that_hangs(server: ReferenceProcess) -> None:
    with connect(server) as hanging, connect(server) as other:
        hanging.request("POST", "/v1/completions", '{"model": "reference", "prompt": "a", "stream": true}')
        while get(server, "/stats")[1]["requests"] < 1:
            pass
        assert ask(other).status == 200
        hanging.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            hanging.sock.recv(1)


@with_options("--die-after", "2")
def test_a_server_that_dies(server: ReferenceProcess) -> None:
    with connect(server) as connection:
        for _ in range(2):
            assert ask(connection).read()
        with pytest.raises((HTTPException, OSError)):
            ask(connection)
    with pytest.raises(ServerNotReady, match="does not answer"):
        server.served(2)


def start(*words: str, **options: Any) -> tuple[subprocess.Popen[bytes], int]:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(SCRIPT), *words], **{"stdout": subprocess.PIPE, **options}
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())["port"]


def test_it_wants_its_key() -> None:
    process, port = start("--api-key-env", "KEY", env={"KEY": "s3cret"}, stdin=subprocess.DEVNULL)
    with process:
        try:
            with connect(ReferenceProcess(port)) as connection:
                refused = ask(connection)
                assert (refused.status, refused.read()) == (401, b'{"error":"Unauthorized"}')
                assert ask(connection, headers={"Authorization": "Bearer s3cret"}).status == 200
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_by_signals_in_the_middle_of_an_answer(number: signal.Signals) -> None:
    process, port = start("--itl-ms=100000", "--ttft-ms=0", stdin=subprocess.DEVNULL)
    with process, connect(ReferenceProcess(port)) as connection:
        ask(connection)
        assert process.poll() is None  # a stdin that never closes does not end it
        process.send_signal(number)
        assert process.wait(LIMIT_S) == 0


def test_it_ends_when_its_stdin_closes() -> None:
    process, _ = start(stdin=subprocess.PIPE)
    with process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(LIMIT_S) == 0


def test_it_does_not_outlive_its_parent() -> None:
    script = (
        "import os, signal\n"
        "from neuronctl.bench.reference_process import reference_process\n"
        "with reference_process() as server:\n"
        "    print(server.port, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, stdout=subprocess.PIPE, timeout=LIMIT_S
    )
    until = time.monotonic() + LIMIT_S
    while is_up(int(parent.stdout)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_up(int(parent.stdout))


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ServerNotReady, match=r"did not start: .*Address already in use"),
            reference_process(0.05, 0.01, f"--port={port}"),
        ):
            pytest.fail("it started")


def test_the_self_test_asks_for_what_it_can_judge(tmp_path: Path) -> None:
    session, told = OwnSession(), []
    tested = run_self_test(session, tmp_path, (4, 1), tell=told.append)
    assert [trial.concurrency for trial in tested.trials] == [1, 4]
    assert [job.load.requests for job in session.jobs] == [2, 8, 16]
    assert {job.folder for job in session.jobs} == {tmp_path}
    assert len(told) == 2
    for trial in tested.trials:
        assert trial.served is not None
        assert trial.served.answers == trial.run.succeeded == trial.run.requests


def test_a_client_that_claims_more_than_was_sent_is_found_out(tmp_path: Path) -> None:
    (delay,) = measure_delay(OwnSession(late_s=0.5), tmp_path, (2,))
    assert delay.concurrency == 2
    assert 0.499 <= delay.ttft_s < 1.5
    assert abs(delay.itl_s) < 0.25


def test_no_concurrency_no_server(tmp_path: Path) -> None:
    session = OwnSession()
    assert measure_delay(session, tmp_path, ()) == ()
    assert session.jobs == []


@pytest.mark.engine
def test_the_real_client_reproduces_what_was_sent(tmp_path: Path) -> None:
    """Within what a busy machine allows; the exact bound is the user's to read."""
    done = subprocess.run(
        [sys.executable, "-m", "neuronctl", "bench", "--self-test", "--json"],
        env={**os.environ, "NEURONCTL_HOME": str(tmp_path), "NEURONCTL_PYTHON": sys.executable},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)["data"]
    assert [trial["concurrency"] for trial in data["trials"]] == [1, 16, 64]
    assert data["sentences"]
    for trial in data["trials"]:
        assert trial["errors"] == {}
        assert trial["sent_s"]["answers"] == trial["requests"]
        assert 0 < trial["added_s"]["ttft_p50"] < 0.2
        assert abs(trial["added_s"]["itl_p50"]) < 0.05
