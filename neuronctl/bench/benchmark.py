"""benchmark_profile, benchmark_url: a server, its loads and an engine → BenchResult."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

import neuronctl
from neuronctl.bench.campaign import Campaign, Task
from neuronctl.bench.engine import LoadEngine, Session
from neuronctl.bench.preflight import check_server
from neuronctl.bench.prompts import check_sharegpt, read_prompts
from neuronctl.bench.remarks import remarks
from neuronctl.bench.schema import (
    BenchResult,
    Objective,
    Phase,
    Price,
    Startup,
    Target,
    Workload,
)
from neuronctl.bench.sweep import Shape, sweep
from neuronctl.errors import NeuronctlError, UsageError
from neuronctl.host import Host
from neuronctl.profile.schema import BenchSection
from neuronctl.result import Message, Tell

if TYPE_CHECKING:
    from neuronctl.launching import Served
    from neuronctl.pipeline import Request
    from neuronctl.plan.plan import Plan

# Hears of a result that is not all that was asked for, before the reason is raised.
OnPartial = Callable[[BenchResult], None]


@dataclass
class Tools:
    """What measures: the engine, the Python it runs in (None: looked for), and the folder for raw files.

    `key_variable` names the variable with the API key. `tokenizer` counts tokens; None: the model's own.
    """

    engine: LoadEngine
    host: Host
    tell: Tell
    raw: Path
    on_partial: OnPartial
    python: str | None = None
    tokenizer: str | None = None
    key_variable: str = "OPENAI_API_KEY"


@dataclass
class _Story:
    """What is known of a result while it comes to be."""

    name: str
    tools: Tools
    target: Target
    environment: Mapping[str, str]
    said: BenchSection
    dataset: Path | None
    digest: str | None
    began_at: float = field(default_factory=time.time)
    startup: list[Startup] = field(default_factory=list)
    memory_bytes: int | None = None
    campaign: Campaign | None = None
    session: Session | None = None

    def measure(self, task: Task, session: Session) -> None:
        """Everything that wants a server that is up."""
        self.session = session
        self.campaign = Campaign(task, self.tools.tell)
        self.campaign.run(session)
        self.campaign.measure_client(session, task.folder)

    def result(self, why_partial: str | None = None) -> BenchResult:
        """The result so far."""
        assert self.campaign is not None and self.session is not None
        points, delays = self.campaign.points, self.campaign.delays
        said = self.said
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.began_at))
        price = None
        if said.price_per_hour is not None:
            price = Price(usd_per_hour=said.price_per_hour, source="price_per_hour, as the user says")
        return BenchResult(
            name=self.name,
            status="complete" if why_partial is None else "partial",
            why_partial=why_partial,
            started_at=began,
            took_s=round(time.time() - self.began_at, 3),
            neuronctl=neuronctl.__version__,
            target=self.target,
            engine=self.session.engine,
            workload=_workload(said, self.dataset, self.digest),
            objective=_objective(said),
            price=price,
            environment=dict(self.environment),
            startup=tuple(self.startup),
            server_memory_bytes=self.memory_bytes,
            client_delay=delays,
            points=points,
            remarks=remarks(points, delays, _workload(said, self.dataset, self.digest), why_partial),
        )

    @property
    def has_numbers(self) -> bool:
        return self.campaign is not None and bool(self.campaign.points)


def benchmark_url(url: str, model: str, said: BenchSection, tools: Tools) -> BenchResult:
    """Measure a server that runs. Raises what check_server and the engine raise."""
    key = tools.host.environ.get(tools.key_variable) or None
    version = check_server(url, model, key, tools.host, key_variable=tools.key_variable)
    dataset, digest, prompts = _dataset(said, tools)
    target = Target(model=model, url=_without_password(url), server_version=version)
    loads = sweep(said, Shape(), prompts)
    story = _Story(_safe(model), tools, target, _environment({}), said, dataset, digest)
    tokenizer = tools.tokenizer or model
    task = Task(
        url, model, tokenizer, _workload(said, dataset, digest), loads, said.repeats, _objective(said),
        dataset, tools.raw, said.timeout_s, key, said.price_per_hour,
    )  # fmt: skip
    return _whole(story, lambda session: story.measure(task, session))


def benchmark_profile(request: Request, tools: Tools, *, cold: bool = False) -> BenchResult:
    """Serve the profile as `neuronctl serve` would and measure it, or measure it where it is served already.

    `cold`: compile anew first, and start once more afterwards, so that both starts are known. Raises what
    serving raises.
    """
    from neuronctl.launching import server_url
    from neuronctl.pipeline import prepare

    began = tools.host.monotonic()
    prepared = prepare(request, tools.host, tools.tell, serving=True)
    plan, before = prepared.plan, _before(tools.host.monotonic() - began, prepared.download_s)
    said = plan.profile.shape.bench
    dataset, digest, prompts = _dataset(said, tools)
    loads = sweep(said, shape_of(plan), prompts)
    url, key = server_url(plan), _key(plan, tools.host)
    tools.key_variable = plan.profile.shape.server.api_key_env or tools.key_variable
    runs = not tools.host.port_is_free(plan.profile.shape.server.host, plan.profile.shape.server.port)
    target = _target(plan, url, started_here=not runs)
    if runs:
        if cold:
            raise UsageError(
                f"{url} is being served already, so that no cold start can be measured",
                fix="stop that server, or leave --cold out",
                code="bench.cold-of-running",
            )
        version = check_server(url, plan.served_name, key, tools.host, key_variable=tools.key_variable)
        target = replace(target, server_version=version)
        tools.tell(Message(f"{url} serves {plan.served_name} already: measuring that server", "note"))
    environment, workload = _environment(plan.stack.versions, plan), _workload(said, dataset, digest)
    story = _Story(plan.profile.name, tools, target, environment, said, dataset, digest)
    task = Task(
        url, plan.served_name, tools.tokenizer or str(plan.model.path), workload, loads,
        said.repeats, _objective(said), dataset, tools.raw, said.timeout_s, key, said.price_per_hour,
        target.cores,
    )  # fmt: skip
    if runs:
        return _whole(story, lambda session: story.measure(task, session))
    return _whole(story, lambda session: _serve_and_measure(plan, story, task, session, before, cold))


def shape_of(plan: Plan) -> Shape:
    """What the plan's model is compiled for; the length alone where shapes are not fixed."""
    longest = plan.engine.get("max_model_len")
    length = _integer(longest.value) if longest is not None else None
    outlook = plan.outlook
    if outlook is None or outlook.prediction is None:
        return Shape(max_model_len=length)
    config = outlook.prediction.neuron_config
    buckets = outlook.prediction.buckets.get("context_encoding_model", ())
    plain = [size for size in (_tokens_of(one) for one in buckets) if size is not None]
    return Shape(
        batch=_integer(config.get("batch_size")),
        input_buckets=tuple(sorted(set(plain))),
        max_model_len=length or _integer(config.get("max_length")),
    )


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _tokens_of(bucket: object) -> int | None:
    """With prefix caching a bucket is (active, prefix)."""
    first = bucket[0] if isinstance(bucket, (tuple, list)) and bucket else bucket
    return _integer(first)


