"""`neuronctl bench --profile`: the server that it starts, with stand-ins for vLLM and for the client."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from neuronctl.bench.result_file import read_result
from tests.process.terminal import Running, Terminal
from tests.process.test_bench_guidellm import make_python


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the stand-in for guidellm."""
    return make_python(tmp_path_factory.mktemp("guidellm") / "venv" / "bin")


def start(terminal: Terminal, client: Path, *words: str, of_client: str = "") -> Running:
    told = ("--engine", "guidellm", "--engine-python", str(client), "--tokenizer", str(terminal.model))
    short = ("--max-concurrency", "2", "--num-prompts", "8", "--repeats", "2", "-o", "a.json")
    env = {"GUIDELLM_STAND_IN": of_client}
    return terminal.start("bench", "-p", "p.yaml", *told, *short, *words, env=env)


def test_both_starts_are_told_and_nothing_is_left_running(terminal: Terminal, client: Path) -> None:
    start(terminal, client, "--cold").end().expect(0, "cold start", "warm start")
    found = read_result(terminal.cwd / "a.json")
    assert [one.kind for one in found.startup] == ["cold", "warm"]
    cold, warm = (list(one.phases) for one in found.startup)
    assert [phase.name for phase in cold[:2]] == ["plan", "compile"]
    assert cold[-1].name == warm[-1].name == "first answer"
    assert "compile" not in [phase.name for phase in warm]
    assert [len(point.runs) for point in found.points] == [2]
    assert found.status == "complete" and found.target.started_here


def test_the_artifact_makes_a_warm_start(compiled: Terminal, client: Path) -> None:
    start(compiled, client).end().expect(0, "warm start")
    (only,) = read_result(compiled.cwd / "a.json").startup
    assert only.kind == "warm"


def test_a_server_that_runs_is_measured_and_left_alone(compiled: Terminal, client: Path) -> None:
    server = compiled.serve()
    start(compiled, client).end(clean=False).expect(0, "measuring that server")
    found = read_result(compiled.cwd / "a.json")
    assert not found.startup and not found.target.started_here
    start(compiled, client, "--cold").end(clean=False).expect(2, "being served already")
    assert server.process.poll() is None
    server.signal(signal.SIGINT)
    server.end().expect(130)


def test_a_server_that_dies_in_the_middle_ends_it(compiled: Terminal, client: Path) -> None:
    """It is not started again: what came before and after would be two servers' numbers."""
    bench = start(compiled, client, of_client="hang-sending@run-2").until_told("run 1/2: ")
    for line in compiled.left():
        if str(compiled.port) in line and "child_guard" not in line:
            os.kill(int(line.partition(":")[0]), signal.SIGSEGV)
    said = bench.end().expect(40, "what was measured until then is kept")
    assert "restart" not in said.err
    found = read_result(compiled.cwd / "a.json")
    assert found.status == "partial" and [len(point.runs) for point in found.points] == [1]
    assert "killed" in (found.why_partial or "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_it_keeps_what_was_measured(
    compiled: Terminal, client: Path, number: signal.Signals, code: int
) -> None:
    bench = start(compiled, client, of_client="hang-sending@run-2").until_told("run 1/2: ")
    bench.signal(number)
    bench.end().expect(code, "what was measured until then is kept")
    found = read_result(compiled.cwd / "a.json")
    assert found.status == "partial" and [len(point.runs) for point in found.points] == [1]


def test_a_client_that_fails_stops_the_server(compiled: Terminal, client: Path) -> None:
    start(compiled, client, of_client="nothing").end().expect(40, "warm-up-1.json", "guidellm.log")
    assert not (compiled.cwd / "a.json").exists()
