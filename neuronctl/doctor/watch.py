"""Watch: a table of devices, memory and servers that is drawn anew until somebody stops it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from typing import TextIO

from neuronctl.doctor.monitor import Monitor
from neuronctl.doctor.snapshot import Snapshot, take_snapshot
from neuronctl.doctor.table import table
from neuronctl.errors import UsageError
from neuronctl.host import Host
from neuronctl.machine.catalog import Chip
from neuronctl.machine.devices import (
    NeuronDevice,
    ask_neuron_ls,
    chip_of,
    device_indexes,
    infer_lnc,
    read_sysfs,
)

INTERVAL_S = 2.0
SHORTEST_S = 0.2
# A driver that hangs holds each neuron-ls for 10 s: it is asked again after this long.
_ASK_AGAIN_S = 60.0
_PLAIN_WIDTH = 120
# Lines are not broken while the table is drawn: a letter of double width must not shift the rest.
_BEGIN, _END = "\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h"
_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"


def watch(
    host: Host,
    stream: TextIO,
    *,
    interval_s: float = INTERVAL_S,
    as_json: bool = False,
    most: int | None = None,
) -> None:
    """Write a snapshot to `stream` every `interval_s` seconds, until ^C or after `most` of them.

    On a terminal the table stays where it is; elsewhere each is written below the last, and `as_json` makes
    each one line of JSON. However it ends, neuron-monitor has ended and the cursor is shown again.
    UsageError for an interval that is none; BrokenPipeError where nobody reads any more.
    """
    if not math.isfinite(interval_s) or interval_s < SHORTEST_S:
        raise UsageError(
            f"an interval of {interval_s:g} s is none to watch at",
            fix=f"give {SHORTEST_S:g} seconds or more",
            code="usage.interval",
        )
    is_live = not as_json and stream.isatty() and host.environ.get("TERM", "dumb") != "dumb"
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        monitor: Monitor | None = None
        if device_indexes(host):
            monitor = stack.enter_context(Monitor(host, period_s=interval_s))
        if is_live:
            stack.callback(_show, stream, _END)
            _show(stream, _BEGIN + _HOME + _CLEAR_REST)
        eyes = _Eyes(host)
        written = 0
        while most is None or written < most:
            begun = host.monotonic()
            devices, chip, notes = eyes.look()
            use = monitor.newest() if monitor and devices else None
            snapshot = take_snapshot(host, devices, use, chip=chip, notes=notes)
            _write(stream, snapshot, is_live=is_live, as_json=as_json)
            written += 1
            if written != most:
                host.sleep(max(0.05, interval_s - (host.monotonic() - begun)))


def snapshot_data(snapshot: Snapshot) -> dict[str, object]:
    """The snapshot as plain JSON data."""
    return asdict(snapshot)


@dataclass
class _Eyes:
    """Which devices are here, and who holds them: by neuron-ls, and by sysfs while that has trouble."""

    host: Host
    trouble: str | None = None
    asked_at: float = 0.0

    def look(self) -> tuple[Sequence[NeuronDevice], Chip | None, tuple[str, ...]]:
        indexes = device_indexes(self.host)
        if not indexes:
            return (), None, ()
        chip = chip_of(self.host, indexes)
        if self.trouble is None or self.host.monotonic() - self.asked_at >= _ASK_AGAIN_S:
            listing = ask_neuron_ls(self.host)
            self.trouble, self.asked_at = listing.trouble, self.host.monotonic()
            if listing.devices:
                return tuple(infer_lnc(device, chip) for device in listing.devices), chip, ()
        devices = read_sysfs(self.host, indexes, chip=chip, lnc=chip.lnc_default if chip else 1)
        return devices, chip, (f"Who holds a device is unknown: neuron-ls {self.trouble}.",)


def _write(stream: TextIO, snapshot: Snapshot, *, is_live: bool, as_json: bool) -> None:
    if as_json:
        stream.write(json.dumps(snapshot_data(snapshot)) + "\n")
    elif is_live:
        width, height = _size(stream)
        lines = table(snapshot, width).split("\n")
        if len(lines) > height - 1:
            left_out = len(lines) - max(1, height - 2)
            lines = [*lines[: max(1, height - 2)], f"… {left_out} more lines"[:width]]
        drawn = "".join(f"{line}{_CLEAR_LINE}\n" for line in lines)
        stream.write(_HOME + drawn + _CLEAR_REST)
    else:
        stream.write(table(snapshot, _PLAIN_WIDTH) + "\n\n")
    stream.flush()


def _size(stream: TextIO) -> tuple[int, int]:
    """Columns and lines now: a window changes its size while we watch. A terminal that has none says 0."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return 80, 24
    return size.columns or 80, size.lines or 24


def _show(stream: TextIO, codes: str) -> None:
    with suppress(OSError, ValueError):  # a terminal that was closed
        stream.write(codes)
        stream.flush()
