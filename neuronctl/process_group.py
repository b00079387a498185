"""Process group: a child that was started in a session of its own, ended with all that it started."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess


def exit_code(child: subprocess.Popen[bytes]) -> int | None:
    """How it ended, below zero for a signal; None while it runs.

    It stays a zombie, so that its number names nobody else until its group is killed.
    """
    try:
        seen = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return child.poll()
    if seen is None:
        return None
    return seen.si_status if seen.si_code == os.CLD_EXITED else -seen.si_status


def end_group(child: subprocess.Popen[bytes], *, term_s: float, kill_s: float) -> None:
    """TERM to the group, unless `term_s` is 0, and KILL when that time is up or the child has ended.

    One that the kernel holds in a call to a driver that hangs is left behind after `kill_s`. Nothing is done
    where it has been waited for: its number may be another's.
    """
    import subprocess

    if child.returncode is not None:
        return
    if term_s:
        with suppress(OSError):
            os.killpg(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + term_s
        while exit_code(child) is None and time.monotonic() < deadline:
            time.sleep(0.02)
    with suppress(OSError):  # all of it has ended
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        child.wait(kill_s)
