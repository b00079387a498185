"""`neuronctl compile`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from neuronctl.cli.invocation import Invocation
from neuronctl.compiling import look_up, miss, why_a_miss
from neuronctl.errors import UsageError
from neuronctl.named_folder import check_named, is_filled, named_folder
from neuronctl.pipeline import Request, compile_request, plan_request, refuse_errors
from neuronctl.result import Result

if TYPE_CHECKING:
    from neuronctl.artifacts.artifact import Artifact
    from neuronctl.plan.plan import Plan


def run_compile(request: Request, call: Invocation, *, lock_timeout_s: float | None) -> Result:
    """Find or compile the artifact."""
    plan, compiled = compile_request(request, call.host, tell=call.tell, lock_timeout_s=lock_timeout_s)
    how = f"compiled in {compiled.took_s:.0f} s" if compiled.built else "hit, nothing to compile"
    data: dict[str, object] = {"profile": plan.profile.name, "key": plan.key, "path": str(compiled.tree)}
    if compiled.artifact is not None:
        data = describe_artifact(plan, compiled.artifact)
    data |= {"outcome": "compiled" if compiled.built else "hit", "took_s": round(compiled.took_s, 3)}
    if compiled.log:
        data["log"] = str(compiled.log)
    if compiled.built:
        data["retries"] = compiled.retries
    lines = [f"{plan.profile.name}: {how}", f"  key    {plan.key}", f"  where  {compiled.tree}"]
    if compiled.built and compiled.artifact is not None:
        lines += [
            f"  asked  {one.prompt}\n  said   {one.answer.strip()}"
            for one in compiled.artifact.manifest.smoke
        ]
    lines.append(_next(plan, request))
    return Result("compile", data, findings=plan.findings, text="\n".join(lines))


def _next(plan: Plan, request: Request) -> str:
    """What serves it: there, where it was compiled for another machine."""
    if not plan.machine.assumed:
        return f"  next   neuronctl serve {plan.retyped}"
    there = replace(request, target=None, stack=None, python=None).retyped
    name = plan.machine.instance_name or ""
    an = "an" if name[:1] in "aeiou" else "a"
    return f"  next   on {an} {name}, with this store: neuronctl serve {there}"


def check_artifact(request: Request, call: Invocation) -> Result:
    """Whether the artifact is there and whole. Raises CacheMiss and ArtifactDamaged."""
    plan = plan_request(
        replace(request, carry_out=True), call.host, tell=call.tell
    )  # as the compile plans it
    refuse_errors(plan)
    if plan.profile.shape.artifacts.policy == "never":
        raise UsageError("with --policy never there is no artifact to check", fix="use --policy auto")
    if (folder := named_folder(plan, call.host)) is not None and is_filled(folder):
        check_named(plan, folder, call.tell)
        data: dict[str, object] = {"profile": plan.profile.name, "path": str(folder), "outcome": "hit"}
        return Result("compile", data, findings=plan.findings, text=f"{plan.profile.name}: hit {folder}")
    artifact = look_up(plan, call.host)
    if artifact is None:
        call.data["key"] = plan.key
        if nearest := why_a_miss(plan, call.host):
            call.data["nearest"] = nearest[0]
            call.data["differs"] = [
                {"field": one.path, "here": one.ours, "there": one.theirs} for one in nearest[1]
            ]
        raise miss(plan, call.host)
    data = describe_artifact(plan, artifact) | {"outcome": "hit"}
    return Result("compile", data, findings=plan.findings, text=f"{plan.profile.name}: hit {plan.key}")


def describe_artifact(plan: Plan, artifact: Artifact) -> dict[str, object]:
    """An artifact as JSON data."""
    manifest = artifact.manifest
    return {
        "profile": plan.profile.name,
        "key": artifact.key,
        "path": str(artifact.tree),
        "size_bytes": manifest.size_bytes,
        "files": len(manifest.files),
        "built_at": manifest.built.at,
        "phases_s": manifest.phases_s,
        "peak_memory_bytes": manifest.peak_memory_bytes,
        "smoke": [{"prompt": one.prompt, "answer": one.answer} for one in manifest.smoke],
    }
