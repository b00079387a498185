"""precompile: many profiles → one compile a key, each in a child of its own, and a verdict for each profile.

Every profile is planned first, in this process: what is refused is known in a second and costs nothing, what
is compiled already is a hit, and profiles with one key are compiled once. Signal handlers and the threads
that read the children only put events into a queue; the loop alone acts.
"""

from __future__ import annotations

import queue
import signal
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from neuronctl.errors import Exit, NeuronctlError, UsageError
from neuronctl.host import Host
from neuronctl.named_folder import named_folder
from neuronctl.pipeline import Request, check_runnable, plan_request, refuse_errors
from neuronctl.precompile.job import Job
from neuronctl.precompile.verdict import Verdict, worst
from neuronctl.result import Message, Progress, Tell
from neuronctl.serving.stopped import stopped_by
from neuronctl.serving.stopsignals import StopSignals

if TYPE_CHECKING:
    from neuronctl.artifacts.artifact import Artifact
    from neuronctl.plan.plan import Plan

TICK_S = 0.2
TOLD_EVERY_S = 1.0
# A second request to stop that comes sooner is the same one: a terminal and a wrapper both deliver ^C.
AGAIN_AFTER_S = 0.3
# How long children that are asked twice may take to clean up before they are killed. CI systems that ask
# twice kill us after about this time.
HURRY_S = 2.0


@dataclass(frozen=True)
class Way:
    """How many profiles are compiled.

    `jobs` at most at once. `keep_going`: compile what can be, whatever else fails. `check`: compile nothing
    and say which artifacts are there.
    """

    jobs: int = 1
    keep_going: bool = False
    check: bool = False
    lock_timeout_s: float | None = None


@dataclass(frozen=True)
class Precompiled:
    """A verdict for each profile, in the order asked; `stopped_by` is the signal that asked us to stop."""

    verdicts: tuple[Verdict, ...]
    took_s: float
    stopped_by: int | None = None

    @property
    def exit_code(self) -> Exit:
        """The worst of all."""
        codes = [one.exit_code for one in self.verdicts if one.exit_code is not None]
        return worst([*codes, _exit_of(self.stopped_by)] if self.stopped_by is not None else codes)


def precompile(requests: Sequence[Request], host: Host, way: Way, *, tell: Tell) -> Precompiled:
    """Compile every profile that is not compiled. The references of the requests differ.

    INT, TERM and HUP are passed on to the children, which end without a half artifact; a second request
    makes them hurry. Never raises for what a profile does: that is in its verdict.
    """
    return _Precompile({one.reference: one for one in requests}, host, way, tell).run()


