"""Stacks that are not here, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.errors import UsageError
from neuronctl.stack.assume import assume_stack, stack_names
from neuronctl.stack.compat import sdks


@pytest.mark.parametrize("name", stack_names())
def test_every_name_is_a_stack(name: str) -> None:
    stack = assume_stack(name)
    assert (stack.assumed, stack.chosen_by) == (name, f"--stack {name}")
    assert (stack.paths, stack.vllm_folder, stack.python) == ((), None, Path("python"))
    assert stack.generation in ("nxdi", "native")
    assert {"vllm", "vllm-neuron", "neuronx-cc"} <= stack.versions.keys()
    assert ("torch-neuronx" in stack.versions) == (stack.generation == "nxdi")
    assert ("neuronx-distributed-inference" in stack.versions) == (stack.generation == "nxdi")
    assert stack.python_version.startswith("3.")
    assert stack.runtime
    assert stack.collectives
    assert list(stack.versions) == sorted(stack.versions)


def test_every_supported_plugin_has_a_name() -> None:
    plugins = {plugin.version for sdk in sdks() for plugin in sdk.plugins if plugin.generation != "v0"}
    assert {assume_stack(name).versions["vllm-neuron"] for name in stack_names()} == plugins


@pytest.mark.parametrize(
    ("name", "generation", "plugin", "compiler"),
    [
        ("sdk-2.28", None, "0.4.1", "2.23.6484.0"),  # 2.28.1 has no plugin
        ("sdk-2.28", "native", "0.4.1", "2.23.6484.0"),  # it has no native one: a rule says so
        ("sdk-2.29", None, "0.5.0", "2.24.8799.0"),
        ("sdk-2.29.0", None, "0.5.0", "2.24.5133.0"),
        ("sdk-2.31", None, "0.5.3", "2.26.6360.0"),
        ("sdk-2.31", "nxdi", "0.5.3", "2.26.6360.0"),
        ("sdk-2.31", "native", "0.21.0.1.0.0", "2.26.6360.0"),
        ("sdk-2.31:native", "nxdi", "0.21.0.1.0.0", "2.26.6360.0"),
        ("sdk-2.32", "nxdi", "0.24.0.1.1.0", "2.27.5334.0"),
        ("sdk-2.27.1", None, "0.3.0", "2.22.12471.0"),
        ("sdk-2.27.1:0.2.2+lts", None, "0.2.2+lts", "2.22.12471.0"),
        ("sdk-2.26.1", None, "0.2.0", "2.21.33363.0"),
    ],
)
def test_which_plugin_a_name_means(name: str, generation: str | None, plugin: str, compiler: str) -> None:
    stack = assume_stack(name, generation=generation)
    assert (stack.versions["vllm-neuron"], stack.versions["neuronx-cc"]) == (plugin, compiler)


def test_the_image_s_pins_come_before_the_manifest_s() -> None:
    # The image of 2.27.0 has torch-neuronx from 2.26.1.
    assert assume_stack("sdk-2.27.0").versions == {
        "neuronx-cc": "2.22.12471.0",
        "neuronx-distributed": "0.16.25997+f431c02e",
        "neuronx-distributed-inference": "0.7.14366+9adb71b8",
        "nki": "0.1.0",
        "torch": "2.8",
        "torch-neuronx": "2.8.0.2.10.16998+e9bf8a50",
        "vllm": "0.11.0",
        "vllm-neuron": "0.2.1-lts",
    }


def test_of_several_builds_the_one_for_the_plugin_s_torch_is_taken() -> None:
    assert assume_stack("sdk-2.27.1").versions["torch-neuronx"] == "2.9.0.2.11.19912"
    assert assume_stack("sdk-2.31:native").versions["torch-xla"] == "2.11.0"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("sdk-2.25.0", "sdk-2.25.0 has vLLM only as the fork of V0, whose support has ended"),
        ("sdk-2.24", "sdk-2.24 has vLLM only as the fork of V0, whose support has ended"),
        ("sdk-2.26.0", "sdk-2.26.0 has vLLM only as the fork of V0, whose support has ended"),
        ("sdk-2.28.1", "no vLLM plugin is documented for sdk-2.28.1"),
        ("sdk-9.99", "no Neuron SDK is known by the name sdk-9.99"),
        ("9.99", "no Neuron SDK is known by the name 9.99"),
        ("sdk-2", "no Neuron SDK is known by the name sdk-2"),
        ("", "no Neuron SDK is known by the name "),
        ("sdk-2.31:0.9", "SDK 2.31.1 has no plugin 0.9; it has 0.21.0.1.0.0 (native), 0.5.3 (nxdi)"),
        (
            "sdk-2.26.1:upstreaming-to-vllm tag 2.26.1",
            "SDK 2.26.1 has no plugin upstreaming-to-vllm tag 2.26.1; it has 0.2.0 (nxdi)",
        ),
    ],
)
def test_what_cannot_be_assumed(name: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        assume_stack(name)
    assert (caught.value.what, caught.value.error_code) == (what, "usage.unknown-stack")
    assert caught.value.fix is not None
    assert all(known in caught.value.fix for known in stack_names())


@pytest.mark.parametrize("said", ["2.28", "SDK-2.28", " sdk-2.28 "])
def test_a_name_is_understood_however_it_is_written(said: str) -> None:
    assert assume_stack(said).versions == assume_stack("sdk-2.28").versions


def test_the_page_about_ci_pins_what_the_sdk_has() -> None:
    page = (Path(__file__).parents[3] / "docs" / "ci.md").read_text(encoding="utf-8")
    block = page.partition("# neuron-constraints.txt\n")[2].partition("```")[0]
    pinned = dict(line.split("==") for line in block.splitlines())
    stack = assume_stack("sdk-2.28")
    assert pinned == {name: version for name, version in stack.versions.items() if name != "torch"}
    assert f"Python {stack.python_version}" in page
    assert page.count(stack.python_version) >= 3
