"""Whether a folder's weights are there and whole, as far as names, sizes and headers tell."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from neuronctl.errors import ModelNotResolved, Place
from neuronctl.model.config import read_config
from neuronctl.model.model import Model
from neuronctl.model.selection import index_of, small_files, weight_files


def check_headers(model: Model) -> None:
    """Raise ModelNotResolved for a file of weights that is cut off or none, as a pointer of Git LFS.

    An engine reads the weights after a minute of imports, a compile at its end; their headers are read in
    milliseconds. Of files without an index all are loaded.
    """
    from neuronctl.model.safetensors import find_fault

    indexed = {name for name in named_by_index(model.path).values() if name.endswith(".safetensors")}
    files = [model.path / name for name in indexed] or model.path.glob("*.safetensors")
    for file in sorted(files):
        try:
            fault = find_fault(file)
        except OSError as error:
            raise ModelNotResolved(
                f"cannot read the weights in {file}: {error.strerror}",
                fix="give this user the right to read the model's files",
                code="model.unreadable",
            ) from None
        if fault is not None:
            raise ModelNotResolved(
                f"the weights in {file} are damaged: {fault}",
                fix=_remedy(model),
                code="model.damaged-weights",
            )


def _remedy(model: Model) -> str:
    if model.source == "hub" and model.commit is not None:
        return f"neuronctl models download {model.id} --revision {model.commit}"
    return "copy the file again, or download the model again"


def check_links(folder: Path) -> None:
    """Raise ModelNotResolved for a file of the model that is a link out of its folder, or to nothing.

    Such a folder is not whole where it is copied or mounted to. The links of the hub's cache, from a
    snapshot to the blobs beside it, are its way to keep a file once.
    """
    within = Path(os.path.realpath(folder))
    if within.parent.name == "snapshots":
        within = within.parent.parent
    names = [entry.name for entry in os.scandir(folder) if entry.is_symlink()]
    for name in (*small_files(names), *weight_files(names)):
        target = Path(os.path.realpath(folder / name))
        if not target.exists():
            raise ModelNotResolved(
                f"{folder / name} is a link to {target}, which is not there",
                fix="copy the file here, or download the model again",
                code="model.broken-link",
            )
        if not target.is_relative_to(within):
            raise ModelNotResolved(
                f"{folder / name} is a link out of the model's folder, to {target}",
                fix="copy the file into the folder, or name the folder that has all of them as model.id",
                code="model.link-outside",
            )


def check_weights(folder: Path, *, fix: str) -> None:
    """Raise ModelNotResolved where weights are missing."""
    if missing := weights_missing(folder):
        raise ModelNotResolved(f"{folder} {missing}", fix=fix, code="model.no-weights")


def weights_missing(folder: Path) -> str | None:
    """What the folder lacks of its weights, in words: files that an index names, or any weights at all.

    Raises ModelNotResolved for an index that cannot be read.
    """
    if named_by_index(folder):
        if not (missing := missing_weights(folder)):
            return None
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        return f"lacks weights that its index names: {', '.join(missing[:3])}{more}"
    # Trainers leave .bin files of their own (training_args.bin, optimizer.bin), which are no weights.
    if any(folder.glob("*.safetensors")) or any(folder.glob("pytorch_model*.bin")):
        return None
    return "has a config.json and no weights (*.safetensors or pytorch_model*.bin)"


def missing_weights(folder: Path) -> list[str]:
    """The files that the index in a folder names, and that are not there. Raises ModelNotResolved."""
    named = set(named_by_index(folder).values())
    return sorted(name for name in named if not os.path.exists(folder / name))


def named_by_index(folder: Path, names: Collection[str] = ()) -> dict[str, str]:
    """Tensor → file, as the index in a folder has it; empty where there is none.

    The index is that of the weights which are used of several; `names` are the files to tell it by, where the
    folder has not all of them yet. Raises ModelNotResolved.
    """
    name = index_of(names or (os.listdir(folder) if folder.is_dir() else []))
    if name is None or not (index := folder / name).is_file():
        return {}
    named = read_config(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(file, str) for file in named.values()):
        raise ModelNotResolved(
            f"{name} does not map weights to files",
            place=Place(file=str(index)),
            fix="download the model again, or choose another revision; the file is damaged",
            code="model.broken-config",
        )
    return named
