"""Wanted: what a profile names of the hub, and whether it is on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from neuronctl.doctor.facts import Facts
from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host


@dataclass(frozen=True)
class Wanted:
    """A repository that the profile names at `key`, and whether its files are on this machine."""

    key: str
    repo_id: str
    here: bool


def find_wanted(facts: Facts) -> tuple[Wanted, ...]:
    """All of the hub that the profile names; none without a profile. Raises what the profile raises."""
    return tuple(_each_wanted(facts))


def _each_wanted(facts: Facts) -> Iterator[Wanted]:
    from neuronctl.model.resolve import is_hub_id

    profile, host = facts.profile(), facts.host
    if profile is None:
        return
    model, features = profile.shape.model, profile.shape.features
    named = [("model.id", model.id, model.revision, False)]
    if features.speculative.model is not None:
        named.append(("features.speculative.model", features.speculative.model, None, False))
    named += [
        (f"features.lora.adapters.{name}", said, None, True) for name, said in features.lora.adapters.items()
    ]
    for key, said, revision, is_adapter in named:
        if is_hub_id(said, host):
            yield Wanted(key, said, _is_here(said, revision, host, is_adapter=is_adapter))


def _is_here(repo_id: str, revision: str | None, host: Host, *, is_adapter: bool) -> bool:
    from neuronctl.model.hub_model import find_snapshot
    from neuronctl.model.selection import ADAPTER_CONFIG
    from neuronctl.model.weights import weights_missing

    try:
        if is_adapter:
            snapshot = find_snapshot(repo_id, revision, host, ADAPTER_CONFIG)
            return snapshot is not None and any(snapshot.glob("adapter_model.*"))
        snapshot = find_snapshot(repo_id, revision, host)
        return snapshot is not None and weights_missing(snapshot) is None
    except ModelNotResolved:  # no possible id, or a broken index
        return False
