"""Quarantine: where artifacts go that failed, with the reason, out of every build's way."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neuronctl.artifacts.blobs import Blobs
from neuronctl.artifacts.layout import Layout, fsync_folder
from neuronctl.digest import digests
from neuronctl.errors import ArtifactDamaged
from neuronctl.model.plain_file import read_plain

if TYPE_CHECKING:
    from neuronctl.artifacts.verify import Problem

_REASON = "reason.json"


@dataclass(frozen=True)
class Quarantined:
    """An artifact that failed: its key, where it is now, when (UTC, `20250131T235959Z`), and why.

    `whole`: it was verified when it was moved, and nothing was wrong with its files.
    """

    key: str
    path: Path
    at: str
    reason: str
    whole: bool = False


def move_to_quarantine(
    layout: Layout, key: str, reason: str, *, now: float, problems: Sequence[Problem] | None = None
) -> Path:
    """Move the artifact of `key` to the quarantine at the time `now`; returns its new folder.

    `problems` are what a verification found, None when there was none.

    The blobs of it that are damaged go with it, so that no build uses them, and the artifacts that
    share them find out at their next use. The caller holds the key's lock. Raises OSError.
    """
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    destination = layout.quarantine / f"{key}.{at}"
    number = 1
    while os.path.lexists(destination):
        number += 1
        destination = layout.quarantine / f"{key}.{at}.{number}"
    layout.artifact(key).rename(destination)
    fsync_folder(layout.artifacts)
    fsync_folder(layout.quarantine)
    expelled = _expel_damaged_blobs(layout, destination)
    _write_reason(
        destination,
        {
            "key": key,
            "at": at,
            "reason": reason,
            "verified": problems is not None,
            "problems": [
                {"path": problem.path, "kind": problem.kind, "detail": problem.detail}
                for problem in problems or ()
            ],
            "damaged_blobs": expelled,
        },
    )
    return destination


def quarantined(layout: Layout) -> list[Quarantined]:
    """What is in quarantine, oldest first. Raises OSError."""
    try:
        names = sorted(path.name for path in layout.quarantine.iterdir())
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        key, _, rest = name.partition(".")
        path = layout.quarantine / name
        reason, whole = _read_reason(path)
        found.append(Quarantined(key, path, rest.partition(".")[0], reason, whole))
    return sorted(found, key=lambda one: (one.at, one.path.name))


def _expel_damaged_blobs(layout: Layout, folder: Path) -> list[str]:
    """Take the damaged blobs of the artifact in `folder` out of use; gives their names."""
    from neuronctl.artifacts.manifest import decode

    manifest_file = folder / "manifest.json"
    try:
        manifest = decode(read_plain(manifest_file), manifest_file)
    except (OSError, ArtifactDamaged):
        # Which blobs were its own is not known then. A build hashes each blob before it uses it.
        return []
    blobs = Blobs(layout)
    kept = sorted({e.blake3: e.size_bytes for e in manifest.files if layout.blob(e.blake3).exists()}.items())
    hashes = digests([(layout.blob(name), size) for name, size in kept])
    damaged = [name for (name, _), actual in zip(kept, hashes, strict=True) if actual != name]
    for name in damaged:
        (folder / "blobs").mkdir(exist_ok=True)
        blobs.expel(name, folder / "blobs" / name)
    return damaged


def _write_reason(folder: Path, facts: dict[str, object]) -> None:
    import json

    # A full disk must not keep a damaged artifact in use: it is in quarantine already, with or without
    # its reason.
    with suppress(OSError):
        (folder / _REASON).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _read_reason(folder: Path) -> tuple[str, bool]:
    import json

    try:
        facts = json.loads(read_plain(folder / _REASON))
        return str(facts["reason"]), facts.get("problems") == [] and facts.get("verified") is True
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "not recorded", False
