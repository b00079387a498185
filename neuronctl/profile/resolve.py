"""Resolve: built-in values < profile < `NEURONCTL_*` < flags → one profile that remembers who said what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import ValidationError

from neuronctl.errors import Place, ProfileError, ProfileErrors
from neuronctl.host import Host
from neuronctl.profile.check import Layer
from neuronctl.profile.find import Located, find_profile, shown_path
from neuronctl.profile.inherit import merge, read_lineage, settle
from neuronctl.profile.load import dotted
from neuronctl.profile.origin import BUILT_IN, Origin
from neuronctl.profile.schema import ProfileShape
from neuronctl.result import Finding
from neuronctl.typed import convert

MAX_ERRORS = 50


@dataclass(frozen=True)
class Profile:
    """A resolved profile.

    `reference` is what the user called it, `path` is absolute; `shape` holds every value, built-in ones
    included; `said` who said those that somebody said, by key path; `files` are all files that were read,
    the profile itself first.
    """

    reference: str
    name: str
    path: Path
    shape: ProfileShape
    said: Mapping[str, Origin]
    files: tuple[Path, ...] = ()
    findings: tuple[Finding, ...] = ()

    def origin(self, key: str) -> Origin:
        """Who said the value at a key path, or a mapping's first entry: the built-in one where nobody did."""
        if key in self.said:
            return self.said[key]
        return next((origin for said, origin in self.said.items() if said.startswith(f"{key}.")), BUILT_IN)

    @property
    def origins(self) -> dict[str, Origin]:
        """Key path → origin, of every value that is not None, in the order of the schema."""
        from neuronctl.profile.show import values_of

        return {value.key: value.origin for value in values_of(self)}


def load_profile(
    reference: str,
    host: Host,
    *,
    sets: Sequence[str] = (),
    flags: Mapping[str, tuple[object, str]] | None = None,
) -> Profile:
    """The profile that a path or name means, with variables and flags laid over it.

    `sets` are `key.path=value` texts; `flags` map a key path to a value and the name of its flag. Raises
    ProfileError for one mistake, ProfileErrors for several: all that can be found are reported at once.
    """
    profile, errors = _resolve(reference, find_profile(reference, host), host, sets, flags or {})
    if profile is None or errors:
        raise errors[0] if len(errors) == 1 else ProfileErrors(_capped(errors))
    return profile


def validate_profile(
    reference: str,
    host: Host,
    *,
    sets: Sequence[str] = (),
    flags: Mapping[str, tuple[object, str]] | None = None,
) -> tuple[ProfileError, ...]:
    """Everything that is wrong with a profile; nothing when it is fine. Never raises a ProfileError."""
    try:
        located = find_profile(reference, host)
    except ProfileError as error:
        return (error,)
    return tuple(_capped(_resolve(reference, located, host, sets, flags or {})[1]))


def _resolve(
    reference: str, located: Located, host: Host, sets: Sequence[str], flags: Mapping[str, tuple[object, str]]
) -> tuple[Profile | None, list[ProfileError]]:
    lineage = read_lineage(located.path, host)
    layer, errors = lineage.layer, list(lineage.errors)
    findings: list[Finding] = []
    if sets or flags or any(name.startswith("NEURONCTL_") for name in host.environ):
        from neuronctl.profile.spoken import environment_layers, flag_layers, set_layers

        said, wrong, findings = environment_layers(host)
        for layers, mistakes in ((said, wrong), set_layers(sets, host), flag_layers(flags, host)):
            errors.extend(mistakes)
            for over in layers:
                layer = merge(layer, over)
    layer = settle(layer)
    errors.extend(_missing_model(layer, errors, shown_path(located.path, host)))
    if errors:
        return None, errors
    try:
        shape = convert(layer.data, ProfileShape)
    except ValidationError as error:  # two values, each right by itself, that do not go together
        return None, [ProfileError(str(error), place=Place(shown_path(located.path, host)))]
    said_by = {dotted(path): origin for path, origin in layer.origins.items()}
    return Profile(
        reference, located.name, located.path, shape, said_by, tuple(lineage.files), tuple(findings)
    ), []


def _missing_model(layer: Layer, errors: list[ProfileError], shown: str) -> list[ProfileError]:
    if layer.data.get("model", {}).get("id") is not None:
        return []
    # Not to be said twice: the model is there but wrong, or stands in a file that cannot be read.
    is_known = any(
        error.place is None or (error.place.key or "model").startswith(("model", "extends"))
        for error in errors
    )
    if is_known:
        return []
    return [
        ProfileError(
            "no model is named",
            fix="write  model: {id: …}  with a hub id or a folder",
            place=Place(shown, key="model.id"),
            code="profile.no-model",
        )
    ]


def _capped(errors: list[ProfileError]) -> list[ProfileError]:
    if len(errors) <= MAX_ERRORS:
        return errors
    rest = len(errors) - MAX_ERRORS
    return [*errors[:MAX_ERRORS], ProfileError(f"and {rest} more mistakes", fix="mend these first")]
