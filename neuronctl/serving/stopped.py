"""What it is called when a signal ended our work."""

from __future__ import annotations

import signal

from neuronctl.errors import Interrupted, NeuronctlError, Terminated


def stopped_by(number: int, what: str) -> NeuronctlError:
    """The error for `what` having been stopped: INT is a person's ^C, all others count as TERM."""
    name = signal.Signals(number).name
    kind = Interrupted if number == signal.SIGINT else Terminated
    return kind(f"{what} was stopped by {name}")
