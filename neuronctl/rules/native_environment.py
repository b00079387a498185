"""Rules about the environment variables that the native plugin reads, or refuses."""

from __future__ import annotations

from neuronctl.neuron.native import COLD_COMPILE_TIMEOUTS_S, COMPILATION_TIMEOUTS, RENAMED, local_ranks
from neuronctl.rules.place import engine_key, remove_variable, variable_key
from neuronctl.rules.rule import Remark, rule
from neuronctl.rules.situation import Situation
from neuronctl.stack.version import at_least

_NATIVE = ("native",)
_WORKER = "g2:vllm_neuron/vllm/worker/neuron_worker.py"
_GUIDE = "sdk:vllm-neuron/docs/guides/reference-configuration.md"
_CACHE = "sdk:vllm-neuron/docs/design/compilation/compilation_cache.md:145-153"
_VISIBLE_CORES = "NEURON_RT_VISIBLE_CORES"
_VISIBLE_DEVICES = "NEURON_VISIBLE_DEVICES"
_CPU_COMPILE, _CPU_MODE = "VLLM_NEURON_CPU_COMPILE", "VLLM_NEURON_CPU_MODE"
_ON = ("1", "true", "yes", "on")
# The plan sets the timeout under both names.
_RENAMED = {old: new for old, new in RENAMED.items() if old not in COMPILATION_TIMEOUTS}
_OF_ONE_VERSION = frozenset((*_RENAMED, *_RENAMED.values()))


@rule(
    "native.visible-cores",
    "error",
    f"{_WORKER}; pub:66828044719",
    backends=_NATIVE,
    covers=("native-visible-cores-forbidden",),
)
def visible_cores(situation: Situation) -> Remark | None:
    """The native plugin stops where NEURON_RT_VISIBLE_CORES is set, to whatever: its workers set it.

    Its own variable for the cores of a server is NEURON_VISIBLE_DEVICES, which neuronctl sets. For an
    assumed machine the variables of this shell do not count.
    """
    if _VISIBLE_CORES not in situation.environment:
        return None
    key = variable_key(situation, _VISIBLE_CORES)
    if situation.machine.assumed and key is None:
        return None
    cores = situation.environment[_VISIBLE_CORES]
    assigned = situation.outlook.assigned if situation.outlook else None
    return Remark(
        f"{_VISIBLE_CORES} is set ({cores or 'empty'}), and the native plugin refuses to start with it",
        fix=f"{remove_variable(situation, _VISIBLE_CORES)}; to choose the cores: "
        f"{_VISIBLE_DEVICES}={assigned or cores}",
        key=key,
    )


@rule(
    "native.visible-devices",
    "error",
    f"{_WORKER}; pub:66481173157",
    backends=_NATIVE,
    covers=("native-visible-devices-count",),
)
def visible_devices(situation: Situation) -> Remark | None:
    """NEURON_VISIBLE_DEVICES names exactly one logical core for each rank: core ids, despite its name."""
    outlook = situation.outlook
    said = situation.environment.get(_VISIBLE_DEVICES)
    if outlook is None or outlook.assigned is None or not said:
        return None
    ranks, named = local_ranks(situation.engine), outlook.assigned
    key = variable_key(situation, _VISIBLE_DEVICES)
    if len(named) != ranks:
        return Remark(
            f"{_VISIBLE_DEVICES} {said} names {len(named)} cores, and the server has {ranks} ranks "
            "(TP x PP x DP)",
            fix=f"name {ranks} of them, or leave it to neuronctl",
            key=key,
        )
    if outlook.granted is None or not (missing := named.difference(outlook.granted)):
        return None
    return Remark(
        f"{_VISIBLE_DEVICES} {said} names the cores {missing}, and {outlook.granted or 'none'} are granted",
        fix="name cores of these, or leave it to neuronctl",
        key=key,
    )


