"""Runs: a log file and a folder of its own for each start of an engine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from neuronctl.host import Host

LOGS_KEPT = 60


@dataclass(frozen=True)
class Run:
    """One start: `log` is kept afterwards, `work` is gone with the run."""

    log: Path
    work: Path


@contextmanager
def open_run(host: Host, name: str, what: str) -> Iterator[Run]:
    """A run of `what` (compile, serve) for the profile `name`.

    Logs go to `$NEURONCTL_HOME/logs`, of which the newest are kept. Where that cannot be written, as in a
    read-only cache from which an artifact is served, both go to the system's temporary folder.
    """
    home = host.neuronctl_home
    try:
        _sweep(home)
        log = _new_log(home / "logs", host, name, what)
        (home / "run").mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=home / "run"))
    except OSError:
        temporary = Path(tempfile.mkdtemp(prefix="neuronctl-"))
        log, work = _new_log(temporary, host, name, what), temporary / "work"
        work.mkdir()
    try:
        yield Run(log, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _new_log(folder: Path, host: Host, name: str, what: str) -> Path:
    import time

    folder.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(host.now()))
    for number in range(100):
        log = folder / f"{stamp}-{what}-{_plain(name)}{f'-{number}' if number else ''}.log"
        try:
            log.touch(exist_ok=False)
        except FileExistsError:
            continue
        return log
    raise FileExistsError(f"a hundred logs of this second in {folder}")


def _plain(name: str) -> str:
    return "".join(char if char.isalnum() or char in "._-" else "-" for char in name)[:60] or "profile"


def _sweep(home: Path) -> None:
    """Remove old logs, and the folders of runs whose process is gone."""
    logs = sorted((home / "logs").glob("*.log*"), reverse=True)
    for log in logs[LOGS_KEPT:]:
        with suppress(OSError):
            log.unlink()
    for folder in (home / "run").glob("*-*"):
        pid = folder.name.partition("-")[0]
        if pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # OverflowError: no number that a process can have
        return False
    except OSError:
        return True
    return True
