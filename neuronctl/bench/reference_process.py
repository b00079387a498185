"""ReferenceProcess: the reference server as a child, which ends with us."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from neuronctl.errors import ServerNotReady

MODEL = "reference"
# Its tokenizer, whose words are all it says; a prompt has as many tokens as words.
TOKENIZER = Path(__file__).with_name("reference_tokenizer")
_SCRIPT = Path(__file__).with_name("reference_server.py")
_START_S = 30.0
_ANSWER_S = 10.0


@dataclass(frozen=True)
class Served:
    """What the reference server really sent: seconds, by its own clock, of `answers` whole answers.

    `late_p99_s`: 99 of 100 tokens were no later than this.
    """

    answers: int
    ttft_p50_s: float
    ttft_p99_s: float
    itl_p50_s: float
    itl_p99_s: float
    late_p99_s: float


@dataclass(frozen=True)
class ReferenceProcess:
    """A reference server that runs."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def served(self, last: int) -> Served | None:
        """What it sent in its last so many answers; None where not one was whole."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ANSWER_S)
        try:
            connection.request("GET", f"/stats?last={last}")
            said = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ServerNotReady(
                f"the reference server on port {self.port} does not answer: {error}",
                fix="see what else runs on this machine, and type the same again",
                code="bench.reference-failed",
            ) from None
        finally:
            connection.close()
        ttft, itl, late = said["ttft_s"], said["itl_s"], said["late_s"]
        if ttft is None or itl is None:
            return None
        return Served(said["answers"], ttft["p50"], ttft["p99"], itl["p50"], itl["p99"], late["p99"])


@contextmanager
def reference_process(ttft_s: float = 0.05, itl_s: float = 0.01, *more: str) -> Iterator[ReferenceProcess]:
    """A reference server of this context, with `more` of its options. Raises ServerNotReady.

    Its stdin is a pipe from us: when we end, however, it ends.
    """
    argv = [sys.executable, "-I", "-S", str(_SCRIPT)]
    argv += [f"--ttft-ms={ttft_s * 1000:g}", f"--itl-ms={itl_s * 1000:g}", *more]
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ},
        )
    except OSError as error:
        raise _not_up(str(error)) from None
    with process:
        try:
            yield ReferenceProcess(_port_of(process))
        finally:
            process.kill()


def _port_of(process: subprocess.Popen[bytes]) -> int:
    """The port that it says when it is up."""
    assert process.stdout is not None and process.stderr is not None
    alarm = threading.Timer(_START_S, process.kill)
    alarm.start()
    try:
        line = process.stdout.readline()
    finally:
        alarm.cancel()
    try:
        return int(json.loads(line)["port"])
    except (ValueError, TypeError, KeyError):
        said = process.stderr.read().decode("utf-8", "replace").strip()
        raise _not_up(said.rpartition("\n")[2] or f"it said nothing within {_START_S:.0f} s") from None


def _not_up(why: str) -> ServerNotReady:
    return ServerNotReady(
        f"the reference server did not start: {why}",
        fix="see what else runs on this machine, and type the same again",
        code="bench.reference-failed",
    )
