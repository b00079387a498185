"""Patience: whether the hub is asked again, and how long that waits."""

from __future__ import annotations

from collections.abc import Sequence

from neuronctl.model.hub_error import asked_to_wait_s, is_final


class Patience:
    """For one question or file.

    `pauses_s` are the pauses before it is asked again, one after the other; they begin anew whenever more has
    been received than ever before. A hub that asks for a pause of its own gets it in full, never a shorter
    one; where that is longer than `longest_s`, its wish is an error for the user to see.
    """

    def __init__(self, pauses_s: Sequence[float], *, longest_s: float, received: int = 0) -> None:
        self.pauses_s = pauses_s
        self.longest_s = longest_s
        self._most = received
        self._tries = 0

    def pause_s(self, error: Exception, received: int = 0) -> float | None:
        """How long to wait after an error, with so much received so far; None where that is of no use."""
        if is_final(error):
            return None
        # A hub that ignores where to go on lets the part shrink: what it then sends is nothing new.
        if received > self._most:
            self._most, self._tries = received, 0
        if self._tries == len(self.pauses_s):
            return None
        own_s = self.pauses_s[self._tries]
        self._tries += 1
        asked_s = asked_to_wait_s(error)
        if asked_s is None:
            return own_s
        return asked_s if asked_s <= self.longest_s else None
