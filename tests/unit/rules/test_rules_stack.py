"""Rules about the serving Python, and what is said where no backend fits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neuronctl.errors import StackUnfit
from neuronctl.result import Finding
from neuronctl.stack.assume import assume_stack
from neuronctl.stack.detect import Stack
from neuronctl.stack.pip_index import PipIndex
from tests.plan_sample import at_most_one, neuron_plan, sample_plan, sample_stack

PIP = "/venv/bin/python -m pip"


def installed(name: str, versions: Mapping[str, str | None] | None = None, **facts: Any) -> Stack:
    """An SDK's stack as if it were installed here; `versions` are changed in it, None takes one away."""
    stack = assume_stack(name)
    merged = {**stack.versions, **(versions or {})}
    kept = {name: version for name, version in merged.items() if version is not None}
    here = {"assumed": None, "vllm_folder": Path("/venv/lib/vllm"), "python": Path("/venv/bin/python")}
    return replace(stack, **{**here, "versions": kept, **facts})


def one(tmp_path: Path, rule: str, stack: Stack, text: str = "") -> Finding | None:
    return at_most_one(neuron_plan(tmp_path, text, stack=stack, target="trn2.48xlarge"), rule)


def said(tmp_path: Path, rule: str, stack: Stack, text: str = "") -> Finding:
    finding = one(tmp_path, rule, stack, text)
    assert finding is not None
    return finding


EMPTY_CC = installed("sdk-2.31", {"neuronx-cc": "1.0.post1"}, placeholders=("neuronx-cc 1.0.post1",))


def test_stack_pypi_placeholder(tmp_path: Path) -> None:
    finding = said(tmp_path, "stack.pypi-placeholder", EMPTY_CC)
    assert finding.severity == "error"
    assert finding.message == "neuronx-cc 1.0.post1 is an empty package of PyPI, not AWS's"
    assert str(finding.fix).startswith(
        f"{PIP} uninstall -y neuronx-cc, then {PIP} install --extra-index-url="
    )
    assert "neuronx-cc==2.26.6360.0" in str(finding.fix)
    # It is no package of another SDK besides.
    assert one(tmp_path, "stack.mixed-sdk", EMPTY_CC) is None
    unused = installed("sdk-2.31", {"jax-neuronx": "0.0.0"}, placeholders=("jax-neuronx 0.0.0",))
    assert one(tmp_path, "stack.pypi-placeholder", unused) is None


def test_stack_missing_module(tmp_path: Path) -> None:
    stack = installed("sdk-2.32", missing_modules=("libtorch_neuronx_lite", "nki"))
    finding = said(tmp_path, "stack.missing-module", stack)
    assert finding.severity == "error"
    assert finding.message == "/venv/bin/python cannot import libtorch_neuronx_lite, nki"
    assert "nki==0.6.0" in str(finding.fix)
    assert one(tmp_path, "stack.missing-module", installed("sdk-2.32")) is None
    # What an empty package lacks is told as that.
    assert one(tmp_path, "stack.missing-module", replace(EMPTY_CC, missing_modules=("neuronxcc",))) is None


def test_stack_plugin_missing(tmp_path: Path) -> None:
    rule = "stack.plugin-missing"
    stack = installed("sdk-2.28", {"vllm-neuron": None})
    finding = said(tmp_path, rule, stack)
    assert finding.severity == "error"
    assert (
        "this runs on the processor: there is torch-neuronx 2.9.0.2.12.22436 and no plugin" in finding.message
    )
    assert "pytorch-inference-vllm-neuronx" in str(finding.fix)
    assert "vllm-neuron.git@release-0.4.1" in str(finding.fix)
    assert one(tmp_path, rule, stack, "backend: cpu\n") is None
    assert one(tmp_path, rule, sample_stack()) is None
    assert one(tmp_path, rule, installed("sdk-2.28")) is None


def test_stack_plugin_missing_because_it_is_empty(tmp_path: Path) -> None:
    stack = installed("sdk-2.31", {"vllm-neuron": "0.1.0"}, placeholders=("vllm-neuron 0.1.0",))
    finding = said(tmp_path, "stack.plugin-missing", stack)
    assert "vllm-neuron 0.1.0 there is PyPI's empty package" in finding.message
    assert str(finding.fix).startswith(
        f"{PIP} uninstall -y vllm-neuron, then {PIP} install --extra-index-url="
    )


