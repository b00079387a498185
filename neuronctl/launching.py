"""serve_plan: artifact → server, in the foreground, with one repair if the artifact does not load."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from neuronctl.backends.all import backend_named
from neuronctl.backends.client import Client
from neuronctl.compiling import Compiled, compile_artifact, write_files
from neuronctl.errors import (
    ArtifactDamaged,
    Exit,
    NeuronctlError,
    ServerNotReady,
)
from neuronctl.host import Host
from neuronctl.plan.make import API_KEY_VARIABLE, api_key
from neuronctl.plan.plan import Plan
from neuronctl.result import Message, Progress, Tell
from neuronctl.runs import Run, open_run

if TYPE_CHECKING:
    from neuronctl.artifacts.artifact import Artifact
    from neuronctl.artifacts.store import Store
    from neuronctl.backends.phases import Mark
    from neuronctl.child import Launch
    from neuronctl.serving.supervisor import Outcome, ServerEvent


@dataclass(frozen=True)
class Served:
    """How serving ended.

    `stopped_by` is the signal that ended it, as a number, None where what was to be done with it was done.
    `hit` says that the artifact was there before; `repaired` that it did not load and was compiled once more;
    `compiled_again` that vLLM compiled although it had been given an artifact. `compile_s` is what compiling
    took, None for a hit; `phases_s` what each phase of the start took; `peak_memory_bytes` what the server's
    processes had at most.
    """

    url: str
    log: Path
    ready_after_s: float | None
    restarts: int
    stopped_by: int | None
    hit: bool
    repaired: bool
    compiled_again: bool
    compile_s: float | None
    phases_s: Mapping[str, float]
    peak_memory_bytes: int

    @property
    def exit_code(self) -> Exit:
        """130 after ^C, 143 after any other request to stop."""
        if self.stopped_by is None:
            return Exit.DONE
        return Exit.INTERRUPTED if self.stopped_by == signal.SIGINT else Exit.TERMINATED


def server_url(plan: Plan) -> str:
    """Where this machine reaches the server."""
    server = plan.profile.shape.server
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)
    return f"http://[{address}]:{server.port}" if ":" in address else f"http://{address}:{server.port}"


def command_to_try(plan: Plan) -> str:
    """A command that asks the server a question; the API key only by the name of its variable."""
    variable = plan.profile.shape.server.api_key_env or API_KEY_VARIABLE
    key = f' -H "Authorization: Bearer ${variable}"' if plan.has_api_key else ""
    question = {"role": "user", "content": "What is the capital of France?"}
    body = json.dumps({"model": plan.served_name, "temperature": 0, "messages": [question]})
    return (
        f"curl -s {server_url(plan)}/v1/chat/completions -H 'Content-Type: application/json'{key} -d '{body}'"
    )


def check_address(plan: Plan, host: Host) -> None:
    """Raise ServerNotReady if something listens at the server's address already."""
    server = plan.profile.shape.server
    if not host.port_is_free(server.host, server.port):
        raise ServerNotReady(
            f"cannot listen on {server.host}:{server.port}: the port is in use, or the address is not "
            "this machine's",
            fix="stop what listens there, or choose another port with --port",
            code="server.port-in-use",
        )


def serve_plan(
    plan: Plan,
    host: Host,
    *,
    tell: Tell,
    lock_timeout_s: float | None = None,
    when_ready: Callable[[], None] | None = None,
) -> Served:
    """Serve until asked to stop; with `when_ready`, until that returns, which is called in a thread.

    What is done with a server is done with one: with `when_ready` it is not started again when it dies.

    An artifact that does not load is put into quarantine, compiled once more and served, unless the policy
    is cached-only. Raises what compile_artifact raises, ServerNotReady, OutOfHostMemory, and
    ArtifactDamaged where no repair is allowed.
    """
    if plan.profile.shape.artifacts.policy == "never":
        write_files(plan)
        return _serve_once(plan, host, None, tell, when_ready, repaired=False)
    compiled = compile_artifact(plan, host, tell=tell, lock_timeout_s=lock_timeout_s)
    _tell_artifact(compiled, tell)
    try:
        return _serve_once(plan, host, compiled, tell, when_ready, repaired=False)
    except _LoadFailed as failed:
        if compiled.artifact is None:
            raise _named_does_not_load(compiled, failed) from None
        _quarantine(plan, host, compiled.artifact, failed, tell)
    compiled = compile_artifact(plan, host, tell=tell, lock_timeout_s=lock_timeout_s)
    _tell_artifact(compiled, tell)
    try:
        return _serve_once(plan, host, compiled, tell, when_ready, repaired=True)
    except _LoadFailed as failed:
        raise failed.error from None


