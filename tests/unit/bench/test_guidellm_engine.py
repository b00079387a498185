"""What guidellm is told, and what is made of its report. guidellm 0.8.1 wrote the one that is read here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from neuronctl.bench.engine import Job
from neuronctl.bench.guidellm_order import environment, order, prompts_of
from neuronctl.bench.guidellm_report import kind_of, read_report
from neuronctl.bench.measures import measure
from neuronctl.bench.reference_process import Served
from neuronctl.bench.schema import Load, Workload
from neuronctl.bench.self_test import SelfTest, Trial
from neuronctl.errors import NeuronctlError, UsageError
from neuronctl.host import Host

CAPTURED = Path(__file__).parents[2] / "data" / "bench" / "guidellm-0.8.1.json"


def job(kind: str = "random", **said: Any) -> Job:
    load = Load(concurrency=2, rate_rps=None, input_tokens=32, output_tokens=8, requests=5)
    workload = Workload(kind="random", api="completions", seed=7, ignore_eos=True)
    made = Job(
        name="p",
        url="http://localhost:8000",
        model="org/model",
        tokenizer=None,
        workload=msgspec.structs.replace(workload, kind=kind),
        load=load,
        dataset=None,
        folder=Path("out"),
        timeout_s=60,
    )
    return replace(made, **said)


def with_load(one: Job, **said: Any) -> Job:
    return replace(one, load=msgspec.structs.replace(one.load, **said))


def spec(one: Job, cwd: Path = Path("/nowhere")) -> dict[str, Any]:
    return order(one, Host(environ={}, cwd=cwd), prompts=Path("/w/p.jsonl"), report=Path("/o/p.json"))["spec"]


def changed(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The captured report with a change."""
    report = json.loads(CAPTURED.read_text())
    change(report)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    return path


def test_a_report_becomes_records() -> None:
    sent = read_report(CAPTURED, 8)
    assert sent.raw == "guidellm-0.8.1.json"
    assert [record.error for record in sent.records].count(None) == 3
    starts = [record.start_s for record in sent.records]
    assert starts[0] == 0 and starts == sorted(starts, key=lambda start: start or 0)
    # The server sent the first token after 50 ms, and one each 10 ms.
    for record in sent.records:
        if record.error is None:
            assert record.ttft_s == pytest.approx(0.05, abs=0.005)
            assert record.tpot_s == pytest.approx(0.01, rel=0.1)
            assert record.e2e_s == pytest.approx(0.12, abs=0.01)
            assert (record.input_tokens, record.output_tokens, record.itls_s) == (32, 8, ())


def test_failures_are_counted_by_kind() -> None:
    run = measure(read_report(CAPTURED, 8))
    assert (run.requests, run.succeeded, run.output_tokens) == (8, 3, 24)
    assert run.errors == {
        "HTTP 500": 1,
        "HTTP 429": 1,
        "answer cut": 1,
        "connection": 1,
        "no tokens": 1,
    }
    assert run.itl_s is None  # guidellm does not keep it


def test_tokens_without_times_of_their_own_are_spread_over_their_answer() -> None:
    timeline = measure(read_report(CAPTURED, 8)).timeline
    assert timeline is not None
    assert sum(timeline.tokens_per_s) * timeline.width_s == pytest.approx(24, rel=0.02)
    assert sum(rate > 0 for rate in timeline.tokens_per_s) > 8  # not only where each answer began


def test_what_was_not_finished_is_an_error(tmp_path: Path) -> None:
    def cancel(report: dict[str, Any]) -> None:
        requests = report["benchmarks"][0]["requests"]
        one = requests["successful"].pop()
        one["info"] |= {"error": "Request was cancelled", "status": "cancelled"}
        requests["incomplete"].append(one)

    assert measure(read_report(changed(tmp_path, cancel), 8)).errors["cancelled"] == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("ReadTimeout('')", "timeout"),
        ("ConnectTimeout('')", "timeout"),
        ("ReadError('')", "connection"),
        ("RemoteProtocolError('Server disconnected without sending a response.')", "connection"),
        ("ValueError('`prompt` is empty')", "ValueError"),
        ("HTTPStatusError('odd')", "HTTPStatusError"),
        ("", ""),
    ],
)
def test_kinds_of_failures(error: str, kind: str) -> None:
    assert kind_of(error) == kind


