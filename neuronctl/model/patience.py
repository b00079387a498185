"""Patience: whether the hub is asked once more for what it did not give, and how long that waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from neuronctl.model.hub_error import asked_to_wait_s, is_final, status_of

T = TypeVar("T")

# A shorter pause is not worth a line.
UNTOLD_S = 2.0


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


@dataclass(frozen=True)
class Waiting:
    """How much patience there is for each question, and how it is waited.

    `wait` is given the seconds and why; several threads may call it at once.
    """

    pauses_s: tuple[float, ...]
    longest_s: float
    wait: Callable[[float, str], None]

    def patience(self, received: int = 0) -> Patience:
        """For one question or file."""
        return Patience(self.pauses_s, longest_s=self.longest_s, received=received)

    def ask(self, question: Callable[[], T], *, only_answered: bool = False) -> T:
        """`question`'s answer; it is asked again where it raises what may pass.

        `only_answered`: only where the hub did answer, and not where it could not be reached.
        """
        patience = self.patience()
        while True:
            try:
                return question()
            except Exception as error:
                pause_s = patience.pause_s(error) if status_of(error) or not only_answered else None
                if pause_s is None:
                    raise
                self.wait(pause_s, why_waiting(error, pause_s))


def why_waiting(error: Exception, pause_s: float) -> str:
    """Why it is waited after an error, for the user."""
    status = status_of(error)
    if asked_to_wait_s(error) is not None:
        return f"the hub asks to wait {pause_s:.0f} s ({status})"
    if status:
        return f"the hub has a trouble of its own (HTTP {status}), and is asked again in {pause_s:.0f} s"
    return f"the connection to the hub broke off, and is tried again in {pause_s:.0f} s"
