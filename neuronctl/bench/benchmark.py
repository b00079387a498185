"""benchmark_profile, benchmark_url: a server, its loads and an engine → BenchResult."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from neuronctl.bench.campaign import Task
from neuronctl.bench.dataset import Dataset, read_dataset
from neuronctl.bench.engine import Session
from neuronctl.bench.preflight import check_server
from neuronctl.bench.raw_folder import writing_into
from neuronctl.bench.schema import BenchResult, Objective, Phase, Startup, Target, Workload
from neuronctl.bench.story import Story, Tools
from neuronctl.bench.sweep import Shape, sweep
from neuronctl.bench.target import shape_of, target_of, target_that_runs
from neuronctl.errors import UsageError
from neuronctl.host import Host
from neuronctl.profile.schema import BenchSection
from neuronctl.result import Message

if TYPE_CHECKING:
    from neuronctl.launching import Served
    from neuronctl.pipeline import Request
    from neuronctl.plan.plan import Plan

KEY_VARIABLE = "OPENAI_API_KEY"
_IS_UP_S = 5.0


def benchmark_url(url: str, model: str, said: BenchSection, tools: Tools) -> BenchResult:
    """Measure a server that runs. Raises what check_server and the engine raise."""
    key = tools.host.environ.get(KEY_VARIABLE) or None
    version = check_server(url, model, key, tools.host, key_variable=KEY_VARIABLE)
    target = Target(model=model, url=url, server_version=version)
    task = _task(said, tools, Shape(), url=url, model=model, tokenizer=model, key=key)
    story = Story(_safe(model), tools, target, task, _environment({}))
    return story.whole(story.measure)


def benchmark_profile(request: Request, tools: Tools, *, cold: bool = False) -> BenchResult:
    """Serve the profile as `neuronctl serve` would and measure it, or measure it where it is served already.

    `cold`: compile anew first, and start once more afterwards, so that both starts are known. Raises what
    serving raises.
    """
    from neuronctl.launching import server_url
    from neuronctl.pipeline import prepare
    from neuronctl.plan.make import api_key

    host = tools.host
    began = host.monotonic()
    prepared = prepare(request, host, tools.tell, serving=True)
    plan, before = prepared.plan, _before(host.monotonic() - began, prepared.download_s)
    shape, url, key = plan.profile.shape, server_url(plan), api_key(plan.profile, host.environ)
    runs = not host.port_is_free(shape.server.host, shape.server.port)
    target = target_of(plan, url)
    if runs:
        if cold:
            raise UsageError(
                f"{url} is being served already, so that no cold start can be measured",
                fix="stop that server, or leave --cold out",
                code="bench.cold-of-running",
            )
        variable = shape.server.api_key_env or KEY_VARIABLE
        version = check_server(url, plan.served_name, key, host, key_variable=variable)
        target = target_that_runs(plan, url, version)
        tools.tell(Message(f"{url} serves {plan.served_name} already: measuring that server", "note"))
    task = _task(
        shape.bench,
        tools,
        shape_of(plan),
        url=url,
        model=plan.served_name,
        tokenizer=str(plan.model.path),
        key=key,
        cores=target.cores,
        trust_remote_code=shape.model.trust_remote_code,
    )
    story = Story(plan.profile.name, tools, target, task, _environment(plan.stack.versions, plan))
    if runs:
        return story.whole(story.measure)
    return story.whole(lambda session: _serve_and_measure(plan, story, session, before, cold))


def _serve_and_measure(
    plan: Plan, story: Story, session: Session, before: Sequence[Phase], cold: bool
) -> None:
    from neuronctl.launching import serve_plan

    host, tell = story.tools.host, story.tools.tell
    first = _with_policy(plan, "always") if cold else plan
    served = serve_plan(first, host, tell=tell, when_ready=lambda: story.measure(session))
    story.startup.append(_startup(served, before))
    story.memory_bytes = served.peak_memory_bytes or None
    _raise_where_stopped(served)
    if cold:
        tell(Message("starting once more, with the artifact", "step"))
        again = serve_plan(_with_policy(plan, "auto"), host, tell=tell, when_ready=lambda: None)
        _raise_where_stopped(again)
        story.startup.append(_startup(again, before[:1]))


def _raise_where_stopped(served: Served) -> None:
    from neuronctl.errors import Interrupted, Terminated

    if served.stopped_by is not None:
        raise (Interrupted if served.exit_code == 130 else Terminated)("stopped while it measured")


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


def _with_policy(plan: Plan, policy: Literal["always", "auto"]) -> Plan:
    from dataclasses import replace as changed

    shape = plan.profile.shape
    artifacts = replace(shape.artifacts, policy=policy)
    return changed(plan, profile=changed(plan.profile, shape=replace(shape, artifacts=artifacts)))


def _task(
    said: BenchSection,
    tools: Tools,
    shape: Shape,
    *,
    url: str,
    model: str,
    tokenizer: str,
    key: str | None,
    cores: int | None = None,
    trust_remote_code: bool = False,
) -> Task:
    """What `said` means for this server."""
    with writing_into(tools.raw):
        dataset = read_dataset(said, tools.host, tools.raw)
    return Task(
        url=url,
        model=model,
        tokenizer=tools.tokenizer or tokenizer,
        workload=_workload(said, dataset),
        loads=sweep(said, shape, dataset.count if dataset else None),
        repeats=said.repeats,
        objective=_objective(said),
        dataset=dataset.path if dataset else None,
        folder=tools.raw,
        timeout_s=said.timeout_s,
        is_up=lambda: _is_up(url, key, tools.host),
        api_key=key,
        usd_per_hour=said.price_per_hour,
        cores=cores,
        trust_remote_code=trust_remote_code,
    )


def _is_up(url: str, key: str | None, host: Host) -> bool:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return host.http("GET", f"{url}/v1/models", headers=headers, timeout_s=_IS_UP_S).status == 200


def _workload(said: BenchSection, dataset: Dataset | None) -> Workload:
    return Workload(
        kind=said.dataset_name,
        api=said.api,
        seed=said.seed,
        ignore_eos=said.ignore_eos,
        dataset=dataset.name if dataset else None,
        digest=dataset.digest if dataset else None,
    )


def _objective(said: BenchSection) -> Objective | None:
    good = said.goodput
    if good.ttft is None and good.tpot is None and good.e2el is None:
        return None
    in_s = [None if one is None else one / 1000 for one in (good.ttft, good.tpot, good.e2el)]
    return Objective(ttft_s=in_s[0], tpot_s=in_s[1], e2e_s=in_s[2])


def _environment(versions: Mapping[str, str], plan: Plan | None = None) -> dict[str, str]:
    """What the numbers depend on, besides the plan."""
    found = {"system": f"{platform.system()} {platform.release()}", "processors": str(os.cpu_count())}
    if plan is not None and plan.machine.driver:
        found["neuron driver"] = str(plan.machine.driver)
    return {**found, **dict(sorted(versions.items()))}


def _safe(model: str) -> str:
    """A model's name as a file's."""
    letters = (letter if letter.isalnum() or letter in "-._" else "-" for letter in model)
    return "".join(letters).strip("-.")[-80:]
