"""Check of the variables that choose cores, and say how they are counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from neuronctl.doctor.check import NotHere, Seen, Trouble, check
from neuronctl.doctor.facts import FACTS_S, Facts
from neuronctl.doctor.said import Said, find_said, is_set, show
from neuronctl.errors import Exit, UsageError
from neuronctl.machine.cores import granted_cores, parse_cores
from neuronctl.neuron.variables import find_variable
from neuronctl.result import Finding
from neuronctl.rules import native_environment

_LNC, _OLD_LNC = "NEURON_LOGICAL_NC_CONFIG", "NEURON_RT_VIRTUAL_CORE_SIZE"
_CORES, _COUNT, _DEVICES = "NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES", "NEURON_VISIBLE_DEVICES"
_RUNTIME_GUIDE = "sdk:neuron-runtime/guides/configuration-guide.rst"

CORES_UNREADABLE = Trouble(
    "environment.bad-cores",
    "error",
    "The cores that a variable names cannot be read, or this machine does not have them.",
    f"{_RUNTIME_GUIDE}:27-38,99-122",
)
CORES_TWICE = Trouble(
    "environment.cores-twice",
    "warning",
    "Cores are named and counted: the names win, and the count is passed over.",
    f"{_RUNTIME_GUIDE}:149-150",
)
LNC_CONTRADICTION = Trouble(
    "environment.lnc-contradiction",
    "warning",
    "The two variables of the LNC differ, and nobody says which the runtime follows.",
    "sdk:libraries/nxd-inference/developer_guides/weights-sharding-guide.rst:48,115; "
    "nxdi:M/models/config.py:730",
)


@check(
    "core variables",
    "Variables that choose cores, and how they are counted",
    exit_code=Exit.USAGE,
    finds=(CORES_UNREADABLE, CORES_TWICE, LNC_CONTRADICTION),
    rules=(native_environment.visible_cores,),
    timeout_s=FACTS_S,
)
def core_variables(facts: Facts) -> Seen:
    """Which cores the environment grants, and what it says of the LNC.

    The plugin over NxD Inference and the runtime read NEURON_RT_VISIBLE_CORES, which wins over
    NEURON_RT_NUM_CORES; the native plugin refuses it and reads NEURON_VISIBLE_DEVICES. The LNC is how many
    physical cores make one logical core: what is compiled for one does not load with another.
    """
    backend = facts.backend
    if backend == "cpu":
        raise NotHere("the cpu backend has no Neuron cores")
    said = find_said(facts)
    found = [*_bad_cores(said, facts), *_bad_lnc(said, facts)]
    if backend == "nxdi" and is_set(said, _CORES) and is_set(said, _COUNT):
        cores, count = said[_CORES], said[_COUNT]
        found.append(
            CORES_TWICE(
                f"{_CORES} {cores.shown} wins over {_COUNT} {count.shown}",
                fix=count.removal,
                place=count.place,
            )
        )
    return replace(show(said, _CORES, _COUNT, _DEVICES, _LNC, _OLD_LNC), findings=tuple(found))


def _bad_cores(said: dict[str, Said], facts: Facts) -> Iterator[Finding]:
    """What the plan would refuse: a list that cannot be read, or cores that are not here."""
    is_native = facts.backend == "native"
    # The native plugin refuses the first one whatever it says, and a rule tells so. Elsewhere names win over
    # their number.
    if not is_native and is_set(said, _CORES):
        yield from _bad_names(said[_CORES], facts)
    elif is_set(said, _COUNT):
        yield from _bad_count(said[_COUNT], facts)
    if is_native and is_set(said, _DEVICES):
        yield from _bad_names(said[_DEVICES], facts)


def _bad_names(one: Said, facts: Facts) -> Iterator[Finding]:
    """Cores by their ids. Where the machine is not known it is only seen whether they can be read."""
    has = facts.machine().core_ids
    try:
        missing = parse_cores(one.value).difference(has)
    except UsageError as error:
        yield CORES_UNREADABLE(f"{one.name} is {one.shown}: {error.what}", fix=error.fix, place=one.place)
        return
    if has and missing:
        yield CORES_UNREADABLE(
            f"{one.name} is {one.shown}: it names the cores {missing}, and {_machine(facts)} has the cores "
            f"{has}",
            fix=f"{one.removal}, or name cores of these",
            place=one.place,
        )


def _bad_count(one: Said, facts: Facts) -> Iterator[Finding]:
    """How many cores. Where the machine is not known it is only seen whether that is a number."""
    variable, has = find_variable(one.name), facts.machine().core_ids
    if not has:
        if variable is not None and not variable.accepts(one.value):
            yield CORES_UNREADABLE(
                f"{one.name} is {one.shown}: it is not {variable.takes}", fix=one.removal, place=one.place
            )
        return
    try:
        granted_cores({one.name: one.value}, has, machine=_machine(facts), places={one.name: one.place})
    except UsageError as error:
        yield CORES_UNREADABLE(f"{one.name} is {one.shown}: {error.what}", fix=error.fix, place=one.place)


def _machine(facts: Facts) -> str:
    return facts.machine().instance_name or "this machine"


def _bad_lnc(said: dict[str, Said], facts: Facts) -> Iterator[Finding]:
    seen = facts.machine()
    lnc, old = said.get(_LNC), said.get(_OLD_LNC)
    wanted = lnc.value.strip() if lnc is not None else ""
    effective = wanted or (str(seen.lnc) if seen.lnc else "")
    if old is not None and old.value.strip() and effective and old.value.strip() != effective:
        who = _LNC if wanted else f"the LNC here ({seen.lnc_source})"
        yield LNC_CONTRADICTION(
            f"{_OLD_LNC} is {old.shown} and {who} is {effective}: NxD Inference reads {_LNC} only, and which "
            "the runtime follows is not documented",
            fix=f"{old.removal}; {_LNC} says the LNC",
            place=old.place,
        )


CHECKS = (core_variables,)
