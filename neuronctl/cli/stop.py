"""StopRequest: what a signal means while neuronctl itself is at work, outside of a supervised engine."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuronctl.errors import NeuronctlError

# A second request to stop that comes sooner is taken for the same one (a terminal and a wrapper such as
# `make` both deliver ^C), so that it cannot tear the cleaning up in two.
AGAIN_AFTER_S = 2.0


class _Stop(KeyboardInterrupt):
    """Of a kind that no library takes for a failure of its own.

    Not KeyboardInterrupt itself: where that passes through exec() of a text, as it does while a dataclass is
    made, CPython remembers it and ends by SIGINT whatever the exit code (3.11, run_eval_code_obj).
    """


class StopRequest:
    """INT, TERM and HUP, for as long as nobody else handles them: each raises _Stop.

    `number` is the signal that came. One that is ignored when we begin stays ignored (`nohup`, a shell's
    background job).
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._asked_at = 0.0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._asked)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.number is not None and now - self._asked_at < AGAIN_AFTER_S:
            return
        self.number, self._asked_at = number, now
        raise _Stop

    def as_error(self) -> NeuronctlError:
        """What it is called when such a signal ended our work."""
        from neuronctl.errors import Interrupted, Terminated

        if self.number in (None, signal.SIGINT):
            return Interrupted("stopped by ^C")
        return Terminated(f"stopped by {signal.Signals(self.number or 0).name}")
