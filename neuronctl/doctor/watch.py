"""Watch: snapshots of devices, memory and servers, one after the other until nobody wants more."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from neuronctl.doctor.monitor import Monitor
from neuronctl.doctor.snapshot import Snapshot, take_snapshot
from neuronctl.errors import UsageError
from neuronctl.host import Host
from neuronctl.machine.catalog import Chip
from neuronctl.machine.devices import (
    NEURON_LS_S,
    NeuronDevice,
    ask_neuron_ls,
    chip_of,
    device_indexes,
    infer_lnc,
    read_sysfs,
)
from neuronctl.machine.reading import NoAnswer

INTERVAL_S = 2.0
SHORTEST_S = 0.2
# A driver that hangs holds each neuron-ls for 10 s: it is asked again after this long.
_ASK_AGAIN_S = 60.0
# Nobody looks at an empty screen for as long as that: the first table goes without it.
_FIRST_LOOK_S = 2.0


def watch(host: Host, *, interval_s: float = INTERVAL_S) -> Generator[Snapshot]:
    """A snapshot every `interval_s` seconds, without end. UsageError for an interval that is none.

    However it ends (a closed generator, ^C), neuron-monitor has ended with it.
    """
    if not math.isfinite(interval_s) or interval_s < SHORTEST_S:
        raise UsageError(
            f"an interval of {interval_s:g} s is none to watch at",
            fix=f"give {SHORTEST_S:g} seconds or more",
            code="usage.interval",
        )
    return _watch(host, interval_s)


def _watch(host: Host, interval_s: float) -> Generator[Snapshot]:
    with ExitStack() as stack:
        monitor: Monitor | None = None
        if device_indexes(host):
            monitor = stack.enter_context(Monitor(host, period_s=interval_s))
        eyes = _Eyes(host)
        while True:
            begun = host.monotonic()
            devices, chip, notes = eyes.look()
            use = monitor.newest() if monitor and devices else None
            yield take_snapshot(host, devices, use, chip=chip, notes=notes, are_holders_known=not notes)
            host.sleep(max(0.05, interval_s - (host.monotonic() - begun)))


@dataclass
class _Eyes:
    """Which devices are here, and who holds them: by neuron-ls, and by sysfs while that has trouble."""

    host: Host
    trouble: str | None = None
    asked_at: float = -math.inf
    patience_s: float = _FIRST_LOOK_S

    def look(self) -> tuple[Sequence[NeuronDevice], Chip | None, tuple[str, ...]]:
        indexes = device_indexes(self.host)
        if not indexes:
            return (), None, ()
        chip: Chip | None = None
        with suppress(NoAnswer):  # a driver that hangs; what it is asked besides tells so
            chip = chip_of(self.host, indexes)
        if self.trouble is None or self.host.monotonic() - self.asked_at >= _ASK_AGAIN_S:
            listing = ask_neuron_ls(self.host, timeout_s=self.patience_s)
            may_only_be_slow = listing.kind == "hangs" and self.patience_s < NEURON_LS_S
            self.trouble = listing.trouble
            self.asked_at = -math.inf if may_only_be_slow else self.host.monotonic()
            self.patience_s = NEURON_LS_S
            if listing.devices:
                return tuple(infer_lnc(device, chip) for device in listing.devices), chip, ()
        devices = read_sysfs(self.host, indexes, chip=chip, lnc=chip.lnc_default if chip else 1)
        return devices, chip, (f"Who holds a device is unknown: neuron-ls {self.trouble}.",)