def test_stack_mixed_sdk(tmp_path: Path) -> None:
    stack = installed("sdk-2.28", {"neuronx-cc": "2.24.5133.0"})
    finding = said(tmp_path, "stack.mixed-sdk", stack)
    assert finding.severity == "warning"
    assert "of SDK 2.28.0" in finding.message
    assert "neuronx-cc 2.24.5133.0 (wants 2.23.6484.0)" in finding.message
    assert "neuronx-cc==2.23.6484.0" in str(finding.fix)
    assert one(tmp_path, "stack.mixed-sdk", installed("sdk-2.28")) is None
    # The manifest of SDK 2.31 names torch-xla for the native generation only.
    assert one(tmp_path, "stack.mixed-sdk", installed("sdk-2.31", {"torch-xla": "2.9.0"})) is None
    native = installed("sdk-2.31:native", {"torch-xla": "2.9.0"})
    assert "torch-xla 2.9.0" in said(tmp_path, "stack.mixed-sdk", native).message


def test_stack_unknown_sdk(tmp_path: Path) -> None:
    versions = {"vllm": "0.40.0", "vllm-neuron": "0.40.0.2.0.0"}
    stack = replace(installed("sdk-2.32"), versions=versions)
    finding = said(tmp_path, "stack.unknown-sdk", stack)
    assert finding.severity == "info"
    assert "plugin 0.40.0.2.0.0" in finding.message
    assert one(tmp_path, "stack.unknown-sdk", installed("sdk-2.32")) is None


def test_stack_shadowed_compiler(tmp_path: Path) -> None:
    rule, path = "stack.shadowed-compiler", Path("/somewhere/.local/bin/neuronx-cc")
    finding = said(tmp_path, rule, installed("sdk-2.32", compiler_path=path, compiler_outside=True))
    assert finding.severity == "warning"
    assert f"PATH finds {path} before the neuronx-cc of /venv/bin/python; reported: " in finding.message
    assert str(finding.fix).startswith("put /venv/bin first in PATH")
    own = installed("sdk-2.32", compiler_path=Path("/venv/bin/neuronx-cc"))
    assert one(tmp_path, rule, own) is None


def test_stack_pip_index_replaced(tmp_path: Path) -> None:
    rule, url = "stack.pip-index-replaced", "https://pip.repos.neuron.amazonaws.com"
    finding = said(tmp_path, rule, installed("sdk-2.31", pip_index=PipIndex(url, "/etc/pip.conf")))
    assert finding.severity == "warning"
    assert url in finding.message
    assert finding.fix == "in /etc/pip.conf call it extra-index-url instead of index-url"
    finding = said(tmp_path, rule, installed("sdk-2.31", pip_index=PipIndex(url, "PIP_INDEX_URL")))
    assert finding.fix == f"unset PIP_INDEX_URL; export PIP_EXTRA_INDEX_URL={url}"
    assert one(tmp_path, rule, installed("sdk-2.31")) is None


def test_stack_async_mode(tmp_path: Path) -> None:
    rule, text = "stack.async-mode", "neuron: {async_mode: true}\n"
    new = installed("sdk-2.31", runtime="2.34.10.0")
    finding = said(tmp_path, rule, new, text)
    assert finding.severity == "warning"
    assert "runtime 2.34.10.0" in finding.message
    assert "(not run)" in finding.message
    assert str(finding.place) == "sample.yaml:2: neuron.async_mode"
    assert one(tmp_path, rule, new) is None
    assert one(tmp_path, rule, installed("sdk-2.31"), text) is None


