"""Environment variables of Neuron: who reads each, what it may say, and what its name is in other versions.

A misspelt variable, or one of the other generation, does nothing and says nothing. The facts are in
variables.yaml, with their sources.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from neuronctl.errors import UsageError
from neuronctl.machine.cores import parse_cores
from neuronctl.profile.suggest import nearest_word
from neuronctl.yaml_data import read_yaml

# Whoever writes such a name means Neuron's software. Names of vLLM's own and of the hub's are not judged.
PREFIXES = ("NEURON_", "VLLM_NEURON_", "NXD_", "NKI_")
# Read whatever the generation of the plugin is.
_BOTH = frozenset({"runtime", "compiler", "nki", "container", "vllm", "all"})
# What the kubelet sets for each service of the namespace; one may be called vllm-neuron
# (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).
_OF_A_SERVICE = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)", re.ASCII
)
_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
# From 0 to 1. Long names that begin alike look alike: below it another one is hardly what was meant.
_LEAST_LIKENESS = 0.88
_SAID = {
    "switch": "0 or 1",
    "whole": "a whole number",
    "number": "a number",
    "count": "a whole number, not below 0",
    "truth": "0, 1, true or false",
    "cores": "cores as 0-3 or 0-3,8",
}


@dataclass(frozen=True)
class Renamed:
    """Another name of a variable, and the version of the plugin in which the newer one began."""

    name: str
    version: str


@dataclass(frozen=True)
class Variable:
    """One environment variable.

    `generations` are its readers (see variables.yaml); `default` says in words what an unset one means, None
    where no source does; `allowed` are the documented values and `form` what else a value must be; `refused`
    says that the reader stops at any other. `only` and `since` are versions of the plugin; `removed_in` maps
    a component to its first version without the variable. `instead` is the one that is read in its place.
    `shared` says that other software reads it too; `family` that names which begin so are known with it.
    """

    name: str
    generations: tuple[str, ...]
    meaning: str
    source: str
    default: str | None = None
    allowed: tuple[str, ...] = ()
    ignore_case: bool = False
    form: str | None = None
    refused: bool = False
    only: str | None = None
    since: str | None = None
    renamed_to: Renamed | None = None
    renamed_from: Renamed | None = None
    removed_in: Mapping[str, str] | None = None
    instead: str | None = None
    shared: bool = False
    family: bool = False

    def is_read_by(self, backend: str) -> bool:
        """Whether anything that serves with this backend (nxdi, native or cpu) reads it."""
        if self.shared:
            return True
        return backend != "cpu" and (backend in self.generations or not _BOTH.isdisjoint(self.generations))

    @property
    def takes(self) -> str | None:
        """What a value may be, in words; None where anything goes."""
        if self.allowed:
            return f"one of {', '.join(self.allowed)}"
        return _SAID[self.form] if self.form else None

    def accepts(self, value: str) -> bool:
        """Whether a value is one that it may have. An empty one counts as unset, but where int() reads it."""
        said = value.strip()
        if not said and (self.allowed or not self.refused):
            return True
        if self.allowed:
            shown = (one.lower() if self.ignore_case else one for one in self.allowed)
            return (said.lower() if self.ignore_case else said) in shown
        return self.form is None or _fits(self.form, said)


def is_neurons(name: str, value: str) -> bool:
    """Whether whoever set a variable meant Neuron's software, by its name."""
    if name in variables():
        return True
    if _OF_A_SERVICE.fullmatch(name) or (name.endswith("_PORT") and _ADDRESS.match(value)):
        return False
    return name.startswith(PREFIXES)


def find_variable(name: str) -> Variable | None:
    """The variable of that name, or the family that it belongs to; None where it is not known."""
    if name in variables():
        return variables()[name]
    families = [one for one in variables().values() if one.family and name.startswith(f"{one.name}_")]
    return max(families, key=lambda one: len(one.name), default=None)


def nearest_variable(name: str) -> str | None:
    """The known variable that somebody most likely meant; None where none looks like it."""
    return nearest_word(name, variables(), _LEAST_LIKENESS)


def _fits(form: str, said: str) -> bool:
    try:
        if form == "cores":
            return bool(parse_cores(said))
        if form == "truth":
            return said.lower() in ("0", "1", "true", "false")
        if form == "number":
            float(said)
            return True
        number = int(said)
    except (ValueError, UsageError):
        return False
    return number >= 0 if form == "count" else True


@cache
def variables() -> Mapping[str, Variable]:
    """Every known variable, by its name."""
    rows: list[dict[str, Any]] = read_yaml(Path(__file__).with_name("variables.yaml"))["variables"]
    return {row["name"]: _variable(row) for row in rows}


def _variable(row: Mapping[str, Any]) -> Variable:
    facts = dict(row)
    for key in ("renamed_to", "renamed_from"):
        if key in facts:
            facts[key] = Renamed(facts[key]["name"], facts[key]["in"])
    for key in ("generations", "allowed"):
        facts[key] = tuple(facts.get(key, ()))
    return Variable(**facts)
