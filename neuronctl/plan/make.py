"""make_plan: profile, model, machine and stack become a Plan. Pure: nothing is read, run or fetched."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from neuronctl.machine.detect import Machine
from neuronctl.model.model import Model
from neuronctl.plan.arguments import check_passthrough
from neuronctl.plan.backend import choose_backend
from neuronctl.plan.given import Decided, Given
from neuronctl.plan.key import hash_inputs, shown_inputs
from neuronctl.plan.plan import Plan
from neuronctl.profile.resolve import Profile
from neuronctl.rules.chosen import rules_for
from neuronctl.rules.rule import by_severity, check
from neuronctl.rules.situation import Situation
from neuronctl.stack.detect import Stack

if TYPE_CHECKING:
    from neuronctl.model.companions import Companion

# The variable in which vLLM itself looks for the API key (vllm/envs.py).
API_KEY_VARIABLE = "VLLM_API_KEY"
_ABOUT_CORES = frozenset(
    {"NEURON_LOGICAL_NC_CONFIG", "NEURON_VISIBLE_DEVICES", "NEURON_PLATFORM_TARGET_OVERRIDE"}
)


def make_plan(
    profile: Profile,
    model: Model,
    machine: Machine,
    stack: Stack,
    environ: Mapping[str, str],
    *,
    passthrough: Sequence[str] = (),
    public_without_key: bool = False,
    force: bool = False,
    home: str = "",
    retyped: str | None = None,
    identities: Mapping[str, str] | None = None,
    companions: Sequence[Companion] = (),
    compiled: Collection[str] = (),
) -> Plan:
    """Decide everything. `environ` are the user's environment variables, `home` neuronctl's own folder.

    `identities` maps the folders of drafts and adapters to what tells their weights from others; `companions`
    are those that the profile names.
    `compiled` are the keys of artifacts that are there: what only a compile needs is not asked for then.
    `force` turns refusals that rest on estimates into warnings. Raises StackUnfit where no backend fits,
    UsageError for arguments that neuronctl sets itself. What is wrong otherwise is in the plan's findings.
    """
    check_passthrough(passthrough)
    backend = choose_backend(profile, stack, machine)
    if machine.assumed:
        environ = without_this_machine(environ)
    given = Given(profile, model, machine, stack, environ, tuple(passthrough), home, identities or {})
    decided = _decide(backend, given)
    has_api_key = api_key(profile, environ) is not None
    situation = Situation(
        profile=profile,
        backend=backend,
        model=model,
        machine=machine,
        stack=stack,
        engine=given.effective(decided.engine),
        environment=given.seen(decided.environment),
        has_api_key=has_api_key,
        public_without_key=public_without_key,
        outlook=decided.outlook,
        companions=companions,
    )
    key = hash_inputs(decided.key_inputs)
    rules = rules_for(backend)
    if key in compiled and profile.shape.artifacts.policy != "always":
        rules = tuple(one for one in rules if not one.compiling)
    return Plan(
        profile=profile,
        backend=backend,
        model=model,
        machine=machine,
        stack=stack,
        engine=decided.engine,
        passthrough=given.passthrough,
        environment=decided.environment,
        files=decided.files,
        outlook=decided.outlook,
        key=key,
        key_inputs=shown_inputs(decided.key_inputs),
        findings=by_severity((*profile.findings, *check(rules, situation, force=force))),
        has_api_key=has_api_key,
        retyped=retyped or profile.reference,
        force=force,
        identities=identities or {},
    )


def without_this_machine(environ: Mapping[str, str]) -> dict[str, str]:
    """This shell's variables without those that are about this machine's cores."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("NEURON_RT_") and name not in _ABOUT_CORES
    }


def api_key(profile: Profile, environ: Mapping[str, str]) -> str | None:
    """The server's API key: the value of the variable that the profile names, else of vLLM's own."""
    return environ.get(profile.shape.server.api_key_env or API_KEY_VARIABLE) or None


def _decide(backend: str, given: Given) -> Decided:
    """The backend's own part. Each is imported when it is wanted: a plan is to start fast."""
    if backend == "nxdi":
        from neuronctl.plan.nxdi import decide_nxdi

        return decide_nxdi(given)
    if backend == "native":
        from neuronctl.plan.native import decide_native

        return decide_native(given)
    from neuronctl.plan.cpu import decide_cpu

    return decide_cpu(given)
