"""Why a serving Python with some of Neuron's packages has no vLLM plugin that can be used."""

from __future__ import annotations

from dataclasses import dataclass

from neuronctl.stack.compat import PluginRelease, Sdk, sdks
from neuronctl.stack.detect import Stack
from neuronctl.stack.identify import identify_stack
from neuronctl.stack.install import install_words, pip_words
from neuronctl.stack.version import release

# One of these makes it a Python that was meant for Neuron.
_NEURON = ("torch-neuronx", "neuronx-distributed-inference", "libtorch-neuronx-lite", "neuronx-cc")


@dataclass(frozen=True)
class Lack:
    """What is the matter, as a clause, and what to type."""

    what: str
    fix: str


def find_lack(stack: Stack, wanted: str = "auto") -> Lack | None:
    """Why there is no plugin, or none for the backend `wanted`; None where these packages do not tell.

    Sources: compat.yaml (placeholders, the fork of V0, what SDK 2.32 left out); gh:vllm-project/vllm-neuron#7
    for images without vLLM.
    """
    versions, generation = stack.versions, stack.generation
    plugin = versions.get("vllm-neuron")
    if generation in ("nxdi", "native"):
        return None if wanted in ("auto", generation) else _of_other_generation(stack, wanted)
    if plugin is not None:
        if f"vllm-neuron {plugin}" not in stack.placeholders:
            return None
        return Lack(
            f"vllm-neuron {plugin} there is PyPI's empty package, not AWS's plugin",
            f"{pip_words(stack.python, 'uninstall', '-y', 'vllm-neuron')}, then {_words(stack, wanted)}",
        )
    found = next((name for name in _NEURON if name in versions), None)
    if found is None:
        return None
    words = _words(stack, wanted)
    vllm = versions.get("vllm")
    if vllm is not None and release(vllm) < (0, 11):
        return Lack(
            f"vLLM {vllm} with {found} is of the time of vLLM V0 on Neuron, whose support has ended", words
        )
    return Lack(
        f"there is {found} {versions[found]} and no plugin, as in images called pytorch-inference-neuronx",
        f"use an image called pytorch-inference-vllm-neuronx, or {words}",
    )


def _of_other_generation(stack: Stack, wanted: str) -> Lack | None:
    if (twice := stack.duplicates.get("vllm-neuron")) is not None:
        return Lack(
            f"vllm-neuron is installed twice there, as {' and '.join(twice)}",
            f"{pip_words(stack.python, 'uninstall', 'vllm-neuron')} until none is left, then install it once",
        )
    if wanted != "nxdi" or "neuronx-distributed-inference" in stack.versions:
        return None
    return Lack(
        "images and machine images of SDK 2.32 no longer bring NxD Inference",
        "stay on an image of SDK 2.31 (plan with --stack sdk-2.31)",
    )


def _words(stack: Stack, wanted: str) -> str:
    """What to type for a plugin of this stack's own SDK, else of the newest that has one."""
    own = identify_stack(stack).candidates
    for sdk in sorted(sdks(), key=lambda sdk: sdk.version not in own):
        if (plugin := _plugin(sdk, wanted)) is not None:
            return install_words(sdk, plugin, stack.python)
    raise AssertionError(f"no SDK has a plugin for {wanted}")


def _plugin(sdk: Sdk, wanted: str) -> PluginRelease | None:
    generations = (wanted,) if wanted in ("nxdi", "native") else ("nxdi", "native")
    return next((one for one in sdk.plugins if one.generation in generations), None)
