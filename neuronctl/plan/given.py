"""What a backend's part of the plan is given, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from neuronctl.machine.detect import Machine
from neuronctl.model.model import Model
from neuronctl.plan.arguments import feature_arguments, passthrough_engine, stated_engine
from neuronctl.plan.plan import Setting
from neuronctl.profile.resolve import Profile
from neuronctl.stack.detect import Stack

if TYPE_CHECKING:
    from neuronctl.neuron.outlook import Outlook

# Variables for every engine.
_ENVIRONMENT: Mapping[str, Setting] = {
    "VLLM_NO_USAGE_STATS": Setting("1", "neuronctl: a server tells nobody about itself unless asked to"),
    "PYTHONSAFEPATH": Setting(
        "1", "neuronctl: a folder called vllm or torch where you stand is not imported"
    ),
    "HF_HUB_OFFLINE": Setting("1", "neuronctl: the model is a local folder, nothing is looked up"),
}


@dataclass(frozen=True)
class Given:
    """The facts; `environ` are the user's own variables, `passthrough` the words after `--`.

    `home` is neuronctl's own folder, under which files that belong to the plan are named. `identities` maps
    the folders of drafts and adapters to what tells their weights from others.
    """

    profile: Profile
    model: Model
    machine: Machine
    stack: Stack
    environ: Mapping[str, str]
    passthrough: tuple[str, ...]
    home: str
    identities: Mapping[str, str] = field(default_factory=dict)

    def engine(self, defaults: Mapping[str, Setting]) -> dict[str, Setting]:
        """vLLM's arguments: defaults, then what features imply, then what the profile states; later wins."""
        settings = {"served_model_name": Setting(self.model.name, "neuronctl: the model's own name")}
        settings |= defaults
        if self.profile.shape.model.trust_remote_code:
            settings["trust_remote_code"] = Setting(True, str(self.profile.origin("model.trust_remote_code")))
        return settings | feature_arguments(self.profile) | stated_engine(self.profile)

    def environment(self, defaults: Mapping[str, Setting]) -> dict[str, Setting]:
        """Defaults unless the user's own environment says otherwise, then the profile's `env`.

        `defaults` are the backend's own, beside those of every engine.
        """
        ours = {**_ENVIRONMENT, **defaults}
        settings = {name: value for name, value in ours.items() if name not in self.environ}
        for name, value in self.profile.shape.env.items():
            settings[name] = Setting(value, str(self.profile.origin(f"env.{name}")))
        return settings

    def seen(self, environment: Mapping[str, Setting]) -> dict[str, str]:
        """All variables that the engine will see."""
        return {**self.environ, **{name: str(setting.value) for name, setting in environment.items()}}

    def effective(self, engine: Mapping[str, Setting]) -> dict[str, object]:
        """vLLM's arguments by value, those after `--` included."""
        return {name: one.value for name, one in engine.items()} | passthrough_engine(self.passthrough)

    def keyed(self, environment: Mapping[str, Setting]) -> dict[str, str]:
        """The variables without the API key, whose variable may have any name; its value is not stored."""
        hidden = self.profile.shape.server.api_key_env
        return {name: value for name, value in self.seen(environment).items() if name != hidden}


@dataclass(frozen=True)
class Decided:
    """What a backend makes of it: arguments, environment, the inputs of the key.

    `files` are to be written before anything starts: path → text. `outlook` is what the Neuron software
    will make of all this; None for the cpu backend.
    """

    engine: Mapping[str, Setting]
    environment: Mapping[str, Setting]
    key_inputs: Mapping[str, object]
    files: Mapping[str, str] = field(default_factory=dict)
    outlook: Outlook | None = None
