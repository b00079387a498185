"""Whether a profile can run here, now."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from neuronctl.doctor.check import CannotTell, NotHere, Seen, Trouble, check
from neuronctl.doctor.diagnosis import PROFILE
from neuronctl.doctor.facts import FACTS_S, PLAN_S, Facts
from neuronctl.errors import (
    ArtifactDamaged,
    ArtifactDrifted,
    Exit,
    MachineUnfit,
    ModelNotResolved,
    NeuronctlError,
)
from neuronctl.model.hub_place import FLAG, offline_by

if TYPE_CHECKING:
    from neuronctl.plan.plan import Plan


@check(
    PROFILE,
    "The profile that is to run",
    exit_code=Exit.ANSWER_IS_NO,
    timeout_s=PLAN_S,
    needs_profile=True,
)
def profile(facts: Facts) -> Seen:
    """The whole plan of `--profile NAME`, with all that its [rules](../rules.md) find.

    It is the plan that `neuronctl serve` would follow. Of a model that nobody knew yet the configuration is
    fetched. A local model's weights are read once to tell them from others; where that takes longer than this
    check may, `neuronctl plan` does it without a limit. Where there is no plan because of an error, doctor
    ends with the number of that error.
    """
    try:
        plan = facts.plan()
    except ModelNotResolved as error:
        if offline_by(facts.host) != FLAG or error.error_code != "model.not-downloaded":
            raise
        raise CannotTell(f"cannot be made: {error.what}; leave {FLAG} out") from None
    if plan is None:
        raise NotHere("no profile is named; --profile NAME asks whether one can run")
    data: dict[str, object] = {
        "profile": plan.profile.name,
        "backend": plan.backend,
        "model": plan.model.id,
        "model_is_here": plan.model.here,
        "key": plan.key,
    }
    errors = len(plan.errors)
    verdict = f"{errors} error{'s' if errors != 1 else ''}" if errors else "nothing speaks against it"
    return Seen(f"{plan.profile.name} on {plan.backend}: {verdict}", plan.findings, data=data)


NOT_RUNNABLE = Trouble(
    "stack.backend-not-supported",
    "error",
    "The backend that is meant can be planned, and this version of neuronctl cannot run it.",
    "neuronctl",
)


@check(
    "backend",
    "Whether neuronctl can run the backend that is meant",
    finds=(NOT_RUNNABLE,),
    exit_code=Exit.STACK_UNFIT,
    timeout_s=FACTS_S,
)
def backend(facts: Facts) -> Seen:
    """Which backend is meant here, and whether this version of neuronctl compiles and serves with it."""
    chosen = facts.backend
    if chosen != "native":
        return Seen(chosen, data={"backend": chosen})
    name = facts.request.retyped if facts.request else "PROFILE"
    if (has := facts.other_generation) is not None:
        fix = f"set backend: auto or backend: {has}, which the serving Python is for"
    else:
        fix = f"neuronctl plan {name}  (it shows the command that serves), or name a Python with plugin 0.2 "
        fix += "to 0.5 with --python"
    finding = NOT_RUNNABLE(
        "neuronctl plans for the native backend, and cannot compile or serve with it", fix=fix
    )
    return Seen("native, which is only planned", (finding,), data={"backend": chosen})


MISS = Trouble(
    "artifact.not-compiled",
    "info",
    "The profile's artifact is not in the store, or not whole: the first serve compiles it.",
    "neuronctl",
)
NO_COMPILE = Trouble(
    "artifact.may-not-compile",
    "error",
    "The profile's artifact is not in the store, and its policy forbids to compile.",
    "neuronctl",
)

DAMAGED = Trouble(
    "artifact.not-usable",
    "warning",
    "The profile's artifact is damaged or says something else than the plan: serve compiles it again.",
    "neuronctl",
)

CANNOT_COMPILE = Trouble(
    "artifact.cannot-be-compiled",
    "error",
    "The profile's artifact must be compiled, and the store cannot be written or locked.",
    "neuronctl/artifacts/build.py",
)


@check(
    "artifact",
    "Whether the profile is compiled already",
    finds=(MISS, NO_COMPILE, DAMAGED, CANNOT_COMPILE),
    exit_code=Exit.CACHE_MISS,
    timeout_s=PLAN_S,
    needs_profile=True,
)
def artifact(facts: Facts) -> Seen:
    """Whether the store, or the folder that the profile names, has the artifact of the profile's plan.

    A miss is no error unless the policy is `cached-only`, or nothing can be compiled into the store, or into
    that folder. How long a compile may take, `neuronctl plan` tells.
    """
    from neuronctl.compiling import how_to_compile, look_up
    from neuronctl.named_folder import named_folder

    try:
        plan = facts.plan()
    except NeuronctlError:
        raise CannotTell("there is no plan; the check profile says why", told_by="profile") from None
    if plan is None:
        raise NotHere("no profile is named")
    data: dict[str, object] = {"key": plan.key}
    policy = plan.profile.shape.artifacts.policy
    if policy == "never":
        raise NotHere("the policy is never: nothing is kept")
    if (folder := named_folder(plan, facts.host)) is not None:
        return _in_named_folder(plan, folder, {**data, "folder": str(folder)})
    try:
        found = look_up(plan, facts.host)
    except (ArtifactDamaged, ArtifactDrifted) as error:
        if policy == "cached-only":
            raise
        _demand_store(facts, f"{error}")
        finding = DAMAGED(f"{error}", fix=f"neuronctl compile {plan.retyped}  (it puts this one aside)")
        return Seen("not usable", (finding,), data={**data, "compiled": False})
    if found is not None:
        if policy == "always":
            _demand_store(facts, f"the policy always compiles {plan.key} anew")
        return Seen(f"compiled: {plan.key}", data={**data, "compiled": True})
    data["compiled"] = False
    words = f"no artifact answers the key {plan.key}"
    if policy == "cached-only":
        finding = NO_COMPILE(
            f"{words}, and the policy cached-only forbids to compile",
            fix=how_to_compile(plan),
        )
    else:
        _demand_store(facts, words)
        finding = MISS(f"{words}: the first serve compiles", fix=f"neuronctl compile {plan.retyped}")
    return Seen("not compiled yet", (finding,), data=data)


def _in_named_folder(plan: Plan, folder: Path, data: Mapping[str, object]) -> Seen:
    """What a compile or a serve would find there. Raises the errors that they would end with."""
    from neuronctl.artifacts.trial import try_beside
    from neuronctl.compiling import how_to_compile
    from neuronctl.named_folder import check_named, demand_fillable, demand_fit, is_filled

    policy = plan.profile.shape.artifacts.policy
    demand_fit(policy, folder)
    if is_filled(folder):
        check_named(plan, folder, lambda told: None)
        return Seen(f"compiled in the folder that the user names, {folder}", data={**data, "compiled": True})
    data = {**data, "compiled": False}
    words = f"nothing is compiled in {folder}"
    if policy == "cached-only":
        finding = NO_COMPILE(
            f"{words}, and the policy cached-only forbids to compile", fix=how_to_compile(plan)
        )
        return Seen("not compiled yet", (finding,), data=data)
    demand_fillable(folder)
    if (obstacle := try_beside(folder)) is not None:
        raise obstacle
    finding = MISS(f"{words}: the first serve compiles", fix=how_to_compile(plan))
    return Seen(f"not compiled yet in {folder}", (finding,), data=data)


def _demand_store(facts: Facts, why: str) -> None:
    """Raise MachineUnfit where nothing can be compiled into the store; `why` something has to be."""
    with suppress(OSError):  # the check of the store says so
        if (obstacle := facts.store_trial().no_compile) is not None:
            raise MachineUnfit(
                f"{why}; nothing can be compiled: {obstacle.what.rstrip('.')}",
                fix=obstacle.fix,
                code=CANNOT_COMPILE.id,
            )


CHECKS = (profile, backend, artifact)
