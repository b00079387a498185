"""Time limit: what may never return, as a read from a driver that hangs, asked in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from neuronctl.errors import MachineUnfit

T = TypeVar("T")
RAISE_PROCESSES = (
    "ulimit -u unlimited; docker run --pids-limit=-1; systemd: TasksMax=infinity and LimitNPROC=infinity"
)
_Job = Callable[[], Callable[[], None]]

# The ways to threads that have nothing to do: waking one costs half of starting one.
_idle: list[queue.SimpleQueue[_Job]] = []


class TimeUp(TimeoutError):
    """It did not return in time. Unlike its base no call to the system raises it."""


class NoThread(MachineUnfit):
    """The system starts no further thread."""


def start_thread(run: Callable[..., None], *args: object, name: str) -> None:
    """Start a thread that does not keep the process from ending. Raises NoThread."""
    try:
        threading.Thread(target=run, args=args, name=name, daemon=True).start()
    except RuntimeError:  # "can't start new thread"
        raise NoThread(
            "no further thread can be started: a limit on processes (ulimit -u, or pids.max of a container) "
            "or on memory (ulimit -v) is reached",
            fix=f"{RAISE_PROCESSES}; and no ulimit -v",
            code="machine.no-threads",
        ) from None


def within(limit_s: float, make: Callable[[], T]) -> T:
    """What `make` gives, or raises; TimeUp when it takes longer: then its thread is left behind. NoThread.

    Nothing can interrupt a call that the kernel does not return from. The threads do not keep the process
    from ending.
    """
    ended: queue.SimpleQueue[tuple[list[T], Exception | None]] = queue.SimpleQueue()

    def job() -> Callable[[], None]:
        try:
            made, error = [make()], None
        except Exception as raised:
            made, error = [], raised
        return lambda: ended.put((made, error))

    _hand_out(job)
    try:
        made, error = ended.get(timeout=limit_s)
    except queue.Empty:
        raise TimeUp(f"did not come to an end in {limit_s:g} s") from None
    if error is not None:
        raise error
    return made[0]


def _hand_out(job: _Job) -> None:
    try:
        todo = _idle.pop()
    except IndexError:
        todo = queue.SimpleQueue()
        start_thread(_work, todo, name="within a limit")
    todo.put(job)


def _work(todo: queue.SimpleQueue[_Job]) -> None:
    while True:
        deliver = todo.get()()
        _idle.append(todo)
        deliver()
