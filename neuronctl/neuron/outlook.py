"""Outlook: what the Neuron software will make of a plan, as far as it can be known before it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from neuronctl.machine.cores import CoreSet
from neuronctl.neuron.estimate import Estimate
from neuronctl.neuron.heads import HeadPlan
from neuronctl.neuron.keys import KeyFault
from neuronctl.neuron.prediction import Prediction


@dataclass(frozen=True)
class Outlook:
    """What is handed to the plugin, and what comes of it.

    `settings` are the Neuron settings handed over, `origins` who decided each by its path (flat_settings);
    `additional_config` is all of what `--additional-config` will hold, given after `--` or not.
    `tensor_parallel_size` and `lnc` are those in force; `granted` the logical cores that the environment
    allows, `assigned` those this server gets, None where they do not suffice. `prediction` (nxdi) is the
    NeuronConfig that the plugin will build; `heads` how attention heads are divided, None where the model
    does not say; `estimate` what must fit where, None where the model's size is not known.
    """

    generation: Literal["nxdi", "native"]
    settings: Mapping[str, Any]
    origins: Mapping[str, str]
    additional_config: object
    tensor_parallel_size: int
    lnc: int
    granted: CoreSet | None
    assigned: CoreSet | None
    key_faults: tuple[KeyFault, ...]
    prediction: Prediction | None = None
    heads: HeadPlan | None = None
    estimate: Estimate | None = None
    find_fitting: Callable[[], tuple[str, ...]] = tuple
    find_degrees: Callable[[], tuple[int, ...]] = tuple

    @cached_property
    def fitting(self) -> tuple[str, ...]:
        """What would fit if this does not, in words; found when somebody asks."""
        return self.find_fitting()

    @cached_property
    def degrees(self) -> tuple[int, ...]:
        """The tensor parallel sizes that divide the heads and fit; found when somebody asks."""
        return self.find_degrees()


def flat_settings(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Settings by path; those of a mapping (`text_neuron_config`) each by its own, one level deep."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from ((f"{key}.{inner}", one) for inner, one in value.items())
        else:
            yield key, value
