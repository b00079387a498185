"""GuidellmEngine: `guidellm run` in an environment of its own, one child a job."""

from __future__ import annotations

import json
import re
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from neuronctl.bench.engine import Job, OnDone, client_failed
from neuronctl.bench.guidellm_order import environment, order, prompts_of
from neuronctl.bench.guidellm_python import find_guidellm
from neuronctl.bench.guidellm_report import read_report
from neuronctl.bench.record import Sent
from neuronctl.bench.schema import Engine
from neuronctl.host import Host

if TYPE_CHECKING:
    from neuronctl.child import Child

# Its imports take ten seconds on two cores, much longer with a cold disk; then it makes all prompts.
_START_S = 600.0
_PAUSE_S = 0.1
# It says so every ten seconds while it sends, and at the end.
_TOLD = re.compile(rb"successful=(\d+) errored=(\d+) incomplete=(\d+)")
_LAST_LINES = 5


class GuidellmEngine:
    """See the module."""

    name = "guidellm"

    @contextmanager
    def open(self, host: Host, *, python: str | None, folder: Path) -> Iterator[_Session]:
        """See LoadEngine.open. `python` is what `--engine-python` said; `folder` is where the log goes."""
        session = _Session(host, find_guidellm(host, python), host.cwd / folder)
        try:
            yield session
        finally:
            session.close()


@dataclass
class _Heard:
    """What the child said: how many requests are done, and its last lines. The reading thread calls it.

    `done` is None until requests are sent.
    """

    on_done: OnDone
    done: int | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))

    def __call__(self, block: bytes) -> None:
        for line in block.splitlines():
            if told := _TOLD.search(line):
                done = sum(map(int, told.groups()))
                if done > (self.done or 0):
                    self.on_done(done)
                self.done = done
            elif line.strip():
                self.tail.append(line.decode(errors="replace").strip())


@dataclass
class _Session:
    """Each job has a child of its own. It runs in a thread, which nobody waits for where the server dies."""

    host: Host
    engine: Engine
    folder: Path
    child: Child | None = None

    @property
    def log(self) -> Path:
        return self.folder / "guidellm.log"

    def run(self, job: Job, on_done: OnDone) -> Sent:
        """See Session.run."""
        report = self.host.cwd / job.folder / f"{job.name}.json"
        for folder in (self.folder, report.parent):
            folder.mkdir(parents=True, exist_ok=True)
        report.unlink(missing_ok=True)
        heard = _Heard(on_done)
        # Its own folder is where guidellm looks for an .env, and where Python looks for modules first.
        with tempfile.TemporaryDirectory(prefix="guidellm-", dir=self.folder) as work:
            self._send(job, Path(work), report, heard)
        sent = read_report(report, job.load.requests)
        if len(sent.records) > (heard.done or 0):
            on_done(len(sent.records))
        return sent

    def close(self) -> None:
        """End the child."""
        if self.child is not None:
            self.child.close()

    def _send(self, job: Job, work: Path, report: Path, heard: _Heard) -> None:
        from neuronctl.child import Child, Launch

        scenario, prompts = work / "scenario.json", work / "prompts.jsonl"
        if (texts := prompts_of(job)) is not None:
            texts.write(prompts)
        scenario.write_text(
            json.dumps(order(job, self.host, prompts=prompts, report=report)), encoding="utf-8"
        )
        argv = (self.engine.python, "-m", "guidellm", "run", "--config", str(scenario), "--disable-console")
        launch = Launch(argv, environment(job, self.host, work), work, self.log)
        with Child.start(launch, self.host, on_output=heard) as child:
            self.child = child
            self._wait(child, heard, "its start", _START_S, until_sending=True)
            self._wait(child, heard, f"the requests of {job.load.name}", job.timeout_s)

    def _wait(
        self, child: Child, heard: _Heard, what: str, limit_s: float, *, until_sending: bool = False
    ) -> None:
        """Wait for its end, or until it sends requests. Raises where it fails or takes longer."""
        until = self.host.monotonic() + limit_s
        while (ended := child.wait(_PAUSE_S)) is None:
            if until_sending and heard.done is not None:
                return
            if self.host.monotonic() > until:
                raise client_failed(
                    f"guidellm hangs: {what} took longer than {limit_s:g} s", self.log, tuple(heard.tail)
                )
        if ended.code != 0:
            raise client_failed(f"guidellm {ended}", self.log, tuple(heard.tail))
