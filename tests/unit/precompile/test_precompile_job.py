"""What a child is told, what its answer amounts to, and what it is called when there is none."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from neuronctl.child import Ended
from neuronctl.errors import Exit
from neuronctl.host import Host
from neuronctl.pipeline import Request
from neuronctl.precompile.job import Job, judge, read_answer, words_for
from neuronctl.precompile.verdict import Verdict

START = Verdict("a.yaml", "a", key="k")


def envelope(code: int, **data: object) -> dict[str, Any]:
    error = {"code": "x", "message": "m", "fix": "f", "file": None, "line": None, "key": None}
    errors = [error | {"details": {"log": "/logs/e"}}] if code else []
    return {"exit_code": code, "data": data, "errors": errors}


def test_the_child_is_told_what_we_were_told() -> None:
    request = Request(
        "a b.yaml",
        python="/p",
        sets=("x=1", "y=a=b"),
        flags={"artifacts.policy": ("always", "--policy")},
        passthrough=("--block-size", "16"),
        target="inf2.xlarge",
        stack="sdk-2.28",
        force=True,
    )
    assert words_for(request, check=True, lock_timeout_s=0.0) == [
        *("compile", "a b.yaml", "--json", "--set=x=1", "--set=y=a=b", "--python=/p", "--target=inf2.xlarge"),
        *("--stack=sdk-2.28", "--lock-timeout=0.0", "--policy=always", "--force", "--check"),
        *("--", "--block-size", "16"),
    ]
    plain = ["compile", "a", "--json"]
    assert words_for(Request("a"), check=False, lock_timeout_s=None) == plain


@pytest.mark.parametrize("text", ["", "{", '{"exit_code": 0', "[]", "{}", '{"exit_code": 99}', "[" * 100_000])
def test_half_an_answer_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "answer").write_text(text)
    assert read_answer(tmp_path / "answer") is None
    assert read_answer(tmp_path / "missing") is None


def test_an_answer_is_read(tmp_path: Path) -> None:
    (tmp_path / "answer").write_text(json.dumps(envelope(20)))
    assert read_answer(tmp_path / "answer") == envelope(20)
    (tmp_path / "answer").write_text(json.dumps(envelope(99)))
    assert read_answer(tmp_path / "answer") is None


@pytest.mark.parametrize(
    ("code", "data", "outcome"),
    [
        (0, {"outcome": "compiled", "log": "/logs/c", "path": "/p", "retries": 2}, "compiled"),
        (0, {"outcome": "hit"}, "hit"),
        (10, {}, "miss"),
        (1, {}, "refused"),
        (2, {}, "refused"),
        (130, {}, "stopped"),
        (143, {}, "stopped"),
        (12, {}, "failed"),
        (70, {}, "failed"),
    ],
)
def test_what_an_answer_amounts_to(code: int, data: dict[str, object], outcome: str) -> None:
    verdict = judge(START, envelope(code, **data))
    assert (verdict.outcome, verdict.exit_code, verdict.key) == (outcome, Exit(code), "k")
    assert verdict.path == data.get("path")
    assert verdict.retries == data.get("retries")
    assert verdict.log == (data.get("log") if code == 0 else "/logs/e")
    assert len(verdict.troubles) == (code != 0)


def test_the_key_is_that_of_the_child() -> None:
    verdict = judge(START, envelope(0, key="other", profile="name", outcome="compiled"))
    assert (verdict.key, verdict.name) == ("other", "name")


class Dead:
    """A child that has ended."""

    def __init__(self, ended: Ended | None) -> None:
        self.ended = ended


def job(tmp_path: Path, ended: Ended | None, answer: str = "") -> Job:
    (tmp_path / "log").write_text(
        '→ compiling\n  planning 0:00\nTraceback (most recent call last):\n  File "x"\nMemoryError: no\n'
    )
    (tmp_path / "answer").write_text(answer)
    return Job(
        Request("a.yaml"),
        tmp_path / "answer",
        tmp_path / "log",
        began=0.0,
        child=Dead(ended),  # type: ignore[arg-type]
        closing=ExitStack(),
    )


@pytest.mark.parametrize(
    ("ended", "code", "says"),
    [
        (Ended(1, None), Exit.OUR_BUG, "exited with code 1"),
        (Ended(0, None), Exit.OUR_BUG, "exited with code 0"),
        (Ended(None, 9), Exit.OUR_BUG, "killed by SIGKILL"),
        (Ended(None, 9, out_of_memory=True), Exit.OUT_OF_HOST_MEMORY, "ran out of memory"),
        (Ended(30, None), Exit.MACHINE_UNFIT, "could not be written"),
        (Ended(None, None), Exit.OUR_BUG, "unknown way"),
        (None, Exit.OUR_BUG, "unknown way"),
    ],
)
def test_a_child_without_an_answer(tmp_path: Path, ended: Ended | None, code: Exit, says: str) -> None:
    verdict = job(tmp_path, ended).end(START, Host(cwd=tmp_path), stopped_by=None)
    assert (verdict.outcome, verdict.exit_code) == ("failed", code)
    assert says in verdict.why
    assert verdict.log == str(tmp_path / "log")
    assert "| MemoryError: no" in verdict.explanation
    assert not [line for line in verdict.explanation if "Traceback" in line or "File" in line]


def test_a_child_that_was_asked_to_stop_needs_no_answer(tmp_path: Path) -> None:
    verdict = job(tmp_path, Ended(None, 2)).end(START, Host(cwd=tmp_path), stopped_by=Exit.INTERRUPTED)
    assert (verdict.outcome, verdict.exit_code, verdict.log) == ("stopped", Exit.INTERRUPTED, None)
    assert not (tmp_path / "log").exists()


def test_the_story_is_not_kept_where_there_is_an_answer(tmp_path: Path) -> None:
    one = job(tmp_path, Ended(0, None), json.dumps(envelope(0, outcome="compiled", log="/logs/c")))
    verdict = one.end(START, Host(cwd=tmp_path), stopped_by=Exit.INTERRUPTED)
    assert (verdict.outcome, verdict.log) == ("compiled", "/logs/c")
    assert verdict.took_s > 0
    assert not (tmp_path / "log").exists()


def test_the_last_line_of_the_story(tmp_path: Path) -> None:
    one = job(tmp_path, None)
    one.hear(b"one\n  two\n\n")
    assert one.line == "two"
    one.hear(b"\n \n")
    assert one.line == "two"
