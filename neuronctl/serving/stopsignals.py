"""SIGINT, SIGTERM and SIGHUP as events, for as long as a server is supervised."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class StopSignals:
    """Context manager: the handlers only hand the number on; the former ones come back at the end.

    A signal that is ignored when we begin stays ignored (`nohup`, a shell's background job). Handlers can
    only be set by the main thread; in another one this does nothing.
    """

    def __init__(self, on_signal: Callable[[int], None]) -> None:
        self._on_signal = on_signal
        self._former: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, former in self._former.items():
            signal.signal(number, signal.SIG_DFL if former is None else former)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._on_signal(number)