def _named_does_not_load(compiled: Compiled, failed: _LoadFailed) -> NeuronctlError:
    """A folder of the user's own is neither moved nor compiled anew."""
    if not failed.read_it:
        return failed.error
    return ArtifactDamaged(
        f"{compiled.tree} does not load: {failed.error.what}",
        fix="name another folder, or none: then the store is used, which mends itself",
        details=failed.error.details,
    )


class _LoadFailed(Exception):
    """The server died while it read the artifact, or (`read_it` is False) soon after."""

    def __init__(self, error: ServerNotReady, read_it: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.read_it = read_it


def _tell_artifact(compiled: Compiled, tell: Tell) -> None:
    name = compiled.artifact.key if compiled.artifact else str(compiled.tree)
    if compiled.built:
        tell(Message(f"compiled {name} in {compiled.took_s:.0f} s", "done"))
    else:
        tell(Message(f"artifact {name}: hit, nothing to compile", "done"))


def _acquit(store: Store, artifact: Artifact, failed: _LoadFailed) -> None:
    """Raise the failure itself where a whole artifact is not to blame for it.

    That is so when the server had read it already, and when it was itself compiled because its whole
    predecessor did not load: doing that again at every start would help nobody.
    """
    if not failed.read_it:
        raise failed.error
    if any(one.key == artifact.key and one.whole for one in store.quarantined()):
        raise ServerNotReady(
            f"{failed.error.what}. The artifact is whole, and was compiled anew for this reason before",
            fix=failed.error.fix,
            details=failed.error.details,
        )


def _quarantine(plan: Plan, host: Host, artifact: Artifact, failed: _LoadFailed, tell: Tell) -> None:
    from neuronctl.artifacts.store import Store
    from neuronctl.artifacts.verify import verify_full

    store = Store.open(host)
    problems = verify_full(artifact)
    if not problems:
        _acquit(store, artifact, failed)
    found = "; ".join(map(str, problems[:3])) or "every file is as it was written"
    reason = f"{failed.error.what}. Verified in full: {found}."
    folder = store.quarantine(artifact.key, reason, seen=artifact, problems=problems)
    where = f"quarantined in {folder}" if folder else "another process has replaced it already"
    lines = failed.error.details.get("last_lines")
    said = f"\nit said: {lines[0]}" if isinstance(lines, list) and lines else ""
    tell(
        Message(
            f"the artifact does not load: {failed.error.what}{said}\nverified in full: {found}\n{where}",
            "warn",
        )
    )
    if plan.profile.shape.artifacts.policy == "cached-only":
        raise ArtifactDamaged(
            f"the artifact {artifact.key} does not load: {failed.error.what}",
            fix="allow it to be compiled again: --policy auto",
            details={**failed.error.details, "quarantine": str(folder) if folder else None},
        )


def _serve_once(
    plan: Plan,
    host: Host,
    compiled: Compiled | None,
    tell: Tell,
    when_ready: Callable[[], None] | None,
    *,
    repaired: bool,
) -> Served:
    """One server from its start to its end. Raises _LoadFailed if it died while reading the artifact."""
    from neuronctl.artifacts.disk import using
    from neuronctl.serving.state import Status

    backend = backend_named(plan.backend)
    tree = compiled.tree if compiled is not None else None
    with open_run(host, plan.profile.name, "serve") as run:
        key = api_key(plan.profile, host.environ)
        with using(run.work):
            launch = backend.serve_launch(plan, host, tree, work=run.work, api_key=key, log=run.log)
        tell(Message(f"log: {run.log}"))
        watched = _Watched(plan, host, tree, run, tell)
        outcome = _supervise(plan, host, launch, key, compiled, watched, when_ready)
    if outcome.stopped_by is None and not (when_ready and outcome.status is Status.STOPPED):
        raise _failure(plan, outcome, tree, run.log)
    return Served(
        url=server_url(plan),
        log=run.log,
        ready_after_s=outcome.ready_after_s,
        restarts=outcome.restarts,
        stopped_by=outcome.stopped_by,
        hit=compiled is not None and not compiled.built and not repaired,
        repaired=repaired,
        compiled_again=watched.compiled_again,
        compile_s=compiled.took_s if compiled is not None and compiled.built else None,
        phases_s=outcome.phases_s,
        peak_memory_bytes=outcome.peak_memory_bytes,
    )


class _Watched:
    """Retells what the supervisor says, and says what a person wants to know when the server is ready."""

    def __init__(self, plan: Plan, host: Host, tree: Path | None, run: Run, tell: Tell) -> None:
        self.plan, self.host, self.tree, self.run, self.tell = plan, host, tree, run, tell
        self.began = host.monotonic()
        self.compiled_again = False

    def follow(self, event: ServerEvent) -> None:
        match event.kind:
            case "started" | "phase":
                self.tell(Progress(event.phase, self.host.monotonic() - self.began, event.line))
            case "tick" if event.status.value != "ready":
                self.tell(Progress(event.phase, self.host.monotonic() - self.began, event.line))
            case "ready":
                self.ready(event)
            case "stopped" | "stopping":
                self.tell(Message(event.text, "step"))
            case "unhealthy" | "restarting" | "log-problem":
                self.tell(Message(event.text, "warn"))

    def ready(self, event: ServerEvent) -> None:
        backend = backend_named(self.plan.backend)
        if self.tree is not None and backend.compiled_again(self.tree, self.run.work):
            self.compiled_again = True
            self.tell(
                Message(
                    "vLLM compiled again although it had the artifact: something that it depends on is not "
                    f"in the key; please report this with the log {self.run.log}",
                    "warn",
                )
            )
        self.tell(
            Message(
                f"ready after {event.elapsed_s:.1f} s: {server_url(self.plan)}/v1 serves "
                f"{self.plan.served_name}; ^C stops it\ntry it:\n  {command_to_try(self.plan)}",
                "done",
            )
        )


def _supervise(
    plan: Plan,
    host: Host,
    launch: Launch,
    key: str | None,
    compiled: Compiled | None,
    watched: _Watched,
    when_ready: Callable[[], None] | None,
) -> Outcome[None]:
    from neuronctl.backends.smoke import PROMPTS, TIMEOUT_S, run_smoke_test
    from neuronctl.serving.answering import until_answers, until_speaks, while_healthy
    from neuronctl.serving.state import Policy
    from neuronctl.serving.supervisor import ServerSpec, supervise

    client = Client(host, server_url(plan), plan.served_name, key)
    backend = backend_named(plan.backend)
    policy = Policy(ready_timeout_s=plan.profile.shape.server.ready_timeout_s or Policy.ready_timeout_s)
    probe = until_answers(client)
    if compiled is not None and not (compiled.artifact and compiled.artifact.manifest.smoke):
        probe = until_speaks(probe, lambda: run_smoke_test(client, logprobs=backend.has_logprobs))
        policy = replace(policy, probe_timeout_s=TIMEOUT_S * (1 + len(PROMPTS)))
    if when_ready is not None:
        policy = replace(policy, restarts_max=0)
    server = ServerSpec(
        launch=launch,
        probe=probe,
        health=while_healthy(client),
        phases=backend.phases(compiling=compiled is None),
        marks=backend.serving_marks() if compiled is not None else (),
    )
    return supervise(server, host, policy=policy, tell=watched.follow, when_ready=when_ready)


def _failure(
    plan: Plan, outcome: Outcome[None], tree: Path | None, log: Path
) -> NeuronctlError | _LoadFailed:
    from neuronctl.serving.failure import failure_details, shortage, what_to_try

    details = failure_details(outcome, log)
    if tree is not None and any(mark.name in outcome.marks for mark in _fatal_marks(plan)):
        return _LoadFailed(ServerNotReady(outcome.reason, details=details), read_it=True)
    if lacking := shortage(outcome, "the server", details, log):
        return lacking
    error = ServerNotReady(outcome.reason, fix=what_to_try(details, log), details=details)
    phases = backend_named(plan.backend).phases(compiling=False)
    if _is_not_the_artifacts(details):
        return error
    begins = next((number for number, phase in enumerate(phases) if phase.reads_artifact), len(phases))
    since = {phase.name: phase for phase in phases[begins:]}
    if tree is not None and outcome.ready_after_s is None and outcome.phase_at_end in since:
        return _LoadFailed(error, read_it=since[outcome.phase_at_end].reads_artifact)
    return error


def _fatal_marks(plan: Plan) -> list[Mark]:
    return [mark for mark in backend_named(plan.backend).serving_marks() if mark.is_fatal]


def _is_not_the_artifacts(details: Mapping[str, object]) -> bool:
    """Whether the log is known to say that something else is to blame than what was loaded."""
    known = details.get("explained")
    if not isinstance(known, Mapping) or known["rank"] != "cause":
        return False
    return not str(known["id"]).startswith("artifacts-") and known["id"] != "cross-arch-neff"
