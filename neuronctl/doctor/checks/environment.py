"""Checks of the environment: variables that nobody reads, that do harm, or that exclude each other."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from neuronctl.doctor.check import NotHere, Seen, Trouble, check
from neuronctl.doctor.facts import FACTS_S, Facts
from neuronctl.errors import Exit, NeuronctlError, Place, UsageError
from neuronctl.machine.cores import granted_cores, parse_cores
from neuronctl.neuron.variables import Variable, find_variable, is_neurons, nearest_variable
from neuronctl.result import Finding
from neuronctl.rules import artifacts, machine, native_cache, native_environment, stack
from neuronctl.secret import HIDDEN, hide_passwords, is_secret
from neuronctl.stack.installation import IMPORT_NAMES
from neuronctl.stack.version import at_least, release

_LNC, _OLD_LNC = "NEURON_LOGICAL_NC_CONFIG", "NEURON_RT_VIRTUAL_CORE_SIZE"
_CORES, _COUNT, _DEVICES = "NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES", "NEURON_VISIBLE_DEVICES"
_TARGET = "NEURON_PLATFORM_TARGET_OVERRIDE"
_SAMPLING = "NEURON_ON_DEVICE_SAMPLING_DISABLED"
_RUNTIME_GUIDE = "sdk:neuron-runtime/guides/configuration-guide.rst"
_LIBRARIES = "/opt/aws/neuron/lib"
# So much of a value is shown.
_SHOWN = 80
# Which rule says that these have no effect, so that it is not said twice.
_TOLD_BY_RULES = {"native": ("NEURON_COMPILED_ARTIFACTS",)}


@dataclass(frozen=True)
class _Said:
    """One variable that is set; `place` is where the profile says it, None where the shell does."""

    name: str
    value: str
    place: Place | None = None

    @property
    def shown(self) -> str:
        """The value for a message: never a secret, never long."""
        if is_secret((self.name,), self.value):
            return HIDDEN
        text = hide_passwords(self.value)
        return (text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}...") or "empty"

    @property
    def removal(self) -> str:
        """What to type to be rid of it."""
        return f"remove env.{self.name}" if self.place else f"unset {self.name}"


def _said(facts: Facts) -> dict[str, _Said]:
    """The variables that an engine would see: the shell's, and over them the `env` of the profile."""
    found = {name: _Said(name, value) for name, value in facts.environ.items()}
    try:
        profile = facts.profile()
    except NeuronctlError:  # the check of the profile says so
        profile = None
    if profile is not None:
        for name, value in profile.shape.env.items():
            origin = profile.origin(f"env.{name}")
            found[name] = _Said(name, value, Place(file=origin.file, line=origin.line, key=f"env.{name}"))
    return found


def _neuron_variables(facts: Facts) -> list[_Said]:
    """Those of them that somebody meant for Neuron's software, by name."""
    return [one for name, one in sorted(_said(facts).items()) if is_neurons(name, one.value)]


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
    found, backend = _neuron_variables(facts), facts.backend
    data: dict[str, object] = {
        "variables": {
            one.name: {
                "value": HIDDEN if is_secret((one.name,), one.value) else hide_passwords(one.value),
                "from": str(one.place) if one.place else "environment",
                "known": find_variable(one.name) is not None,
            }
            for one in found
        }
    }
    if not found:
        return Seen("none of Neuron's is set", data=data)
    says = f"{len(found)} set: {', '.join(one.name for one in found)}"
    if backend == "cpu":
        return Seen(says, tuple(_unused_on_cpu(found)), data=data)
    return Seen(says, tuple(_odd_names(found, backend, facts)), data=data)


def _unused_on_cpu(found: Iterable[_Said]) -> Iterator[Finding]:
    unused = []
    for one in found:
        variable = find_variable(one.name)
        if variable is None or not variable.is_read_by("cpu"):
            unused.append(one.name)
    if unused:
        yield UNUSED_ON_CPU(
            f"the cpu backend reads none of {', '.join(unused)}", fix=f"unset {' '.join(unused)}"
        )


def _odd_names(found: Iterable[_Said], backend: str, facts: Facts) -> Iterator[Finding]:
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


def _unknown(one: _Said, backend: str) -> Finding:
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


def _of_another_version(one: _Said, variable: Variable, facts: Facts) -> Iterator[Finding]:
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
    backend, said = facts.backend, _said(facts)
    findings = list(_bad_port(said.get("VLLM_PORT")))
    looked = 0
    if backend != "cpu":
        for one in _neuron_variables(facts):
            variable = find_variable(one.name)
            if variable is None or variable.takes is None or not variable.is_read_by(backend):
                continue
            looked += 1
            findings += _bad_value(one, variable, facts)
        findings += _bad_sampling(said.get(_SAMPLING), facts)
    if backend == "cpu" and "VLLM_PORT" not in said:
        raise NotHere("the cpu backend reads none of Neuron's")
    return Seen(f"{looked} looked at, {len(findings)} odd", tuple(findings), {"looked_at": looked})