TIMES = (
    "resolve_start",
    "resolve_end",
    "request_start",
    "first_token_iteration",
    "last_token_iteration",
)
PATHS: tuple[tuple[str | int, ...], ...] = (
    ("metadata",),
    ("metadata", "version"),
    ("benchmarks",),
    ("benchmarks", 0, "requests"),
    *(("benchmarks", 0, "requests", group) for group in ("successful", "errored", "incomplete")),
    *(
        ("benchmarks", 0, "requests", "successful", 0, *rest)
        for rest in (
            ("prompt_tokens",),
            ("output_tokens",),
            ("info",),
            ("info", "error"),
            ("info", "timings"),
        )
    ),
    *(("benchmarks", 0, "requests", "errored", 1, "info", "timings", name) for name in TIMES),
)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
@pytest.mark.parametrize("is_there", [False, True], ids=["missing", "odd"])
def test_a_missing_or_odd_key_is_named(tmp_path: Path, path: tuple[str | int, ...], is_there: bool) -> None:
    def change(report: dict[str, Any]) -> None:
        place: Any = report
        for step in path[:-1]:
            place = place[step]
        place.pop(path[-1])
        if is_there:
            place[path[-1]] = True

    file = changed(tmp_path, change)
    with pytest.raises(NeuronctlError) as caught:
        read_report(file, 8)
    assert str(file) in str(caught.value)
    assert str(path[-1]) in str(caught.value)


def drop_start(report: dict[str, Any]) -> None:
    times = report["benchmarks"][0]["requests"]["errored"][0]["info"]["timings"]
    times |= {"request_start": None, "resolve_start": None}


def turn_back_the_clock(report: dict[str, Any]) -> None:
    report["benchmarks"][0]["requests"]["successful"][0]["info"]["timings"]["first_token_iteration"] -= 3600


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda report: report["metadata"].update(version=3), "version 3 at $.metadata.version"),
        (lambda report: report["benchmarks"].clear(), "0 runs at $.benchmarks"),
        (lambda report: report["benchmarks"][0]["requests"]["errored"].pop(), "tells of 7 of 8 requests"),
        (drop_start, "without a start"),
        (turn_back_the_clock, "clock was set back"),
    ],
)
def test_a_report_that_cannot_be_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    file = changed(tmp_path, change)
    with pytest.raises(NeuronctlError) as caught:
        read_report(file, 8)
    assert words in str(caught.value) and str(file) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b'{"metadata": "\xff"}', b"[" * 100_000])
def test_what_is_no_report_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(NeuronctlError, match=r"r\.json is not what guidellm writes"):
        read_report(path, 1)


def test_a_cut_report_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    content = CAPTURED.read_bytes()
    for length in range(0, len(content) - 2, 997):
        path.write_bytes(content[:length])
        with pytest.raises(NeuronctlError, match=r"r\.json is not what guidellm writes"):
            read_report(path, 8)


def test_a_load_says_when_requests_are_sent() -> None:
    assert spec(job())["profile"] == {"kind": "concurrent", "streams": [2]}
    at_rate = with_load(job(), rate_rps=2.5)
    assert spec(at_rate)["profile"] == {"kind": "poisson", "rate": [2.5], "max_concurrency": 2}
    unlimited = with_load(job(), concurrency=None)
    assert spec(unlimited)["profile"] == {"kind": "throughput", "max_concurrency": 5}


