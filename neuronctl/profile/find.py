"""Find: which file a reference to a profile means.

A reference with a `/` in it, or one that ends in .yaml or .yml, is a path. Anything else is a name, looked
for in the working folder's `profiles/`, in the user's own folder and among the packaged profiles.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from msgspec import Struct

from neuronctl.errors import Place, ProfileError
from neuronctl.host import Host

Source = Literal["working folder", "user", "packaged"]
ENDINGS = (".yaml", ".yml")


class Folder(Struct, frozen=True):
    """A folder where names are looked for."""

    path: Path
    source: Source


class Located(Struct, frozen=True):
    """A profile's file. `folder` is set where a name led to it."""

    name: str
    path: Path
    source: Source | None = None
    shadowed_by: Path | None = None


def packaged_folder() -> Path:
    """Where the shipped profiles are: in the package once installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "shipped_profiles"
    return installed if installed.is_dir() else package.parent / "profiles"


def search_folders(host: Host) -> tuple[Folder, ...]:
    """Where names are looked for, first come first served; a folder that is two of them counts once."""
    named: list[Folder] = [
        Folder(host.cwd / "profiles", "working folder"),
        Folder(host.config_home / "profiles", "user"),
    ]
    packaged = packaged_folder()
    # A stray folder `profiles` beside an installed package is not ours: ours holds its schema.
    if (packaged / "schema.json").is_file():
        named.append(Folder(packaged, "packaged"))
    found: dict[str, Folder] = {}
    for folder in named:
        found.setdefault(os.path.realpath(folder.path), folder)
    return tuple(found.values())


def all_named(host: Host) -> tuple[Located, ...]:
    """Every profile that has a name, in the order of the search, shadowed ones included."""
    found: list[Located] = []
    first: dict[str, Path] = {}
    for folder in search_folders(host):
        for name, path in sorted(_profiles_in(folder.path)):
            found.append(Located(name, path, folder.source, first.get(name)))
            first.setdefault(name, path)
    return tuple(found)


def find_profile(
    reference: str, host: Host, *, place: Place | None = None, said_in: Path | None = None
) -> Located:
    """The file that `reference` means.

    `said_in` is the file whose `extends` says it, and `place` where: a path begins at that file, and a name
    said in a folder of the search means a profile from that folder on, never that file itself. So a
    profile can extend the one it shadows, and a shipped profile is built from shipped ones only.
    Raises ProfileError.
    """
    if not reference.strip() or "\0" in reference:
        raise ProfileError(
            "no profile is named", fix="neuronctl profiles list", place=place, code="profile.missing"
        )
    if is_path_reference(reference):
        return _find_path(reference, host, place, said_in)
    folders = list(search_folders(host))
    if said_in is not None:
        own = os.path.realpath(said_in.parent)
        for index, folder in enumerate(folders):
            if os.path.realpath(folder.path) == own:
                folders = folders[index:]
                break
    for folder in folders:
        for ending in ENDINGS:
            path = folder.path / f"{reference}{ending}"
            if _is_file(path) and not (said_in is not None and _same(path, said_in)):
                return Located(reference, path, folder.source)
    raise _unknown_name(reference, host, place)


def is_path_reference(reference: str) -> bool:
    """Whether a reference is a path, not a name."""
    return "/" in reference or reference.endswith(ENDINGS)


def shown_path(path: Path, host: Host) -> str:
    """A path as its user would write it: from the working folder on where it is inside."""
    try:
        return str(path.relative_to(host.cwd))
    except ValueError:
        return str(path)


def _find_path(reference: str, host: Host, place: Place | None, said_in: Path | None) -> Located:
    expanded = str(host.home) + reference[1:] if reference.startswith("~/") else reference
    path = Path(os.path.normpath((said_in.parent if said_in else host.cwd) / expanded))
    if _exists(path):
        return Located(path.stem, path)
    shown = shown_path(path, host)
    fix = "neuronctl profiles list"
    beside = [f"{name}{ending}" for name, file in _profiles_in(path.parent) for ending in (file.suffix,)]
    if beside:
        from neuronctl.profile.suggest import nearest_word

        if near := nearest_word(path.name, beside):
            fix = f"did you mean {shown_path(path.parent / near, host)}?"
    raise ProfileError(f"there is no profile {shown}", fix=fix, place=place, code="profile.missing")


def _unknown_name(name: str, host: Host, place: Place | None) -> ProfileError:
    from neuronctl.profile.suggest import nearest_word

    fix = "neuronctl profiles list"
    for ending in ENDINGS:
        if _is_file(host.cwd / f"{name}{ending}"):
            fix = f"{name}{ending} is in the working folder: say ./{name}{ending}"
            break
    else:
        if near := nearest_word(name, {located.name for located in all_named(host)}):
            fix = f"did you mean {near}? (neuronctl profiles list shows all)"
    return ProfileError(
        f"there is no profile called {name[:80]}", fix=fix, place=place, code="profile.missing"
    )


def _profiles_in(folder: Path) -> list[tuple[str, Path]]:
    try:
        files = [Path(entry.path) for entry in os.scandir(folder) if entry.is_file()]
    except OSError:
        return []
    ours = [file for file in files if file.suffix in ENDINGS and not file.name.startswith(".")]
    # `x.yaml` and `x.yml` are one name; .yaml is the one that is found.
    names: dict[str, Path] = {}
    for file in sorted(ours):
        names.setdefault(file.stem, file)
    return list(names.items())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
