"""Which Neuron SDK a set of packages is from, and which of them do not fit it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from neuronctl.stack.compat import PluginRelease, Sdk, package_rules, sdks
from neuronctl.stack.detect import Stack
from neuronctl.stack.version import fits, fits_any

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


def identify_stack(stack: Stack) -> Identified:
    """What the installed packages are; PyPI's empty ones left out."""
    empty = {placeholder.split()[0] for placeholder in stack.placeholders}
    versions = {**stack.versions, **stack.other_versions}
    return _identify(tuple(item for item in versions.items() if item[0] not in empty))


@lru_cache(maxsize=16)
def _identify(versions: tuple[tuple[str, str], ...]) -> Identified:
    return identify(dict(versions))


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
                if name in versions and fits_any(versions[name], sdk.wants(name, plugin))
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


def _misfits(sdk: Sdk, plugin: PluginRelease | None, versions: Mapping[str, str]) -> Iterator[Misfit]:
    for name, has in versions.items():
        wanted = sdk.wants(name, plugin)
        where = f"SDK {sdk.version}"
        if plugin and name in plugin.pins:
            where += f" with plugin {plugin.version}"
        elif name == "vllm-neuron":
            wanted = tuple(one.version for one in sdk.plugins if one.generation != "v0")
        if not wanted or fits_any(has, wanted):
            continue
        source = plugin.source if plugin and name in plugin.pins else sdk.source
        yield Misfit(
            name, has, wanted, f"{where} goes with {name} {' or '.join(wanted)}", None, "documented", source
        )
