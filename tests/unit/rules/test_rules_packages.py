"""Rules about packages that do not go together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neuronctl.result import Finding
from neuronctl.stack.assume import assume_stack, stack_names
from neuronctl.stack.detect import Stack
from tests.plan_sample import at_most_one, neuron_plan


def installed(
    name: str,
    versions: Mapping[str, str | None] | None = None,
    others: Mapping[str, str] | None = None,
    **facts: Any,
) -> Stack:
    """An SDK's stack as if it were installed here; `versions` are changed in it, None takes one away."""
    stack = assume_stack(name)
    merged = {**stack.versions, **(versions or {})}
    return replace(
        stack,
        assumed=None,
        vllm_folder=Path("/venv/lib/vllm"),
        python=Path("/venv/bin/python"),
        versions={name: version for name, version in merged.items() if version is not None},
        other_versions=others or {},
        **facts,
    )


def one(tmp_path: Path, rule: str, stack: Stack) -> Finding | None:
    return at_most_one(neuron_plan(tmp_path, stack=stack, target="trn2.48xlarge"), rule)


def said(tmp_path: Path, rule: str, stack: Stack) -> Finding:
    finding = one(tmp_path, rule, stack)
    assert finding is not None
    return finding


@pytest.mark.parametrize("name", stack_names())
def test_a_stack_as_aws_put_it_together_is_sound(tmp_path: Path, name: str) -> None:
    plan = neuron_plan(tmp_path, stack=installed(name), target="trn2.48xlarge")
    assert not [each.message for each in plan.findings if each.id.startswith("stack.")]


def test_stack_torch_neuronx_beside_native(tmp_path: Path) -> None:
    rule = "stack.torch-neuronx-beside-native"
    finding = said(tmp_path, rule, installed("sdk-2.32", {"torch-neuronx": "2.9.0.2.15.32035"}))
    assert finding.severity == "warning"
    assert finding.message.startswith("here is torch-neuronx 2.9.0.2.15.32035; reported: ")
    assert finding.fix == "/venv/bin/python -m pip uninstall -y torch-neuronx"
    finding = said(tmp_path, rule, installed("sdk-2.32", {"torch": "2.9.1"}))
    assert "here is torch 2.9.1" in finding.message
    assert finding.fix == "/venv/bin/python -m pip install 'torch>=2.10'"
    assert one(tmp_path, rule, installed("sdk-2.31")) is None


def test_stack_nki_version(tmp_path: Path) -> None:
    finding = said(tmp_path, "stack.nki-version", installed("sdk-2.32", {"nki": "0.5.0"}))
    assert finding.severity == "warning"
    assert "here is nki 0.5.0; reported: " in finding.message
    assert "'nki==0.6.*'" in str(finding.fix)
    assert "pip.repos.neuron.amazonaws.com" in str(finding.fix)
    assert one(tmp_path, "stack.nki-version", installed("sdk-2.31:native", {"nki": "0.5.0"})) is None


def test_stack_islpy_too_new(tmp_path: Path) -> None:
    finding = said(tmp_path, "stack.islpy-too-new", installed("sdk-2.32", others={"islpy": "2026.2.1"}))
    assert finding.severity == "warning"
    assert "NCC_ISMP902" in finding.message
    assert finding.fix == "/venv/bin/python -m pip install islpy==2026.1"
    assert one(tmp_path, "stack.islpy-too-new", installed("sdk-2.32", others={"islpy": "2026.1"})) is None
    older = installed("sdk-2.31", others={"islpy": "2026.2.1"})
    assert one(tmp_path, "stack.islpy-too-new", older) is None


def test_stack_nrtpy_beside_nki(tmp_path: Path) -> None:
    finding = said(tmp_path, "stack.nrtpy-beside-nki", installed("sdk-2.32", others={"nrtpy": "2.34.10"}))
    assert finding.severity == "error"
    assert finding.fix == "/venv/bin/python -m pip uninstall -y nrtpy"
    without = installed("sdk-2.32", {"nki": None}, {"nrtpy": "2.34.10"})
    assert one(tmp_path, "stack.nrtpy-beside-nki", without) is None


def test_stack_stale_plugin(tmp_path: Path) -> None:
    finding = said(tmp_path, "stack.stale-plugin", installed("sdk-2.27", {"vllm-neuron": "0.2.0"}))
    assert finding.severity == "error"
    assert "here is vllm-neuron 0.2.0" in finding.message
    assert "--stack sdk-2.27.1:0.2.2+lts" in str(finding.fix)
    assert one(tmp_path, "stack.stale-plugin", installed("sdk-2.26")) is None
    assert one(tmp_path, "stack.stale-plugin", installed("sdk-2.27.0")) is None


def test_stack_no_nxdi(tmp_path: Path) -> None:
    rule, gone = "stack.no-nxdi", {"neuronx-distributed-inference": None}
    finding = said(tmp_path, rule, installed("sdk-2.31", gone))
    assert finding.severity == "error"
    assert "plugin 0.5.3 stands on neuronx-distributed-inference" in finding.message
    assert "SDK 2.31" in str(finding.fix)
    assert one(tmp_path, rule, installed("sdk-2.31")) is None
    assert one(tmp_path, rule, installed("sdk-2.32")) is None


@pytest.mark.parametrize(
    ("name", "bad", "good"), [("numpy", "2.3.5", "1.26.4"), ("scipy", "1.13.0", "1.12.0")]
)
def test_stack_plugin_requirements(tmp_path: Path, name: str, bad: str, good: str) -> None:
    rule = "stack.plugin-requirements"
    finding = said(tmp_path, rule, installed("sdk-2.26", others={name: bad}))
    assert finding.severity == "warning"
    assert f"here is {name} {bad}; plugin 0.2.0 requires {name}" in finding.message
    assert str(finding.fix).startswith(f"/venv/bin/python -m pip install '{name}<")
    assert one(tmp_path, rule, installed("sdk-2.26", others={name: good})) is None
    assert one(tmp_path, rule, installed("sdk-2.28", others={name: bad})) is None


def test_stack_transformers(tmp_path: Path) -> None:
    rule = "stack.transformers"
    finding = said(tmp_path, rule, installed("sdk-2.31", {"transformers": "5.15.0"}))
    assert finding.severity == "warning"
    assert "here is transformers 5.15.0" in finding.message
    assert finding.fix == "/venv/bin/python -m pip install 'transformers==4.57.*'"
    assert one(tmp_path, rule, installed("sdk-2.31", {"transformers": "4.57.1"})) is None
    assert one(tmp_path, rule, installed("sdk-2.32", {"transformers": "5.15.0"})) is None
