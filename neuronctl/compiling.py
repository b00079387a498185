"""compile_artifact: plan → artifact. Found in the store, or compiled in a child, tested and published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neuronctl.artifacts.artifact import Artifact
from neuronctl.artifacts.store import Store
from neuronctl.backends.all import backend_named
from neuronctl.errors import (
    ArtifactDamaged,
    ArtifactDrifted,
    CacheMiss,
    CompileFailed,
    UsageError,
)
from neuronctl.host import Host
from neuronctl.plan.plan import Plan
from neuronctl.result import Message, Progress
from neuronctl.runs import open_run

if TYPE_CHECKING:
    from neuronctl.artifacts.build import Made
    from neuronctl.artifacts.difference import Difference
    from neuronctl.artifacts.stage import Stage

Tell = Callable[[Message | Progress], None]
Answers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Compiled:
    """An artifact and how it came about: `built` now, or found; `log` is that of the compile."""

    artifact: Artifact
    built: bool
    took_s: float
    log: Path | None = None


def look_up(plan: Plan, host: Host) -> Artifact | None:
    """The plan's artifact if the store has it and it passes the quick verification.

    Raises ArtifactDamaged, with every problem, for one that does not pass, and ArtifactDrifted.
    """
    from neuronctl.artifacts.verify import verify_quick

    artifact = Store.open(host).find(plan.key)
    if artifact is None:
        return None
    if problems := verify_quick(artifact):
        raise ArtifactDamaged(
            f"the artifact {plan.key} is damaged: {'; '.join(map(str, problems[:3]))}"
            + (f"; and {len(problems) - 3} more" if len(problems) > 3 else ""),
            fix="compile again without --policy cached-only and --check; the damaged one is then quarantined",
        )
    _check_drift(plan, artifact)
    return artifact


def why_a_miss(plan: Plan, host: Host) -> tuple[str, tuple[Difference, ...]] | None:
    """The key of the artifact most like the one that is missing, and in what they differ."""
    nearest = Store.open(host).nearest(plan.key_inputs)
    return None if nearest is None else (nearest[0].key, nearest[1])


def compile_artifact(plan: Plan, host: Host, *, tell: Tell, lock_timeout_s: float | None = None) -> Compiled:
    """The plan's artifact, compiled if it is not there, as the profile's `artifacts.policy` allows.

    Raises CacheMiss or ArtifactDamaged where compiling is not allowed; ArtifactDrifted; from the compile
    CompileFailed, OutOfHostMemory, Interrupted or Terminated; LockTimedOut; MachineUnfit where the disk
    refuses.
    """
    policy = plan.profile.shape.artifacts.policy
    began = host.monotonic()
    if policy == "never":
        raise UsageError("with --policy never there is nothing to compile", fix="use --policy auto")
    if policy == "cached-only":
        artifact = look_up(plan, host)
        if artifact is None:
            raise miss(plan, host)
        return Compiled(artifact, built=False, took_s=host.monotonic() - began)
    from neuronctl.artifacts.build import LOCK_TIMEOUT_S, build_once
    from neuronctl.artifacts.lock import Holder

    logs: list[Path] = []

    def build(stage: Stage) -> Made:
        tell_why(plan, host, tell)
        with open_run(host, plan.profile.name, "compile") as run:
            logs.append(run.log)
            return _compile(plan, host, stage, run.log, tell)

    def waiting(holder: Holder, waited_s: float) -> None:
        tell(Progress(f"waiting for {holder}", waited_s))

    outcome = build_once(
        Store.open(host),
        plan.key,
        build,
        what=f"compile {plan.profile.name}",
        lock_timeout_s=LOCK_TIMEOUT_S if lock_timeout_s is None else lock_timeout_s,
        on_wait=waiting,
        rebuild=policy == "always",
    )
    _check_drift(plan, outcome.artifact)
    if outcome.quarantined is not None:
        tell(Message(f"the damaged artifact went to {outcome.quarantined}", "warn"))
    return Compiled(
        outcome.artifact,
        built=outcome.built,
        took_s=host.monotonic() - began,
        log=logs[-1] if logs else None,
    )


def _check_drift(plan: Plan, artifact: Artifact) -> None:
    """Raise ArtifactDrifted where an artifact lies under the plan's key and was made from other inputs."""
    from neuronctl.artifacts.difference import differences
    from neuronctl.artifacts.manifest import plain

    found = differences(plain(plan.key_inputs), artifact.manifest.inputs)
    if not found:
        return
    fields = "; ".join(f"{one.path}: {one.theirs} there, {one.ours} here" for one in found[:3])
    raise ArtifactDrifted(
        f"the artifact {artifact.key} was not made from what its key says: {fields}",
        fix=f"compile it anew: neuronctl compile --policy always {plan.retyped}",
        details={"differs": [one.path for one in found]},
    )


