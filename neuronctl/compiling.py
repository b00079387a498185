"""compile_artifact: plan → artifact. Found in the store, or compiled in a child, tested and published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neuronctl.artifacts.artifact import Artifact
from neuronctl.artifacts.store import Store
from neuronctl.building import build, wait_teller
from neuronctl.errors import ArtifactDamaged, ArtifactDrifted, CacheMiss, UsageError
from neuronctl.host import Host
from neuronctl.named_folder import check_named, compile_named, demand_fit, is_filled, named_folder
from neuronctl.plan.plan import Plan
from neuronctl.result import Message, Tell
from neuronctl.runs import open_run

if TYPE_CHECKING:
    from neuronctl.artifacts.build import Made
    from neuronctl.artifacts.difference import Difference
    from neuronctl.artifacts.stage import Stage


@dataclass(frozen=True)
class Compiled:
    """Compiled output in the folder `tree`, and how it came about: `built` now, or found.

    `artifact` is what it belongs to, None in a folder that the user named. `log` is that of the compile,
    `retries` how often the compiler was started again.
    """

    tree: Path
    built: bool
    took_s: float
    artifact: Artifact | None = None
    log: Path | None = None
    retries: int = 0


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
    write_files(plan)
    if (folder := named_folder(plan, host)) is not None:
        return _in_named_folder(plan, host, folder, tell, lock_timeout_s)
    if policy == "cached-only":
        artifact = look_up(plan, host)
        if artifact is None:
            raise miss(plan, host)
        return Compiled(artifact.tree, built=False, took_s=host.monotonic() - began, artifact=artifact)
    from neuronctl.artifacts.build import LOCK_TIMEOUT_S, build_once

    logs: list[Path] = []
    retries: list[int] = []
    damaged: list[Path] = []

    def fill(stage: Stage) -> Made:
        if not damaged:
            tell_why(plan, host, tell)
        with open_run(host, plan.profile.name, "compile") as run:
            logs.append(run.log)
            built = build(plan, host, stage, run.log, tell)
            retries.append(built.retries)
            return built.made

    def tell_damage(why: str, moved: Path) -> None:
        damaged.append(moved)
        text = f"the artifact {plan.key} is damaged: {why}\nit went to quarantine: {moved}"
        tell(Message(text, "warn"))
        tell(Message(f"compiling {plan.key} anew", "step"))

    outcome = build_once(
        Store.open(host),
        plan.key,
        fill,
        what=f"compile {plan.profile.name}",
        lock_timeout_s=LOCK_TIMEOUT_S if lock_timeout_s is None else lock_timeout_s,
        on_wait=wait_teller(tell),
        rebuild=policy == "always",
        on_damage=tell_damage,
    )
    _check_drift(plan, outcome.artifact)
    return Compiled(
        outcome.artifact.tree,
        built=outcome.built,
        took_s=host.monotonic() - began,
        artifact=outcome.artifact,
        log=logs[-1] if logs else None,
        retries=sum(retries),
    )


def write_files(plan: Plan) -> None:
    """Write what the plan's arguments name, such as the list of adapters. Raises MachineUnfit.

    Their names follow their content, so a file that is there is the right one.
    """
    from neuronctl.artifacts.disk import using
    from neuronctl.whole_file import write_whole

    for name, text in plan.files.items():
        path = Path(name)
        with using(path.parent):
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, text.encode())


def _in_named_folder(
    plan: Plan, host: Host, folder: Path, tell: Tell, lock_timeout_s: float | None
) -> Compiled:
    """The output in the folder that the user named: as it is, or compiled into it where it is empty."""
    began = host.monotonic()
    policy = plan.profile.shape.artifacts.policy
    demand_fit(policy, folder)
    if policy == "cached-only" and not is_filled(folder):
        raise CacheMiss(f"nothing is compiled in {folder}", fix=how_to_compile(plan))
    built, log = None, None
    if not is_filled(folder):
        with open_run(host, plan.profile.name, "compile") as run:
            built, log = (
                compile_named(plan, host, folder, run.log, tell, lock_timeout_s=lock_timeout_s),
                run.log,
            )
    check_named(plan, folder, tell)
    return Compiled(
        folder,
        built=built is not None,
        took_s=host.monotonic() - began,
        log=log,
        retries=built.retries if built else 0,
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
        fix=how_to_compile(plan),
        details=details,
    )


def how_to_compile(plan: Plan) -> str:
    """What to type so that it is compiled, also where the profile itself forbids that."""
    policy = "--policy auto " if plan.profile.shape.artifacts.policy == "cached-only" else ""
    return f"neuronctl compile {policy}{plan.retyped}"


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