def test_random_prompts_are_made_by_guidellm(tmp_path: Path) -> None:
    said = spec(with_load(job("shared-prefix", tokenizer="t"), prefix_tokens=16), tmp_path)
    assert said["data"] == [
        {"kind": "synthetic_text", "prompt_tokens": 32, "output_tokens": 8, "prefix_tokens": 16}
    ]
    assert said["tokenizer"]["model"] == "t"
    assert said["seed"]["value"] == 7
    assert prompts_of(job()) is None
    (tmp_path / "t").mkdir()
    there = job(tokenizer="t")
    assert spec(there, tmp_path)["tokenizer"]["model"] == str(tmp_path / "t")
    assert spec(job(), tmp_path)["tokenizer"]["model"] == "org/model"


def test_a_file_of_prompts_is_begun_again_where_it_is_short(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "a", "output_tokens": 3}\n{"prompt": "b"}\n')
    lines = with_load(job("jsonl", dataset=file), output_tokens=None)
    made = prompts_of(lines)
    assert made is not None
    assert made.texts == (("a", 3), ("b", 128), ("a", 3), ("b", 128), ("a", 3))
    assert spec(lines)["data"] == [{"kind": "json_file", "path": "/w/p.jsonl"}]
    assert "tokenizer" not in spec(lines)


def test_sharegpt_sends_first_turns_in_an_order_by_the_seed(tmp_path: Path) -> None:
    file = tmp_path / "share.json"
    talks = [{"conversations": [{"value": f"question {n}"}, {"value": "answer"}]} for n in range(20)]
    file.write_text(json.dumps([*talks, {"conversations": [{"value": "alone"}]}]))
    one = job("sharegpt", dataset=file)
    made, again = prompts_of(one), prompts_of(one)
    assert made is not None and made == again
    assert len(set(made.texts)) == 5
    assert {tokens for _, tokens in made.texts} == {8}
    other = prompts_of(replace(one, workload=msgspec.structs.replace(one.workload, seed=8)))
    assert other != made
    with pytest.raises(UsageError, match="need a length"):
        prompts_of(with_load(one, output_tokens=None))


def variables(one: Job, cwd: Path, said: Mapping[str, str]) -> Mapping[str, str]:
    return environment(one, Host(environ=said, cwd=cwd), Path("/w"))


def test_the_environment_has_the_key_and_no_setting_of_guidellm(tmp_path: Path) -> None:
    said = {"GUIDELLM__SPEC__SEED": "1", "guidellm__logging": "x", "PATH": "/bin", "NO_PROXY": "other"}
    env = variables(replace(job(), api_key="sk-1"), tmp_path, said)
    ours = {name for name in env if name.upper().startswith("GUIDELLM__")}
    assert ours == {"GUIDELLM__SPEC__BACKEND__API_KEY"}
    assert env["GUIDELLM__SPEC__BACKEND__API_KEY"] == "sk-1"
    assert env["PATH"] == "/bin"
    assert env["NO_PROXY"] == env["no_proxy"] == "other,localhost"
    assert "sk-1" not in json.dumps(spec(replace(job(), api_key="sk-1")))


def test_the_hub_is_asked_for_a_tokenizer_only(tmp_path: Path) -> None:
    assert "HF_HUB_OFFLINE" not in variables(job(), tmp_path, {})
    (tmp_path / "t").mkdir()
    assert variables(job(tokenizer="t"), tmp_path, {})["HF_HUB_OFFLINE"] == "1"
    assert variables(job("jsonl"), tmp_path, {})["HF_HUB_OFFLINE"] == "1"
    assert variables(job(), tmp_path, {})["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_a_client_without_itl_is_held_by_its_tpot() -> None:
    run = msgspec.structs.replace(measure(read_report(CAPTURED, 8)), errors={})
    sent = Served(8, 0.05, 0.05, 0.01, 0.01, 0.0)
    tested = SelfTest((Trial(2, run, sent),))
    assert tested.reproduced
    assert tested.delays[0].itl_s == pytest.approx(0, abs=0.001)
    assert "-" in tested.text.splitlines()[3].split()
