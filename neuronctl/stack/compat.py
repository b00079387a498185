"""Which versions belong together: the table of Neuron SDK releases.

The facts are in `compat.yaml`, each with its source; nothing here knows a version by heart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from neuronctl.stack.version import satisfies
from neuronctl.yaml_data import read_yaml


@dataclass(frozen=True)
class PluginRelease:
    """One build of vllm-neuron in one SDK, with what its image pins; None where no source says.

    `generation` v0 is the fork of vLLM V0, which is no longer supported. `branch` is the branch or commit of
    the plugin's repository; `image` a container image. `torch` and `vllm` may be a series (`2.9`).
    """

    version: str
    vllm: str
    generation: Literal["nxdi", "native", "v0"]
    python: str | None
    torch: str | None
    nxdi: str | None
    nxd: str | None
    torch_neuronx: str | None
    libtorch_neuronx_lite: str | None
    nki: str | None
    branch: str | None
    instances: tuple[str, ...]
    image: str | None
    status: str
    note: str | None
    source: str

    @property
    def pins(self) -> Mapping[str, str]:
        """What this build itself says about packages, by their pip names."""
        stated = {
            "vllm-neuron": self.version,
            "vllm": self.vllm,
            "torch": self.torch,
            "neuronx-distributed-inference": self.nxdi,
            "neuronx-distributed": self.nxd,
            "torch-neuronx": self.torch_neuronx,
            "libtorch-neuronx-lite": self.libtorch_neuronx_lite,
            "nki": self.nki,
        }
        return {name: version for name, version in stated.items() if version is not None}


@dataclass(frozen=True)
class Sdk:
    """One release of the Neuron SDK. `packages` maps pip and apt names to the versions its manifest pins."""

    version: str
    release_date: str | None
    packages: Mapping[str, tuple[str, ...]]
    python_versions: tuple[str, ...]
    plugins: tuple[PluginRelease, ...]
    source: str

    def wants(self, package: str, plugin: PluginRelease | None) -> tuple[str, ...]:
        """The versions of a package that belong here: what the plugin's image pins, else the manifest."""
        if plugin and package in plugin.pins:
            return (plugin.pins[package],)
        return self.packages.get(package, ())


@dataclass(frozen=True)
class PackageRule:
    """Packages that do not go together.

    The rule applies where every package of `when` is there and keeps its bound. `wants` is a bound of
    `package`, `present` or `absent`. `issue` is the known issue it answers.
    """

    id: str
    issue: str | None
    when: Mapping[str, str]
    package: str
    wants: str
    why: str
    basis: str
    source: str

    def broken_by(self, versions: Mapping[str, str]) -> bool:
        """Whether the rule applies to these packages and does not hold."""
        if not all(name in versions and satisfies(versions[name], self.when[name]) for name in self.when):
            return False
        has = versions.get(self.package)
        if self.wants in ("present", "absent"):
            return (has is None) == (self.wants == "present")
        return has is not None and not satisfies(has, self.wants)


@cache
def _table() -> Any:
    return read_yaml(Path(__file__).with_name("compat.yaml"))


@cache
def sdks() -> tuple[Sdk, ...]:
    """Every known release of the Neuron SDK, newest first."""
    return tuple(
        Sdk(
            version=row["version"],
            release_date=row["release_date"],
            packages={name: tuple(versions) for name, versions in row["packages"].items()},
            python_versions=tuple(row["python_versions"]),
            plugins=tuple(_plugin(plugin) for plugin in row["plugins"]),
            source=row["source"],
        )
        for row in _table()["sdks"]
    )


def _plugin(row: Mapping[str, Any]) -> PluginRelease:
    optional = ("python", "torch", "nxdi", "nxd", "torch_neuronx", "libtorch_neuronx_lite", "nki", "branch")
    return PluginRelease(
        version=row["version"],
        vllm=row["vllm"],
        generation=row["generation"],
        instances=tuple(row["instances"]),
        image=row["image"],
        status=row["status"],
        note=row.get("note"),
        source=row["source"],
        **{name: row.get(name) for name in optional},
    )


@cache
def package_rules() -> tuple[PackageRule, ...]:
    """Every rule about packages that do not go together."""
    return tuple(PackageRule(**row) for row in _table()["package_rules"])


def imports(generation: str, plugin: PluginRelease | None) -> tuple[str, ...]:
    """What a server of this generation imports beside torch, vLLM and the plugin, by pip names.

    `plugin` is the build, None where it is not known: then only what every build imports.
    """
    row = _table()["imports"][generation]
    pinned = (name for name in row["where_pinned"] if plugin is not None and name in plugin.pins)
    return (*row["always"], *pinned)


@cache
def driver_rows() -> tuple[Mapping[str, Any], ...]:
    """The rows of the rules between driver, runtime and kernel, for `drivers.py`."""
    return tuple(_table()["driver_rules"])


@cache
def placeholders() -> Mapping[str, str]:
    """The versions of the empty packages that PyPI carries under Neuron's names."""
    versions: Mapping[str, str] = _table()["placeholders"]["versions"]
    return versions
