"""The catalog of Neuron chips and instance types; the facts and their sources are in instances.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from neuronctl.errors import UsageError
from neuronctl.profile.suggest import nearest_word
from neuronctl.yaml_data import read_yaml

_GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One kind of Neuron device; `core_memory_bytes` as in InstanceType."""

    name: str
    physical_cores: int
    memory_bytes: int
    lnc_supported: tuple[int, ...]
    lnc_default: int
    core_memory_bytes: Mapping[int, int]
    device_name: str | None
    notes: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class InstanceType:
    """An instance type, or an UltraServer as a whole.

    LNC is how many physical cores make one logical core: `logical_cores` maps it to the logical cores of
    the instance, `core_memory_bytes` to the device memory of one of them, without an LNC of which no source
    states it. `tp_degrees` are those that the documentation lists and the cores allow, None where no list
    exists. `plugin_support` maps a generation of the plugin to supported, disputed, unsupported, or a
    condition in words. `compiler_target` is neuronx-cc's `--target`, `hardware` NxD's class (TRN1 is also
    Inferentia2).
    """

    name: str
    family: str
    chip: str
    devices: int
    lnc_supported: tuple[int, ...]
    lnc_default: int
    logical_cores: Mapping[int, int]
    device_memory_bytes: int
    core_memory_bytes: Mapping[int, int]
    vcpus: int | None
    host_memory_bytes: int | None
    compiler_target: str
    hardware: str
    tp_degrees: tuple[int, ...] | None
    plugin_support: Mapping[str, str]
    ultraserver: bool
    notes: tuple[str, ...]
    sources: tuple[str, ...]


@cache
def chips() -> tuple[Chip, ...]:
    """Every chip, in the order of the file."""
    return tuple(_chip(name, facts) for name, facts in _facts()["chips"].items())


@cache
def instance_types() -> tuple[InstanceType, ...]:
    """Every instance type, in the order of the file."""
    by_name = {chip.name: chip for chip in chips()}
    families = _facts()["families"]
    return tuple(
        _instance(each, families[each["family"]], by_name[families[each["family"]]["chip"]])
        for each in _facts()["instances"]
    )


def find_instance(name: str) -> InstanceType:
    """The instance type of this name; UsageError where there is none."""
    found = known_instance(name.strip().lower())
    if found is not None:
        return found
    names = [each.name for each in instance_types()]
    near = nearest_word(name.strip().lower(), names)
    raise UsageError(
        f"no Neuron instance type is called {name[:100]!r}" + (f"; did you mean {near}?" if near else ""),
        code="usage.unknown-target",
        fix=f"--target {near}" if near else f"take one of {', '.join(names)}",
        details={"known": names},
    )


def known_instance(name: str) -> InstanceType | None:
    """The instance type of this name, None where the catalog has none."""
    return next((each for each in instance_types() if each.name == name), None)


def _chip(name: str, facts: Mapping[str, Any]) -> Chip:
    return Chip(
        name=name,
        physical_cores=facts["physical_cores"],
        memory_bytes=facts["memory_gib"] * _GIB,
        lnc_supported=tuple(facts["lnc_supported"]),
        lnc_default=facts["lnc_default"],
        core_memory_bytes={
            lnc: gib * _GIB for lnc, gib in facts["core_memory_gib"].items() if gib is not None
        },
        device_name=facts["device_name"],
        notes=tuple(facts.get("notes", ())),
        sources=tuple(facts["sources"]),
    )


def _instance(facts: Mapping[str, Any], family: Mapping[str, Any], chip: Chip) -> InstanceType:
    cores = {lnc: facts["devices"] * chip.physical_cores // lnc for lnc in chip.lnc_supported}
    listed = _facts()["tp_degrees"]
    ultraserver = facts.get("ultraserver", False)
    degrees = None
    # The documented lists are for one instance.
    if chip.name in listed["degrees"] and not ultraserver:
        most = cores[chip.lnc_default]
        degrees = tuple(degree for degree in listed["degrees"][chip.name] if degree <= most)
    host_memory_gib = facts["host_memory_gib"]
    return InstanceType(
        name=facts["name"],
        family=facts["family"],
        chip=chip.name,
        devices=facts["devices"],
        lnc_supported=chip.lnc_supported,
        lnc_default=chip.lnc_default,
        logical_cores=cores,
        device_memory_bytes=chip.memory_bytes,
        core_memory_bytes=chip.core_memory_bytes,
        vcpus=facts["vcpus"],
        host_memory_bytes=None if host_memory_gib is None else host_memory_gib * _GIB,
        compiler_target=family["compiler_target"],
        hardware=family["hardware"],
        tp_degrees=degrees,
        plugin_support=family["plugin_support"],
        ultraserver=ultraserver,
        notes=tuple(facts.get("notes", ())) + tuple(family.get("notes", ())) + chip.notes,
        sources=(
            *facts["sources"],
            *family["sources"],
            *chip.sources,
            *((listed["source"],) if degrees is not None else ()),
        ),
    )


@cache
def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = read_yaml(Path(__file__).with_name("instances.yaml"))
    return facts
