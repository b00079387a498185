"""Which distributions lie in the serving Python's import folders, and which are not what they seem."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Neuron's own distributions, with the package that each brings to import.
IMPORT_NAMES: Mapping[str, str] = {
    "jax-neuronx": "jax_neuronx",
    "libneuronxla": "libneuronxla",
    "libtorch-neuronx-lite": "libtorch_neuronx_lite",
    "neuronx-cc": "neuronxcc",
    "neuronx-distributed": "neuronx_distributed",
    "neuronx-distributed-inference": "neuronx_distributed_inference",
    "nki": "nki",
    "torch-neuronx": "torch_neuronx",
    "torch-xla": "torch_xla",
    "vllm-neuron": "vllm_neuron",
}
# All of vLLM stands on it.
_TORCH = "torch"
# Plugins without it have a rule of their own: SDK 2.32 left it out.
_NXDI = "neuronx-distributed-inference"


@dataclass(frozen=True)
class Installation:
    """What lies in the import folders: distributions, by version and metadata folder, and all file names.

    `duplicates` are the versions of those that lie in one folder more than once, first the one that counts.
    """

    versions: Mapping[str, str]
    metadata: Mapping[str, Path]
    names: frozenset[str]
    duplicates: Mapping[str, tuple[str, ...]]

    def versions_of(self, distributions: Collection[str]) -> dict[str, str]:
        """The versions of some distributions, sorted by name."""
        return {name: self.versions[name] for name in sorted(self.versions) if name in distributions}

    def has_module(self, module: str) -> bool:
        """Whether a package, a module or an extension of this name lies in an import folder."""
        return module in self.names or any(name.startswith(f"{module}.") for name in self.names)


def read_installation(paths: Sequence[Path], watched: Collection[str]) -> Installation:
    """Versions by the names of the `.dist-info` folders; the first on the path wins, as for an import."""
    versions: dict[str, str] = {}
    metadata: dict[str, Path] = {}
    duplicates: dict[str, tuple[str, ...]] = {}
    everything: set[str] = set()
    for folder in paths:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        everything.update(names)
        for name in names:
            if not name.endswith(".dist-info"):
                continue
            distribution, _, version = name.removesuffix(".dist-info").partition("-")
            distribution = distribution.replace("_", "-").replace(".", "-").lower()
            if distribution not in watched:
                continue
            if distribution not in versions:
                versions[distribution] = version
                metadata[distribution] = folder / name
            elif metadata[distribution].parent == folder:
                before = duplicates.get(distribution, (versions[distribution],))
                duplicates[distribution] = (*before, version)
    return Installation(versions, metadata, frozenset(everything), duplicates)


def find_placeholders(installed: Installation) -> tuple[str, ...]:
    """PyPI's empty packages among Neuron's distributions, as `name version`.

    One says WRONG PACKAGE in its metadata or when it is imported, or has a placeholder's version
    (compat.yaml) and nothing to import, as the wheels do whose only folder has a hyphen in its name.
    """
    return tuple(f"{name} {version}" for name, version in _placeholders(installed))


def _placeholders(installed: Installation) -> Iterator[tuple[str, str]]:
    from neuronctl.stack.compat import placeholders

    known = placeholders()
    for name, version in installed.versions_of(IMPORT_NAMES.keys()).items():
        metadata, module = installed.metadata[name], IMPORT_NAMES[name]
        words = _text(metadata / "METADATA") + _text(metadata.parent / module / "__init__.py")
        is_empty = not installed.has_module(module) and not _is_editable(metadata)
        if "WRONG PACKAGE" in words or (known.get(name) == version and is_empty):
            yield name, version


def missing_modules(installed: Installation, *, generation: str | None) -> tuple[str, ...]:
    """Packages that should be importable and do not lie in an import folder.

    Those of Neuron's installed distributions (an editable one may lie anywhere), and those that a server of
    the generation imports and that are not installed at all.
    """
    wanted = {
        module
        for name, module in IMPORT_NAMES.items()
        if name in installed.versions and not _is_editable(installed.metadata[name])
    }
    if generation in ("nxdi", "native"):
        wanted.update(_imported(installed, generation))
    return tuple(sorted(module for module in wanted if not installed.has_module(module)))


def _imported(installed: Installation, generation: str) -> Iterator[str]:
    """The modules that a server imports, of the distributions that are not installed (compat.yaml)."""
    from neuronctl.stack.compat import imports
    from neuronctl.stack.identify import identify

    plugin = identify(installed.versions).plugin
    for name in (_TORCH, *imports(generation, plugin)):
        if name not in installed.versions and name != _NXDI:
            yield IMPORT_NAMES.get(name, name)


def _is_editable(metadata: Path) -> bool:
    """Whether it was installed with `pip install -e`, as AWS's images do with the plugin (PEP 610)."""
    return '"editable": true' in _text(metadata / "direct_url.json")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
