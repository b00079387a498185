"""Doctor's answer on a terminal."""

from __future__ import annotations

import io

import pytest

from neuronctl.cli.doctor import diagnosis_text
from neuronctl.doctor.check import Check, Outcome, Remedy, Seen
from neuronctl.doctor.diagnosis import Diagnosis
from neuronctl.result import Finding


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def words(count: int) -> str:
    return " ".join(f"word{number}" for number in range(count))


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("colour", [True, False])
def test_lines_break_between_words(monkeypatch: pytest.MonkeyPatch, width: int, colour: bool) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "" if colour else "1")
    monkeypatch.setenv("TERM", "xterm")
    cause = Finding("test.bad", "error", words(40), words(40))
    follows = tuple((Finding(f"test.consequence-{number}", "error", "x"), cause) for number in range(9))
    check = Check("one", "One", lambda facts: Seen(""))
    outcomes = (Outcome(check, "error", words(40), (cause,), remedies=(Remedy("test.bad", "mend"),)),)
    text = diagnosis_text(Diagnosis("nxdi", None, outcomes, (cause,), follows), Tty(), show_all=False)
    for escape in ("\x1b[31m", "\x1b[36m", "\x1b[1m", "\x1b[0m"):
        assert (escape in text) is colour
        text = text.replace(escape, "")
    assert max(map(len, text.splitlines())) <= width
    assert " ".join(text.split()).count(words(40)) == 4