def miss(plan: Plan, host: Host) -> CacheMiss:
    """The error for an artifact that is not there, saying what would have to be the same."""
    details: dict[str, object] = {"key": plan.key}
    what = f"no artifact for {plan.profile.name} (key {plan.key})"
    if nearest := why_a_miss(plan, host):
        details["nearest"] = nearest[0]
        details["differs"] = [one.path for one in nearest[1]]
        what += f"; the nearest, {nearest[0]}, differs in "
        what += "; ".join(f"{one.path}: {one.theirs} there, {one.ours} here" for one in nearest[1][:3])
        what += f"; and {len(nearest[1]) - 3} more" if len(nearest[1]) > 3 else ""
    return CacheMiss(
        what,
        fix=f"neuronctl compile {plan.retyped}",
        details=details,
    )


def tell_why(plan: Plan, host: Host, tell: Tell) -> None:
    """Say why there is something to compile."""
    nearest = why_a_miss(plan, host)
    if nearest is None:
        tell(Message(f"nothing is compiled yet; compiling {plan.key}", "step"))
        return
    key, found = nearest
    if not found:
        tell(Message(f"compiling {plan.key} anew", "step"))
        return
    tell(Message(f"no artifact {plan.key}; the nearest, {key}, differs in:", "step"))
    for difference in found[:6]:
        tell(Message(f"  {difference.path}: {difference.theirs} there, {difference.ours} here"))
    if len(found) > 6:
        tell(Message(f"  and {len(found) - 6} more"))


def _compile(plan: Plan, host: Host, stage: Stage, log: Path, tell: Tell) -> Made:
    """Start the server against the stage, wait until it is ready, ask it, stop it, look at what it left."""
    import secrets

    from neuronctl.artifacts.build import Made
    from neuronctl.artifacts.manifest import Smoke
    from neuronctl.backends.client import Client
    from neuronctl.backends.smoke import run_smoke_test
    from neuronctl.serving.answering import until_answers
    from neuronctl.serving.failure import failure_details, shortage, what_to_try
    from neuronctl.serving.state import Policy
    from neuronctl.serving.stopped import stopped_by
    from neuronctl.serving.supervisor import ServerEvent, ServerSpec, supervise

    backend = backend_named(plan.backend)
    port, key = _free_port(), secrets.token_hex(16)
    client = Client(host, f"http://127.0.0.1:{port}", plan.served_name, key)
    server = ServerSpec(
        launch=backend.compile_launch(
            plan, host, stage.path, work=stage.scratch, port=port, api_key=key, log=log
        ),
        probe=until_answers(client),
        phases=backend.phases(compiling=True),
    )
    tell(Message(f"log: {log}"))
    began = host.monotonic()

    def follow(event: ServerEvent) -> None:
        step = "smoke test" if event.status.value == "ready" else event.phase
        tell(Progress(step, host.monotonic() - began, event.line))

    timeout_s = plan.profile.shape.server.ready_timeout_s or Policy.ready_timeout_s
    try:
        outcome = supervise(
            server,
            host,
            policy=Policy(ready_timeout_s=timeout_s),
            tell=follow,
            when_ready=lambda: run_smoke_test(client),
        )
    except CompileFailed as error:
        error.details["log"] = str(log)
        raise
    if outcome.stopped_by is not None:
        raise stopped_by(outcome.stopped_by, "the compile")
    if outcome.value is None:
        if lacking := shortage(outcome, "the compile", log):
            raise lacking
        details = failure_details(outcome, log)
        raise CompileFailed(
            f"the compile failed: {outcome.reason}", fix=what_to_try(details, log), details=details
        )
    backend.clean_output(stage.path)
    if missing := backend.missing_output(stage.path):
        raise CompileFailed(
            f"the compile ended well and left no usable output: {'; '.join(missing)}",
            fix=f"look at the log {log}",
            code="compile.no-output",
            details={"log": str(log)},
        )
    return Made(
        inputs=plan.key_inputs,
        backend=plan.backend,
        model=plan.model.id,
        profile=plan.profile.name,
        versions=plan.stack.versions,
        phases_s={name: round(seconds, 3) for name, seconds in outcome.phases_s.items()},
        peak_memory_bytes=outcome.peak_memory_bytes or None,
        smoke=[Smoke(prompt, answer) for prompt, answer in outcome.value],
    )


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