def _whole(story: _Story, work: Callable[[Session], None]) -> BenchResult:
    """The result after `work`; what there is of it is handed on before a failure is raised."""
    tools = story.tools
    tools.raw.mkdir(parents=True, exist_ok=True)
    with tools.engine.open(tools.host, python=tools.python, folder=tools.raw) as session:
        try:
            work(session)
        except (NeuronctlError, KeyboardInterrupt) as error:
            if story.has_numbers:
                why = error.what if isinstance(error, NeuronctlError) else "stopped by ^C"
                tools.on_partial(story.result(why))
            raise
        return story.result()


def _serve_and_measure(
    plan: Plan, story: _Story, task: Task, session: Session, before: Sequence[Phase], cold: bool
) -> None:
    from neuronctl.errors import Interrupted, Terminated
    from neuronctl.launching import serve_plan

    host, tell = story.tools.host, story.tools.tell
    first = _with_policy(plan, "always") if cold else plan
    served = serve_plan(first, host, tell=tell, when_ready=lambda: story.measure(task, session))
    story.startup.append(_startup(served, before))
    story.memory_bytes = served.peak_memory_bytes or None
    if served.stopped_by is not None:
        raise (Interrupted if served.exit_code == 130 else Terminated)("stopped while it measured")
    if not cold:
        return
    tell(Message("starting once more, with the artifact", "step"))
    again = serve_plan(_with_policy(plan, "auto"), host, tell=tell, when_ready=lambda: None)
    if again.stopped_by is None:
        story.startup.append(_startup(again, ()))


def _before(took_s: float, download_s: float | None) -> tuple[Phase, ...]:
    """What came before the first step of serving: the plan, and the download where one was needed."""
    plan = Phase(name="plan", took_s=round(took_s - (download_s or 0.0), 3))
    return (plan,) if download_s is None else (plan, Phase(name="download", took_s=round(download_s, 3)))


