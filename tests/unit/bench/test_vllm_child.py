"""The script that runs beside the serving Python's vLLM, without vLLM."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from neuronctl.bench import vllm_child
from neuronctl.bench.engine import Job
from neuronctl.bench.schema import Load, Workload
from neuronctl.bench.vllm_engine import arguments


def job(**said: Any) -> Job:
    return Job(
        name="a",
        url="http://127.0.0.1:9",
        model="m",
        tokenizer=None,
        workload=Workload(kind="jsonl", api="completions", seed=0, ignore_eos=True),
        load=Load(concurrency=2, rate_rps=None, input_tokens=8, output_tokens=4, requests=8),
        dataset=Path("p.jsonl"),
        folder=Path("raw"),
        timeout_s=60,
        **said,
    )


@pytest.mark.parametrize("proxies", [{}, {"http_proxy": "http://127.0.0.1:9"}, {"no_proxy": "localhost"}])
def test_proxies_are_not_asked_whatever_the_environment_says(
    proxies: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    made = SimpleNamespace(ClientSession=lambda **kwargs: kwargs)
    monkeypatch.setitem(sys.modules, "aiohttp", made)
    vllm_child.send_directly()
    assert made.ClientSession(trust_env=True, timeout=1) == {"trust_env": False, "timeout": 1}


def parser(*without: str, also: tuple[str, ...] = ()) -> argparse.ArgumentParser:
    known = argparse.ArgumentParser(allow_abbrev=False)
    for word in (*arguments(job(), Path("raw/a.json")), *also):
        option, has_value, _ = word.partition("=")
        if option not in without:
            known.add_argument(option, **({} if has_value else {"action": "store_true"}))  # type: ignore[arg-type]
    return known


def test_an_older_vllm_is_told_in_its_own_words() -> None:
    told = arguments(job(), Path("raw/a.json"))
    older = parser("--skip-chat-template", "--ready-check-timeout-sec", also=("--custom-skip-chat-template",))
    words = vllm_child.known_only(older, told)
    assert "--custom-skip-chat-template" in words
    assert not [word for word in words if word.startswith("--ready-check")]
    assert older.parse_args(words).seed == "0"


def test_what_a_vllm_must_know_and_does_not_is_no_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    lacking = parser("--ignore-eos")
    with pytest.raises(SystemExit):
        lacking.parse_args(vllm_child.known_only(lacking, arguments(job(), Path("raw/a.json"))))
    assert "unrecognized arguments: --ignore-eos" in capsys.readouterr().err


def test_a_tokenizer_s_own_code_is_trusted_where_the_profile_says_so() -> None:
    assert "--trust-remote-code" in arguments(job(trust_remote_code=True), Path("a.json"))
    assert "--trust-remote-code" not in arguments(job(), Path("a.json"))
