"""Check of the values of variables: those that stop a start, or mean something else."""

from __future__ import annotations

from collections.abc import Iterator

from neuronctl.doctor.check import NotHere, Seen, Trouble, check
from neuronctl.doctor.facts import FACTS_S, Facts
from neuronctl.doctor.said import Said, find_said, neuron_variables
from neuronctl.errors import Exit
from neuronctl.neuron.variables import Variable, find_variable
from neuronctl.result import Finding
from neuronctl.rules import machine, native_cache, native_environment, stack
from neuronctl.stack.version import release

_LNC = "NEURON_LOGICAL_NC_CONFIG"
_TARGET = "NEURON_PLATFORM_TARGET_OVERRIDE"
_SAMPLING = "NEURON_ON_DEVICE_SAMPLING_DISABLED"
# The check of the core variables reads them.
_CORES = ("NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES", "NEURON_VISIBLE_DEVICES")
_RUNTIME_GUIDE = "sdk:neuron-runtime/guides/configuration-guide.rst"

REFUSED_VALUE = Trouble(
    "environment.refused-value",
    "error",
    "A value at which the plugin or the runtime stops.",
    "plugin020:V/platform.py:145-146; fork-tokoyo:envs.py (int() and float()); "
    f"{_RUNTIME_GUIDE} (NRT_INVALID)",
)
ODD_VALUE = Trouble(
    "environment.odd-value",
    "warning",
    "A value that is none of those that are documented.",
    "the values of neuron/variables.yaml, each with its source",
)
SAMPLING_DISABLED = Trouble(
    "environment.sampling-disabled",
    "error",
    "NEURON_ON_DEVICE_SAMPLING_DISABLED ends the start of the plugin up to 0.3: it calls a module.",
    "plugin020:V/worker/neuronx_distributed_model_loader.py:66-70",
)
VLLM_PORT = Trouble(
    "environment.vllm-port",
    "error",
    "VLLM_PORT is no number: Kubernetes sets it to an address where a service is called vllm.",
    "vLLM's envs.py (get_vllm_port); gh:vllm-project/vllm#34199; "
    "https://docs.vllm.ai/en/stable/configuration/env_vars/",
)


@check(
    "variable values",
    "Values that stop a start, or mean something else",
    exit_code=Exit.USAGE,
    finds=(REFUSED_VALUE, ODD_VALUE, SAMPLING_DISABLED, VLLM_PORT),
    rules=(
        stack.plugin_shut_out,
        machine.platform_override,
        native_cache.kv_cap_range,
        native_cache.kv_cap_high,
        native_environment.v2_model_runner,
        native_environment.timeouts,
    ),
    timeout_s=FACTS_S,
)
def variable_values(facts: Facts) -> Seen:
    """Values that are not among the documented ones, and those that are known to do harm.

    The plugins read switches with int(): `true` ends the start. A target that was left in the shell
    makes the compiler work for another chip. In Kubernetes a service called `vllm` sets VLLM_PORT to an
    address, at which vLLM stops.
    """
    backend, said = facts.backend, find_said(facts)
    findings = list(_bad_port(said.get("VLLM_PORT")))
    looked = {"VLLM_PORT"} & said.keys()
    if backend != "cpu":
        for one in neuron_variables(facts):
            variable = find_variable(one.name)
            if variable is None or variable.takes is None or not variable.is_read_by(backend):
                continue
            looked.add(one.name)
            findings += _bad_value(one, variable, facts)
        findings += _bad_sampling(said.get(_SAMPLING), facts)
        looked |= {_SAMPLING} & said.keys()
    if backend == "cpu" and "VLLM_PORT" not in said:
        raise NotHere("the cpu backend reads none of Neuron's")
    count = len(looked)
    says = f"{count} looked at, {len(findings) or 'none'} odd" if looked else "none is set that would do harm"
    return Seen(says, tuple(findings), {"looked_at": count})


def _bad_port(one: Said | None) -> Iterator[Finding]:
    if one is None:
        return
    try:
        int(one.value)
    except ValueError:
        yield VLLM_PORT(
            f"VLLM_PORT is {one.shown}, not a number: vLLM stops at it",
            fix=f"{one.removal}; in Kubernetes call the service something else than vllm, "
            "or set enableServiceLinks: false",
            place=one.place,
        )


def _bad_value(one: Said, variable: Variable, facts: Facts) -> Iterator[Finding]:
    if variable.accepts(one.value) or _is_told_elsewhere(one, facts):
        return
    message = f"{one.name} is {one.shown}, not {variable.takes}"
    fix = f"{one.removal}, or set it to {variable.takes}"
    if variable.refused:
        yield REFUSED_VALUE(f"{message}: the start stops at it", fix=fix, place=one.place)
    else:
        yield ODD_VALUE(message, fix=fix, place=one.place)


def _is_told_elsewhere(one: Said, facts: Facts) -> bool:
    """Whether a rule compares it with the machine, or the check of the cores or of the LNC reads it."""
    if one.name == _TARGET:
        return facts.machine().instance is not None
    if one.name == _LNC and one.place is None:
        return facts.machine().instance is not None or bool(facts.machine().devices)
    return one.name in _CORES


def _bad_sampling(one: Said | None, facts: Facts) -> Iterator[Finding]:
    stack_here = facts.usable_stack
    plugin = stack_here.versions.get("vllm-neuron") if stack_here else None
    if one is None or facts.backend != "nxdi" or plugin is None or one.value.strip() == "0":
        return
    # 0.5 calls the class and not the module; 0.4 was not read.
    if release(plugin) < (0, 4):
        yield SAMPLING_DISABLED(
            f"{_SAMPLING} is {one.shown}: plugin {plugin} fails with it (TypeError: 'module' object is not "
            "callable)",
            fix=f"{one.removal}; features.sampling.on_device: false samples on the host",
            place=one.place,
        )


CHECKS = (variable_values,)
