"""Manifest: what an artifact consists of, what it was made from, by whom, and whether it worked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from neuronctl.errors import ArtifactDamaged, Place
from neuronctl.typed import decode_json

SCHEMA = 1
_HEX = frozenset("0123456789abcdef")


class FileEntry(msgspec.Struct, frozen=True):
    """One file of the tree.

    `path` is relative, with `/`; `blake3` has 64 hex digits; `mtime_ns` is the time of last change, in
    nanoseconds since the epoch, that a quick verification expects.
    """

    path: str
    size_bytes: int
    blake3: str
    mtime_ns: int
    executable: bool = False


class Built(msgspec.Struct, frozen=True):
    """When (RFC 3339, UTC), by which neuronctl and with which versions of the stack."""

    at: str
    neuronctl: str
    versions: dict[str, str] = {}


class Smoke(msgspec.Struct, frozen=True):
    """One exchange of the smoke test: a prompt and the greedy answer."""

    prompt: str
    answer: str


class Manifest(msgspec.Struct, frozen=True):
    """All that is known about an artifact; the content of its `manifest.json`.

    `inputs` are the key's inputs in full; `phases_s` is how long each phase of the build took, in
    seconds; `seal` is the BLAKE3 of the rest, so that damage to the manifest itself shows.
    """

    schema: int
    key: str
    backend: str
    model: str
    profile: str
    inputs: dict[str, Any]
    files: tuple[FileEntry, ...]
    built: Built
    phases_s: dict[str, float] = {}
    peak_memory_bytes: int | None = None
    smoke: tuple[Smoke, ...] = ()
    seal: str = ""

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files)


def plain(value: Any) -> Any:
    """`value` as JSON gives it back (tuples become lists), so that it compares with what was stored."""
    return msgspec.json.decode(msgspec.json.encode(value))


def encode(manifest: Manifest) -> bytes:
    """The manifest as JSON for people and programs, sealed."""
    sealed = msgspec.structs.replace(manifest, seal=_seal(manifest))
    return msgspec.json.format(msgspec.json.encode(sealed), indent=2) + b"\n"


def decode(data: bytes, file: Path) -> Manifest:
    """The manifest in `data`; `file` is where it was read.

    Raises ArtifactDamaged when it is not a manifest, was changed after it was written, or has a schema
    this neuronctl does not know.
    """
    try:
        manifest = decode_json(data, Manifest)
    # Bytes that are not UTF-8 are a UnicodeDecodeError, and deep nesting a RecursionError.
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _damaged(file, f"it cannot be read as a manifest: {error}") from None
    if manifest.schema != SCHEMA:
        raise _damaged(file, f"its schema is {manifest.schema}, and this neuronctl knows only {SCHEMA}")
    if manifest.seal != _seal(manifest):
        raise _damaged(file, "it was changed after it was written")
    seen: set[str] = set()
    for entry in manifest.files:
        if not is_inside(entry.path) or entry.path in seen:
            raise _damaged(file, f"a file's path is not acceptable: {entry.path!r}")
        if len(entry.blake3) != 64 or not _HEX.issuperset(entry.blake3) or entry.size_bytes < 0:
            raise _damaged(file, f"the facts of {entry.path!r} are not acceptable")
        seen.add(entry.path)
    return manifest


def is_inside(path: str) -> bool:
    """Whether `path` is a plain relative path that stays below the folder it is joined to."""
    return "\0" not in path and all(part not in ("", ".", "..") for part in path.split("/"))


def _seal(manifest: Manifest) -> str:
    from blake3 import blake3

    bare = plain(msgspec.structs.replace(manifest, seal=""))
    return blake3(msgspec.json.encode(bare)).hexdigest()


def _damaged(file: Path, why: str) -> ArtifactDamaged:
    return ArtifactDamaged(
        f"The artifact's manifest is damaged: {why}.",
        place=Place(file=str(file)),
        fix="Compile again; the damaged artifact is then quarantined.",
    )
