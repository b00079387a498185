"""make_plan: profile, model, machine and stack become a Plan. Pure: nothing is read, run or fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from neuronctl.errors import StackUnfit
from neuronctl.machine.detect import Machine
from neuronctl.model.resolve import Model
from neuronctl.plan.arguments import (
    check_passthrough,
    feature_arguments,
    passthrough_engine,
    stated_engine,
)
from neuronctl.plan.cpu import ENGINE_DEFAULTS, ENVIRONMENT_DEFAULTS, cpu_key_inputs, cpu_kv_cache
from neuronctl.plan.key import hash_inputs, shown_inputs
from neuronctl.plan.plan import Plan, Setting
from neuronctl.profile.resolve import Profile
from neuronctl.rules.all import RULES
from neuronctl.rules.rule import by_severity, check
from neuronctl.rules.situation import Situation
from neuronctl.stack.detect import Stack

# The variable in which vLLM itself looks for the API key (vllm/envs.py).
API_KEY_VARIABLE = "VLLM_API_KEY"


def choose_backend(profile: Profile, stack: Stack) -> str:
    """The backend the profile names, or with `auto` the one that the serving Python fits.

    Raises StackUnfit where there is no vLLM, or where the two do not go together.
    """
    wanted, has = profile.shape.backend, stack.generation
    if has is None:
        raise StackUnfit(
            f"the serving Python {stack.python} ({stack.chosen_by}) has no vLLM",
            fix="pip install 'neuronctl[cpu]' to try it on a CPU, or name an interpreter that has vLLM "
            "with --python or NEURONCTL_PYTHON",
            code="stack.no-vllm",
        )
    if wanted not in ("auto", has):
        raise StackUnfit(
            f"the profile wants the {wanted} backend, and the serving Python {stack.python} "
            f"({stack.chosen_by}) has vLLM for {has}",
            fix=f"name another interpreter with --python, or set backend: auto or backend: {has}",
            code="stack.other-generation",
        )
    if has != "cpu":
        raise StackUnfit(
            f"the {has} backend cannot be planned by this version of neuronctl",
            fix="serve on the cpu backend, or wait for a later version",
            code="stack.backend-not-supported",
        )
    return has


def make_plan(
    profile: Profile,
    model: Model,
    machine: Machine,
    stack: Stack,
    environ: Mapping[str, str],
    *,
    passthrough: Sequence[str] = (),
    public_without_key: bool = False,
    retyped: str | None = None,
) -> Plan:
    """Decide everything. `environ` are the user's environment variables.

    Raises StackUnfit where no backend fits, UsageError for arguments that neuronctl sets itself. What is
    wrong otherwise is in the plan's findings.
    """
    check_passthrough(passthrough)
    backend = choose_backend(profile, stack)
    engine = _engine(profile, model)
    environment = _environment(profile, environ)
    variables = {name: str(setting.value) for name, setting in environment.items()}
    engine_values = {name: setting.value for name, setting in engine.items()}
    seen = {**environ, **variables}
    effective = engine_values | passthrough_engine(passthrough)
    kv_cache = cpu_kv_cache(model, machine, effective, seen)
    if kv_cache is not None:
        engine["kv_cache_memory_bytes"] = kv_cache
        engine_values["kv_cache_memory_bytes"] = kv_cache.value
    # The variable of the API key may have any name, and its value is not to be stored.
    keyed = {name: value for name, value in seen.items() if name != profile.shape.server.api_key_env}
    inputs = cpu_key_inputs(model, machine, stack, engine_values, passthrough, keyed)
    has_api_key = api_key(profile, environ) is not None
    situation = Situation(
        profile=profile,
        backend=backend,
        model=model,
        machine=machine,
        stack=stack,
        engine=effective,
        environment=seen,
        has_api_key=has_api_key,
        public_without_key=public_without_key,
    )
    return Plan(
        profile=profile,
        backend=backend,
        model=model,
        machine=machine,
        stack=stack,
        engine=engine,
        passthrough=tuple(passthrough),
        environment=environment,
        key=hash_inputs(inputs),
        key_inputs=shown_inputs(inputs),
        findings=by_severity((*profile.findings, *check(RULES, situation))),
        has_api_key=has_api_key,
        retyped=retyped or profile.reference,
    )


def api_key(profile: Profile, environ: Mapping[str, str]) -> str | None:
    """The server's API key: the value of the variable that the profile names, else of vLLM's own."""
    return environ.get(profile.shape.server.api_key_env or API_KEY_VARIABLE) or None


def _engine(profile: Profile, model: Model) -> dict[str, Setting]:
    """Defaults, then what features imply, then what the profile states: the later one wins."""
    settings: dict[str, Setting] = {
        "served_model_name": Setting(model.name, "neuronctl: the model's own name")
    }
    settings |= ENGINE_DEFAULTS
    if profile.shape.model.trust_remote_code:
        settings["trust_remote_code"] = Setting(True, str(profile.origin("model.trust_remote_code")))
    settings |= feature_arguments(profile)
    settings |= stated_engine(profile)
    if profile.shape.artifacts.policy == "never":
        settings["enforce_eager"] = Setting(
            True, f"artifacts.policy: never, {profile.origin('artifacts.policy')}"
        )
    return settings


def _environment(profile: Profile, environ: Mapping[str, str]) -> dict[str, Setting]:
    """Defaults unless the user's own environment says otherwise, then the profile's `env`."""
    settings = {name: value for name, value in ENVIRONMENT_DEFAULTS.items() if name not in environ}
    for name, value in profile.shape.env.items():
        settings[name] = Setting(value, str(profile.origin(f"env.{name}")))
    return settings
