"""HubMemory: what neuronctl remembers of a hub repository between runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec

from neuronctl.host import Host
from neuronctl.model.listing import MAIN, Listing, TensorRow, is_commit
from neuronctl.typed import decode_json
from neuronctl.whole_file import write_whole

T = TypeVar("T")
# What has just been asked of the hub is used in this run, also where it cannot be kept: path → content, why.
_UNWRITTEN: dict[Path, tuple[bytes, str]] = {}


class HubMemory:
    """What neuronctl remembers of one repository, under `$NEURONCTL_HOME/hub`.

    Listings and tensors by commit, and which commit a branch or tag was when it was looked up or compiled.
    What cannot be read is not remembered; what cannot be written is for this run only.
    """

    def __init__(self, repo_id: str, host: Host) -> None:
        self.folder = host.neuronctl_home / "hub" / f"models--{repo_id.replace('/', '--')}"

    def listing(self, commit: str) -> Listing | None:
        """The files of a commit."""
        return self._read(f"{commit}.json", Listing)

    def tensors(self, commit: str) -> dict[str, TensorRow] | None:
        """The tensors of a commit, by name."""
        return self._read(f"{commit}.tensors.json", dict[str, TensorRow])

    def commit_of(self, revision: str | None) -> str | None:
        """The commit that a branch or tag was; None means the branch `main`."""
        commit = self._read(_ref(revision), str)
        return commit if is_commit(commit) else None

    def remember(self, listing: Listing, tensors: Mapping[str, TensorRow] | None = None) -> None:
        """Keep a listing, and the tensors where they are known."""
        self._write(f"{listing.commit}.json", listing)
        if tensors is not None:
            self._write(f"{listing.commit}.tensors.json", tensors)

    def remember_commit(self, revision: str | None, commit: str) -> None:
        """Keep which commit a branch or tag is."""
        if not is_commit(revision) and self.commit_of(revision) != commit:
            self._write(_ref(revision), commit)

    @property
    def trouble(self) -> str | None:
        """Why something could not be written, in words; None where all was, or nothing was to be."""
        return next((why for path, (_, why) in _UNWRITTEN.items() if path.is_relative_to(self.folder)), None)

    def _read(self, name: str, kind: type[T]) -> T | None:
        path = self.folder / name
        try:
            content = _UNWRITTEN[path][0] if path in _UNWRITTEN else path.read_bytes()
            return decode_json(content, kind)
        except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return None

    def _write(self, name: str, value: object) -> None:
        path, content = self.folder / name, msgspec.json.encode(value)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
            _UNWRITTEN.pop(path, None)
        except OSError as error:
            _UNWRITTEN[path] = content, f"{error.filename or path}: {error.strerror}"


def _ref(revision: str | None) -> str:
    """The file of a branch or tag; one each, so that two processes do not write over each other's."""
    return f"refs/{quote(revision or MAIN, safe='')}.json"
