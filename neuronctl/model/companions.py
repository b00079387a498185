"""Companions: what is loaded beside a model, a draft or adapters, brought to local folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import structs

from neuronctl.errors import ModelNotResolved, Place
from neuronctl.host import Host
from neuronctl.model.identity import identify_weights
from neuronctl.model.resolve import download_snapshot, find_snapshot
from neuronctl.profile.resolve import Profile

# Many drafts and adapters exist in this form alone, such as yuhuili/EAGLE-LLaMA3.1-Instruct-8B.
_OLDER_WEIGHTS = ("*.bin",)


@dataclass(frozen=True)
class Companion:
    """One of them: its key in the profile, what is said there, and the folder it is in, None if it is not
    here.

    `identity` tells its weights from others: a hub commit, else a digest; None where it is not here.
    """

    key: str
    said: str
    path: Path | None
    identity: str | None


def find_companions(profile: Profile, host: Host) -> tuple[Companion, ...]:
    """Those that the profile names, looked for in folders and in the hub's cache; nothing is fetched."""
    return tuple(_find(key, said, host) for key, said, _ in _named(profile))


def fetch_companions(profile: Profile, host: Host) -> bool:
    """Download those that are not here; whether there was one.

    Raises ModelNotResolved where one is a folder that is missing, or the profile forbids to download.
    """
    fetched = False
    for (key, said, config), one in zip(_named(profile), find_companions(profile, host), strict=True):
        if one.path is not None:
            continue
        place = Place(key=key)
        if _is_path(said):
            raise ModelNotResolved(
                f"there is no folder {said}",
                place=place,
                fix=f"give {key} a folder that is there, or a hub id",
            )
        if profile.shape.model.download == "never":
            raise ModelNotResolved(
                f"{said} is not in the hub's cache on this machine, and model.download forbids to fetch it",
                place=place,
                fix=f"hf download {said}",
                code="model.download-forbidden",
            )
        download_snapshot(said, None, host, further=_OLDER_WEIGHTS)
        if find_snapshot(said, None, host, config) is None:
            raise ModelNotResolved(
                f"{said} has no {config}",
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
    adapters = {
        name: paths.get(f"features.lora.adapters.{name}", said)
        for name, said in features.lora.adapters.items()
    }
    lora = structs.replace(features.lora, adapters=adapters)
    changed = structs.replace(features, speculative=speculative, lora=lora)
    return replace(profile, shape=structs.replace(profile.shape, features=changed))


def identities(companions: tuple[Companion, ...]) -> Mapping[str, str]:
    """Folder → identity, of those that are here."""
    return {str(one.path): one.identity for one in companions if one.path and one.identity}


def _named(profile: Profile) -> Iterator[tuple[str, str, str]]:
    """Key in the profile, what is said there, and the file that such a folder must have."""
    features = profile.shape.features
    if features.speculative.model is not None:
        yield "features.speculative.model", features.speculative.model, "config.json"
    for name, said in features.lora.adapters.items():
        yield f"features.lora.adapters.{name}", said, "adapter_config.json"


def _is_path(said: str) -> bool:
    return said.startswith(("/", "./", "../", "~"))


def _find(key: str, said: str, host: Host) -> Companion:
    folder = host.expand(said)
    if os.path.isdir(folder):
        return Companion(key, said, folder.resolve(), identify_weights(folder.resolve(), host))
    if _is_path(said):
        return Companion(key, said, None, None)
    config = "adapter_config.json" if ".adapters." in key else "config.json"
    snapshot = find_snapshot(said, None, host, config)
    return Companion(key, said, snapshot, snapshot.name if snapshot else None)
