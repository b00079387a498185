"""`neuronctl bench` with wrong input: told at once, in plain words, before anything is measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from neuronctl.bench.result_file import write_result
from neuronctl.bench.schema import Remark
from tests.bench_sample import result
from tests.process.reference import Bencher, reference_server
from tests.process.terminal import free_port


@pytest.fixture
def bencher(tmp_path: Path) -> Bencher:
    return Bencher(tmp_path)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with reference_server() as (url, _):
        yield url


def test_nothing_is_named(bencher: Bencher) -> None:
    said = bencher.run("--repeats", "1")
    assert said.code == 2
    assert "one of --profile, --url and --self-test" in said.err


def test_nobody_answers(bencher: Bencher) -> None:
    said = bencher.measure(f"http://127.0.0.1:{free_port()}")
    assert said.code == 40
    assert "does not answer" in said.err and "neuronctl serve" in said.err


@pytest.mark.parametrize("odd", ["http://[::1", "ftp://x", "http://", "http://x/v1?a=b"])
def test_an_address_that_is_none(bencher: Bencher, odd: str) -> None:
    said = bencher.measure(odd)
    assert said.code == 2
    assert "no address" in said.err and "Traceback" not in said.err


def test_another_server(bencher: Bencher, url: str) -> None:
    said = bencher.measure(f"{url}/somewhere")
    assert said.code == 40
    assert "is it an OpenAI server" in said.err


def test_another_model(bencher: Bencher, url: str) -> None:
    said = bencher.run("--url", url, "--model", "referense")
    assert said.code == 2
    assert "it serves reference" in said.err and "--model reference" in said.err


def test_a_missing_and_a_wrong_key(bencher: Bencher) -> None:
    with reference_server("--api-key-env", "KEY", env={"KEY": "right-one"}) as (url, _):
        said = bencher.measure(url)
        assert said.code == 2
        assert "wants an API key" in said.err and "OPENAI_API_KEY" in said.err
        said = bencher.measure(url, OPENAI_API_KEY="wrong-one")
        assert said.code == 2
        assert "does not accept the API key" in said.err and "wrong-one" not in said.err


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "is not JSON"),
        ("[]", "is not an object"),
        ("{}", "has no `prompt`"),
        ('{"prompt": 3}', "no text"),
        ('{"prompt": "x", "output_tokens": -1}', "no number of tokens"),
        ('{"messages": [{"content": "x"}, {"content": "y"}]}', "several turns"),
    ],
)
def test_a_line_of_prompts_is_named(bencher: Bencher, url: str, line: str, why: str) -> None:
    (bencher.folder / "prompts.jsonl").write_text(f'{{"prompt": "fine"}}\n\n{line}\n')
    said = bencher.run(
        "--url", url, "--model", "reference", "--dataset-name", "jsonl", "--dataset-path", "prompts.jsonl"
    )
    assert said.code == 2
    assert "line 3" in said.err and why in said.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--max-concurrency", "many"], "numbers with commas"),
        (["--max-concurrency", "0"], "--max-concurrency"),
        (["--goodput", "ttfb:3"], "no limit in milliseconds"),
        (["--fail-on", "ttft_p96>+10%"], "did you mean ttft_p9"),
        (["--fail-on", "ttft_p95>+10%"], "baseline"),
        (["--baseline", "nowhere.json", "--fail-on", "ttft_p95>+10%"], "nowhere.json"),
        (["--output", "/proc/x/y.json"], "/proc/x/y.json"),
        (["--dataset-name", "jsonl"], "--dataset-path"),
        (["--dataset-path", "x"], "made up"),
        (["--engine", "wrk"], "no engine"),
        (
            ["--max-concurrency", "1,2,3,4,5,6,7,8,9,10,11", "--input-len", "1,2,3,4,5,6,7,8,9,10,11"],
            "121 points",
        ),
    ],
)
def test_a_flag_that_cannot_be(bencher: Bencher, url: str, words: list[str], why: str) -> None:
    said = bencher.run("--url", url, "--model", "reference", *words)
    assert said.code in (2, 30), said.err
    assert why in said.err and "Traceback" not in said.err
    assert not list(bencher.folder.glob("bench/*"))


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("--cold",), "--cold"),
        (("--policy", "auto"), "--policy"),
        (("--set", "engine.max_model_len=1024"), "--set"),
    ],
)
def test_an_option_that_means_nothing_for_a_url_is_refused(
    bencher: Bencher, url: str, words: tuple[str, ...], option: str
) -> None:
    said = bencher.measure(url, *words)
    assert said.code == 2
    assert f"{option} means nothing with --url" in said.err


def test_an_option_that_means_nothing_elsewhere_is_refused(bencher: Bencher) -> None:
    said = bencher.run("--profile", "smollm2-cpu", "--model", "x")
    assert (said.code, "--model means nothing with --profile" in said.err) == (2, True)
    said = bencher.run("--self-test", "--repeats", "2")
    assert (said.code, "--repeats means nothing with --self-test" in said.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--url", "http://x", "--model", "m", "--engine", "guidellm", "--python", "p"), "--python means"),
        (("--json", "compare", "a.json", "a.json"), "--json means nothing before compare"),
        (("report", "a.json", "--format", "png"), "--format means nothing without --pictures"),
        (("advise", "a.json", "--set", "engine.max_num_seqs=8"), "--set means nothing without --profile"),
        (("advise", "a.json", "--stack", "sdk-2.28"), "--stack means nothing without --profile"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(
    bencher: Bencher, words: tuple[str, ...], why: str
) -> None:
    write_result(bencher.folder / "a.json", result())
    said = bencher.run(*words)
    assert (said.code, why in said.out + said.err) == (2, True), said.err


@pytest.mark.parametrize(
    "address",
    [
        "http://me:hunter22@127.0.0.1:1",
        "me:hunter22@127.0.0.1:1",
        "http://hunter22@127.0.0.1:1",
        "http://me:hun/hunter22@127.0.0.1:1",
        "ftp://me:hunter22@127.0.0.1:1",
    ],
)
def test_a_name_and_a_password_in_the_address(bencher: Bencher, address: str) -> None:
    said = bencher.measure(address)
    assert said.code == 2
    assert "OPENAI_API_KEY" in said.err and "hunter22" not in said.err


def test_pictures_of_an_unknown_kind(bencher: Bencher) -> None:
    write_result(bencher.folder / "a.json", result())
    said = bencher.run("report", "a.json", "--pictures", "p", "--format", "pdf")
    assert (said.code, "--format svg" in said.err) == (2, True)
    assert not (bencher.folder / "p").exists()


def test_results_of_two_models_are_not_compared_with_success(bencher: Bencher) -> None:
    made = result()
    write_result(bencher.folder / "a.json", made)
    write_result(bencher.folder / "b.json", replace(made, target=replace(made.target, model="other")))
    assert bencher.run("compare", "a.json", "a.json").code == 0
    said = bencher.run("compare", "a.json", "b.json")
    assert (said.code, "the models" in said.out) == (1, True)


def test_a_failed_request_keeps_no_result_from_being_compared(bencher: Bencher) -> None:
    failed = Remark(id="errors", severity="error", text="1 of 8 requests got no whole answer")
    write_result(bencher.folder / "a.json", result())
    write_result(bencher.folder / "b.json", replace(result(), remarks=(failed,)))
    said = bencher.run("compare", "a.json", "b.json")
    assert (said.code, "B: 1 of 8 requests" in said.out) == (0, True)
    write_result(bencher.folder / "c.json", result(concurrencies=(32,)))
    said = bencher.run("compare", "a.json", "c.json")
    assert (said.code, "no load in common" in said.out) == (1, True)


@pytest.mark.parametrize("words", [("--max-concurrency", "0"), ("--repeats", "0")])
def test_numbers_that_are_none(bencher: Bencher, url: str, words: tuple[str, str]) -> None:
    said = bencher.measure(url, *words)
    assert said.code == 2
    assert f"{words[0]}: " in said.err and "a whole number from 1" in said.err
