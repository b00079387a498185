"""The main job on the real vLLM: compile, serve, ask, hit, damage, repair.

One story in one test, because each step needs the one before it and a compile takes a minute or two.
"""

from __future__ import annotations

import os
import signal

import pytest

from tests.e2e.engine import ANSWER, QUESTION, Home, Server

pytestmark = [pytest.mark.engine, pytest.mark.timeout(840)]

PROFILE = "smollm2-cpu"


def test_compile_once_serve_hit_and_repair(home: Home, port: int, servers: list[Server]) -> None:
    code, envelope = home.run("compile", PROFILE, "--check")
    assert (code, envelope["status"]) == (10, "cache-miss")

    code, envelope = home.run("compile", PROFILE)
    assert (code, envelope["data"]["outcome"]) == (0, "compiled"), envelope
    said = {one["prompt"]: one["answer"] for one in envelope["data"]["smoke"]}
    assert said[QUESTION].strip() == ANSWER
    key = envelope["data"]["key"]

    # A second start compiles nothing.
    server = Server(home, port, PROFILE)
    servers.append(server)
    server.wait_until_ready(240)
    assert f"artifact {key}: hit" in server.story
    assert server.ask(QUESTION).strip() == ANSWER
    envelope = server.stop(signal.SIGINT)
    assert envelope["exit_code"] == 130
    assert (envelope["data"]["hit"], envelope["data"]["compiled_again"]) == (True, False)
    code, envelope = home.run("cache", "verify")
    assert (code, envelope["data"]["damaged"]) == (0, 0), "serving changed the artifact"

    # A damaged artifact is noticed, put aside, compiled again and served.
    largest = max(home.store.glob("artifacts/*/tree/inductor/**/*.so"), key=lambda path: path.stat().st_size)
    largest.chmod(0o644)
    os.truncate(largest, largest.stat().st_size // 2)
    code, envelope = home.run("compile", PROFILE, "--check")
    assert (code, envelope["status"]) == (12, "artifact-damaged")
    server = Server(home, port, PROFILE)
    servers.append(server)
    server.wait_until_ready(480)
    assert "quarantine" in server.story
    assert server.ask(QUESTION).strip() == ANSWER
    envelope = server.stop(signal.SIGTERM)
    assert (envelope["exit_code"], envelope["data"]["key"]) == (143, key)
    assert not envelope["data"]["hit"]
    code, envelope = home.run("cache", "list")
    assert [one["key"] for one in envelope["data"]["artifacts"]] == [key]
    assert [one["key"] for one in envelope["data"]["quarantined"]] == [key]
    code, envelope = home.run("cache", "verify")
    assert (code, envelope["data"]["damaged"]) == (0, 0)