@rule("native.cc-flags", "warning", "pub:66828044719", backends=_NATIVE, covers=("native-cc-flags",))
def cc_flags(situation: Situation) -> Remark | None:
    """Reported: NEURON_CC_FLAGS takes the place of the flags that the plugin composes, and compiles fail.

    The failures are NCC_EVRF029 and "compilation failed with 70".
    """
    flags = situation.environment.get("NEURON_CC_FLAGS")
    if not flags:
        return None
    key = variable_key(situation, "NEURON_CC_FLAGS")
    return Remark(
        f"NEURON_CC_FLAGS is {flags}: reported to replace the native plugin's own flags, so that compiles "
        "fail",
        fix=remove_variable(situation, "NEURON_CC_FLAGS"),
        key=key,
    )


@rule(
    "native.compiled-artifacts-unused",
    "warning",
    "pub:58037814155; pub:58435212539",
    backends=_NATIVE,
    covers=("artifacts-native-noop",),
)
def compiled_artifacts_unused(situation: Situation) -> Remark | None:
    """Reported: the native plugin never reads NEURON_COMPILED_ARTIFACTS, though AWS's guide has it.

    What it compiles is under `$VLLM_CACHE_ROOT/neuron/compile_cache`.
    """
    folder = situation.environment.get("NEURON_COMPILED_ARTIFACTS")
    if not folder:
        return None
    return Remark(
        f"NEURON_COMPILED_ARTIFACTS is {folder}: reported to have no effect on the native plugin",
        fix="remove it; VLLM_CACHE_ROOT says where the compile cache is, and NEURON_LIBTORCH_REMOTE_CACHE "
        "where a shared one is",
        key=variable_key(situation, "NEURON_COMPILED_ARTIFACTS"),
    )


@rule(
    "native.renamed-variable",
    "warning",
    "reference env_vars rename_0_21_to_0_24 (no source states the rename itself)",
    backends=_NATIVE,
    covers=("env-rename-0.24",),
)
def renamed_variable(situation: Situation) -> list[Remark] | None:
    """Five variables seem to have other names in 0.21 and 0.24; under the other one they do nothing.

    Derived from two lists, no source states it. neuronctl sets the timeout under both names.
    """
    environment = situation.environment
    version = situation.stack.versions.get("vllm-neuron")
    if version is None or _OF_ONE_VERSION.isdisjoint(environment):
        return None
    is_new, found = at_least(version, "0.24"), []
    for old, new in _RENAMED.items():
        wrong, right = (old, new) if is_new else (new, old)
        if wrong not in environment or right in environment:
            continue
        found.append(
            Remark(
                f"{wrong} seems to be called {right} in vllm-neuron {version}, and to have no effect",
                f"set {right} instead, or both",
                variable_key(situation, wrong),
            )
        )
    return found


@rule(
    "native.timeouts",
    "warning",
    "sdk:vllm-neuron/docs/tutorials/tutorial-di-1p1d-xpyd.md:112-113,343",
    backends=_NATIVE,
    covers=("native-timeouts",),
)
def timeouts(situation: Situation) -> Remark | None:
    """A cold compile takes longer than vLLM waits by itself. neuronctl raises the limits to AWS's values.

    Whoever sets them lower may see the engine give up during a compile.
    """
    short = []
    for name, limit_s in COLD_COMPILE_TIMEOUTS_S.items():
        said = situation.environment.get(name, "")
        # Tutorials give 1800 to 5400 s for the start of the engine, and 1200 s for the others.
        if said.isdecimal() and int(said) < min(limit_s, 1800):
            short.append((name, said, limit_s))
    if not short:
        return None
    return Remark(
        f"{', '.join(f'{one} {said} s' for one, said, _ in short)}: a cold compile may take longer",
        fix=", ".join(f"{one}={limit_s}" for one, _, limit_s in short) + ", or leave it to neuronctl",
        key=variable_key(situation, short[0][0]),
    )


