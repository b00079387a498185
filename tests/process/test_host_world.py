"""Host against the real world: short commands, HTTP requests and ports, each with its ways to fail."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from neuronctl import short_command
from neuronctl.host import Host
from neuronctl.process_group import exit_code
from neuronctl.short_command import Finished
from tests.process.terminal import until


@pytest.fixture
def host(tmp_path: Path) -> Host:
    # A proxy that is not there: a request that asked it would fail.
    return Host(environ={"PATH": os.environ["PATH"], "http_proxy": "http://127.0.0.1:9"}, cwd=tmp_path)


def test_a_command_runs_where_and_with_what_the_host_says(host: Host, tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd(), os.environ['X']); print('bad', file=sys.stderr); sys.exit(3)"
    done = host.run([sys.executable, "-c", code], timeout_s=60, env={"X": "y"})
    assert done == Finished(3, f"{tmp_path} y\n", "bad\n", "ended with 3, saying: bad")


def test_a_command_s_output_need_not_be_text(host: Host) -> None:
    code = "import sys; sys.stdout.buffer.write(b'\\xff.')"
    assert host.run([sys.executable, "-c", code], timeout_s=60).stdout == "\ufffd."


def test_what_a_command_says_at_its_end_is_read_on_a_machine_however_busy(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(child: subprocess.Popen[bytes]) -> int | None:
        time.sleep(0.6)  # as where others have the processors: it speaks and ends between two looks
        return exit_code(child)

    monkeypatch.setattr(short_command, "exit_code", late)
    assert host.run(["sh", "-c", "sleep 0.3; echo said"], timeout_s=60).stdout == "said\n"


def test_a_command_has_no_input(host: Host) -> None:
    assert host.run([sys.executable, "-c", "print(repr(input()))"], timeout_s=60).returncode == 1


@pytest.mark.parametrize("argv", [["/no/such/program"], ["/"], ["a\0b"]])
def test_a_command_that_cannot_be_started(host: Host, argv: list[str]) -> None:
    done = host.run(argv, timeout_s=60)
    assert done.returncode == 127
    assert done.stderr


def test_a_command_that_takes_too_long(host: Host) -> None:
    code = "import time; print('begun', flush=True); time.sleep(600)"
    done = host.run([sys.executable, "-c", code], timeout_s=2)
    assert done == Finished(None, "begun\n", "", "did not answer in 2 s", hangs=True)


def test_what_a_command_started_is_ended_with_it(host: Host, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    done = host.run(["sh", "-c", f"sleep 600 & echo $! > {pid}; wait"], timeout_s=1)
    assert done.why == "did not answer in 1 s"
    until(lambda: not is_alive(int(pid.read_text())), "it to end")


@pytest.mark.parametrize("output", ["", ">/dev/null 2>&1"])
def test_what_a_command_leaves_running_is_not_waited_for_and_ended(
    host: Host, tmp_path: Path, output: str
) -> None:
    pid = tmp_path / "pid"
    begun = time.monotonic()
    done = host.run(["sh", "-c", f"sleep 600 {output} & echo $! > {pid}; echo said"], timeout_s=60)
    assert done == Finished(0, "said\n", "", None)
    assert time.monotonic() - begun < 30
    until(lambda: not is_alive(int(pid.read_text())), "it to end")


def test_a_command_that_prints_without_end_is_stopped(host: Host) -> None:
    done = host.run(["yes"], timeout_s=60)
    assert (done.returncode, done.why) == (None, "printed more than 8 MiB and was stopped")
    assert len(done.stdout) < 10 << 20


def test_a_command_that_closes_its_output_and_stays(host: Host) -> None:
    code = "import os, time; os.close(1); os.close(2); time.sleep(600)"
    assert host.run([sys.executable, "-c", code], timeout_s=2).why == "did not answer in 2 s"


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def serving(answer: bytes) -> Iterator[str]:
    """A server that answers one connection with `answer` and closes it; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_one() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=answer_one)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, "hi"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff.", 200, "\ufffd."),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone", 404, "none"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", 500, ""),
    ],
)
def test_an_answer(host: Host, answer: bytes, status: int, body: str) -> None:
    with serving(answer) as url:
        response = host.http("GET", url)
    assert (response.status, response.body) == (status, body)


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"],
    ids=["hung up", "no HTTP", "cut short"],
)
def test_a_torn_connection_is_no_answer(host: Host, answer: bytes) -> None:
    with serving(answer) as url:
        response = host.http("POST", url, body=b"{}", headers={"X": "y"})
    assert response.status == 0
    assert response.body


def test_nobody_there_is_no_answer(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    response = host.http("GET", f"http://127.0.0.1:{port}/")
    assert response.status == 0
    assert "refused" in response.body


def test_too_late_is_no_answer(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        response = host.http("GET", url, timeout_s=0.2)
    assert response.status == 0
    assert "timed out" in response.body


def test_a_port_in_use_and_a_free_one(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not host.port_is_free("127.0.0.1", port)
    assert host.port_is_free("127.0.0.1", port)


@pytest.mark.parametrize("address", ["é" * 100, "no\0where", "a..b", "192.0.2.1", "::zz", "host.invalid"])
def test_an_address_that_is_not_ours_is_not_free(host: Host, address: str) -> None:
    assert not host.port_is_free(address, 8000)
