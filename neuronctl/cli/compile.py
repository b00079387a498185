"""`neuronctl compile`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuronctl.cli.invocation import Invocation
from neuronctl.compiling import look_up, miss, why_a_miss
from neuronctl.errors import UsageError
from neuronctl.pipeline import Request, compile_request, plan_request, refuse_errors
from neuronctl.result import Result

if TYPE_CHECKING:
    from neuronctl.artifacts.artifact import Artifact
    from neuronctl.plan.plan import Plan


def run_compile(request: Request, call: Invocation, *, lock_timeout_s: float | None) -> Result:
    """Find or compile the artifact."""
    plan, compiled = compile_request(request, call.host, tell=call.tell, lock_timeout_s=lock_timeout_s)
    how = f"compiled in {compiled.took_s:.0f} s" if compiled.built else "hit, nothing to compile"
    data = describe_artifact(plan, compiled.artifact)
    data |= {"outcome": "compiled" if compiled.built else "hit", "took_s": round(compiled.took_s, 3)}
    if compiled.log:
        data["log"] = str(compiled.log)
    lines = [f"{plan.profile.name}: {how}", f"  key    {plan.key}", f"  where  {compiled.artifact.tree}"]
    if compiled.built:
        lines += [
            f"  asked  {one.prompt}\n  said   {one.answer.strip()}"
            for one in compiled.artifact.manifest.smoke
        ]
    lines.append(f"  next   neuronctl serve {plan.retyped}")
    return Result("compile", data, findings=plan.findings, text="\n".join(lines))


def check_artifact(request: Request, call: Invocation) -> Result:
    """Whether the artifact is there and whole. Raises CacheMiss and ArtifactDamaged."""
    plan = plan_request(request, call.host)
    refuse_errors(plan)
    if plan.profile.shape.artifacts.policy == "never":
        raise UsageError("with --policy never there is no artifact to check", fix="use --policy auto")
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
