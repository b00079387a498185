"""Inherit: a profile and all that it extends → one layer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from neuronctl.errors import Place, ProfileError
from neuronctl.host import Host
from neuronctl.profile.check import Checker, KeyPath, Layer
from neuronctl.profile.find import find_profile, shown_path
from neuronctl.profile.load import Node, read_profile
from neuronctl.profile.origin import Origin

MAX_CHAIN = 20
MAX_READS = 100  # a file counts each time it is extended: a lattice of lists grows by powers of two


# What a null under `neuron` leaves behind where it took something back.
_TAKEN_BACK = object()


class Lineage(Struct):
    """What reading one profile brought: the merged layer, every file read, all that is wrong."""

    layer: Layer = field(default_factory=Layer)
    files: list[Path] = []
    errors: list[ProfileError] = []
    reads: int = 0


class _Link(Struct, frozen=True):
    """One file of the chain being read, and the line of its `extends` that is being followed."""

    path: Path
    line: int | None = None


def read_lineage(path: Path, host: Host) -> Lineage:
    """The file at `path` laid over everything it extends. Errors are collected, never raised."""
    lineage = Lineage()
    lineage.layer = _read(path, host, (), lineage)
    return lineage


def merge(base: Layer, over: Layer) -> Layer:
    """`over` laid on `base`: mappings merge, all else replaces.

    None is kept, for it must still take back what a further base says; `settle` ends it.
    """
    origins = dict(base.origins)
    data = _merge(base.data, over.data, (), origins, over.origins)
    return Layer(data, origins)


def settle(layer: Layer) -> Layer:
    """The layer without its Nones: what they took back is as if it had never been said.

    Those under `neuron` that took nothing back stay: there null is a value like any other, as for
    `on_device_sampling_config`.
    """
    origins = dict(layer.origins)
    return Layer(_settle(layer.data, (), origins), origins)


def _settle(data: dict[str, Any], path: KeyPath, origins: dict[KeyPath, Origin]) -> dict[str, Any]:
    settled: dict[str, Any] = {}
    for key, value in data.items():
        here = (*path, key)
        if value is _TAKEN_BACK or (value is None and not _is_free(here)):
            origins.pop(here, None)
        else:
            settled[key] = _settle(value, here, origins) if isinstance(value, dict) else value
    return settled


def _merge(
    base: dict[str, Any],
    over: dict[str, Any],
    path: KeyPath,
    origins: dict[KeyPath, Origin],
    said: dict[KeyPath, Origin],
) -> dict[str, Any]:
    merged = dict(base)
    if over and path in origins:
        del origins[path]  # an empty mapping that gets its first entry
    for key, value in over.items():
        here = (*path, key)
        if isinstance(value, dict):
            below = merged.get(key)
            if not isinstance(below, dict):
                origins.pop(here, None)
                below = {}
            merged[key] = _merge(below, value, here, origins, said)
            if not merged[key] and here in said:
                origins[here] = said[here]
            continue
        below = merged.get(key)
        _forget(origins, here, below)
        merged[key] = _TAKEN_BACK if value is None and below is not None and _is_free(here) else value
        origins[here] = said[here]
    return merged


def _is_free(path: KeyPath) -> bool:
    """Whether a key is one of NxD Inference's, of which the shape of a profile knows nothing."""
    return len(path) > 1 and path[0] == "neuron"


def _forget(origins: dict[KeyPath, Origin], path: KeyPath, value: object) -> None:
    """Drop the origins of a value that is replaced; only a mapping has any below its own path."""
    origins.pop(path, None)
    if isinstance(value, dict):
        for key, inner in value.items():
            _forget(origins, (*path, key), inner)


def _read(path: Path, host: Host, chain: tuple[_Link, ...], lineage: Lineage) -> Layer:
    shown = shown_path(path, host)
    lineage.reads += 1
    if path not in lineage.files:
        lineage.files.append(path)
    try:
        node, errors = read_profile(path, shown)
    except ProfileError as error:
        lineage.errors.append(error)
        return Layer()
    checker = Checker(
        lambda line: Origin("profile", shown, line), base=path.parent, home=host.home, shown=shown
    )
    own = checker.document(node)
    _add_new(lineage.errors, errors + checker.errors)
    extends = own.data.pop("extends", ())
    own.origins.pop(("extends",), None)
    layer = Layer()
    for reference, line in _references(node, extends):
        base = _follow(reference, line, path, host, chain, lineage)
        layer = merge(layer, base) if layer.data else base
    return merge(layer, own) if layer.data else own


def _follow(
    reference: str, line: int | None, path: Path, host: Host, chain: tuple[_Link, ...], lineage: Lineage
) -> Layer:
    place = Place(shown_path(path, host), line, "extends")
    links = (*chain, _Link(path, line))
    try:
        found = find_profile(reference, host, place=place, said_in=path)
    except ProfileError as error:
        _add_new(lineage.errors, [error])
        return Layer()
    real = os.path.realpath(found.path)
    for index, link in enumerate(links):
        if os.path.realpath(link.path) == real:
            steps = [f"{shown_path(each.path, host)}:{each.line}" for each in links[index:]]
            text = " → ".join([*steps, shown_path(link.path, host)])
            _add_new(
                lineage.errors,
                [
                    ProfileError(
                        f"profiles extend each other in a circle: {text}",
                        fix="take one of these `extends` out",
                        place=place,
                        code="profile.cycle",
                    )
                ],
            )
            return Layer()
    if len(links) >= MAX_CHAIN or lineage.reads >= MAX_READS:
        what = (
            f"more than {MAX_CHAIN} profiles extend one another"
            if len(links) >= MAX_CHAIN
            else f"more than {MAX_READS} profiles are read"
        )
        _add_new(lineage.errors, [ProfileError(what, place=place)])
        return Layer()
    base = _read(found.path, host, links, lineage)
    base.data.pop("description", None)  # what a file says of itself is not true of those that extend it
    base.origins.pop(("description",), None)
    return base


def _references(node: Node, extends: object) -> list[tuple[str, int | None]]:
    """What a checked `extends` names, with the line of each."""
    said = node.value.get("extends") if isinstance(node.value, dict) else None
    if said is None or not extends:
        return []
    items = said.value if isinstance(said.value, list) else [said]
    return [(item.value, item.line) for item in items if isinstance(item.value, str)]


def _add_new(known: list[ProfileError], errors: list[ProfileError]) -> None:
    """A file that is extended twice has its mistakes reported once."""
    said = {str(error) for error in known}
    known.extend(error for error in errors if str(error) not in said)
