"""What doctor and plan say to type, where that depends on who set a variable or who holds a core."""

from __future__ import annotations

import pytest

from tests.process.neuron_machine import NeuronTerminal


@pytest.mark.parametrize("value", ["7-9", "cores"])
def test_cores_of_a_profile_s_env_are_told_once_with_their_line(instance: NeuronTerminal, value: str) -> None:
    instance.profile(f"env: {{NEURON_RT_VISIBLE_CORES: '{value}'}}")
    said = instance.run("doctor", "--profile", "p.yaml", "--offline", "--json")
    said.expect(2)
    (finding,) = [each for each in said.envelope["findings"] if each["severity"] == "error"]
    assert finding["id"] == "environment.bad-cores"
    assert (finding["file"], finding["line"]) == ("p.yaml", 4)
    assert "unset" not in finding["fix"]
    planned = instance.run("plan", "p.yaml", "--json").expect(2).envelope["errors"][0]
    assert (planned["file"], planned["line"]) == ("p.yaml", 4)
    assert "unset" not in planned["fix"]
    if value == "7-9":
        assert "remove env.NEURON_RT_VISIBLE_CORES from p.yaml:4" in planned["fix"]
