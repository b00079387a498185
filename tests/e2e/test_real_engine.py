"""The main job on the real vLLM: compile, serve, ask, hit, damage, repair.

One story in one test, because each step needs the one before it and a compile takes a minute or two.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.browser import dump_dom, read_page
from tests.e2e.engine import ANSWER, QUESTION, Home, Server
from tests.report_page import assert_tells

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1200)]

PROFILE = "smollm2-cpu"
PROJECT = Path(__file__).parents[2]


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

    # A measurement starts the same server, with the artifact, and stops it.
    measured = _bench(home, port)
    assert [one["kind"] for one in measured["startup"]] == ["warm"]
    assert measured["target"]["key"] == key

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


def _bench(home: Home, port: int) -> dict[str, Any]:
    """A short measurement; its file, which is as the published schema says, with numbers that agree."""
    code, envelope = home.run(
        *("bench", "--profile", PROFILE, "--set", f"server.port={port}"),
        *("-o", "bench.json", "--report", "r.html"),
        *("--max-concurrency", "1,2", "--input-len", "16", "--output-len", "4"),
        *("--num-prompts", "4", "--repeats", "1", "--fail-on", "error_rate>0"),
    )
    assert code == 0, envelope
    measured: dict[str, Any] = json.loads((home.folder / "bench.json").read_text())
    schema = json.loads((PROJECT / "docs" / "bench-result.schema.json").read_text())
    jsonschema.validate(measured, schema, cls=jsonschema.Draft202012Validator)
    assert measured["status"] == "complete" and measured["server_memory_bytes"] > 2**28
    for point in measured["points"]:
        (run,) = point["runs"]
        assert (run["succeeded"], run["output_tokens"], run["input_tokens"]) == (4, 16, 64)
        assert 0 < run["ttft_s"]["p50"] <= run["e2e_s"]["p50"] < run["took_s"]
        assert run["output_tokens_per_s"] == pytest.approx(16 / run["took_s"], rel=1e-3)
    assert_tells(read_page(dump_dom((home.folder / "r.html").as_uri(), home.folder)), measured)
    return measured
