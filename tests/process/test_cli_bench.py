"""`neuronctl bench` against a server whose times are known; one test has the real `vllm bench serve` send."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from neuronctl.bench.result_file import read_result
from tests.process.reference import TOKENIZER, Bencher, reference_server
from tests.process.terminal import make_python


@pytest.fixture
def bencher(tmp_path: Path) -> Bencher:
    """Somebody with a small `vllm bench serve`, which starts at once."""
    return Bencher(tmp_path, str(make_python(tmp_path / "bin")))


@pytest.mark.engine
def test_a_result_is_kept_told_drawn_and_gated(tmp_path: Path) -> None:
    bencher = Bencher(tmp_path)
    (bencher.folder / "prompts.jsonl").write_text('{"prompt": "w1 w2 w3", "output_tokens": 3}\n' * 4)
    with reference_server() as (url, _):
        said = bencher.measure(
            url,
            *("--max-concurrency", "1,4", "--goodput", "ttft:500", "--price-per-hour", "3.6"),
            *("-o", "a.json", "--report", "a.html", "--fail-on", "error_rate>0,ttft_p50>10s", "--json"),
        )
        assert said.code == 0, said.err
        measured = read_result(bencher.folder / "a.json")
        assert said.envelope["data"]["result"]["schema"] == measured.schema
        assert (said.envelope["data"]["breaches"], said.envelope["data"]["doubts"]) == ([], [])
        own = bencher.measure(
            url,
            *("--dataset-name", "jsonl", "--dataset-path", "prompts.jsonl", "--max-concurrency", "2"),
            *("-o", "own.json", "--fail-on", "output_throughput<100000"),
        )
    assert [point.load.name for point in measured.points] == ["c1 16 →4", "c4 16 →4"]
    for point in measured.points:
        assert len(point.runs) == 2
        for run in point.runs:
            assert (run.requests, run.succeeded, run.output_tokens, run.input_tokens) == (8, 8, 32, 128)
            assert run.ttft_s is not None and 0.05 <= run.ttft_s.p50 < 0.2
            assert run.itl_s is not None and 0.009 <= run.itl_s.p50 < 0.05
            assert run.goodput_rps is not None
        pace = sorted(run.output_tokens_per_s for run in point.runs)
        assert point.usd_per_million_tokens == pytest.approx(1000 / (sum(pace) / 2), rel=1e-3)
    assert {delay.concurrency for delay in measured.client_delay} == {1, 4}
    assert "<svg" in (bencher.folder / "a.html").read_text()
    # The second: own prompts, a condition that breaks, and numbers for a person.
    assert own.code == 1, own.err
    assert "output_throughput" in own.out and "TTFT" in own.out.upper()
    (point,) = read_result(bencher.folder / "own.json").points
    assert {run.output_tokens for run in point.runs} == {4 * 8}  # --output-len wins over the lines' own
    assert read_result(bencher.folder / "own.json").workload.dataset == "prompts.jsonl"
    # What came is kept, and the log; what was to be sent is not.
    raw = sorted(path.name for path in bencher.folder.glob("home/bench/*/*"))
    assert "vllm-bench.log" in raw and not [name for name in raw if name.endswith((".job", ".done"))]
    assert "one-run" not in own.out


def test_a_folder_for_raw_files_can_be_used_again(bencher: Bencher) -> None:
    told = ("--raw", "raw", "--repeats", "1", "--max-concurrency", "1", "--num-prompts")
    with reference_server() as (url, _):
        assert bencher.measure(url, *told, "8", "-o", "a.json").code == 0
        assert bencher.measure(url, *told, "4", "-o", "b.json").code == 0
    found = [read_result(bencher.folder / name).points[0].runs[0].requests for name in ("a.json", "b.json")]
    assert found == [8, 4]


def test_errors_are_told_on_top(bencher: Bencher) -> None:
    with reference_server("--fail-every", "3") as (url, _):
        said = bencher.measure(url, "-o", "a.json", "--max-concurrency", "2", "--fail-on", "error_rate>0")
    assert said.code == 1
    measured = read_result(bencher.folder / "a.json")
    assert measured.remarks[0].id == "errors" and measured.remarks[0].severity == "error"
    assert said.out.index("no whole answer") < said.out.index("tokens/s")
    assert all(
        run.errors and run.succeeded + sum(run.errors.values()) == 8 for run in measured.points[0].runs
    )


def test_a_server_that_dies_leaves_what_was_measured(bencher: Bencher) -> None:
    with reference_server("--die-after", "20") as (url, _):
        said = bencher.measure(url, "-o", "a.json", "--max-concurrency", "1", "--repeats", "9")
    assert said.code == 40, said.err
    kept = read_result(bencher.folder / "a.json")
    assert kept.status == "partial" and "does not answer any more" in str(kept.why_partial)
    # The run in which it died is no measurement of it.
    assert [run.succeeded for run in kept.points[0].runs] == [8, 8]
    assert "a.json" in said.err and "Traceback" not in said.err


def test_interrupted_it_keeps_what_was_measured_and_leaves_nobody(bencher: Bencher) -> None:
    with reference_server() as (url, _):
        named = (
            "--url",
            url,
            "--model",
            "reference",
            "--tokenizer",
            str(TOKENIZER),
            "--json",
            "-o",
            "a.json",
        )
        process = bencher.start(*named, "--input-len", "16", "--output-len", "8", "--repeats", "500",
                                "--num-prompts", "8", "--max-concurrency", "4")  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if "run 2/500" in line and "tokens/s" in line:
                break
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["status"] != "ok"
    kept = read_result(bencher.folder / "a.json")
    assert kept.status == "partial" and kept.points[0].runs
    deadline = time.monotonic() + 20
    while _clients(bencher.folder):
        assert time.monotonic() < deadline, "the client is still there"
        time.sleep(0.05)


def _clients(folder: Path) -> str:
    return subprocess.run(["pgrep", "-f", f"vllm_child.py {folder}"], capture_output=True, text=True).stdout


def test_a_slower_server_fails_the_gate_and_the_same_does_not(bencher: Bencher) -> None:
    """With wide bounds: how well it tells a small regression from noise is benchmarks/bench_gate.py."""
    with reference_server() as (url, _), reference_server("--slower", "4") as (slow, _):
        gate = ("--max-concurrency", "2", "--fail-on", "ttft_p50>+80%, itl_p50>+80%")
        assert bencher.measure(url, "--max-concurrency", "2", "-o", "a.json").code == 0
        same = bencher.measure(url, *gate, "--baseline", "a.json", "-o", "b.json")
        assert same.code == 0, same.out
        worse = bencher.measure(slow, *gate, "--baseline", "a.json", "-o", "c.json")
    assert worse.code == 1
    assert "ttft_p50" in worse.out and "itl_p50" in worse.out
    told = bencher.run("compare", "a.json", "c.json", "--json").envelope["data"]
    assert "worse" in json.dumps(told)


def test_a_full_disk_costs_no_result(bencher: Bencher) -> None:
    disk = bencher.folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with reference_server() as (url, _):
            told = ("--max-concurrency", "1", "-o", "disk/a.json")
            said = bencher.measure(url, *told, TMPDIR=str(bencher.folder))
        assert said.code == 30, said.err
        assert "space" in said.err.lower() and "Traceback" not in said.err
        (kept,) = bencher.folder.glob("neuronctl-bench-*/a.json")
        assert str(kept) in said.err
        assert read_result(kept).status == "complete"
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
