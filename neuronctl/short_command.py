"""Short commands: a program run to its end for its answer, whatever it does instead of answering."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from neuronctl.process_group import end_group, exit_code

if TYPE_CHECKING:
    import subprocess

# neuron-ls of the largest machine prints some 200 kB.
_MOST_BYTES = 8 << 20
# What has been killed ends at once, unless the kernel holds it in a call to a driver that hangs.
_DEATH_S = 0.5


# Where threads run commands, the program may end while they wait: ^C must leave none of these behind.
_running: set[subprocess.Popen[bytes]] = set()
_starts = threading.Lock()
_has_ended: list[bool] = []
_START_S = 2.0


def end_running() -> None:
    """Kill every short command that still runs, and start no further one. For the end of the program."""
    is_alone = _starts.acquire(timeout=_START_S)  # one that is just being started is not listed yet
    try:
        _has_ended.append(True)
        for child in tuple(_running):
            end_group(child, term_s=0, kill_s=0.0)
    finally:
        if is_alone:
            _starts.release()


atexit.register(end_running)


@dataclass(frozen=True)
class Finished:
    """A short-lived process that has ended, or was left alone.

    `returncode` is None where it was stopped: it ran out of time, or printed more than anybody can mean.
    `why` says in words why there is no answer to read, as the end of a sentence about the program; None where
    it ended with 0. `hangs` if its time ran out.
    """

    returncode: int | None
    stdout: str
    stderr: str
    why: str | None = None
    hangs: bool = False


def run_short(argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str], cwd: Path) -> Finished:
    """Run `argv` without stdin until it ends; never raises for what the command does.

    It gets a session of its own, and is killed after `timeout_s` seconds, or when it prints without end.
    However it ends, what it started ends with it. One that cannot be killed, as the kernel's wait for a
    driver cannot be interrupted, is left behind. A command that cannot be started answers with returncode 127
    and the reason in stderr.
    """
    import subprocess

    with _starts:
        if _has_ended:
            return Finished(127, "", "neuronctl ends", "was not started: neuronctl ends")
        try:
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL character in a word
            return Finished(127, "", str(error), f"cannot be started: {error}")
        _running.add(child)
    assert child.stdout is not None and child.stderr is not None
    texts: dict[IO[bytes], bytearray] = {child.stdout: bytearray(), child.stderr: bytearray()}
    deadline = time.monotonic() + timeout_s
    try:
        why = _drain(child, texts, deadline, timeout_s)
        hangs = why is not None and time.monotonic() >= deadline
    finally:
        end_group(child, term_s=0, kill_s=_DEATH_S)
        _running.discard(child)
        for stream in texts:
            with suppress(OSError):
                stream.close()
    out, err = (bytes(text).decode("utf-8", "replace") for text in texts.values())
    out, err = out.replace("\r\n", "\n"), err.replace("\r\n", "\n")
    code = None if why else child.returncode
    if code:
        said = (err.strip() or out.strip()).splitlines()
        ended = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        why = ended + (f", saying: {said[-1][:200]}" if said else ", saying nothing")
    return Finished(code, out, err, why, hangs)


def _drain(
    child: subprocess.Popen[bytes], texts: dict[IO[bytes], bytearray], deadline: float, timeout_s: float
) -> str | None:
    """Read until both streams end and the child has ended; why not, where it comes to nothing."""
    import selectors

    with selectors.DefaultSelector() as selector:
        for stream in texts:
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ)
        has_ended = False
        while selector.get_map():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return f"did not answer in {timeout_s:g} s"
            ready = selector.select(0 if has_ended else min(left_s, 0.1))
            if not ready:
                if has_ended:
                    return None  # what it started may hold the streams open when it has ended
                has_ended = exit_code(child) is not None  # and may have written since the streams were asked
            for key, _ in ready:
                read = os.read(key.fd, 1 << 16)
                if not read:
                    selector.unregister(key.fileobj)
                texts[key.fileobj] += read  # type: ignore[index]
            if sum(map(len, texts.values())) > _MOST_BYTES:
                return f"printed more than {_MOST_BYTES >> 20} MiB and was stopped"
    # It is not waited for: its number must name nobody else until its group is killed.
    pause_s = 0.0005
    while exit_code(child) is None:
        if time.monotonic() >= deadline:
            return f"did not answer in {timeout_s:g} s"
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.02)
    return None
