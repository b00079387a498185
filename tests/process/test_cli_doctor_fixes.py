"""What doctor and plan say to type, where that depends on who set a variable or who holds a core."""

from __future__ import annotations

import pytest

from tests.process.neuron_machine import NeuronTerminal

OTHER = '{"pid": 1966680, "command": "", "neuron_runtime_version": "2.34.10"}'


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


def test_a_process_of_another_container_is_not_to_be_killed_from_here(instance: NeuronTerminal) -> None:
    """neuron-ls in a container tells numbers of the host, and no command."""
    listing = instance.root / "listing.json"
    listing.write_text(
        listing.read_text().replace('"neuron_processes": []', f'"neuron_processes": [{OTHER}]')
    )
    (instance.root / ".dockerenv").touch()
    said = instance.run("doctor", "--offline", "--json")
    (finding,) = [one for one in said.envelope["findings"] if one["id"] == "devices.all-held"]
    assert "held by process 1966680 (of another container)" in finding["message"]
    assert "end 1966680 on the host" in finding["fix"]
    assert "kill" not in finding["fix"]
    refused = instance.run("serve", "p.yaml")
    refused.expect(1, "end process 1966680 on the host")


def low_memory(terminal: NeuronTerminal, *words: str) -> list[str]:
    file = terminal.root / "proc" / "meminfo"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("MemAvailable")]
    file.write_text("\n".join([*lines, f"MemAvailable: {2 << 20} kB\n"]))
    said = terminal.run("doctor", "p.yaml", "--offline", "--json", *words).expect(0)
    return [one["id"] for one in said.envelope["findings"] if one["id"].startswith("host.memory")]


def test_memory_for_a_compile_is_told_once(instance: NeuronTerminal) -> None:
    assert low_memory(instance) == ["host.memory-taken"]


def test_what_is_compiled_needs_no_memory_for_a_compile(warm_instance: NeuronTerminal) -> None:
    """An init container with --strict must not fail for it."""
    assert low_memory(warm_instance, "--strict") == []
