"""A failed compile or server says what its log is known to mean, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.terminal import Terminal

LOGS = Path(__file__).parents[1] / "data" / "logs"


@pytest.mark.parametrize("sample", ["device-oom", "cached-failed-neff", "lora-0.2.0"])
@pytest.mark.parametrize(("command", "code"), [("compile", 20), ("serve", 40)])
def test_a_failure_that_is_known_is_explained(
    compiled: Terminal, sample: str, command: str, code: int
) -> None:
    stand_in = f"die-saying={LOGS / f'{sample}.log'}"
    words = ("p.yaml", "--policy", "never") if command == "serve" else ("p.yaml", "--policy", "always")
    said = compiled.run(command, *words, "--json", stand_in=stand_in).expect(code)
    (error,) = said.envelope["errors"]
    known = error["details"]["explained"]
    assert known["id"] == sample
    assert known["why"]
    assert known["source"]
    assert error["fix"] == known["fix"]
    told = compiled.run(command, *words, stand_in=stand_in).expect(code, f"{sample}: ", "why: ", "try: ")
    assert known["fix"].split(":")[0] in told.err


def test_a_failure_that_is_not_known_points_at_the_log(compiled: Terminal) -> None:
    said = compiled.run("serve", "p.yaml", "--policy", "never", "--json", stand_in="die-in=listen")
    (error,) = said.expect(40).envelope["errors"]
    assert "explained" not in error["details"]
    assert error["details"]["log"] in error["fix"]
