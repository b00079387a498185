"""Runs: a log file and a folder of its own for each start of an engine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from neuronctl.host import Host

LOGS_KEPT = 60
_LOCK = ".lock"


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
    with ExitStack() as stack:
        try:
            _sweep(home)
            log = _new_log(home / "logs", host, name, what)
            work = stack.enter_context(_work_folder(home / "run"))
        except OSError:
            temporary = Path(tempfile.mkdtemp(prefix="neuronctl-"))
            log = _new_log(temporary, host, name, what)
            work = stack.enter_context(_work_folder(temporary / "run"))
        yield Run(log, work)


@contextmanager
def _work_folder(runs: Path) -> Iterator[Path]:
    """An empty folder in `runs`, beside a locked file that says that somebody uses it."""
    runs.mkdir(parents=True, exist_ok=True)
    fd, lock = _locked_file(runs)
    try:
        work = Path(lock.removesuffix(_LOCK))
        work.mkdir(mode=0o700)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
    finally:
        with suppress(OSError):
            os.unlink(lock)
        os.close(fd)


def _locked_file(runs: Path) -> tuple[int, str]:
    """A new file that is locked; another run that sweeps may take it away before it is."""
    import fcntl

    while True:
        fd, lock = tempfile.mkstemp(suffix=_LOCK, dir=runs)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.path.exists(lock):
            return fd, lock
        os.close(fd)


def _new_log(folder: Path, host: Host, name: str, what: str) -> Path:
    import time

    folder.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(host.now()))
    for number in range(100):
        log = folder / f"{stamp}-{what}-{_plain(name)}{f'-{number}' if number else ''}.log"
        try:
            log.touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            continue
        return log
    raise FileExistsError(f"a hundred logs of this second in {folder}")


def _plain(name: str) -> str:
    return "".join(char if char.isalnum() or char in "._-" else "-" for char in name)[:60] or "profile"


def _sweep(home: Path) -> None:
    """Remove old logs, and what runs left that were killed: their locks are free."""
    import fcntl

    logs = sorted((home / "logs").glob("*.log"), key=_last_written, reverse=True)
    for log in logs[LOGS_KEPT:]:
        for part in (log, *log.parent.glob(f"{log.name}.*")):
            with suppress(OSError):
                part.unlink()
    for lock in (home / "run").glob(f"*{_LOCK}"):
        with suppress(OSError), lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink()


def _last_written(log: Path) -> float:
    try:
        return log.stat().st_mtime
    except OSError:
        return 0.0
