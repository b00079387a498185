"""What doctor shows, on the terminal and as JSON, holds no secret, whichever check quotes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.planted import word
from tests.process.neuron_machine import Machine
from tests.process.terminal import free_port

SECRET = word("shown by doctor")
_AWS = "https://pip.repos.neuron.amazonaws.com/simple"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NEURON_CC_FLAGS", f"--model-type transformer --token={SECRET}"),
        ("NEURON_FOO", f"--api-key={SECRET}"),
        ("NEURON_BAR", "x" * 70 + f" --api-key={SECRET}"),
        ("NEURON_SECRET_THING", SECRET),
        ("NEURON_RT_VISIBLE_CORES", f"hf_{SECRET}"),
        ("NEURON_COMPILED_ARTIFACTS", f"/nowhere/password={SECRET}"),
        ("LD_LIBRARY_PATH", f"/nowhere?token={SECRET}"),
        ("PYTHONPATH", f"/nowhere?token={SECRET}"),
        ("VLLM_PLUGINS", f"token={SECRET}"),
        ("VLLM_PORT", f"tcp://10.0.0.1:1?access_token={SECRET}"),
        ("PIP_INDEX_URL", f"{_AWS}?key={SECRET}"),
        ("HTTPS_PROXY", f"http://me:{SECRET}@127.0.0.1:1"),
    ],
)
def test_no_variable_is_quoted_with_a_secret(machine: Machine, variable: str, value: str) -> None:
    one = machine()
    one.env[variable] = value if variable != "PYTHONPATH" else f"{one.env['PYTHONPATH']}:{value}"
    for words in (("--all",), ("--json",), ("p.yaml", "--all")):
        said = one.run("doctor", "--offline", *words)
        assert SECRET not in said.out + said.err
        assert "driver" in said.out


def test_no_address_of_the_hub_is_quoted_with_a_secret(machine: Machine) -> None:
    one = machine()
    one.env |= {"HF_ENDPOINT": f"http://127.0.0.1:{free_port()}/?token={SECRET}", "HF_TOKEN": f"hf_{SECRET}x"}
    for form in ("--all", "--json"):
        said = one.run("doctor", form)
        assert SECRET not in said.out + said.err
        assert "hub.unreachable" in said.out


def test_the_words_of_a_broken_python_are_quoted_without_a_secret(machine: Machine, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text(f"#!/bin/sh\necho 'login with hf_{SECRET} failed' >&2\nexit 3\n")
    broken.chmod(0o755)
    one = machine()
    for form in ("--all", "--json"):
        said = one.run("doctor", "--offline", form, "--python", str(broken))
        said.expect(31, "failed", "(hidden)")
        assert SECRET not in said.out + said.err


def test_what_a_user_s_files_hold_is_hidden_too(machine: Machine) -> None:
    one = machine()
    (one.home / ".netrc").write_text(f"machine a login b password {SECRET}\n")
    one.env["NEURON_FOO"] = f"as in {SECRET}"
    said = one.run("doctor", "--offline", "--json")
    said.expect(0)
    assert SECRET not in said.out
    assert said.envelope["data"]["checks"]


def test_the_keys_of_artifacts_stay(machine: Machine) -> None:
    one = machine()
    said = one.run("doctor", "p.yaml", "--offline", "--json").expect(0)
    (artifact,) = [each for each in said.envelope["data"]["checks"] if each["name"] == "artifact"]
    key = artifact["data"]["key"]
    assert len(key) == 32
    (miss,) = [each for each in said.envelope["findings"] if each["id"] == "artifact.not-compiled"]
    assert key in miss["message"]
