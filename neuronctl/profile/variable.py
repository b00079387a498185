"""An environment variable that a profile's `env` sets: where that is said, and how to be rid of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuronctl.errors import Place

if TYPE_CHECKING:
    from neuronctl.profile.resolve import Profile


def variable_place(profile: Profile, name: str) -> Place | None:
    """Where the profile sets the variable; None where it does not, and only the shell can have."""
    if name not in profile.shape.env:
        return None
    origin = profile.origin(f"env.{name}")
    return Place(file=origin.file, line=origin.line, key=f"env.{name}")


def removal(name: str, place: Place | None) -> str:
    """What to do so that the variable is not set; `place` is where the profile sets it, None: the shell."""
    if place is None:
        return f"unset {name}"
    if place.file is None:
        return f"remove env.{name}"
    return f"remove env.{name} from {place.file}" + (f":{place.line}" if place.line is not None else "")
