"""A stack that is not here: what an SDK's image has, so that a plan can be made for it anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from neuronctl.errors import UsageError
from neuronctl.stack.compat import PluginRelease, Sdk, sdks
from neuronctl.stack.detect import Stack
from neuronctl.stack.identify import identify_stack
from neuronctl.stack.version import fits, newest, release

_PREFIX = "sdk-"
# What each generation imports, beside the plugin, vLLM and torch. A native stack must not have torch-neuronx,
# though its SDK has one.
_PACKAGES = {
    "nxdi": (
        "neuronx-cc",
        "neuronx-distributed",
        "neuronx-distributed-inference",
        "nki",
        "torch-neuronx",
    ),
    "native": ("libtorch-neuronx-lite", "neuronx-cc", "nki", "torch-xla"),
}


def stack_names() -> tuple[str, ...]:
    """Every name that can be planned for, newest first: series, releases, plugins where there are more."""
    names: list[str] = []
    for sdk in sdks():
        plugins = _plannable(sdk)
        if not plugins:
            continue
        series = _series(sdk)
        if series not in names:
            names.append(series)
        names.append(_PREFIX + sdk.version)
        if len(plugins) > 1:
            names += [f"{_PREFIX}{sdk.version}:{plugin.version}" for plugin in plugins]
    return tuple(names)


def distinct_stacks() -> tuple[str, ...]:
    """One name for each plugin of each SDK, newest first."""
    return tuple(
        f"{_PREFIX}{sdk.version}" + (f":{plugin.version}" if len(_plannable(sdk)) > 1 else "")
        for sdk in sdks()
        for plugin in _plannable(sdk)
    )


def assume_stack(name: str, *, generation: str | None = None) -> Stack:
    """The stack of an SDK's image, by a name such as `sdk-2.28`, `sdk-2.28.0` or `sdk-2.31:native`.

    A series is its newest release that has a plugin. After the colon stands a generation or the version of
    a plugin; without it the plugin is the first of `generation`, else NxD Inference's. Raises UsageError.
    """
    said, _, choice = name.strip().lower().partition(":")
    if said[:1].isdigit():
        said = _PREFIX + said
    known = [sdk for sdk in sdks() if said in (_PREFIX + sdk.version, _series(sdk))]
    if not known:
        raise _unknown(f"no Neuron SDK is known by the name {name}")
    sdk = next((one for one in known if _plannable(one)), None)
    if sdk is None:
        if any(plugin.generation == "v0" for one in known for plugin in one.plugins):
            raise _unknown(f"{said} has vLLM only as the fork of V0, whose support has ended")
        raise _unknown(f"no vLLM plugin is documented for {said}")
    plugins = _plannable(sdk)
    if choice:
        chosen = [one for one in plugins if choice in (one.generation, one.version)]
        if not chosen:
            has = ", ".join(f"{one.version} ({one.generation})" for one in plugins)
            raise _unknown(f"SDK {sdk.version} has no plugin {choice}; it has {has}")
        return _stack(name, sdk, chosen[0])
    wanted = [one for one in plugins if one.generation == (generation or "nxdi")]
    wanted += [one for one in plugins if one.generation == "nxdi"]
    return _stack(name, sdk, (wanted or plugins)[0])


def is_stack(found: Stack, name: str) -> bool:
    """Whether an installed stack is the one that `name` means: the SDK, and the plugin if that is said.

    Not where a package is none of that SDK's.
    """
    said, _, choice = name.strip().lower().partition(":")
    if said[:1].isdigit():
        said = _PREFIX + said
    plugin = found.versions.get("vllm-neuron")
    if choice and choice not in (found.generation, plugin):
        return False
    identified = identify_stack(found)
    if identified.misfits:
        return False
    meant = {sdk.version for sdk in sdks() if said in (_PREFIX + sdk.version, _series(sdk))}
    return not meant.isdisjoint(identified.candidates)


def _series(sdk: Sdk) -> str:
    """The name of an SDK's series: sdk-2.28 for 2.28.1."""
    return _PREFIX + ".".join(sdk.version.split(".")[:2])


def _plannable(sdk: Sdk) -> list[PluginRelease]:
    return [plugin for plugin in sdk.plugins if plugin.generation != "v0"]


def _unknown(what: str) -> UsageError:
    return UsageError(what, fix=f"one of: {', '.join(stack_names())}", code="usage.unknown-stack")


def _stack(name: str, sdk: Sdk, plugin: PluginRelease) -> Stack:
    return Stack(
        python=Path("python"),
        chosen_by=f"--stack {name}",
        python_version=plugin.python or newest(sdk.python_versions) or "",
        paths=(),
        versions=dict(sorted(_versions(sdk, plugin))),
        vllm_folder=None,
        assumed=name,
        runtime=newest(sdk.packages["aws-neuronx-runtime-lib"]),
        collectives=newest(sdk.packages["aws-neuronx-collectives"]),
    )


def _versions(sdk: Sdk, plugin: PluginRelease) -> Iterator[tuple[str, str]]:
    """What the plugin's image pins comes first, then what the SDK's manifest has for the plugin's torch."""
    yield "vllm", plugin.vllm
    yield "vllm-neuron", plugin.version
    if plugin.torch:
        yield "torch", plugin.torch
    for package in _PACKAGES[plugin.generation]:
        versions = sdk.wants(package, plugin)
        for_torch = tuple(one for one in versions if plugin.torch and _is_for(one, plugin.torch))
        if version := newest(for_torch or versions):
            yield package, version


def _is_for(version: str, torch: str) -> bool:
    """Whether a Neuron build of torch is for this torch: 2.9.0.2.13.26312 is for 2.9."""
    return fits(version, ".".join(str(part) for part in release(torch)[:2]))
