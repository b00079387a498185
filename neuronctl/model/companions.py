"""Companions: what is loaded beside a model, a draft or adapters, brought to local folders."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import structs

from neuronctl.errors import ModelNotResolved, Place
from neuronctl.host import Host
from neuronctl.model.hub_memory import HubMemory
from neuronctl.model.hub_model import find_commit, refresh
from neuronctl.model.hub_place import snapshot_folder
from neuronctl.model.identity import identify_weights
from neuronctl.model.resolve import is_hub_id
from neuronctl.model.selection import ADAPTER_CONFIG
from neuronctl.model.weights import weights_missing
from neuronctl.profile.resolve import Profile
from neuronctl.result import Tell

_ADAPTERS = "features.lora.adapters."
_LONGEST_PATH = 4096
# A compile writes there; what lies there before is not read.
_WRITTEN = ("quantized_checkpoints_path",)


@dataclass(frozen=True)
class Companion:
    """One of them: its key in the profile, what is said there, and the folder it is in, None if it is not
    here.

    `identity` tells its weights from others: a hub commit, else a digest; None where it is not here, and of
    a folder where nobody asked. `moved` and `replaces` are other commits, see Model.
    """

    key: str
    said: str
    path: Path | None
    identity: str | None
    moved: str | None = None
    replaces: str | None = None


def find_companions(profile: Profile, host: Host, *, identify: bool) -> tuple[Companion, ...]:
    """Those that the profile names, looked for in folders and in the hub's cache; nothing is fetched.

    `identify`: read the weights of those in folders, to tell them from others.
    """
    return tuple(
        _find(key, said, config, host, identify=identify) for key, said, config in named_companions(profile)
    )


def fetch_companions(profile: Profile, host: Host, *, tell: Tell) -> bool:
    """Download those that are not here, and remember which commits are used; whether one was not here.

    Raises ModelNotResolved where one is a folder that is missing, or the profile forbids to download.
    """
    fetched = False
    for key, said, config in named_companions(profile):
        one = _find(key, said, config, host)
        if one.path is not None:
            if one.identity is not None and is_hub_id(said, host):
                HubMemory(said, host).remember_commit(None, one.identity)
            continue
        place = Place(key=key)
        if not is_hub_id(said, host):
            raise ModelNotResolved(
                f"there is no folder {said}",
                place=place,
                fix=f"give {key} a folder that is there, or a hub id",
            )
        if profile.shape.model.download == "never":
            raise ModelNotResolved(
                f"{said} is not in the hub's cache on this machine, and model.download forbids to fetch it",
                place=place,
                fix=f"neuronctl models download {said}",
                code="model.download-forbidden",
            )
        try:
            refresh(said, None, host, tell=tell)
        except ModelNotResolved as error:
            raise ModelNotResolved(
                error.what, place=place, fix=error.fix, code=error.error_code, details=error.details
            ) from None
        if _find(key, said, config, host).path is None:
            raise ModelNotResolved(
                f"{said} has no {config}, or no weights",
                place=place,
                fix=f"name another for {key}",
                code="model.no-config",
            )
        fetched = True
    return fetched


def with_local_companions(profile: Profile, companions: tuple[Companion, ...]) -> Profile:
    """The profile with the folders of what is here in the place of hub ids.

    Given a hub id, NxD Inference would look for it as a folder, or ask the hub at each start (reference:
    vllm_defaults, hub_ids).
    """
    features = profile.shape.features
    paths = {one.key: str(one.path) for one in companions if one.path is not None}
    if not paths:
        return profile
    speculative = structs.replace(
        features.speculative, model=paths.get("features.speculative.model", features.speculative.model)
    )
    adapters = {name: paths.get(f"{_ADAPTERS}{name}", said) for name, said in features.lora.adapters.items()}
    lora = structs.replace(features.lora, adapters=adapters)
    changed = structs.replace(features, speculative=speculative, lora=lora)
    return replace(profile, shape=structs.replace(profile.shape, features=changed))


def identities(companions: tuple[Companion, ...]) -> Mapping[str, str]:
    """Folder → identity, of those that are here."""
    return {str(one.path): one.identity for one in companions if one.path and one.identity}


def named_companions(profile: Profile) -> Iterator[tuple[str, str, str]]:
    """Key in the profile, what is said there, and the file that such a folder must have."""
    features = profile.shape.features
    if features.speculative.model is not None:
        yield "features.speculative.model", features.speculative.model, "config.json"
    for name, said in features.lora.adapters.items():
        yield f"{_ADAPTERS}{name}", said, ADAPTER_CONFIG


def _find(key: str, said: str, config: str, host: Host, *, identify: bool = False) -> Companion:
    absent = Companion(key, said, None, None)
    if not is_hub_id(said, host):
        folder = host.expand(said)
        if not os.path.isdir(folder):
            return absent
        identity = identify_weights(folder.resolve(), host) if identify else None
        return Companion(key, said, folder.resolve(), identity)
    try:
        pinned = find_commit(said, None, host, config)
        if pinned.commit is None:
            return absent
        snapshot = snapshot_folder(said, pinned.commit, host)
        if not _has_weights(snapshot, config):
            return absent
    except ModelNotResolved:  # no possible id, or an index that cannot be read
        return absent
    return Companion(key, said, snapshot, pinned.commit, pinned.moved, pinned.replaces)


def _has_weights(snapshot: Path, config: str) -> bool:
    if config == ADAPTER_CONFIG:
        return any(snapshot.glob("adapter_model.*"))
    return weights_missing(snapshot) is None


def identify_named(values: Iterable[object], host: Host) -> dict[str, str]:
    """Path → what tells its content from another's, for every path among `values`, at any depth.

    For folders of weights and files of JSON that raw settings name: a draft in `--speculative-config`, a list
    of adapters and the adapters in it. What is there decides what is compiled, so it belongs to the key.
    """
    found: dict[str, str] = {}
    for text in _texts(values):
        if "/" not in text or text in found or len(text) > _LONGEST_PATH:
            continue
        path = host.expand(text)
        try:
            if path.is_dir():
                found[text] = identify_weights(path.resolve(), host)
            elif path.suffix == ".json" and path.is_file():
                content = path.read_bytes()
                inner = identify_named([_json(content)], host)
                found[text] = hashlib.sha256(content + json.dumps(inner).encode()).hexdigest()
        except (OSError, ValueError):  # ValueError: a NUL character
            continue
    return found


def _texts(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            read = _json(value.encode()) if value[:1] in ("{", "[") else None
            yield from [value] if read is None else _texts([read])
        elif isinstance(value, Mapping):
            yield from _texts(one for key, one in value.items() if key not in _WRITTEN)
        elif isinstance(value, (list, tuple)):
            yield from _texts(value)


def _json(text: bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