def _startup(served: Served, before: Sequence[Phase]) -> Startup:
    phases = list(before)
    if served.compile_s is not None:
        phases.append(Phase(name="compile", took_s=round(served.compile_s, 3)))
    phases += [Phase(name=name, took_s=round(took, 3)) for name, took in served.phases_s.items()]
    return Startup(
        kind="warm" if served.hit else "cold",
        phases=tuple(phases),
        ready_s=round(sum(phase.took_s for phase in phases), 3),
    )


def _with_policy(plan: Plan, policy: str) -> Plan:
    from dataclasses import replace as changed

    shape = plan.profile.shape
    artifacts = replace(shape.artifacts, policy=policy)
    return changed(plan, profile=changed(plan.profile, shape=replace(shape, artifacts=artifacts)))


def _dataset(said: BenchSection, tools: Tools) -> tuple[Path | None, str | None, int | None]:
    """The file of prompts in the form the engine reads, what tells it from others, and how many it has."""
    if said.dataset_name not in ("jsonl", "sharegpt"):
        if said.dataset_path is not None:
            raise UsageError(
                f"{said.dataset_name} prompts are made up, so {said.dataset_path} is not read",
                fix="--dataset-name jsonl (or sharegpt)",
                code="bench.odd-dataset",
            )
        return None, None, None
    if said.dataset_path is None:
        raise UsageError(
            f"{said.dataset_name} wants a file", fix="--dataset-path FILE", code="bench.no-dataset"
        )
    from blake3 import blake3

    path = tools.host.expand(said.dataset_path)
    if said.dataset_name == "sharegpt":
        count, digest = check_sharegpt(path), blake3(path.read_bytes()).hexdigest()
        return path, digest, count
    outputs = said.output_len if isinstance(said.output_len, tuple) else (said.output_len,)
    if len(outputs) > 1:
        raise UsageError(
            "one --output-len at most goes with a file of prompts",
            fix="--output-len 128",
            code="bench.lengths",
        )
    prompts = read_prompts(path, outputs[0] if outputs else None)
    tools.raw.mkdir(parents=True, exist_ok=True)
    prepared = tools.raw / "prompts.jsonl"
    prompts.write(prepared)
    return prepared, blake3(path.read_bytes()).hexdigest(), len(prompts.texts)


def _workload(said: BenchSection, dataset: Path | None, digest: str | None) -> Workload:
    return Workload(
        kind=said.dataset_name,
        api=said.api,
        seed=said.seed,
        ignore_eos=said.ignore_eos,
        dataset=os.path.basename(said.dataset_path) if dataset and said.dataset_path else None,
        digest=digest,
    )


def _objective(said: BenchSection) -> Objective | None:
    good = said.goodput
    if good.ttft is None and good.tpot is None and good.e2el is None:
        return None
    in_s = [None if one is None else one / 1000 for one in (good.ttft, good.tpot, good.e2el)]
    return Objective(ttft_s=in_s[0], tpot_s=in_s[1], e2e_s=in_s[2])


def _target(plan: Plan, url: str, *, started_here: bool) -> Target:
    shape = shape_of(plan)
    assigned = plan.outlook.assigned if plan.outlook else None
    return Target(
        model=plan.model.id,
        url=url,
        profile=plan.profile.name,
        key=plan.key,
        backend=plan.backend,
        instance=plan.machine.instance_name,
        cores=len(assigned.ids) if assigned else None,
        batch=shape.batch,
        max_model_len=shape.max_model_len,
        input_buckets=shape.input_buckets,
        started_here=started_here,
    )


def _key(plan: Plan, host: Host) -> str | None:
    from neuronctl.plan.make import api_key

    return api_key(plan.profile, host.environ)


def _environment(versions: Mapping[str, str], plan: Plan | None = None) -> dict[str, str]:
    """What the numbers depend on, besides the plan; nothing that names the machine or its user."""
    found = {"system": f"{platform.system()} {platform.release()}", "processors": str(os.cpu_count())}
    if plan is not None and plan.machine.driver:
        found["neuron driver"] = str(plan.machine.driver)
    return {**found, **dict(sorted(versions.items()))}


def _without_password(url: str) -> str:
    from neuronctl.secret import hide_passwords

    return hide_passwords(url)


def _safe(model: str) -> str:
    """A model's name as a file's."""
    return "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in model).strip("-.")[
        -80:
    ]
