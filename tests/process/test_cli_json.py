"""`--json`: exactly one envelope on stdout for every command, when it goes well too."""

from __future__ import annotations

import pytest

from tests.process.terminal import Terminal


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("plan", ("plan", "p.yaml")),
        ("compile", ("compile", "p.yaml")),
        ("compile", ("compile", "p.yaml", "--check")),
        ("serve", ("serve", "p.yaml", "--dry-run")),
        ("profiles list", ("profiles", "list")),
        ("profiles show", ("profiles", "show", "p.yaml")),
        ("profiles validate", ("profiles", "validate", "p.yaml")),
        ("profiles schema", ("profiles", "schema")),
        ("cache list", ("cache", "list")),
        ("cache show", ("cache", "show", "")),
        ("cache verify", ("cache", "verify")),
        ("cache path", ("cache", "path")),
    ],
)
def test_one_envelope(compiled: Terminal, command: str, words: tuple[str, ...]) -> None:
    said = compiled.run(*words, "--json").expect(0)
    assert said.envelope["command"] == command
    assert said.envelope["data"]
    assert said.envelope["errors"] == []
    assert compiled.run(*words).expect(0).out.strip()


def test_several_mistakes_are_several_errors(terminal: Terminal) -> None:
    terminal.profile("engin: {}\nserver: {port: x}")
    for words in (("profiles", "validate"), ("plan",)):
        asked = terminal.run(*words, "p.yaml", "--json").expect(2).envelope
        assert sorted(error["line"] for error in asked["errors"]) == [3, 4]
        assert {error["key"] for error in asked["errors"]} == {"engin", "server.port"}
