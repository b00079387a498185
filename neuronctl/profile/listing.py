"""Listing: the profiles that have names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neuronctl.host import Host
from neuronctl.profile.find import Source, all_named
from neuronctl.profile.inherit import read_lineage


@dataclass(frozen=True)
class ProfileEntry:
    """One profile. `shadowed_by` is the file of the same name that is found first; `error` what is wrong."""

    name: str
    path: Path
    source: Source
    description: str | None = None
    shadowed_by: Path | None = None
    error: str | None = None


def list_profiles(host: Host) -> list[ProfileEntry]:
    """Every named profile in the order of the search; one that cannot be read is listed with its error."""
    entries: list[ProfileEntry] = []
    for located in all_named(host):
        lineage = read_lineage(located.path, host)
        error = str(lineage.errors[0]) if lineage.errors else None
        assert located.source is not None
        entries.append(
            ProfileEntry(
                located.name,
                located.path,
                located.source,
                lineage.layer.data.get("description"),
                located.shadowed_by,
                error,
            )
        )
    return entries
