"""Asking a server how it is, beside the loop and never longer than allowed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ProbeAnswer:
    """What a probe found. `fatal`: the server answers, and wrongly, so that asking again is pointless."""

    ok: bool
    why: str = ""
    fatal: bool = False


MAX_ABANDONED = 3


class Prober:
    """Runs probes one at a time, each in a thread of its own, and reports each exactly once.

    A probe that takes too long is reported as failed and left to itself; its late answer is ignored. While
    `MAX_ABANDONED` of them are still stuck no further thread is started: the probe fails at once.
    """

    def __init__(self, report: Callable[[int, ProbeAnswer], None], now: Callable[[], float]) -> None:
        self._report = report
        self._now = now
        self._lock = threading.Lock()
        self._number = 0
        self._answered = True
        self._child = 0
        self._deadline = 0.0
        self._timeout_s = 0.0
        self._stuck = 0

    def ask(self, child: int, probe: Callable[[], ProbeAnswer], timeout_s: float) -> None:
        """Begin one; its answer comes as `report(child, answer)`."""
        with self._lock:
            self._number += 1
            number = self._number
            self._child = child
            self._answered = self._stuck >= MAX_ABANDONED
            self._deadline = self._now() + timeout_s
            self._timeout_s = timeout_s
            if not self._answered:
                self._stuck += 1
        if self._answered:
            self._report(child, ProbeAnswer(False, "earlier requests are still unanswered"))
            return
        threading.Thread(target=self._run, args=(number, child, probe), name="probe", daemon=True).start()

    def check(self) -> None:
        """Give up on a probe that is late; called from time to time."""
        with self._lock:
            if self._answered or self._now() < self._deadline:
                return
            self._answered = True
            child = self._child
        self._report(child, ProbeAnswer(False, f"no answer in {self._timeout_s:g} s"))

    def _run(self, number: int, child: int, probe: Callable[[], ProbeAnswer]) -> None:
        try:
            answer = probe()
        except Exception as error:  # a probe's own fault must not pass for a dead server without a word
            answer = ProbeAnswer(False, f"{type(error).__name__}: {error}")
        with self._lock:
            self._stuck -= 1
            if number != self._number or self._answered:
                return
            self._answered = True
        self._report(child, answer)
