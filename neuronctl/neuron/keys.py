"""Which keys the Neuron configuration has, and what is wrong with the ones that somebody wrote.

NxD Inference logs one warning for a key it does not know, its sub-configurations and the native plugin not
even that: a typing error costs a compile. The facts are in keys.yaml, with their sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from neuronctl.profile.suggest import nearest_word
from neuronctl.stack.version import release
from neuronctl.yaml_data import read_yaml

Generation = Literal["nxdi", "native"]
FaultKind = Literal["unknown", "too-new", "removed", "bad-value", "deprecated", "ignored"]

# NeuronConfig and its subclasses for experts and for vision; which class it is depends on the model.
_CONFIG_SECTIONS = ("neuron_config", "moe_neuron_config", "multimodal_vision_neuron_config")
# What holds a whole Neuron config, each of which somebody may have put into another.
WHOLE = ("additional_config", "neuron_config", "override_neuron_config")
# From 0 to 1; below it another key is hardly what was meant.
_LEAST_LIKENESS = 0.65
_SAID = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "list": "a list",
    "list[int]": "a list of whole numbers",
    "list[str]": "a list of texts",
    "dict": "a mapping",
    "null": "null",
}


@dataclass(frozen=True)
class Key:
    """One key of a configuration class.

    `kinds` are the JSON types it takes (`int`, `list[int]`, `null`, …, or `any`); `default` is None also
    where an unset key is derived from others (`default_is` says how); `since` is the first release of NxD
    Inference known to read it; `section` is the configuration its mapping is.
    """

    name: str
    kinds: tuple[str, ...]
    default: object
    default_is: str | None
    allowed: tuple[object, ...]
    ignore_case: bool
    since: str | None
    deprecated: str | None
    section: str | None
    meaning: str | None
    source: str


@dataclass(frozen=True)
class KeyFault:
    """What is wrong with one key: where, why, which key was probably meant, and which release knows it."""

    path: str
    kind: FaultKind
    message: str
    nearest: str | None = None
    since: str | None = None


def check_keys(
    settings: Mapping[str, Any], *, generation: Generation, version: str | None
) -> tuple[KeyFault, ...]:
    """Check what goes into `override_neuron_config` (nxdi) or `neuron_config` (native), to the last level.

    `version` is that of NxD Inference for nxdi, that of the plugin for native; None is the newest that is
    known. Which key came with which native release is not known, so no key is too new there. Never raises.
    """
    section = "override_neuron_config" if generation == "nxdi" else "neuron_config"
    return tuple(_check(settings, section, "", generation, version))


def check_additional_config(
    config: object, *, generation: Generation, plugin: str | None, version: str | None
) -> tuple[KeyFault, ...]:
    """Check all of `--additional-config`: its own keys, then what is inside them (see `check_keys`).

    `plugin` is the version of vllm-neuron. Paths start with the top-level key.
    """
    if not isinstance(config, Mapping):
        return (KeyFault("", "bad-value", f"additional_config is {_repr(config)}, not a mapping"),)
    known: dict[str, dict[str, Any]] = _data()[generation]["additional_config"]
    found: list[KeyFault] = []
    for name, value in config.items():
        key = str(name)
        if key not in known:
            near = _top_level(key, known, generation)
            found.append(
                KeyFault(key, "unknown", f"the plugin does not read {key} of additional_config", near)
            )
            continue
        since = known[key].get("since_plugin")
        if since and plugin is not None and release(plugin) < release(since):
            message = f"{key} is read by vllm-neuron {since} and later, and this is {plugin}"
            found.append(KeyFault(key, "too-new", message, None, since))
            continue
        kinds = tuple(known[key]["type"].split("|"))
        if not _fits_any(value, kinds):
            found.append(KeyFault(key, "bad-value", f"{key} is {_repr(value)}, not {_says(kinds)}"))
        elif isinstance(value, Mapping):
            section = key if key in _data()[generation]["sections"] else "neuron_config"
            found += _check(value, section, f"{key}.", generation, version)
    return tuple(found)


@cache
def known_keys(generation: Generation, section: str = "neuron_config") -> Mapping[str, Key]:
    """The keys of one configuration; for nxdi, `neuron_config` holds those of its subclasses too."""
    names: tuple[str, ...] = (section,)
    if generation == "nxdi" and section in ("neuron_config", "override_neuron_config"):
        names = (*_CONFIG_SECTIONS, section) if section == "override_neuron_config" else _CONFIG_SECTIONS
    found: dict[str, Key] = {}
    for name in names:
        part = _data()[generation]["sections"][name]
        for key, facts in part["keys"].items():
            source = facts.get("source", part["source"])
            line = facts.get("line")
            found[key] = Key(
                name=key,
                kinds=tuple(facts["type"].split("|")),
                default=facts.get("default"),
                default_is=facts.get("default_is"),
                allowed=tuple(facts.get("allowed", ())),
                ignore_case=facts.get("ignore_case", False),
                since=facts.get("since"),
                deprecated=facts.get("deprecated"),
                section=facts.get("section"),
                meaning=facts.get("meaning"),
                source=f"{source}:{line}" if line else source,
            )
    return found


@cache
def class_keys(has_experts: bool) -> Mapping[str, Key]:
    """The keys of NxD Inference's NeuronConfig alone, or of MoENeuronConfig."""
    names = ("neuron_config", "moe_neuron_config") if has_experts else ("neuron_config",)
    sections = _data()["nxdi"]["sections"]
    return {key: known_keys("nxdi")[key] for name in names for key in sections[name]["keys"]}


