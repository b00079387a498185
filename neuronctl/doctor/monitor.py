"""Monitor: neuron-monitor as a child that reports each period, hangs, dies or prints anything else."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from neuronctl.doctor.utilisation import Utilisation, read_monitor
from neuronctl.host import Host
from neuronctl.machine.neuron_tool import NOT_INSTALLED, find_neuron_tool
from neuronctl.process_group import end_group, exit_code

if TYPE_CHECKING:
    import subprocess

# A report of 64 cores with their loaded models has some hundred kB.
_LONGEST_LINE = 16 << 20
_QUIET_S = 10.0
_TERM_S = 1.0
_KILL_S = 1.0
# What is read at most: 64 KiB each 5 ms. One that floods us waits, and does not take a core of the machine.
_CHUNK = 1 << 16
_PAUSE_S = 0.005


class Monitor:
    """neuron-monitor while it is needed: a context manager that ends it with all that it started.

    `newest` is what it told last. Where it told nothing, tells nothing any more, or has ended, that has no
    runtimes, and `trouble` says so.
    """

    def __init__(self, host: Host, *, period_s: float) -> None:
        self._host = host
        self._period_s = max(1, round(period_s))
        self._child: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._config: str | None = None
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._report: bytes | None = None
        self._is_garbage = False
        self._at = 0.0
        self._trouble: str | None = None

    def __enter__(self) -> Monitor:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def newest(self) -> Utilisation:
        """The newest report, or why there is none."""
        with self._lock:
            report, at, is_garbage = self._report, self._at, self._is_garbage
        if self._trouble is not None:
            return Utilisation(trouble=self._trouble)
        if self._child is not None and (code := exit_code(self._child)) is not None:
            ended = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
            return Utilisation(trouble=ended)
        silent_s = self._host.monotonic() - at
        if silent_s > _QUIET_S + 2 * self._period_s:
            return Utilisation(trouble=f"has said nothing for {silent_s:.0f} s")
        if is_garbage:
            return Utilisation(trouble="printed something that is no JSON")
        if report is None:
            return Utilisation(trouble="has not told anything yet")
        return read_monitor(report.decode("utf-8", "replace"))

    def close(self) -> None:
        """End it: TERM to its group, then KILL; one that cannot be killed is left behind."""
        self._over.set()
        if self._child is not None:
            end_group(self._child, term_s=_TERM_S, kill_s=_KILL_S)
        if self._reader is not None:
            self._reader.join(1.0)
        if self._child is not None and self._child.stdout is not None and not self._is_reading:
            self._child.stdout.close()
        if self._config is not None:
            with suppress(OSError):
                os.unlink(self._config)
            self._config = None

    @property
    def _is_reading(self) -> bool:
        return self._reader is not None and self._reader.is_alive()

    def _start(self) -> None:
        import subprocess

        self._at = self._host.monotonic()
        program = find_neuron_tool(self._host, "neuron-monitor")
        if program is None:
            self._trouble = NOT_INSTALLED
            return
        self._config = _write_config(self._period_s)
        try:
            self._child = subprocess.Popen(
                [program, *(["-c", self._config] if self._config else [])],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=dict(self._host.environ),
                cwd=self._host.cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            self._trouble = f"cannot be started: {error}"
            return
        self._reader = threading.Thread(target=self._read, name="neuron-monitor", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Keep the newest whole line, until the end."""
        import select

        assert self._child is not None and self._child.stdout is not None
        fd = self._child.stdout.fileno()
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        rest = b""
        while not self._over.is_set():
            if not poll.poll(200):
                continue
            chunk = os.read(fd, _CHUNK)
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                rest = b""
            for line in lines:
                self._keep(line.strip())
            if len(chunk) == _CHUNK:
                self._over.wait(_PAUSE_S)

    def _keep(self, line: bytes) -> None:
        if not line:
            return
        with self._lock:
            self._at = self._host.monotonic()
            self._is_garbage = not line.startswith(b"{")
            if not self._is_garbage:
                self._report = line


def _write_config(period_s: int) -> str | None:
    """Without a configuration neuron-monitor reports every 5 s; None where none can be written."""
    config = {
        "period": f"{period_s}s",
        "neuron_runtimes": [
            {"tag_filter": ".*", "metrics": [{"type": "neuroncore_counters"}, {"type": "memory_used"}]}
        ],
        "system_metrics": [],
    }
    try:
        fd, path = tempfile.mkstemp(prefix="neuronctl-monitor-", suffix=".json")
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(config, file)
    except OSError:
        return None
    return path
