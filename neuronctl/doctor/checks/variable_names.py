"""Check of the names of variables: those that nobody reads here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from neuronctl.doctor.check import Seen, Trouble, check
from neuronctl.doctor.facts import FACTS_S, Facts
from neuronctl.doctor.said import Said, neuron_variables
from neuronctl.neuron.variables import Variable, find_variable, nearest_variable
from neuronctl.result import Finding
from neuronctl.rules import native_environment
from neuronctl.secret import HIDDEN, is_secret
from neuronctl.stack.version import at_least

# Which rule says that these have no effect, so that it is not said twice.
_TOLD_BY_RULES = {"native": ("NEURON_COMPILED_ARTIFACTS",)}

MISSPELT = Trouble(
    "environment.misspelt",
    "warning",
    "A variable with Neuron's prefix is known to nobody, and one that is known looks like it.",
    "neuronctl: the variables of neuron/variables.yaml, each with its source",
)
UNKNOWN = Trouble(
    "environment.unknown",
    "info",
    "A variable with Neuron's prefix is in no documentation that neuronctl knows.",
    "sdk:neuron-runtime/api/nrt-env-var-reference.rst (what it does not list is internal and unsupported)",
)
NO_EFFECT = Trouble(
    "environment.no-effect",
    "warning",
    "A variable of the other generation of the plugin, or of another version, which nothing reads here.",
    "the generations of neuron/variables.yaml, each with its source",
)
REMOVED = Trouble(
    "environment.removed",
    "warning",
    "A variable that the installed version no longer has.",
    "sdk:release-notes/components/runtime.rst:55",
)
UNUSED_ON_CPU = Trouble(
    "environment.unused-on-cpu",
    "info",
    "Variables for Neuron, which the cpu backend does not read.",
    "neuronctl: vLLM for processors has none of Neuron's software",
)


@check(
    "variable names",
    "Variables that nothing reads here",
    finds=(MISSPELT, UNKNOWN, NO_EFFECT, REMOVED, UNUSED_ON_CPU),
    rules=(native_environment.renamed_variable, native_environment.compiled_artifacts_unused),
    timeout_s=FACTS_S,
)
def variable_names(facts: Facts) -> Seen:
    """Variables of this shell, and of the profile's `env`, that are unknown, or for another generation.

    A variable that nothing reads changes nothing and says nothing: with a letter missing, a server takes
    all cores, or compiles what it has. Looked at are names that begin with NEURON_, VLLM_NEURON_, NXD_ and
    NKI_, and the few others in neuronctl's table; those that Kubernetes sets for a service of such a name
    are passed over. Values that look secret are not shown.
    """
    found, backend = neuron_variables(facts), facts.backend
    data: dict[str, object] = {
        "variables": [
            {
                "name": one.name,
                "value": HIDDEN if is_secret((one.name,), one.value) else one.value,
                "from": str(one.place) if one.place else "environment",
                "known": find_variable(one.name) is not None,
            }
            for one in found
        ]
    }
    if not found:
        return Seen("none of Neuron's is set", data=data)
    says = f"{len(found)} set: {', '.join(one.name for one in found)}"
    if backend == "cpu":
        return Seen(says, tuple(_unused_on_cpu(found)), data=data)
    return Seen(says, tuple(_odd_names(found, backend, facts)), data=data)


def _unused_on_cpu(found: Iterable[Said]) -> Iterator[Finding]:
    unused = []
    for one in found:
        variable = find_variable(one.name)
        if variable is None or not variable.is_read_by("cpu"):
            unused.append(one)
    if unused:
        shell = [one.name for one in unused if one.place is None]
        ways = [f"unset {' '.join(shell)}"] if shell else []
        ways += [one.removal for one in unused if one.place is not None]
        yield UNUSED_ON_CPU(
            f"the cpu backend reads none of {', '.join(one.name for one in unused)}", fix="; ".join(ways)
        )


def _odd_names(found: Iterable[Said], backend: str, facts: Facts) -> Iterator[Finding]:
    for one in found:
        variable = find_variable(one.name)
        if variable is None:
            yield _unknown(one, backend)
        elif one.name in _TOLD_BY_RULES.get(backend, ()):
            continue
        elif variable.instead is not None and backend in variable.generations:
            message = f"{one.name} is never read: {variable.instead} is"
            yield NO_EFFECT(message, fix=f"set {variable.instead} instead", place=one.place)
        elif not variable.is_read_by(backend):
            yield NO_EFFECT(_of_another(variable, backend), fix=one.removal, place=one.place)
        else:
            yield from _of_another_version(one, variable, facts)


def _unknown(one: Said, backend: str) -> Finding:
    near = nearest_variable(one.name)
    if near is None:
        return UNKNOWN(
            f"{one.name} is not known here: neither its spelling nor its effect was checked",
            fix=f"{one.removal}, unless you know what reads it",
            place=one.place,
        )
    known = find_variable(near)
    reads = (
        "" if known is None or known.is_read_by(backend) else f", which the {backend} backend does not read"
    )
    fix = f"{one.removal}; is {near} meant{reads}?"
    return MISSPELT(f"{one.name} is not known, and looks like {near}", fix=fix, place=one.place)


def _of_another(variable: Variable, backend: str) -> str:
    readers = {
        "nxdi": "the plugin over NxD Inference (up to 0.5)",
        "native": "the native plugin (from 0.21 on)",
    }
    of = next((readers[each] for each in variable.generations if each in readers), "vLLM's old fork (V0)")
    return f"{variable.name} has no effect: it is for {of}, and the backend here is {backend}"


def _of_another_version(one: Said, variable: Variable, facts: Facts) -> Iterator[Finding]:
    stack_here = facts.usable_stack
    if stack_here is None:
        return
    runtime = stack_here.runtime
    removed = (variable.removed_in or {}).get("runtime")
    if removed is not None and at_least(runtime, removed):
        yield REMOVED(
            f"{one.name} is {one.shown}: runtime {runtime} no longer has it (removed in {removed})",
            fix=one.removal,
            place=one.place,
        )
    if facts.other_generation is not None:
        return  # another plugin than this will read it
    plugin = stack_here.versions.get("vllm-neuron")
    # Of renamed ones a rule tells. Which versions lie between the two that are known is not.
    if plugin is None or variable.renamed_to is not None or variable.renamed_from is not None:
        return
    if variable.only is not None and at_least(plugin, "0.24"):
        yield NO_EFFECT(
            f"{one.name} is known of plugin {variable.only} only, and this is {plugin}",
            fix=one.removal,
            place=one.place,
        )
    elif variable.since is not None and not at_least(plugin, variable.since):
        yield NO_EFFECT(
            f"{one.name} is known of plugin {variable.since} and later, and this is {plugin}",
            fix=one.removal,
            place=one.place,
        )


CHECKS = (variable_names,)
