"""`neuronctl doctor` where a package of the SDK is gone: it is told as compile and serve would tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.host import Host
from neuronctl.stack.assume import assume_stack, distinct_stacks
from neuronctl.stack.detect import detect_stack
from tests.process.neuron_machine import Machine
from tests.sdk.make import make_sdk

NXDI_STACKS = [name for name in distinct_stacks() if assume_stack(name).generation == "nxdi"]


@pytest.mark.parametrize(
    ("package", "module"),
    [
        ("neuronx-cc", "neuronxcc"),
        ("torch-neuronx", "torch_neuronx"),
        ("neuronx-distributed", "neuronx_distributed"),
        ("nki", "nki"),
        ("torch", "torch"),
    ],
)
def test_a_package_that_is_not_installed_at_all(
    machine: Machine, tmp_path: Path, package: str, module: str
) -> None:
    one = machine()
    python = make_sdk(tmp_path / "less", no_metadata=package, no_module=module)
    said = one.run("doctor", "--offline", "--python", str(python))
    said.expect(31, f"cannot serve a model with the nxdi backend: {python} cannot import {module}\n")
    assert "neuronx-distributed==0.17.26814+4b18de63" in said.out
    one.profile()
    said = one.run("compile", "p.yaml", "--python", str(python))
    said.expect(1, f"stack.missing-module: {python} cannot import {module}\n")


def test_a_vllm_whose_metadata_is_gone(machine: Machine, tmp_path: Path) -> None:
    python = make_sdk(tmp_path / "less", no_metadata="vllm")
    said = machine().run("doctor", "--offline", "--python", str(python))
    said.expect(0, "vllm is there without its metadata: which vLLM it is, nobody knows")
    assert "vLLM of no known version for nxdi" in said.out


@pytest.mark.parametrize("name", NXDI_STACKS)
def test_nothing_is_missing_from_what_an_sdk_ships(tmp_path: Path, name: str) -> None:
    sdk, _, plugin = name.removeprefix("sdk-").partition(":")
    python = make_sdk(tmp_path / "sdk", sdk, plugin or None)
    assert detect_stack(Host(), str(python)).missing_modules == ()
