"""`neuronctl explain` as a user types it: a file, a pipe, a code, and what is none of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.terminal import Terminal

LOGS = Path(__file__).parents[1] / "data" / "logs"


def test_a_log_for_a_person(terminal: Terminal) -> None:
    said = terminal.run("explain", str(LOGS / "islpy-too-new.log")).expect(0, "islpy-too-new: ", "line 2")
    assert said.out.index("pip install islpy==2026.1") < said.out.index("compiler-failed")
    assert not said.err


def test_a_log_as_json(terminal: Terminal) -> None:
    envelope = terminal.run("explain", str(LOGS / "cores-in-use.log"), "--json").expect(0).envelope
    assert envelope["command"] == "explain"
    (found,) = envelope["data"]["explanations"]
    assert found["id"] == "cores-in-use"
    assert "nc1-nc1" in found["title"]


@pytest.mark.parametrize(
    "code",
    ["NCC_EARG001", "70", "-9", "137", "NRT_LOAD_NOT_ENOUGH_NC", "tie-word-embeddings", "stack.no-python"],
)
def test_a_code(terminal: Terminal, code: str) -> None:
    terminal.run("explain", code).expect(0, "why: ", "try: ", "source: ")


def test_what_is_not_known(terminal: Terminal) -> None:
    terminal.run("explain", "NCC_EARG01").expect(2, "NCC_EARG001")
    terminal.run("explain").expect(2, "say what to explain")
    terminal.run("explain", str(LOGS / "healthy.log")).expect(1, "nothing in", "log-neuron-cc.txt")


def test_a_pipe() -> None:
    log = b"\xff\x00 junk\n\x1b[31mRuntimeError: No EFA device found\x1b[0m\n" * 2
    done = subprocess.run(
        [sys.executable, "-m", "neuronctl", "explain", "-"],
        input=log,
        capture_output=True,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        check=False,
    )
    assert done.returncode == 0, done
    assert b"line 2, 2 times in all" in done.stdout
    assert b"\x1b" not in done.stdout
    assert not done.stderr


def test_the_list(terminal: Terminal) -> None:
    said = terminal.run("explain", "--list").expect(0, "NCC_EARG001", "tie-word-embeddings", "NRT_RESOURCE")
    assert len(said.out.splitlines()) > 200
