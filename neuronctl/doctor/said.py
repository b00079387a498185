"""Said: environment variables as an engine would see them, of the shell and of the profile."""

from __future__ import annotations

from dataclasses import dataclass

from neuronctl.doctor.check import Seen
from neuronctl.doctor.facts import Facts
from neuronctl.errors import NeuronctlError, Place
from neuronctl.neuron.variables import is_neurons
from neuronctl.profile.variable import removal, variable_place
from neuronctl.redaction.redaction import Redaction
from neuronctl.secret import HIDDEN, is_secret

# So much of a value is shown.
_SHOWN = 80


@dataclass(frozen=True)
class Said:
    """One variable that is set; `place` is where the profile says it, None where the shell does."""

    name: str
    value: str
    place: Place | None = None

    @property
    def shown(self) -> str:
        """The value for a message: never a secret, never long."""
        if is_secret((self.name,), self.value):
            return HIDDEN
        text = Redaction(()).text(self.value)  # before it is cut: half of a secret is not known for one
        return (text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}...") or "empty"

    @property
    def removal(self) -> str:
        """What to type to be rid of it."""
        return removal(self.name, self.place)


def find_said(facts: Facts) -> dict[str, Said]:
    """The variables that an engine would see: the shell's, and over them the `env` of the profile."""
    found = {name: Said(name, value) for name, value in facts.environ.items()}
    try:
        profile = facts.profile()
    except NeuronctlError:  # the check of the profile says so
        profile = None
    if profile is not None:
        for name, value in profile.shape.env.items():
            found[name] = Said(name, value, variable_place(profile, name))
    return found


def neuron_variables(facts: Facts) -> list[Said]:
    """Those of them that somebody meant for Neuron's software, by name."""
    return [one for name, one in sorted(find_said(facts).items()) if is_neurons(name, one.value)]


def is_set(said: dict[str, Said], name: str) -> bool:
    """Whether it has a value: an empty one says nothing."""
    return name in said and said[name].value.strip() != ""


def show(said: dict[str, Said], *names: str) -> Seen:
    """What stands in these variables, and no judgement."""
    here = [said[name] for name in names if name in said]
    data: dict[str, object] = {one.name: one.shown for one in here}
    return Seen(", ".join(f"{one.name}={one.shown}" for one in here) or "none is set", data=data)