def _bad_port(one: _Said | None) -> Iterator[Finding]:
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


def _bad_value(one: _Said, variable: Variable, facts: Facts) -> Iterator[Finding]:
    if variable.accepts(one.value) or _is_told_elsewhere(one, facts):
        return
    message = f"{one.name} is {one.shown}, not {variable.takes}"
    fix = f"{one.removal}, or set it to {variable.takes}"
    if variable.refused:
        yield REFUSED_VALUE(f"{message}: the start stops at it", fix=fix, place=one.place)
    else:
        yield ODD_VALUE(message, fix=fix, place=one.place)


def _is_told_elsewhere(one: _Said, facts: Facts) -> bool:
    """Whether a rule compares it with the machine, or the check of the cores reads it."""
    if one.name == _TARGET:
        return facts.machine().instance is not None
    return one.name in (_CORES, _COUNT, _DEVICES)


def _bad_sampling(one: _Said | None, facts: Facts) -> Iterator[Finding]:
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
    said = _said(facts)
    names = (_CORES, _COUNT, _DEVICES, _LNC, _OLD_LNC)
    here = [said[name] for name in names if name in said]
    found = [*_bad_cores(said, facts), *_bad_lnc(said, facts)]
    if backend == "nxdi" and _is_set(said, _CORES) and _is_set(said, _COUNT):
        cores, count = said[_CORES], said[_COUNT]
        found.append(
            CORES_TWICE(
                f"{_CORES} {cores.shown} wins over {_COUNT} {count.shown}",
                fix=count.removal,
                place=count.place,
            )
        )
    data: dict[str, object] = {one.name: one.shown for one in here}
    return Seen(", ".join(f"{one.name}={one.shown}" for one in here) or "none is set", tuple(found), data)


def _is_set(said: dict[str, _Said], name: str) -> bool:
    return name in said and said[name].value.strip() != ""


def _bad_cores(said: dict[str, _Said], facts: Facts) -> Iterator[Finding]:
    """What the plan would refuse: a list that cannot be read, or cores that are not here."""
    has, machine_name = facts.machine().core_ids, facts.machine().instance_name or "this machine"
    # The native plugin refuses the first one whatever it says, and a rule tells so.
    names = (_CORES, _COUNT) if facts.backend == "nxdi" else (_COUNT, _DEVICES)
    for name in names:
        if not _is_set(said, name):
            continue
        one, variable = said[name], find_variable(name)
        try:
            if name == _DEVICES or not has:
                if variable is not None and variable.form == "cores":
                    cores = parse_cores(one.value)
                    if has and (missing := cores.difference(has)):
                        what = f"it names the cores {missing}, and {machine_name} has the cores {has}"
                        raise UsageError(what, fix=f"unset {name}, or name cores of these")
                elif variable is not None and not variable.accepts(one.value):
                    raise UsageError(f"it is not {variable.takes}", fix=f"unset {name}")
            elif name == _CORES or not _is_set(said, _CORES) or facts.backend == "native":
                granted_cores({name: one.value}, has, machine=machine_name)
        except UsageError as error:
            yield CORES_UNREADABLE(f"{name} is {one.shown}: {error.what}", fix=error.fix, place=one.place)


def _bad_lnc(said: dict[str, _Said], facts: Facts) -> Iterator[Finding]:
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


@check(
    "compile variables",
    "Variables that change what is compiled",
    exit_code=Exit.USAGE,
    rules=(
        native_environment.cc_flags,
        native_environment.cpu_compile,
        native_environment.warmup_without_cache,
    ),
    timeout_s=FACTS_S,
)
def compile_variables(facts: Facts) -> Seen:
    """Compiler flags and switches that are set outside of a profile, and those that exclude each other.

    They change what is compiled for every profile, and are part of an artifact's key.
    """
    if facts.backend == "cpu":
        raise NotHere("the cpu backend calls no Neuron compiler")
    return _shown(
        facts,
        "NEURON_CC_FLAGS",
        _TARGET,
        "VLLM_NEURON_CPU_COMPILE",
        "VLLM_NEURON_DISABLE_WARMUP_COMPILE",
        "NEURON_LIBTORCH_DISABLE_COMPILE_CACHE",
        "VLLM_NEURON_DISABLE_COMPILE_CACHE",
    )