@dataclass
class _Precompile:
    requests: dict[str, Request]
    host: Host
    way: Way
    tell: Tell

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    # The profiles that name a folder for their artifact, with their keys.
    named: dict[Path, dict[str, str]] = field(default_factory=dict)
    running: dict[str, Job] = field(default_factory=dict)
    stopped_by: int | None = None
    asked_at: float = 0.0
    kill_at: float | None = None
    told_at: float = 0.0
    # SimpleQueue.put may be called by a handler that interrupts another put of the same thread.
    inbox: queue.SimpleQueue[int | str] = field(default_factory=queue.SimpleQueue)

    def run(self) -> Precompiled:
        began = self.host.monotonic()
        with StopSignals(self.inbox.put):
            self.plan_all()
            groups = self.groups()
            for leader in groups:
                self.look(leader)
            self.compile([leader for leader in groups if self.verdicts[leader].outcome == "not-tried"])
            for leader, followers in groups.items():
                self.follow(leader, followers)
            while self.listen(0.0):  # a request that came at the very end must not be lost
                pass
        took_s = self.host.monotonic() - began
        return Precompiled(tuple(self.verdicts.values()), took_s, self.stopped_by)

    # Planning

    def plan_all(self) -> None:
        """Plan each profile; those that cannot be planned, or must not be carried out, are refused."""
        began = self.host.monotonic()
        self.verdicts = {reference: Verdict(reference, reference) for reference in self.requests}
        for reference in self.requests:
            self.listen(0.0)
            if self.stopped_by is not None:
                return
            self.tell(Progress(f"planning {len(self.requests)} profiles", self.host.monotonic() - began))
            self.plan(reference)
        for folder, keys in self.named.items():
            if len(set(keys.values())) > 1:
                self.refuse_one_folder(folder, list(keys))
        for reference, verdict in self.verdicts.items():
            if verdict.outcome == "refused":
                self.tell_trouble(verdict)
            elif warnings := [one.id for one in verdict.findings if one.severity == "warning"]:
                retyped = self.requests[reference].retyped
                text = f"{self.label(reference)}: {', '.join(warnings)}  (neuronctl plan {retyped})"
                self.tell(Message(text, "warn"))

    def plan(self, reference: str) -> None:
        """Plan one profile. One that is not refused and has no plan afterwards, a child is asked about."""
        request, verdict = replace(self.requests[reference], carry_out=True), self.verdicts[reference]
        try:
            plan = plan_request(request, self.host, tell=self.tell)
            verdict = replace(verdict, name=plan.profile.name, key=plan.key, findings=plan.findings)
            refuse_errors(plan)
            if not self.way.check:
                check_runnable(plan, request, self.host, serving=False)
            if plan.profile.shape.artifacts.policy == "never":
                raise UsageError("with policy never there is nothing to compile", fix="use --policy auto")
            folder = named_folder(plan, self.host)
            if folder is None:
                self.plans[reference] = plan
            else:  # what lies in one is not told by the key
                self.named.setdefault(folder, {})[reference] = plan.key
        except NeuronctlError as error:
            # What a download will tell, the child finds out.
            if error.error_code != "model.not-downloaded" or self.way.check:
                verdict = verdict.with_error(error, "refused")
        except Exception:
            pass  # a bug of ours: the child meets it too and reports it, and the others are not stopped
        self.verdicts[reference] = verdict

    def refuse_one_folder(self, folder: Path, references: list[str]) -> None:
        """Refuse profiles of several keys that name one folder: the first would fill it for all."""
        for reference in references:
            others = ", ".join(self.label(other) for other in references if other != reference)
            error = UsageError(
                f"{folder} is named as the folder of {others} too, and a folder holds one artifact",
                fix="name another in artifacts.path of each profile; unset NEURON_COMPILED_ARTIFACTS to "
                "compile into the store",
                code="artifacts.one-folder",
            )
            self.verdicts[reference] = self.verdicts[reference].with_error(error, "refused")

    def label(self, reference: str) -> str:
        """A profile's name, or where two have the same one what the user called it."""
        names = Counter(verdict.name for verdict in self.verdicts.values())
        name = self.verdicts[reference].name
        return name if names[name] == 1 else reference

    def groups(self) -> dict[str, list[str]]:
        """Who is compiled, and for whom else: profiles of one key. One that is not known is like no other."""
        same: dict[str, list[str]] = {}
        for reference, verdict in self.verdicts.items():
            if verdict.outcome == "not-tried":
                alone = self.way.check or reference not in self.plans
                same.setdefault(f" {reference}" if alone else str(verdict.key), []).append(reference)
        found = {}
        for members in same.values():
            leader = min(members, key=self.reluctance)
            found[leader] = [one for one in members if one != leader]
        return found

    def reluctance(self, reference: str) -> int:
        """Of profiles with one key the one is compiled whose policy allows most."""
        plan = self.plans.get(reference)
        return ("always", "auto", "cached-only").index(plan.profile.shape.artifacts.policy) if plan else 0

    def look(self, reference: str) -> None:
        """What the store alone can answer: a hit, and with `check` everything."""
        plan, verdict = self.plans.get(reference), self.verdicts[reference]
        if plan is None or self.stopped_by is not None:
            return
        from neuronctl.compiling import look_up, miss

        try:
            artifact = look_up(plan, self.host) if self.way.check or _hit_counts(plan) else None
            if artifact is None and self.way.check:
                raise miss(plan, self.host)
        except NeuronctlError as error:
            if not self.way.check:
                return  # the child sees the same, and mends what can be mended
            verdict = verdict.with_error(error, "miss" if error.exit_code is Exit.CACHE_MISS else "failed")
            self.verdicts[reference] = verdict
            self.tell_trouble(verdict)
            return
        if artifact is not None:
            self.verdicts[reference] = _hit(verdict, artifact)
            self.tell(Message(f"{self.label(reference)}: hit", "done"))

    # Compiling

    def compile(self, leaders: list[str]) -> None:
        """Run a child for each, at most `jobs` at once."""
        refused = [one for one in self.verdicts.values() if one.outcome == "refused"]
        if leaders and refused and not self.going_on:
            text = f"nothing is compiled: refused are {len(refused)} of {len(self.verdicts)} profiles"
            self.tell(Message(f"{text}; --keep-going compiles the others", "warn"))
            return
        waiting = deque(leaders)
        try:
            while self.running or (waiting and self.may_start()):
                while waiting and len(self.running) < self.way.jobs and self.may_start():
                    self.begin(waiting.popleft(), f"{len(leaders) - len(waiting)} of {len(leaders)}")
                self.listen(TICK_S)
                self.kill_late()
                self.show(len(leaders) - len(waiting), len(leaders))
        finally:
            for job in self.running.values():
                job.close()

    @property
    def going_on(self) -> bool:
        return self.way.keep_going or self.way.check

    @property
    def doing(self) -> str:
        return "checking" if self.way.check else "compiling"

    def may_start(self) -> bool:
        """Whether a further compile may begin. A refusal without keep-going is answered before the first."""
        failed = any(one.exit_code is not None and not one.good for one in self.verdicts.values())
        return self.stopped_by is None and (self.going_on or not failed)

    def begin(self, reference: str, which: str) -> None:
        verdict = self.verdicts[reference]
        self.tell(Message(f"{self.label(reference)}: {self.doing} ({which})", "step"))
        self.told_at = self.host.monotonic()
        try:
            self.running[reference] = Job.start(
                self.requests[reference],
                verdict.name,
                self.host,
                check=self.way.check,
                lock_timeout_s=self.way.lock_timeout_s,
                on_end=lambda: self.inbox.put(reference),
            )
        except NeuronctlError as error:
            self.verdicts[reference] = verdict.with_error(error, "failed")
            self.tell_trouble(self.verdicts[reference])

    def finish(self, reference: str) -> None:
        asked = None if self.stopped_by is None else _exit_of(self.stopped_by)
        job = self.running.pop(reference)
        verdict = job.end(self.verdicts[reference], self.host, stopped_by=asked)
        self.verdicts[reference] = verdict
        if verdict.outcome == "compiled":
            text = f"{self.label(reference)}: compiled in {verdict.took_s:.0f} s"
            self.tell(Message(text, "done"))
        elif verdict.good:
            self.tell(Message(f"{self.label(reference)}: hit", "done"))
        else:
            self.tell_trouble(verdict)

    def follow(self, leader: str, followers: list[str]) -> None:
        """Give those of the same key the verdict of the one that was compiled."""
        verdict = self.verdicts[leader]
        for reference in followers:
            if verdict.exit_code is None:
                continue
            self.verdicts[reference] = self.verdicts[reference].like(verdict)
            how = "" if verdict.good else ", which is not compiled"
            self.tell(Message(f"{self.label(reference)}: same key as {self.label(leader)}{how}"))

    # Listening

    def listen(self, timeout_s: float) -> bool:
        """Take one event; False when none came in time."""
        try:
            event = self.inbox.get(timeout=timeout_s) if timeout_s else self.inbox.get_nowait()
        except queue.Empty:
            return False
        if isinstance(event, str):
            self.finish(event)
        else:
            self.stop(event)
        return True

    def stop(self, number: int) -> None:
        """We are asked to stop, or asked again."""
        now, name = self.host.monotonic(), signal.Signals(number).name
        if self.stopped_by is None:
            self.stopped_by = number
            self.tell(Message(f"{name}: stopping" + " what is compiled now" * bool(self.running), "warn"))
        elif now - self.asked_at < AGAIN_AFTER_S:
            return
        elif self.running:
            self.kill_at = now + HURRY_S if self.kill_at is None else now
            self.tell(Message(f"{name}: asked again, so the children are hurried", "warn"))
        self.asked_at = now
        for job in self.running.values():
            job.signal(number)

    def kill_late(self) -> None:
        """End children that were hurried and did not end."""
        if self.kill_at is not None and self.host.monotonic() >= self.kill_at:
            for job in self.running.values():
                job.signal(signal.SIGKILL)

    # Telling

    def show(self, begun: int, total: int) -> None:
        """About once a second, what runs now."""
        now = self.host.monotonic()
        if not self.running or now - self.told_at < TOLD_EVERY_S:
            return
        self.told_at = now
        labels = [self.label(reference) for reference in self.running]
        names = ", ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")
        oldest = min(self.running.values(), key=lambda job: job.began)
        self.tell(Progress(f"{self.doing} {names} ({begun} of {total})", now - oldest.began, oldest.line))

    def tell_trouble(self, verdict: Verdict) -> None:
        """Say that a profile is not compiled, why, and what to try."""
        label = self.label(verdict.reference)
        if verdict.outcome == "stopped":
            self.tell(Message(f"{label}: stopped", "warn"))
            return
        code = int(verdict.exit_code or 0)
        head = f"{label}: {verdict.outcome}, exit {code}: {verdict.why}"
        self.tell(Message("\n".join([head, *verdict.explanation[1:]]), "warn"))


def _hit_counts(plan: Plan) -> bool:
    """Whether an artifact under the plan's key is the answer.

    It is not where it is wanted anew, where news of the model are, and where the software is not installed.
    """
    news = plan.model.source == "hub" and plan.profile.shape.model.download == "always"
    return plan.profile.shape.artifacts.policy != "always" and not news and not plan.stack.assumed


def _hit(verdict: Verdict, artifact: Artifact) -> Verdict:
    return replace(verdict, outcome="hit", exit_code=Exit.DONE, path=str(artifact.tree))


def _exit_of(number: int) -> Exit:
    """What a signal makes us end with."""
    return stopped_by(number, "").exit_code
