"""Clock: whether this machine's time can be right, told without asking anybody."""

from __future__ import annotations

import os
import time
from pathlib import Path

from neuronctl.host import Host

_DAY_S = 86_400.0
# A file may be written by another machine's clock, and archives keep times without a zone.
_SLACK_S = _DAY_S
_LATEST_S = 10 * 365 * _DAY_S
# Files older than neuronctl itself tell nothing: some packagers set all times to 1970 or 1980.
_OLDEST_S = 1_735_689_600.0  # 2025-01-01


def clock_fault(now_s: float, written_s: float) -> str | None:
    """What speaks against `now_s`, given when neuronctl's own files were written; None where nothing does.

    A clock cannot be before the files that it wrote. More than ten years after them is far too late as well.
    """
    if now_s < max(written_s - _SLACK_S, _OLDEST_S):
        return f"is before {say_day(max(written_s, _OLDEST_S))}, when neuronctl itself was written"
    if written_s >= _OLDEST_S and now_s > written_s + _LATEST_S:
        return f"is more than ten years after {say_day(written_s)}, when neuronctl itself was written"
    return None


def newest_own_file_s() -> float:
    """When the newest file beside neuronctl's first was written. Raises OSError."""
    import neuronctl

    folder = Path(neuronctl.__file__).parent
    return max(file.stat().st_mtime for file in folder.glob("*.py"))


def is_synchronized(host: Host) -> bool | None:
    """True where systemd-timesyncd has set the clock by a server; None where nothing tells.

    Source: systemd-time-wait-sync.service(8). chrony, which Amazon Linux has, leaves no such file.
    """
    return True if os.path.exists(host.path("/run/systemd/timesync/synchronized")) else None


def say_day(time_s: float) -> str:
    """The day in UTC; the seconds themselves where there is no such day."""
    try:
        return time.strftime("%Y-%m-%d", time.gmtime(time_s))
    except (OverflowError, ValueError, OSError):
        return f"second {time_s:.0f}"