UNFIT: dict[str, tuple[str, Stack, str, list[str]]] = {
    "an image without vLLM": (
        "auto",
        installed("sdk-2.28", {"vllm-neuron": None, "vllm": None}, vllm_folder=None),
        "stack.no-vllm",
        ["has no vLLM: there is torch-neuronx", "pytorch-inference-vllm-neuronx"],
    ),
    "an image without the plugin": (
        "nxdi",
        installed("sdk-2.28", {"vllm-neuron": None}),
        "stack.other-generation",
        ["wants the nxdi backend", "has vLLM for cpu: there is torch-neuronx", "release-0.4.1"],
    ),
    "an empty plugin": (
        "native",
        installed("sdk-2.32", {"vllm-neuron": "0.1.0"}, placeholders=("vllm-neuron 0.1.0",)),
        "stack.other-generation",
        ["vllm-neuron 0.1.0 there is PyPI's empty package", "vllm-neuron==0.24.0.1.1.0"],
    ),
    "vLLM V0": (
        "nxdi",
        installed("sdk-2.26", {"vllm-neuron": None, "vllm": "0.9.1"}),
        "stack.other-generation",
        ["vLLM 0.9.1 with torch-neuronx is of the time of vLLM V0", "pip install"],
    ),
    "no NxD Inference any more": (
        "nxdi",
        installed("sdk-2.32"),
        "stack.other-generation",
        ["has vLLM for native: images and machine images of SDK 2.32 no longer bring", "sdk-2.31"],
    ),
    "a plugin without vLLM": (
        "nxdi",
        installed("sdk-2.31", {"vllm": None}, vllm_folder=None),
        "stack.no-vllm",
        ["has no vLLM", "--python"],
    ),
}


@pytest.mark.parametrize(("wanted", "stack", "code", "words"), UNFIT.values(), ids=UNFIT)
def test_no_backend_fits(tmp_path: Path, wanted: str, stack: Stack, code: str, words: list[str]) -> None:
    with pytest.raises(StackUnfit) as caught:
        sample_plan(tmp_path, f"backend: {wanted}\n", stack=stack)
    assert caught.value.error_code == code
    for each in words:
        assert each in f"{caught.value.what} {caught.value.fix}"


def test_a_stack_for_processors_lacks_nothing(tmp_path: Path) -> None:
    with pytest.raises(StackUnfit) as caught:
        sample_plan(tmp_path, "backend: nxdi\n")
    assert caught.value.what.endswith("has vLLM for cpu")


@pytest.mark.parametrize("stack", ["sdk-2.28", "sdk-2.32"])
def test_stack_plugin_shut_out(tmp_path: Path, stack: str) -> None:
    rule, text = "stack.plugin-shut-out", "env: {VLLM_PLUGINS: '%s'}\n"
    finding = said(tmp_path, rule, installed(stack), text % "foo")
    assert finding.severity == "error"
    assert "VLLM_PLUGINS is foo, so vLLM does not load Neuron's plugin" in finding.message
    assert finding.fix == "remove env.VLLM_PLUGINS from sample.yaml:2, or add neuron to it"
    assert str(finding.place) == "sample.yaml:2: env.VLLM_PLUGINS"
    assert "is empty" in said(tmp_path, rule, installed(stack), text % "").message
    assert one(tmp_path, rule, installed(stack), text % "foo,neuron") is None
    assert one(tmp_path, rule, installed(stack)) is None


def test_stack_installed_twice(tmp_path: Path) -> None:
    stack = installed("sdk-2.28", duplicates={"vllm-neuron": ("0.2.0", "0.4.1")})
    finding = said(tmp_path, "stack.installed-twice", stack)
    assert finding.severity == "warning"
    assert finding.message == (
        "vllm-neuron is installed twice, as 0.2.0 and 0.4.1; 0.2.0 is what the plan is for"
    )
    assert "pip uninstall vllm-neuron" in str(finding.fix)
    assert one(tmp_path, "stack.installed-twice", installed("sdk-2.28")) is None


@pytest.mark.parametrize("version", ["banana", "not.a.version"])
def test_stack_unreadable_version(tmp_path: Path, version: str) -> None:
    finding = said(tmp_path, "stack.unreadable-version", installed("sdk-2.28", {"vllm-neuron": version}))
    assert finding.severity == "warning"
    assert finding.message.startswith(f"vllm-neuron {version}: no version that can be compared")
    assert finding.fix == "install the package again"
    assert one(tmp_path, "stack.unreadable-version", installed("sdk-2.28")) is None
    finding = said(tmp_path, "stack.unreadable-version", installed("sdk-2.28", {"vllm": None}))
    assert finding.message == "/venv/lib/vllm is there without its metadata: which vLLM it is, nobody knows"
