"""An error that stops a start, as it is foretold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Stage = Literal["create_engine_config", "worker", "load_model", "compile"]


@dataclass(frozen=True)
class Refusal:
    """One error that stops the start.

    `error` is the exception's name, `message` the start of its text (empty where it has none or it is not
    known), `issue` the id of the known issue, `about` the setting that an error without a text is about,
    `part` the Neuron config that it is about where that is not the whole (`vision_neuron_config`).
    """

    stage: Stage
    error: str
    message: str
    issue: str | None = None
    about: str | None = None
    part: str | None = None
