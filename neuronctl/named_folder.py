"""A folder for compiled output that the user names: respected, and compared with the plan first.

What lies there would be loaded as it is, whatever was asked for (reference: known_issues,
artifacts-settings-ignored). There is no manifest: files are looked at as far as their headers tell. What it
was made from a note tells where neuronctl filled it, else neuron_config.json as far as it goes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from neuronctl.artifacts.tree import remove
from neuronctl.backends.nxdi_output import find_differences, find_faults
from neuronctl.building import Built, build, wait_teller
from neuronctl.errors import ArtifactDamaged, ArtifactDrifted, UsageError
from neuronctl.host import Host
from neuronctl.model.plain_file import read_plain
from neuronctl.neuron.written import FILE, Mismatch, read_written
from neuronctl.plan.plan import Plan
from neuronctl.result import Message, Tell
from neuronctl.whole_file import write_whole

VARIABLE = "NEURON_COMPILED_ARTIFACTS"
# What neuronctl leaves in a folder that it fills.
_NOTE = ".neuronctl.json"
# Where the model lay when it was compiled. Which weights those were, nothing in the folder tells.
_MADE_FROM = "_name_or_path"


def named_folder(plan: Plan, host: Host) -> Path | None:
    """`artifacts.path` of the profile, else NEURON_COMPILED_ARTIFACTS; None where the store is meant.

    The other backends do not know such a folder.
    """
    if plan.backend != "nxdi":
        return None
    said = plan.profile.shape.artifacts.path
    if said is None:
        setting = plan.environment.get(VARIABLE)
        said = str(setting.value) if setting is not None else host.environ.get(VARIABLE)
    return Path(os.path.realpath(host.expand(said))) if said else None


def is_filled(folder: Path) -> bool:
    """Whether there is anything in it. Raises MachineUnfit where that cannot be seen."""
    from neuronctl.artifacts.disk import using

    with using(folder, named=True):
        try:
            # A disk of one's own begins with lost+found.
            return any(name != "lost+found" for name in os.listdir(folder))
        except FileNotFoundError:
            return False


def check_named(plan: Plan, folder: Path, tell: Tell) -> None:
    """Compare a folder with the plan.

    Raises ArtifactDamaged where it cannot be loaded, ArtifactDrifted where it is of other settings.
    """
    if not any((folder / name).exists() for name in (FILE, "model.pt", "text_model")):
        raise ArtifactDamaged(
            f"{folder} is named for compiled output, and holds other things",
            fix=f"name an empty folder, or none: artifacts.path in the profile, or {VARIABLE}",
        )
    if faults := find_faults(folder):
        raise ArtifactDamaged(
            f"{folder} cannot be loaded: {'; '.join(faults[:4])}",
            fix=f"move it away, then type: neuronctl compile {plan.retyped}",
            details={"faults": faults},
        )
    is_told = _check_note(plan, folder)
    found = _mismatches(plan, folder, is_told=is_told)
    decisive = [one for one in found if one.is_decisive]
    if decisive:
        more = f"; and {len(decisive) - 6} more" if len(decisive) > 6 else ""
        raise ArtifactDrifted(
            f"{folder} was compiled with other settings: {'; '.join(map(str, decisive[:6]))}{more}",
            fix=_way_out(decisive),
            details={
                "differs": [
                    {"field": one.field, "here": one.planned, "there": one.written} for one in decisive
                ]
            },
        )
    for one in found:
        tell(Message(f"{folder} differs in {one}"))


def demand_fit(policy: str, folder: Path) -> None:
    """Raise UsageError where the policy is to compile always, and the folder has something in it."""
    if policy == "always" and is_filled(folder):
        raise UsageError(
            f"--policy always: {folder} is yours, and is not overwritten",
            fix="name another folder, or an empty one",
        )


def demand_fillable(folder: Path) -> None:
    """Raise UsageError for the root of a file system, where nothing can be compiled in one step."""
    if os.path.ismount(folder):
        raise UsageError(
            f"{folder} is the root of a file system, in whose place nothing can be put in one step",
            fix=f"name a folder in it, such as {folder / 'compiled'}",
        )


def compile_named(
    plan: Plan, host: Host, folder: Path, log: Path, tell: Tell, *, lock_timeout_s: float | None = None
) -> Built | None:
    """Compile into a folder that is not there or empty; it appears with all that belongs into it, or not.

    None where another process did it meanwhile. Raises what `build` raises, LockTimedOut, and UsageError for
    the root of a file system.
    """
    from neuronctl.artifacts.build import LOCK_TIMEOUT_S
    from neuronctl.artifacts.disk import using
    from neuronctl.artifacts.lock import lock
    from neuronctl.artifacts.stage import close_stage, make_stage

    demand_fillable(folder)
    timeout_s = LOCK_TIMEOUT_S if lock_timeout_s is None else lock_timeout_s
    what = f"compile {plan.profile.name}"
    beside = folder.parent
    with using(beside, named=True):
        beside.mkdir(parents=True, exist_ok=True)
    with lock(
        beside / f".{folder.name}.lock", host, what=what, timeout_s=timeout_s, on_wait=wait_teller(tell)
    ):
        if is_filled(folder):
            return None
        tell(Message(f"nothing is compiled in {folder} yet; compiling", "step"))
        # The same names each time: what a killed compile left is found, and the compiler's cache fits.
        with using(beside, named=True):
            aside = beside / f".{folder.name}.compiling"
            remove(aside)
            stage = make_stage(aside, beside / f".{folder.name}.work")
        try:
            with using(beside, foreign=True, named=True):
                built = build(plan, host, stage, log, tell)
            with using(beside, named=True):
                write_whole(stage.path / _NOTE, _note(plan))
                os.replace(stage.path, folder)  # takes the place of an empty folder
        finally:
            close_stage(stage)
    return built


def _note(plan: Plan) -> bytes:
    return json.dumps({"key": plan.key, "inputs": plan.key_inputs}, indent=2, sort_keys=True).encode()


def _check_note(plan: Plan, folder: Path) -> bool:
    """Whether the folder says what it was made from. Raises ArtifactDrifted where that is not the plan."""
    from neuronctl.artifacts.difference import differences

    try:
        note = json.loads(read_plain(folder / _NOTE))
        key, inputs = note["key"], dict(note["inputs"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False
    found = differences(json.loads(_note(plan))["inputs"], inputs) if key != plan.key else ()
    if not found:
        return True
    more = f"; and {len(found) - 6} more" if len(found) > 6 else ""
    fields = "; ".join(f"{one.path}: {one.theirs} there, {one.ours} here" for one in found[:6])
    raise ArtifactDrifted(
        f"{folder} was compiled from something else: {fields}{more}",
        fix="name another folder, or none: the store has one for each set of settings",
        details={"differs": [{"field": one.path, "here": one.ours, "there": one.theirs} for one in found]},
    )


def _way_out(decisive: list[Mismatch]) -> str:
    fix = "name another folder, or none: the store has one for each set of settings"
    if [one.field for one in decisive] == [_MADE_FROM]:
        return f"if both hold the same weights, add --force; else {fix}"
    return fix


def _mismatches(plan: Plan, folder: Path, *, is_told: bool) -> tuple[Mismatch, ...]:
    found = find_differences(plan, folder)
    made_from = read_written(folder).model.get(_MADE_FROM)
    if is_told or not isinstance(made_from, str):
        return found  # which weights it was made from is known, or nothing tells
    if Path(made_from).resolve() != plan.model.path.resolve():
        place = Mismatch(_MADE_FROM, str(plan.model.path), made_from, is_decisive=not plan.force)
        return (place, *found)
    return found
