"""One compile: a child that fills a stage, tried again where that may help, and its output checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neuronctl.backends.all import backend_named
from neuronctl.backends.backend import COMPILER_FAILED, Backend, CompileJob
from neuronctl.errors import CompileFailed, NeuronctlError, StackUnfit
from neuronctl.host import Host
from neuronctl.plan.plan import Plan
from neuronctl.result import Message, Progress, Tell

if TYPE_CHECKING:
    from neuronctl.artifacts.build import Made
    from neuronctl.artifacts.lock import OnWait
    from neuronctl.artifacts.stage import Stage
    from neuronctl.serving.supervisor import Outcome, ServerEvent, ServerSpec

Answers = tuple[tuple[str, str], ...]

# A compiler that ends with 70 and a cause that is known will do so again. One without may have met a machine
# that was short of something for a moment.
MOST_TRIES = 3
# Unless the profile says another: most compiles take less than an hour, those of the largest models hours.
TIMEOUT_S = 6 * 3600.0
_COMPILER_LOGS = 10
_COMPILER_LOG_BYTES = 64 * 1024


@dataclass(frozen=True)
class Built:
    """What a compile said of itself, for the manifest, and how often it was tried again."""

    made: Made
    retries: int


def wait_teller(tell: Tell) -> OnWait:
    """What a lock calls while another process holds it."""
    return lambda holder, waited_s: tell(Progress(f"waiting for {holder}", waited_s))


def build(plan: Plan, host: Host, stage: Stage, log: Path, tell: Tell) -> Built:
    """Compile the plan into the stage.

    Raises CompileFailed, OutOfHostMemory, MachineUnfit, StackUnfit, Interrupted or Terminated.
    """
    from neuronctl.artifacts.build import Made
    from neuronctl.artifacts.manifest import Smoke

    tell(Message(f"log: {log}"))
    run = _Build(plan, host, stage, log, tell, backend_named(plan.backend))
    outcome = run.outcome()
    run.check()
    return Built(
        Made(
            inputs=plan.key_inputs,
            backend=plan.backend,
            model=plan.model.id,
            profile=plan.profile.name,
            versions=plan.stack.versions,
            phases_s={name: round(seconds, 3) for name, seconds in outcome.phases_s.items()},
            peak_memory_bytes=outcome.peak_memory_bytes or None,
            smoke=[Smoke(prompt, answer) for prompt, answer in outcome.value or ()],
        ),
        retries=run.tries - 1,
    )


class _Build:
    """The tries of one compile."""

    def __init__(self, plan: Plan, host: Host, stage: Stage, log: Path, tell: Tell, backend: Backend) -> None:
        self.plan, self.host, self.stage, self.log, self.tell = plan, host, stage, log, tell
        self.backend = backend
        self.tries = 0
        self.has_compiler_logs = False
        self.began = host.monotonic()

    def outcome(self) -> Outcome[Answers]:
        """A compile that ended well."""
        while True:
            self.tries += 1
            outcome = self.run_once()
            if _ended_well(outcome):
                return outcome
            self.add_compiler_logs()
            error = self.failure(outcome)
            if self.tries >= MOST_TRIES or not _may_pass(error, outcome):
                raise error
            self.tell(
                Message(
                    f"the compiler failed without a cause that is known; trying again "
                    f"({self.tries} of {MOST_TRIES - 1})",
                    "warn",
                )
            )
            self.stage.clear()

    def run_once(self) -> Outcome[Answers]:
        """By a program that only compiles, where the backend has one and the software lets it."""
        job = self.backend.compile_job(
            self.plan, self.host, self.stage.path, work=self.stage.work, log=self.log
        )
        if job is None:
            return self.run_server()
        outcome = self.run_job(job)
        if outcome.code != job.no_seam or outcome.stopped_by is not None:
            return outcome
        if self.plan.machine.assumed or not self.plan.machine.devices:
            raise StackUnfit(
                "this plugin can only compile in a server, which needs a Neuron device; it said: "
                + (outcome.last_lines[-1] if outcome.last_lines else "nothing"),
                fix="compile on the instance itself, or with a plugin from 0.2.0 to 0.5",
                code="stack.no-compile-without-device",
                details={"log": str(self.log)},
            )
        self.tell(Message("this plugin cannot compile without a server; starting one", "note"))
        self.stage.clear()
        return self.run_server()

    def run_job(self, job: CompileJob) -> Outcome[Answers]:
        from neuronctl.serving.supervisor import ServerSpec

        spec = ServerSpec(
            launch=job.launch,
            phases=self.backend.phases(compiling=True),
            marks=self.backend.compiling_marks(),
        )
        return self.supervise(spec, None)

    def run_server(self) -> Outcome[Answers]:
        """Start the server against the stage, wait until it is ready, ask it, stop it."""
        import secrets

        from neuronctl.backends.client import Client
        from neuronctl.backends.smoke import run_smoke_test
        from neuronctl.serving.answering import until_answers
        from neuronctl.serving.supervisor import ServerSpec

        port, key = _free_port(), secrets.token_hex(16)
        client = Client(self.host, f"http://127.0.0.1:{port}", self.plan.served_name, key)
        spec = ServerSpec(
            launch=self.backend.compile_launch(
                self.plan,
                self.host,
                self.stage.path,
                work=self.stage.work,
                port=port,
                api_key=key,
                log=self.log,
            ),
            probe=until_answers(client),
            phases=self.backend.phases(compiling=True),
            marks=self.backend.compiling_marks(),
        )
        try:
            return self.supervise(spec, lambda: run_smoke_test(client, logprobs=self.backend.has_logprobs))
        except CompileFailed as error:
            error.details["log"] = str(self.log)
            raise

    def supervise(self, spec: ServerSpec, when_ready: Callable[[], Answers] | None) -> Outcome[Answers]:
        from neuronctl.serving.state import Policy
        from neuronctl.serving.stopped import stopped_by
        from neuronctl.serving.supervisor import supervise

        own_limit_s = Policy.ready_timeout_s if self.plan.backend == "cpu" else TIMEOUT_S
        timeout_s = self.plan.profile.shape.server.ready_timeout_s or own_limit_s
        called = "the server" if spec.probe else "the compile"
        outcome = supervise(
            spec,
            self.host,
            policy=Policy(ready_timeout_s=timeout_s, called=called),
            tell=self.follow,
            when_ready=when_ready,
        )
        if outcome.stopped_by is not None:
            raise stopped_by(outcome.stopped_by, "the compile")
        return outcome

    def follow(self, event: ServerEvent) -> None:
        step = "smoke test" if event.status.value == "ready" else event.phase
        self.tell(Progress(step, self.host.monotonic() - self.began, event.line))

    def failure(self, outcome: Outcome[Answers]) -> NeuronctlError:
        from neuronctl.serving.failure import failure_details, shortage, what_to_try

        details = failure_details(outcome, self.log)
        if self.tries > 1:
            details["tries"] = self.tries
        if lacking := shortage(outcome, "the compile", details, self.log):
            return lacking
        fix = what_to_try(details, self.log)
        if self.has_compiler_logs and not _is_known_cause(details):
            fix = f"look at the end of {self.log}, where the compilers' own logs are"
        if outcome.timed_out:
            fix = f"if it was still at work, allow it more: server.ready_timeout_s; the log is {self.log}"
        return CompileFailed(f"the compile failed: {outcome.reason}", fix=fix, details=details)

    def add_compiler_logs(self) -> None:
        """The ends of the compilers' own logs, which are gone with the stage, go into ours."""
        from contextlib import suppress

        with suppress(OSError), self.log.open("ab") as log:
            for path in self.backend.compiler_logs(self.stage.work)[-_COMPILER_LOGS:]:
                with path.open("rb") as source:
                    source.seek(max(0, path.stat().st_size - _COMPILER_LOG_BYTES))
                    end = source.read()
                name = path.relative_to(self.stage.work)
                self.has_compiler_logs = True
                log.write(f"[neuronctl: the end of {name}]\n".encode() + end.rstrip(b"\n") + b"\n")

    def check(self) -> None:
        """Raise CompileFailed for output that cannot be used, or is of other weights than the plan's."""
        if changed := find_changed(self.plan, self.host):
            raise CompileFailed(
                f"{changed} changed while it was compiled: what came out may be of either",
                fix="compile again, and leave the model alone meanwhile",
                code="compile.model-changed",
                details={"log": str(self.log)},
            )
        self.backend.clean_output(self.stage.path)
        output = self.backend.check_output(self.plan, self.stage.path)
        if output.faults:
            raise CompileFailed(
                f"the compile ended well and left no usable output: {'; '.join(output.faults[:6])}"
                + (f"; and {len(output.faults) - 6} more" if len(output.faults) > 6 else ""),
                fix=f"look at the log {self.log}",
                code="compile.no-output",
                details={"log": str(self.log), "faults": list(output.faults)},
            )
        for remark in output.remarks[:6]:
            self.tell(Message(f"the compiled configuration differs from the plan in {remark}"))


def find_changed(plan: Plan, host: Host) -> Path | None:
    """The first folder of weights that are not those any more of which the plan's key was made."""
    from neuronctl.model.identity import identify_weights

    known = {path: identity for path, identity in plan.identities.items() if Path(path).is_dir()}
    if plan.model.identity is not None:
        known[str(plan.model.path)] = plan.model.identity
    for path, identity in known.items():
        # A hub's folder is known by its commit, and its files by that.
        if len(identity) == 64 and identify_weights(Path(path), host) != identity:
            return Path(path)
    return None


def _ended_well(outcome: Outcome[Answers]) -> bool:
    from neuronctl.serving.state import Status

    return outcome.status is Status.STOPPED and (outcome.value is not None or outcome.code == 0)


def _may_pass(error: NeuronctlError, outcome: Outcome[Answers]) -> bool:
    """Whether another try may go better: the compiler failed, and nothing in the log says why."""
    if not isinstance(error, CompileFailed) or COMPILER_FAILED not in outcome.marks:
        return False
    return not _is_known_cause(error.details)


def _is_known_cause(details: Mapping[str, object]) -> bool:
    known = details.get("explained")
    return isinstance(known, dict) and known.get("rank") == "cause"


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
