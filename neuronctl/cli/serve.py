"""`neuronctl serve`."""

from __future__ import annotations

from neuronctl.cli.invocation import Invocation
from neuronctl.pipeline import Request, plan_request, refuse_errors, serve_request
from neuronctl.result import Result


def run_serve(request: Request, call: Invocation, *, lock_timeout_s: float | None) -> Result:
    """Serve until asked to stop."""
    plan, served = serve_request(request, call.host, tell=call.tell, lock_timeout_s=lock_timeout_s)
    data: dict[str, object] = {
        "profile": plan.profile.name,
        "url": served.url,
        "key": plan.key,
        "hit": served.hit,
        "repaired": served.repaired,
        "compiled_again": served.compiled_again,
        "ready_after_s": served.ready_after_s,
        "restarts": served.restarts,
        "stopped_by": served.stopped_by,
        "log": str(served.log),
    }
    return Result("serve", data, exit_code=served.exit_code, findings=plan.findings)


def dry_run_serve(request: Request, call: Invocation) -> Result:
    """What would run. Raises PlanRefused as serving would."""
    from neuronctl.cli.plan import describe_plan, is_compiled, plan_text

    plan = plan_request(request, call.host, tell=call.tell)
    refuse_errors(plan)
    compiled = is_compiled(plan, call)
    return Result(
        "serve",
        describe_plan(plan, compiled) | {"dry_run": True},
        findings=plan.findings,
        text=None if call.as_json else plan_text(plan, compiled),
    )