def _check(
    settings: Mapping[Any, Any], section: str, prefix: str, generation: Generation, version: str | None
) -> Iterator[KeyFault]:
    known = known_keys(generation, section)
    for name, value in settings.items():
        word = str(name)
        path = prefix + word
        key = known.get(word)
        if key is None:
            yield _unknown(word, path, section, generation, version)
            continue
        if key.since and version and is_before(version, key.since):
            message = f"{word} is read by NxD Inference {key.since} and later, and this is {version}"
            yield KeyFault(path, "too-new", message, None, key.since)
            continue
        if key.deprecated:
            yield KeyFault(path, "deprecated", f"{word}: {key.deprecated}", None, key.since)
        if fault := _bad_value(key, value):
            yield KeyFault(path, "bad-value", fault, None, key.since)
        elif key.section and isinstance(value, Mapping):
            yield from _check(value, key.section, f"{path}.", generation, version)


def _unknown(word: str, path: str, section: str, generation: Generation, version: str | None) -> KeyFault:
    """Why a key is not known: gone, only documented, of the other generation, or misspelt."""
    facts = _data()[generation]
    home = "neuron_config" if section == "override_neuron_config" else section
    for gone in facts["removed"]:
        if gone["key"] != word or gone["section"] != home:
            continue
        if version and release(version) <= release(gone["until"]):
            return KeyFault(path, "deprecated", f"{word}: {gone['note']}", gone["nearest"], gone["since"])
        message = f"{word} was last read by NxD Inference {gone['until']}: {gone['note']}"
        return KeyFault(path, "removed", message, gone["nearest"], gone["since"])
    for said in facts["documented_but_not_accepted"]:
        if said["key"] == word and said["section"] == home:
            return KeyFault(path, "ignored", f"{word}: {said['message']}", said["nearest"])
    other: Generation = "native" if generation == "nxdi" else "nxdi"
    if home == "neuron_config" and word in known_keys(other):
        owner = "the native plugin" if generation == "nxdi" else "NxD Inference"
        return KeyFault(path, "unknown", f"{word} is a key of {owner} and is ignored here")
    cls = facts["sections"][home]["class"]
    if generation == "native":
        message = f"{word} is not a key of {cls}: the plugin drops it without a word"
    elif home == "neuron_config":
        message = f"{word} is not a key of {cls}: NxD Inference logs a warning and goes on without it"
    else:
        message = f"{word} is not a key of {cls}"
    if home == "neuron_config" and word.replace("-", "_") in WHOLE:
        # No key that looks like it is meant: it holds a whole configuration.
        return KeyFault(path, "unknown", f"{word} stands inside the Neuron config, where nothing reads it")
    near = nearest_word(word, known_keys(generation, section), _LEAST_LIKENESS)
    return KeyFault(path, "unknown", message, near)


def _top_level(word: str, known: Mapping[str, object], generation: Generation) -> str | None:
    """Where a key that stands beside the real ones belongs."""
    said = word.replace("-", "_")
    if said in known:
        return said
    inside = "override_neuron_config" if generation == "nxdi" else "neuron_config"
    if said in known_keys(generation, inside):
        return f"{inside}.{said}"
    return nearest_word(said, known)


def _bad_value(key: Key, value: object) -> str | None:
    if value is None and key.default is None:
        return None
    if not _fits_any(value, key.kinds):
        return f"{key.name} is {_repr(value)}, not {_says(key.kinds)}"
    if not key.allowed or value is None:
        return None
    said = value.lower() if key.ignore_case and isinstance(value, str) else value
    if said in key.allowed:
        return None
    return f"{key.name} is {_repr(value)}, not one of {', '.join(str(one) for one in key.allowed)}"


def _fits_any(value: object, kinds: tuple[str, ...]) -> bool:
    return any(_fits(value, kind) for kind in kinds)


def _fits(value: object, kind: str) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "list[int]":
        return isinstance(value, list) and all(_fits(one, "int") for one in value)
    if kind == "list[str]":
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    return {
        "any": True,
        "null": value is None,
        "bool": isinstance(value, bool),
        "int": is_number and isinstance(value, int),
        "float": is_number,
        "str": isinstance(value, str),
        "list": isinstance(value, list),
        "dict": isinstance(value, Mapping),
    }[kind]


def _says(kinds: tuple[str, ...]) -> str:
    return " or ".join(_SAID[kind] for kind in kinds)


def _repr(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def is_before(version: str, since: str) -> bool:
    """Whether a release is certainly older than the one that brought a key.

    Only some releases were compared: a key first seen in 0.9.0 may have come with any after 0.7.14366.
    """
    tags: list[str] = _data()["nxdi"]["tags_compared"]
    index = tags.index(since)
    return index > 0 and release(version) <= release(tags[index - 1])


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = read_yaml(Path(__file__).with_name("keys.yaml"))
    return data
