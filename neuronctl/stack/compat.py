"""Which versions belong together: the table of Neuron SDK releases, and a stack held against it.

The facts are in `compat.yaml`, each with its source; nothing here knows a version by heart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from neuronctl.stack.version import fits, release, satisfies

PIP_REPOSITORY = "https://pip.repos.neuron.amazonaws.com"
_PLUGIN_SOURCE = "git+https://github.com/vllm-project/vllm-neuron.git"

# How much a package tells about which SDK this is. Several SDKs share a runtime or an NKI, none a compiler
# with a plugin; the lesser ones only decide between releases that agree in the others.
_TELLING = {
    "vllm-neuron": 6,
    "neuronx-cc": 5,
    "neuronx-distributed-inference": 4,
    "torch-neuronx": 4,
    "libtorch-neuronx-lite": 4,
    "neuronx-distributed": 2,
    "libneuronxla": 2,
    "nki": 2,
}


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
class OfficialPlugin:
    """A row of the table in the plugin's own README; `sdk` is a series (`2.31`)."""

    version: str
    vllm: str
    sdk: str
    nxdi: str | None
    instances: tuple[str, ...]
    status: str
    source: str


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


@dataclass(frozen=True)
class Misfit:
    """One package that does not fit: `has` is None where it is missing, `issue` the known issue, if any."""

    package: str
    has: str | None
    wants: tuple[str, ...]
    why: str
    issue: str | None
    basis: str
    source: str


@dataclass(frozen=True)
class Identified:
    """What a set of versions is.

    `sdk` is the release that fits best, None where nothing tells; `plugin` its build of vllm-neuron that is
    installed; `candidates` are all releases that fit equally well, newest first.
    """

    sdk: Sdk | None
    plugin: PluginRelease | None
    candidates: tuple[str, ...]
    misfits: tuple[Misfit, ...]


@cache
def _table() -> Any:
    import yaml

    text = Path(__file__).with_name("compat.yaml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


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
def official_plugins() -> tuple[OfficialPlugin, ...]:
    """The table in the plugin's own README, newest first."""
    table = _table()["official_plugins"]
    return tuple(
        OfficialPlugin(
            version=row["plugin"],
            vllm=row["vllm"],
            sdk=row["sdk"],
            nxdi=row["nxdi"],
            instances=tuple(row["instances"]),
            status=row["status"],
            source=table["source"],
        )
        for row in table["rows"]
    )


@cache
def package_rules() -> tuple[PackageRule, ...]:
    """Every rule about packages that do not go together."""
    return tuple(PackageRule(**row) for row in _table()["package_rules"])


@cache
def driver_rows() -> tuple[Mapping[str, Any], ...]:
    """The rows of the rules between driver, runtime and kernel, for `drivers.py`."""
    return tuple(_table()["driver_rules"])


@cache
def placeholders() -> Mapping[str, str]:
    """The versions of the empty packages that PyPI carries under Neuron's names."""
    versions: Mapping[str, str] = _table()["placeholders"]["versions"]
    return versions


def identify(versions: Mapping[str, str]) -> Identified:
    """Which SDK these packages are from, by those that tell most, and what does not fit it.

    `versions` maps pip names to versions; local parts and build numbers do not matter. Where two releases
    fit equally well the newest is taken. One package that many releases share (NKI alone) identifies nothing;
    rules between packages are checked all the same.
    """
    best, fitting = 0, list[tuple[Sdk, PluginRelease | None]]()
    for sdk in sdks():
        for plugin in _installed(sdk, versions):
            score = sum(
                weight
                for name, weight in _TELLING.items()
                if name in versions and _fits_any(versions[name], sdk.wants(name, plugin))
            )
            if score > best:
                best, fitting = score, []
            if score == best and score >= _TELLING["torch-neuronx"]:
                fitting.append((sdk, plugin))
    broken = tuple(
        Misfit(
            one.package, versions.get(one.package), (one.wants,), one.why, one.issue, one.basis, one.source
        )
        for one in package_rules()
        if one.broken_by(versions)
    )
    if not fitting:
        return Identified(None, None, (), broken)
    sdk, plugin = fitting[0]
    candidates = tuple(dict.fromkeys(one.version for one, _ in fitting))
    explained = {misfit.package for misfit in broken}
    others = tuple(one for one in _misfits(sdk, plugin, versions) if one.package not in explained)
    return Identified(sdk, plugin, candidates, (*broken, *others))


def _installed(sdk: Sdk, versions: Mapping[str, str]) -> Iterator[PluginRelease | None]:
    """The builds of the plugin in this SDK that may be the one installed, else None."""
    has = versions.get("vllm-neuron")
    found = [plugin for plugin in sdk.plugins if has is not None and _same_plugin(has, plugin)]
    yield from found or (None,)


def _same_plugin(has: str, plugin: PluginRelease) -> bool:
    return plugin.generation != "v0" and fits(has, plugin.version)


def _fits_any(has: str, wanted: tuple[str, ...]) -> bool:
    return any(fits(has, version) for version in wanted)


def _misfits(sdk: Sdk, plugin: PluginRelease | None, versions: Mapping[str, str]) -> Iterator[Misfit]:
    for name, has in versions.items():
        wanted = sdk.wants(name, plugin)
        where = f"SDK {sdk.version}"
        if plugin and name in plugin.pins:
            where += f" with plugin {plugin.version}"
        elif name == "vllm-neuron":
            wanted = tuple(one.version for one in sdk.plugins if one.generation != "v0")
        if not wanted or _fits_any(has, wanted):
            continue
        source = plugin.source if plugin and name in plugin.pins else sdk.source
        yield Misfit(
            name, has, wanted, f"{where} goes with {name} {_either(wanted)}", None, "documented", source
        )


def _either(versions: tuple[str, ...]) -> str:
    return " or ".join(versions)


def install_words(sdk: Sdk, plugin: PluginRelease) -> str:
    """What to type to install this plugin with this SDK: `pip install` with exact pins.

    The plugin comes from the pip repository where the SDK's manifest has it, else from the branch that its
    image is built from. Where neither is known the image is named instead.
    """
    in_manifest = _fits_any(plugin.version, sdk.packages.get("vllm-neuron", ()))
    if not in_manifest and plugin.branch is None:
        return f"docker pull {plugin.image}"
    words = ["pip", "install", f"--extra-index-url={PIP_REPOSITORY}"]
    for name in _REQUIRED[plugin.generation]:
        if version := newest(sdk.wants(name, plugin)):
            words.append(f"{name}=={version}")
    words.append(f"vllm-neuron=={plugin.version}" if in_manifest else f"{_PLUGIN_SOURCE}@{plugin.branch}")
    return " ".join(words)


# What the plugin's images install beside it (dlc:vllm/inference/*/Dockerfile.neuronx).
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "nxdi": (
        "neuronx-cc",
        "torch-neuronx",
        "neuronx-distributed",
        "neuronx-distributed-inference",
    ),
    "native": ("neuronx-cc", "nki", "libtorch-neuronx-lite"),
}


def newest(versions: tuple[str, ...]) -> str | None:
    """The highest of some versions, None of none."""
    return max(versions, key=release, default=None)
