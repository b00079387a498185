"""Store: the artifacts on this machine, found by key."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuronctl.artifacts.artifact import Artifact, Damaged
from neuronctl.artifacts.disk import demand_way, using
from neuronctl.artifacts.layout import Layout, is_key
from neuronctl.errors import ArtifactDamaged, Place
from neuronctl.host import Host
from neuronctl.model.plain_file import NoPlainFile, read_plain

if TYPE_CHECKING:
    from neuronctl.artifacts.difference import Difference
    from neuronctl.artifacts.lock import OnWait
    from neuronctl.artifacts.quarantine import Quarantined
    from neuronctl.artifacts.verify import Problem

_ATTEMPTS = 3


@dataclass(frozen=True)
class Store:
    """The store at `root`, which need not exist: reading creates nothing.

    Every method raises MachineUnfit where the disk refuses what it must do, and UsageError for a key
    that cannot be one.
    """

    root: Path
    host: Host

    @classmethod
    def open(cls, host: Host) -> Store:
        """The store of this user: `$NEURONCTL_HOME/store/v1`."""
        return cls(host.neuronctl_home / "store" / "v1", host)

    @property
    def layout(self) -> Layout:
        return Layout(self.root)

    def find(self, key: str) -> Artifact | None:
        """The artifact of `key`, its files not yet verified; None when there is none.

        Raises ArtifactDamaged when there is one and its manifest cannot be used.
        """
        folder = self.layout.artifact(key)
        file = folder / "manifest.json"
        with using(self.root):
            for _ in range(_ATTEMPTS):
                try:
                    data = read_plain(file)
                except FileNotFoundError:
                    if not os.path.lexists(folder):
                        demand_way(self.layout.artifacts)
                        return None
                    continue  # it may have come between the two looks
                except NotADirectoryError:
                    demand_way(self.layout.artifacts)
                    break
                except NoPlainFile as error:
                    raise _damaged(f"The artifact's manifest is damaged: {error.strerror}.", folder) from None
                except OSError as error:
                    if error.errno != errno.ELOOP:
                        raise
                    demand_way(folder)
                    break
                # Only here, because it brings msgspec, and a miss should cost nothing.
                from neuronctl.artifacts.manifest import decode

                return Artifact(key, folder, decode(data, file))
        raise _damaged("The artifact has no manifest.", folder)

    def artifacts(self) -> list[Artifact | Damaged]:
        """All artifacts, sorted by key, their files not verified; those with a broken manifest too."""
        with using(self.root):
            try:
                names = sorted(path.name for path in self.layout.artifacts.iterdir())
            except FileNotFoundError:
                demand_way(self.layout.artifacts)
                return []
        found: list[Artifact | Damaged] = []
        for name in names:
            path = self.layout.artifacts / name
            if not is_key(name):
                found.append(Damaged(name, path, "Its name is not a key."))
                continue
            try:
                artifact = self.find(name)
            except ArtifactDamaged as error:
                found.append(Damaged(name, path, error.what))
            else:
                found += [artifact] if artifact is not None else []
        return found

    def quarantined(self) -> list[Quarantined]:
        """What failed verification or would not load, oldest first."""
        from neuronctl.artifacts.quarantine import quarantined

        with using(self.root):
            demand_way(self.layout.quarantine)
            return quarantined(self.layout)

    def quarantine(
        self,
        key: str,
        reason: str,
        *,
        seen: Artifact | None = None,
        problems: Sequence[Problem] | None = None,
        lock_timeout_s: float = 600.0,
        on_wait: OnWait | None = None,
    ) -> Path | None:
        """Take the artifact of `key` out of use; returns its new folder, None when there was nothing to do.

        `seen` is the artifact that failed: when another process has put a new one in its place by now,
        that one stays. Raises LockTimedOut. Not from within a build of the same key, which has its lock.
        """
        from neuronctl.artifacts.lock import lock
        from neuronctl.artifacts.quarantine import move_to_quarantine

        path = self.layout.lock(key)
        with using(self.root):
            if not os.path.lexists(self.layout.artifact(key)):
                return None
            self.layout.prepare()
            with lock(path, self.host, what="quarantine", timeout_s=lock_timeout_s, on_wait=on_wait):
                try:
                    current = self.find(key)
                    if current is None or (seen is not None and current.manifest != seen.manifest):
                        return None
                except ArtifactDamaged:
                    pass
                return move_to_quarantine(self.layout, key, reason, now=self.host.now(), problems=problems)

    def nearest(self, inputs: Mapping[str, Any]) -> tuple[Artifact, tuple[Difference, ...]] | None:
        """The artifact whose key inputs differ from `inputs` in the fewest fields, and those fields.

        Of equally near ones the newest. None when there is no artifact.
        """
        from neuronctl.artifacts.difference import differences
        from neuronctl.artifacts.manifest import plain

        ours = plain(inputs)
        best: tuple[Artifact, tuple[Difference, ...]] | None = None
        for artifact in self.artifacts():
            if isinstance(artifact, Damaged):
                continue
            found = differences(ours, artifact.manifest.inputs)
            if best is None or (-len(found), artifact.manifest.built.at) > (
                -len(best[1]),
                best[0].manifest.built.at,
            ):
                best = artifact, found
        return best


def _damaged(what: str, folder: Path) -> ArtifactDamaged:
    return ArtifactDamaged(
        what,
        place=Place(file=str(folder)),
        fix="Compile again; the damaged artifact is then quarantined.",
    )
