"""Identity: what tells one folder's weights from another's, wherever the folder lies."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from neuronctl.digest import digests
from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host
from neuronctl.whole_file import write_whole

# What is read as weights, or says which files are; also what adapters and quantised checkpoints consist of.
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".index.json")
_CONFIGURATIONS = ("config.json", "adapter_config.json")


def identify_weights(
    folder: Path, host: Host, *, on_read: Callable[[int], None] = lambda size_bytes: None
) -> str:
    """The BLAKE3 (64 hex digits) over the names and contents of the folder's weights and configuration.

    Reading them takes as long as the disk needs, so the digest of each file is remembered by its path,
    size, times of change and inode, under `$NEURONCTL_HOME/identity`; a file in which any of these differs is
    read again, and `on_read` is told how many bytes that takes. Where nothing can be written there, nothing
    is remembered. Raises ModelNotResolved for a file that cannot be read.
    """
    from blake3 import blake3

    try:
        files = {name: Path(os.path.realpath(folder / name)) for name in sorted(_names(folder))}
        facts = {name: _facts(path) for name, path in files.items()}
    except OSError as error:
        raise _unreadable(folder, error) from None
    memory = host.neuronctl_home / "identity" / f"{blake3(os.fsencode(folder)).hexdigest()[:32]}.json"
    known = _recall(memory)
    unknown = [name for name in files if known.get(name, ("", ()))[1] != facts[name]]
    found = {name: known[name][0] for name in files if name not in unknown}
    if unknown:
        on_read(sum(facts[name][1] for name in unknown))
        _let_clock_pass(max(facts[name][3] for name in unknown))
    read = digests([(files[name], facts[name][1]) for name in unknown])
    for name, digest in zip(unknown, read, strict=True):
        if isinstance(digest, OSError):
            raise _unreadable(files[name], digest)
        found[name] = digest
    if unknown:
        _remember(memory, {name: (found[name], facts[name]) for name in files})
    together = json.dumps(sorted(found.items()), separators=(",", ":"))
    return blake3(together.encode()).hexdigest()


Facts = tuple[str, int, int, int, int]
# What trainers leave beside the weights.
_NO_WEIGHTS = ("training_args.", "optimizer.", "scheduler.", "rng_state", "scaler.")


def _names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [
            entry.name
            for entry in entries
            if entry.is_file()
            and (entry.name.endswith(_WEIGHTS) or entry.name in _CONFIGURATIONS)
            and not entry.name.startswith(_NO_WEIGHTS)
        ]


def _facts(path: Path) -> Facts:
    facts = path.stat()
    # st_ctime too: other weights may have the size, the mtime (`touch -r`, a tar) and the inode of those that
    # were deleted before them.
    return str(path), facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino


# Linux before 6.13 stamps a change with the last tick of its clock, at 100 Hz up to 10 ms ago.
_TICKS_NS = 20_000_000


def _let_clock_pass(change_ns: int) -> None:
    """Wait until a later change must get a later st_ctime, so that one made after the reading is noticed."""
    age_ns = time.time_ns() - change_ns
    if 0 <= age_ns < _TICKS_NS:
        time.sleep((_TICKS_NS - age_ns) / 1e9)


def _recall(memory: Path) -> dict[str, tuple[str, Facts]]:
    try:
        data = json.loads(memory.read_bytes())
        return {
            str(name): (str(digest), (str(path), int(size), int(mtime), int(ctime), int(inode)))
            for name, (digest, (path, size, mtime, ctime, inode)) in data.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _remember(memory: Path, known: Mapping[str, tuple[str, Facts]]) -> None:
    with suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_whole(memory, json.dumps(known).encode())


def _unreadable(path: Path, error: OSError) -> ModelNotResolved:
    return ModelNotResolved(
        f"cannot read the weights in {path}: {error.strerror}",
        fix="give this user the right to read the model's files",
        code="model.unreadable",
    )