@check(
    "artifact variables",
    "Variables that name folders of compiled output",
    rules=(artifacts.folder_from_environment, artifacts.work_folder, artifacts.compiler_cache),
    timeout_s=FACTS_S,
)
def artifact_variables(facts: Facts) -> Seen:
    """Where the plugin over NxD Inference and its compiler keep what they make.

    NEURON_COMPILED_ARTIFACTS is respected as a folder of your own, which is compared with the plan before a
    start. Of two ways to name the compiler's cache one wins in silence.
    """
    if facts.backend != "nxdi":
        raise NotHere("only the plugin over NxD Inference reads them")
    return _shown(facts, "NEURON_COMPILED_ARTIFACTS", "BASE_COMPILE_WORK_DIR", "NEURON_COMPILE_CACHE_URL")


def _shown(facts: Facts, *names: str) -> Seen:
    said = _said(facts)
    here = [said[name] for name in names if name in said]
    data: dict[str, object] = {one.name: one.shown for one in here}
    return Seen(", ".join(f"{one.name}={one.shown}" for one in here) or "none is set", data=data)


LIBRARY_HIDDEN = Trouble(
    "environment.library-hidden",
    "warning",
    "LD_LIBRARY_PATH finds another runtime or collectives library before the installed one.",
    "ld.so(8): LD_LIBRARY_PATH is searched before /etc/ld.so.cache",
)
PACKAGE_HIDDEN = Trouble(
    "environment.package-hidden",
    "warning",
    "PYTHONPATH holds a package that hides the serving Python's own.",
    "https://docs.python.org/3/library/sys_path_init.html: PYTHONPATH comes before what is installed",
)


@check(
    "search paths",
    "Whether LD_LIBRARY_PATH or PYTHONPATH hides what is installed",
    finds=(LIBRARY_HIDDEN, PACKAGE_HIDDEN),
)
def search_paths(facts: Facts) -> Seen:
    """LD_LIBRARY_PATH and PYTHONPATH, each of which is searched before what is installed.

    A libnrt.so or libnccom.so of another SDK, or a copy of vLLM, torch or one of Neuron's packages, is
    loaded in place of the one whose version is checked.
    """
    said = _said(facts)
    found: list[Finding] = []
    if _is_set(said, "LD_LIBRARY_PATH"):
        found += _hidden_libraries(said["LD_LIBRARY_PATH"], facts)
    if _is_set(said, "PYTHONPATH"):
        found += _hidden_packages(said["PYTHONPATH"], facts)
    here = [said[name] for name in ("LD_LIBRARY_PATH", "PYTHONPATH") if _is_set(said, name)]
    data: dict[str, object] = {one.name: hide_passwords(one.value) for one in here}
    return Seen(", ".join(f"{one.name}={one.shown}" for one in here) or "neither is set", tuple(found), data)


def _hidden_libraries(one: _Said, facts: Facts) -> Iterator[Finding]:
    own = _folder(_LIBRARIES, facts)
    installed = _names_in(own)
    for library in ("libnrt.so", "libnccom.so"):
        if not _has(installed, library):
            continue
        for folder in one.value.split(":"):
            path = _folder(folder, facts)
            if not _has(_names_in(path), library):
                continue
            if path != own:
                yield LIBRARY_HIDDEN(
                    f"LD_LIBRARY_PATH finds {library} in {folder or 'the current folder'} before "
                    f"{_LIBRARIES}",
                    fix=f"put {_LIBRARIES} first in LD_LIBRARY_PATH, or take that folder out of it",
                    place=one.place,
                )
            break


def _has(names: Iterable[str], library: str) -> bool:
    return any(name == library or name.startswith(f"{library}.") for name in names)


def _hidden_packages(one: _Said, facts: Facts) -> Iterator[Finding]:
    packages = ("vllm", "torch", "transformers", *IMPORT_NAMES.values())
    for folder in one.value.split(":"):
        if not folder:
            continue
        names = _names_in(_folder(folder, facts))
        hidden = [each for each in packages if each in names or f"{each}.py" in names]
        if hidden:
            yield PACKAGE_HIDDEN(
                f"PYTHONPATH has {folder}, whose {', '.join(hidden)} is imported instead of what is "
                "installed",
                fix=f"{one.removal}, or take {folder} out of it",
                place=one.place,
            )


def _folder(said: str, facts: Facts) -> str:
    """The folder that an entry of a search path means; an empty one is the current folder."""
    path = facts.host.path(said) if said.startswith("/") else facts.host.cwd / said
    return os.path.realpath(path)


def _names_in(folder: str) -> frozenset[str]:
    """The names in a folder; none where it cannot be read, and then nothing is loaded from it either."""
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


CHECKS = (
    variable_names,
    variable_values,
    core_variables,
    compile_variables,
    artifact_variables,
    search_paths,
)
