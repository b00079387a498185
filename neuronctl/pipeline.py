"""profile → model → plan → artifact → server: the arrows, composed. Read this first.

Each command is one of these functions. An arrow takes the value on its left and a Host and gives the value
on its right; what happens meanwhile is told through `tell`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from neuronctl.errors import MachineUnfit, PlanRefused, StackUnfit, UsageError
from neuronctl.host import Host
from neuronctl.machine.detect import Machine, detect_machine
from neuronctl.model.model import Model
from neuronctl.model.resolve import fetch_model, resolve_model
from neuronctl.plan.make import make_plan
from neuronctl.plan.plan import Plan
from neuronctl.profile.resolve import Profile, load_profile
from neuronctl.result import Message, Tell
from neuronctl.secret import hide_assignment, hide_in_words
from neuronctl.stack.detect import Stack, detect_stack

if TYPE_CHECKING:
    from neuronctl.compiling import Compiled
    from neuronctl.launching import Served
    from neuronctl.model.companions import Companion


# From here on reading takes long enough to be told.
_MUCH_BYTES = 2**30


@dataclass(frozen=True)
class Request:
    """What the user asked for, before anything is looked up.

    `reference` is a profile's path or name; `python` the serving Python, None to look for it; `sets` are
    `KEY=VALUE` texts and `flags` map a key to a value and the flag that said it; `passthrough` is what
    stood after `--`. `target` is an instance type to plan for instead of this machine, `stack` software to
    assume instead of what is installed, or, with `carry_out`, software that must be installed; `force` lets
    through what only an estimate speaks against.
    """

    reference: str
    python: str | None = None
    sets: tuple[str, ...] = ()
    flags: Mapping[str, tuple[object, str]] = field(default_factory=dict)
    passthrough: tuple[str, ...] = ()
    public_without_key: bool = False
    target: str | None = None
    stack: str | None = None
    force: bool = False
    carry_out: bool = False

    @property
    def retyped(self) -> str:
        """The words that name the same plan again, secrets hidden."""
        from shlex import quote

        words = [self.reference]
        for text in self.sets:
            words += ["--set", hide_assignment(text)]
        options = {"--python": self.python, "--target": self.target, "--stack": self.stack}
        for option, value in options.items():
            if value:
                words += [option, value]
        if self.force:
            words.append("--force")
        if self.passthrough:
            words += ["--", *hide_in_words(self.passthrough)]
        return " ".join(word if word == "--" else quote(word) for word in words)


def plan_request(request: Request, host: Host, *, tell: Tell | None = None) -> Plan:
    """profile → model → plan. Of a hub model that nobody knows yet its configuration is fetched, no weights.

    The weights of a local model for Neuron are read once, to tell them from others, which may take minutes:
    `tell` hears of it.
    """
    profile = load_profile(request.reference, host, sets=request.sets, flags=request.flags)
    stack = _stack(request, profile, host)
    model = resolve_model(profile.shape.model, host, search=stack.paths, tell=tell)
    identities: Mapping[str, str] = {}
    companions: tuple[Companion, ...] = ()
    if stack.generation != "cpu":
        profile, model, identities, companions = _told_apart(profile, model, request.passthrough, host, tell)
    else:
        profile, model, companions = _for_cpu(profile, model, stack, host)
    plan = make_plan(
        profile,
        model,
        _machine(request, host),
        stack,
        host.environ,
        passthrough=_absolute(request.passthrough, host),
        public_without_key=request.public_without_key,
        force=request.force,
        home=str(host.neuronctl_home),
        retyped=request.retyped,
        identities=identities,
        companions=companions,
        compiled=_compiled_keys(host),
    )
    if request.target and plan.backend == "cpu":
        raise _target_for_cpu(request.target, plan)
    return plan


def _compiled_keys(host: Host) -> list[str]:
    """The names of the artifacts in the store, none of them looked into."""
    import os

    try:
        return os.listdir(host.neuronctl_home / "store" / "v1" / "artifacts")
    except OSError:
        return []


def _for_cpu(
    profile: Profile, model: Model, stack: Stack, host: Host
) -> tuple[Profile, Model, tuple[Companion, ...]]:
    """What plans for a processor need beyond the configuration: adapters, whether vLLM knows the model."""
    from neuronctl.model.vllm_registry import find_unsupported

    model = replace(model, unsupported=find_unsupported(model.config, model.path, stack.paths))
    if not profile.shape.features.lora.adapters:
        return profile, model, ()
    from neuronctl.model.companions import find_companions, with_local_companions

    companions = find_companions(profile, host, identify=False)
    return with_local_companions(profile, companions), model, companions


def _told_apart(
    profile: Profile, model: Model, passthrough: Sequence[str], host: Host, tell: Tell | None
) -> tuple[Profile, Model, Mapping[str, str], tuple[Companion, ...]]:
    """What plans for Neuron need beyond the configuration: sizes, companions, what tells weights apart."""
    from neuronctl.model.companions import (
        find_companions,
        identify_named,
        identities,
        with_local_companions,
    )
    from neuronctl.model.identity import identify_weights
    from neuronctl.model.size import weight_bytes

    def reading(size_bytes: int) -> None:
        if tell is not None and size_bytes >= _MUCH_BYTES:
            size = f"{size_bytes / 2**30:.0f} GiB"
            tell(Message(f"reading {size} of weights in {model.path} once, to tell them from others", "step"))

    model = replace(model, weights=weight_bytes(model))
    if model.here and model.commit is None:
        model = replace(model, identity=identify_weights(model.path, host, on_read=reading))
    companions = find_companions(profile, host, identify=True)
    profile = _with_absolute_paths(with_local_companions(profile, companions), host)
    shape = profile.shape
    raw = (shape.neuron, shape.engine.extra, shape.engine.speculative_config, list(passthrough))
    return profile, model, {**identify_named(raw, host), **identities(companions)}, companions


def _with_absolute_paths(profile: Profile, host: Host) -> Profile:
    """The profile with absolute paths in raw settings: what compiles runs in a folder of its own."""
    neuron = dict(profile.shape.neuron)
    for key in ("quantized_checkpoints_path", "lora_ckpt_json"):
        if isinstance(neuron.get(key), str):
            neuron[key] = str(host.expand(neuron[key]))
    if neuron == profile.shape.neuron:
        return profile
    from msgspec import structs

    return replace(profile, shape=structs.replace(profile.shape, neuron=neuron))


def _absolute(words: Sequence[str], host: Host) -> tuple[str, ...]:
    """Words for vLLM, with relative paths (`./x`, `--flag=../x`) as absolute ones, for the same reason."""
    found = []
    for word in words:
        flag, is_said, value = word.partition("=") if word.startswith("--") else ("", "", word)
        is_path = value.startswith(("./", "../", "~/"))
        found.append(f"{flag}{is_said}{host.expand(value)}" if is_path else word)
    return tuple(found)


def compile_request(
    request: Request, host: Host, *, tell: Tell, lock_timeout_s: float | None = None
) -> tuple[Plan, Compiled]:
    """profile → model → plan → artifact."""
    from neuronctl.compiling import compile_artifact

    plan = prepare(request, host, tell, serving=False).plan
    return plan, compile_artifact(plan, host, tell=tell, lock_timeout_s=lock_timeout_s)


def serve_request(
    request: Request, host: Host, *, tell: Tell, lock_timeout_s: float | None = None
) -> tuple[Plan, Served]:
    """profile → model → plan → artifact → server; returns when the server has ended."""
    from neuronctl.launching import check_address, serve_plan

    plan = prepare(request, host, tell, serving=True).plan
    check_address(plan, host)
    return plan, serve_plan(plan, host, tell=tell, lock_timeout_s=lock_timeout_s)


def refuse_errors(plan: Plan) -> None:
    """Raise PlanRefused where a finding says that the plan cannot work."""
    if not plan.errors:
        return
    first = plan.errors[0]
    more = len(plan.errors) - 1
    raise PlanRefused(
        f"{first.id}: {first.message}" + (f" (and {more} more)" if more else ""),
        place=first.place,
        fix=first.fix,
        details={"findings": [finding.id for finding in plan.errors]},
        findings=plan.findings,
    )


def _tell_findings(plan: Plan, tell: Tell) -> None:
    """Warnings and infos, before anything starts."""
    for finding in plan.findings:
        tell(Message(f"{finding.id}: {finding.message}", "warn" if finding.severity == "warning" else "note"))


def _machine(request: Request, host: Host) -> Machine:
    """The machine that is meant; this one where it is of the type that is named, and there is work to do."""
    if request.target is not None and request.carry_out:
        here = detect_machine(host)
        if here.instance_name == request.target:
            return here
    return detect_machine(host, request.target)


def _stack(request: Request, profile: Profile, host: Host) -> Stack:
    """The software: what the serving Python has, or another that is only assumed.

    Where something is to be done, the stack that is asked for may be the one that is there.
    """
    if request.stack is None:
        return detect_stack(host, request.python)
    if request.python and not request.carry_out:
        raise UsageError("--stack and --python both say which software is meant", fix="give one of them")
    from neuronctl.stack.assume import assume_stack, is_stack

    wanted = profile.shape.backend
    assumed = assume_stack(request.stack, generation=wanted if wanted in ("nxdi", "native") else None)
    if not request.carry_out:
        return assumed
    found = detect_stack(host, request.python)
    return found if is_stack(found, request.stack) else assumed


def _target_for_cpu(target: str, plan: Plan) -> UsageError:
    """The error for an instance type that a plan of the cpu backend has no use for."""
    from neuronctl.stack.lack import find_lack

    lack = find_lack(plan.stack) if plan.profile.shape.backend == "auto" else None
    return UsageError(
        f"--target {target}: the cpu backend plans for the machine it runs on"
        + (f"; and it is this backend because {lack.what}" if lack else ""),
        fix=lack.fix
        if lack
        else "leave --target out, or say with --stack or --python which Neuron software is meant",
        code="usage.target-for-cpu",
    )


def _is_only_assumed(request: Request, host: Host) -> bool:
    """Whether the software that is asked for is not here: then nothing is fetched for it."""
    if request.stack is None:
        return False
    profile = load_profile(request.reference, host, sets=request.sets, flags=request.flags)
    return _stack(request, profile, host).assumed is not None


def check_runnable(plan: Plan, request: Request, host: Host, *, serving: bool) -> None:
    """Raise StackUnfit or MachineUnfit for a plan that can be made here, and not carried out."""
    if plan.stack.assumed:
        raise StackUnfit(
            f"no rule refuses this plan, and nothing can run: {plan.stack.assumed} is only assumed "
            f"(--stack); installed is {_installed(request, host)}",
            fix=f"install {plan.stack.assumed}, or name the Python that has it with --python",
            code="stack.only-assumed",
        )
    if plan.backend == "native":
        raise StackUnfit(
            f"the {plan.backend} backend can be planned and not yet be run by this version of neuronctl",
            fix=f"neuronctl plan {plan.retyped}  (it shows the exact command that serves)",
            code="stack.backend-not-supported",
        )
    if serving and plan.machine.assumed:
        raise MachineUnfit(
            f"--target {request.target}: this machine is no {request.target}, so nothing can be served on it",
            fix="leave --target out on the instance itself; neuronctl compile takes it anywhere",
            code="machine.only-assumed",
        )


def _installed(request: Request, host: Host) -> str:
    """What the serving Python has, in a few words."""
    from neuronctl.stack.identify import identify_stack

    found = detect_stack(host, request.python)
    identified = identify_stack(found)
    if identified.candidates:
        odd = [f"{one.package} {one.has or '(missing)'}" for one in identified.misfits]
        but = f", with {', '.join(odd)}, which is none of its" if odd else ""
        return f"SDK {identified.candidates[0]} in {found.python}{but}"
    if found.vllm_version:
        return f"vLLM {found.vllm_version} for {found.generation} in {found.python}"
    return f"no vLLM in {found.python}"


def _with_news(plan: Plan, request: Request, host: Host, tell: Tell) -> Plan:
    """The plan with what the hub has by now, downloaded; with what is here where it may not be asked."""
    from neuronctl.model.hub_model import refresh
    from neuronctl.model.hub_place import offline_by

    model = plan.model
    if variable := offline_by(host):
        if model.here:
            tell(Message(f"{variable} forbids to look for news of {model.id}: what is here is used", "warn"))
        return plan
    tell(Message(f"looking for news of {model.id} on the hub", "step"))
    before, snapshot = refresh(model.id, model.revision, host, tell=tell)
    if before not in (None, snapshot.name):
        tell(Message(f"{model.id} was {before} and is {snapshot.name} now", "warn"))
    plan = plan_request(request, host, tell=tell)
    refuse_errors(plan)
    return plan


@dataclass(frozen=True)
class Prepared:
    """A plan whose model is here. `download_s`: what fetching it took, None where nothing was missing."""

    plan: Plan
    download_s: float | None = None


def prepare(request: Request, host: Host, tell: Tell, *, serving: bool) -> Prepared:
    """A plan without errors whose model has its weights here.

    Errors are found before anything is downloaded where the model's configuration is known already.
    """
    from neuronctl.model.companions import fetch_companions
    from neuronctl.model.weights import check_headers

    request = replace(request, carry_out=True)
    plan = plan_request(request, host, tell=tell)
    refuse_errors(plan)
    _tell_findings(plan, tell)
    check_runnable(plan, request, host, serving=serving)
    began, planned = host.monotonic(), plan
    if plan.model.source == "hub" and plan.profile.shape.model.download == "always":
        plan = _with_news(plan, request, host, tell)
    if not plan.model.here:
        tell(Message(f"preparing the model {plan.model.id} in {plan.model.path}", "step"))
        fetch_model(plan.model, host, python=plan.stack.python, tell=tell)
        plan = plan_request(request, host, tell=tell)
        refuse_errors(plan)
    if plan.model.commit is not None:
        from neuronctl.model.hub_memory import HubMemory

        HubMemory(plan.model.id, host).remember_commit(plan.model.revision, plan.model.commit)
    check_headers(plan.model)
    if fetch_companions(plan.profile, host, tell=tell):
        plan = plan_request(request, host, tell=tell)
        refuse_errors(plan)
    return Prepared(plan, None if plan is planned else host.monotonic() - began)