@rule("native.v2-model-runner", "error", "g2:vllm_neuron/vllm/platform.py", backends=_NATIVE)
def v2_model_runner(situation: Situation) -> Remark | None:
    """The plugin has no model runner of vLLM's second kind, and refuses to start where one is asked for."""
    said = situation.environment.get("VLLM_USE_V2_MODEL_RUNNER")
    if said is None or said.strip().lower() not in _ON:
        return None
    key = variable_key(situation, "VLLM_USE_V2_MODEL_RUNNER")
    return Remark(
        f"VLLM_USE_V2_MODEL_RUNNER is {said}: the native plugin refuses it",
        fix=remove_variable(situation, "VLLM_USE_V2_MODEL_RUNNER"),
        key=key,
    )


@rule("native.cpu-compile", "error", f"{_GUIDE}:193-194", backends=_NATIVE)
def cpu_compile(situation: Situation) -> list[Remark] | None:
    """Compiling without a device needs to be told for which one, and has no drafts.

    `VLLM_NEURON_CPU_COMPILE` wants `NEURON_PLATFORM_TARGET_OVERRIDE` and excludes `VLLM_NEURON_CPU_MODE`.
    """
    environment = situation.environment
    if environment.get(_CPU_COMPILE, "0") in ("", "0"):
        return None
    found = []
    key = variable_key(situation, _CPU_COMPILE)
    if not environment.get("NEURON_PLATFORM_TARGET_OVERRIDE"):
        instance = situation.machine.instance
        target = instance.compiler_target if instance else "trn2"
        fix = f"set env.NEURON_PLATFORM_TARGET_OVERRIDE: {target}"
        found.append(Remark(f"{_CPU_COMPILE} needs NEURON_PLATFORM_TARGET_OVERRIDE", fix, key))
    if environment.get(_CPU_MODE, "0") not in ("", "0"):
        found.append(Remark(f"{_CPU_COMPILE} and {_CPU_MODE} exclude each other", "set one of them", key))
    if situation.engine.get("speculative_config"):
        found.append(
            Remark(
                f"{_CPU_COMPILE} does not compile speculative decoding",
                "compile on the device, or remove features.speculative",
                key,
            )
        )
    return found


@rule("native.warmup-without-cache", "error", _CACHE, backends=_NATIVE)
def warmup_without_cache(situation: Situation) -> Remark | None:
    """A start that may not compile has nothing to load where the compile cache is off."""
    environment = situation.environment
    if environment.get("VLLM_NEURON_DISABLE_WARMUP_COMPILE", "0") in ("", "0"):
        return None
    names = ("NEURON_LIBTORCH_DISABLE_COMPILE_CACHE", "VLLM_NEURON_DISABLE_COMPILE_CACHE")
    off = next((name for name in names if environment.get(name, "0") not in ("", "0")), None)
    if off is None:
        return None
    return Remark(
        f"VLLM_NEURON_DISABLE_WARMUP_COMPILE and {off} exclude each other: no compile, and no cache",
        fix=f"remove {off}",
        key=variable_key(situation, off),
    )


@rule(
    "native.tp64-cold",
    "warning",
    "gh:aws-neuron/aws-neuron-sdk#1369",
    backends=_NATIVE,
    covers=("native-tp64-cold",),
)
def tp64_cold(situation: Situation) -> Remark | None:
    """Reported of plugin 0.21: with TP 64 one of the 64 cold compiles failed now and then.

    The others then see a closed connection (gloo, tp_barrier). A compile that is repeated goes on with
    what the cache has.
    """
    version = situation.stack.versions.get("vllm-neuron")
    if situation.outlook is None or situation.outlook.tensor_parallel_size < 64 or at_least(version, "0.24"):
        return None
    return Remark(
        f"tensor_parallel_size {situation.outlook.tensor_parallel_size} on vllm-neuron {version}: cold "
        "compiles were reported to fail now and then (compilation failed with 70, gloo)",
        fix="if it fails, compile again: the cache keeps what was done; or take plugin 0.24 "
        "(--stack sdk-2.32)",
        key=engine_key(situation, "tensor_parallel_size"),
    )


RULES = (
    visible_cores,
    visible_devices,
    cc_flags,
    compiled_artifacts_unused,
    renamed_variable,
    timeouts,
    v2_model_runner,
    cpu_compile,
    warmup_without_cache,
    tp64_cold,
)
