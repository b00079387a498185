"""What is written: the envelope, failures for a person, and the story on a stream that is no terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from neuronctl.cli.render import Story, finding_text, harmless, render_error, render_result
from neuronctl.errors import (
    Exit,
    ModelNotResolved,
    Place,
    PlanRefused,
    ProfileError,
    ProfileErrors,
    UsageError,
)
from neuronctl.result import Finding, Message, Progress, Result

FINDING = Finding(
    "cpu.x", "warning", "it is slow", "make it fast", "measured", Place("p.yaml", 3, "engine.x")
)
SERIOUS = Finding("cpu.y", "error", "it cannot work")
KEYS = ["schema", "command", "status", "exit_code", "data", "findings", "errors"]


def envelope(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    written = capsys.readouterr()
    assert written.err == ""
    told: dict[str, Any] = json.loads(written.out)
    assert list(told) == KEYS
    assert told["schema"] == "neuronctl/1"
    return told


def test_the_envelope_of_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    data: dict[str, object] = {"path": Path("/x"), "word": "Zürich", "none": None}
    render_result(Result("plan", data, findings=(FINDING,), text="not shown"), as_json=True)
    told = envelope(capsys)
    assert (told["command"], told["status"], told["exit_code"]) == ("plan", "ok", 0)
    assert told["data"] == {"path": "/x", "word": "Zürich", "none": None}
    assert told["errors"] == []
    assert told["findings"] == [
        {
            "id": "cpu.x",
            "severity": "warning",
            "message": "it is slow",
            "fix": "make it fast",
            "source": "measured",
            "file": "p.yaml",
            "line": 3,
            "key": "engine.x",
        }
    ]


@pytest.mark.parametrize("code", list(Exit))
def test_the_status_is_the_name_of_the_exit_number(capsys: pytest.CaptureFixture[str], code: Exit) -> None:
    render_result(Result("plan", {}, exit_code=code), as_json=True)
    told = envelope(capsys)
    assert told["exit_code"] == int(code)
    assert told["status"] == ("ok" if code is Exit.DONE else code.name.lower().replace("_", "-"))


def test_the_envelope_of_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    error = ModelNotResolved(
        "it is broken", fix="mend it", place=Place("c.json", 2), code="model.x", details={"log": "/l"}
    )
    render_error("serve", error, as_json=True, data={"key": "abc"})
    told = envelope(capsys)
    assert (told["status"], told["exit_code"]) == ("model-not-resolved", 41)
    assert told["data"] == {"key": "abc"}
    assert told["errors"] == [
        {
            "code": "model.x",
            "message": "it is broken",
            "fix": "mend it",
            "file": "c.json",
            "line": 2,
            "key": None,
            "details": {"log": "/l"},
        }
    ]


def test_the_envelope_of_a_plan_that_is_refused_has_all_findings(capsys: pytest.CaptureFixture[str]) -> None:
    render_error("serve", PlanRefused("no", findings=(SERIOUS, FINDING)), as_json=True, data={})
    told = envelope(capsys)
    assert (told["status"], told["exit_code"]) == ("answer-is-no", 1)
    assert [one["id"] for one in told["findings"]] == ["cpu.y", "cpu.x"]
    assert [one["code"] for one in told["errors"]] == ["plan.refused"]


def test_every_mistake_of_a_profile_is_an_error_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    errors = ProfileErrors([ProfileError("one", place=Place("p.yaml", 1, "a")), ProfileError("two")])
    render_error("plan", errors, as_json=True, data={})
    assert [one["message"] for one in envelope(capsys)["errors"]] == ["one", "two"]
    render_error("plan", errors, as_json=False, data={})
    assert capsys.readouterr() == ("", "error: p.yaml:1: a: one\nerror: two\n")


def test_an_answer_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    render_result(Result("plan", {"x": 1}, text="line one\nline two\n\n"), as_json=False)
    assert capsys.readouterr() == ("line one\nline two\n", "")


def test_a_failure_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    error = ModelNotResolved(
        "it is broken",
        fix="mend it",
        place=Place("c.json", 2, "a.b"),
        details={"last_lines": ["boom", "bang"], "log": "/the/log"},
    )
    render_error("serve", error, as_json=False, data={})
    assert capsys.readouterr() == (
        "",
        "error: c.json:2: a.b: it is broken\n  | boom\n  | bang\n  try: mend it\n  log: /the/log\n",
    )


def test_a_log_that_the_fix_names_is_not_named_twice(capsys: pytest.CaptureFixture[str]) -> None:
    error = ModelNotResolved("x", fix="look at the log /the/log", details={"log": "/the/log"})
    render_error("serve", error, as_json=False, data={})
    assert capsys.readouterr().err == "error: x\n  try: look at the log /the/log\n"


def test_a_refused_plan_for_a_person_is_its_errors(capsys: pytest.CaptureFixture[str]) -> None:
    render_error("serve", PlanRefused("no", findings=(SERIOUS, FINDING)), as_json=False, data={})
    assert capsys.readouterr() == ("", "error cpu.y: it cannot work\n")


def test_a_finding_as_text() -> None:
    text = finding_text(FINDING, io.StringIO())
    assert text == "warning cpu.x: it is slow (p.yaml:3: engine.x)\n  try: make it fast\n"
    assert finding_text(SERIOUS, io.StringIO()) == "error cpu.y: it cannot work\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(*parts: Message | Progress, stream: io.StringIO | None = None, **environ: str) -> str:
    stream = stream or io.StringIO()
    story = Story(stream, environ=environ)
    for part in parts:
        story.tell(part)
    story.end()
    return stream.getvalue()


def test_messages_without_a_terminal() -> None:
    assert told(
        Message("one", "step"), Message("two\nmore", "done"), Message("three", "warn"), Message("four")
    ) == ("→ one\n✓ two\n  more\n! three\n  four\n")


def test_progress_without_a_terminal_is_told_seldom() -> None:
    parts = [Progress("compile", second, f"line {second}") for second in range(0, 100, 5)]
    assert told(*parts) == (
        "  compile 0:00  line 0\n  compile 0:30  line 30\n  compile 1:00  line 60\n  compile 1:30  line 90\n"
    )


def test_a_new_step_is_told_at_once() -> None:
    assert told(Progress("load", 0), Progress("load", 1), Progress("compile", 2, "x")) == (
        "  load 0:00\n  compile 0:02  x\n"
    )


def test_on_a_terminal_progress_takes_the_place_of_the_last() -> None:
    text = told(Progress("load", 0), Progress("load", 1), Message("done", "done"), stream=Terminal())
    assert text.count("\n") == 1
    assert text.count("\r\x1b[K") == 3
    assert text.endswith(" done\n")
    assert "\x1b[32m✓\x1b[0m" in text


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_turned_off(environ: dict[str, str]) -> None:
    assert told(Message("done", "done"), stream=Terminal(), **environ) == "✓ done\n"


def test_a_dumb_terminal_gets_lines() -> None:
    text = told(Progress("load", 0), stream=Terminal(), TERM="dumb", NO_COLOR="1")
    assert text == "  load 0:00\n"


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_nobody_listening_does_not_stop_the_work() -> None:
    assert told(Message("one"), Progress("two", 0), stream=Gone()) == ""


def test_what_a_terminal_would_obey_is_not_passed_on() -> None:
    """A hub's config.json, a file's name or another program's output may hold anything."""
    evil = "a\x1b]0;owned\x07b\x1b[2J\x9b1mc\rd\x7f"
    assert harmless(evil) == "a\ufffd]0;owned\ufffdb\ufffd[2J\ufffd1mc\ufffdd\ufffd"
    assert harmless("one\n\ttwo \x1b[31mred\x1b[0m ✓ ä") == "one\n\ttwo \x1b[31mred\x1b[0m ✓ ä"


def test_an_error_and_the_story_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    error = UsageError("bad \x1b[2J", fix="\x07", details={"last_lines": ["\x1b]0;x\x07"]})
    render_error("x", error, as_json=False, data={})
    Story().tell(Message("\x1b[2Jstory", "step"))
    told = capsys.readouterr().err
    assert "\x1b" not in told
    assert "\x07" not in told
    assert "story" in told
