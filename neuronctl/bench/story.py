"""Story: what is known of a result while it comes to be."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import neuronctl
from neuronctl.bench.campaign import Campaign, Task
from neuronctl.bench.engine import LoadEngine, Session
from neuronctl.bench.raw_folder import writing_into
from neuronctl.bench.remarks import remarks
from neuronctl.bench.schema import BenchResult, Price, Startup, Target
from neuronctl.errors import NeuronctlError
from neuronctl.host import Host
from neuronctl.result import Tell

# Hears of a result that is not all that was asked for, before the reason is raised.
OnPartial = Callable[[BenchResult], None]


@dataclass(frozen=True)
class Tools:
    """What measures: the engine, the Python it runs in (None: looked for), and the folder for raw files.

    `tokenizer` counts tokens; None: the model's own.
    """

    engine: LoadEngine
    host: Host
    tell: Tell
    raw: Path
    on_partial: OnPartial
    python: str | None = None
    tokenizer: str | None = None


@dataclass
class Story:
    """See the module. `name` begins the names of files; `environment` is what the numbers depend on."""

    name: str
    tools: Tools
    target: Target
    task: Task
    environment: Mapping[str, str]
    began_at: float = field(default_factory=time.time)
    startup: list[Startup] = field(default_factory=list)
    memory_bytes: int | None = None
    campaign: Campaign | None = None
    session: Session | None = None

    def whole(self, work: Callable[[Session], None]) -> BenchResult:
        """The result after `work`; what there is of it is handed on before a failure is raised."""
        tools = self.tools
        with (
            writing_into(tools.raw),
            tools.engine.open(tools.host, python=tools.python, folder=tools.raw) as session,
        ):
            try:
                with writing_into(tools.raw):
                    work(session)
            except (NeuronctlError, KeyboardInterrupt) as error:
                if self.campaign is not None and self.campaign.points:
                    why = error.what if isinstance(error, NeuronctlError) else "stopped while it measured"
                    tools.on_partial(self.result(why))
                raise
            return self.result()

    def measure(self, session: Session) -> None:
        """Everything that wants a server that is up."""
        self.session = session
        self.campaign = Campaign(self.task, self.tools.tell)
        self.campaign.run(session)
        self.campaign.measure_client(session, self.task.folder)

    def result(self, why_partial: str | None = None) -> BenchResult:
        """The result so far."""
        assert self.campaign is not None and self.session is not None
        task, points = self.task, self.campaign.points
        price = None
        if task.usd_per_hour is not None:
            price = Price(usd_per_hour=task.usd_per_hour, source="price_per_hour, as the user says")
        return BenchResult(
            name=self.name,
            status="complete" if why_partial is None else "partial",
            why_partial=why_partial,
            started_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.began_at)),
            took_s=round(time.time() - self.began_at, 3),
            neuronctl=neuronctl.__version__,
            target=self.target,
            engine=self.session.engine,
            workload=task.workload,
            objective=task.objective,
            price=price,
            environment=dict(self.environment),
            startup=tuple(self.startup),
            server_memory_bytes=self.memory_bytes,
            client_delay=self.campaign.delays,
            points=points,
            remarks=remarks(
                points, self.campaign.delays, task.workload, why_partial, no_delays=self.campaign.no_delays
            ),
        )
