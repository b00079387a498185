"""Rules about the keys of the Neuron config and of what stands beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from neuronctl.neuron.keys import WHOLE, KeyFault, known_keys
from neuronctl.neuron.migration import is_foreign
from neuronctl.neuron.outlook import Outlook
from neuronctl.rules.nxdi_refusals import find_prediction, find_refusal, text_key, text_settings
from neuronctl.rules.place import additional_config_key, neuron_key
from neuronctl.rules.rule import Remark, rule
from neuronctl.rules.situation import Situation
from neuronctl.stack.version import at_least

_NXDI = ("nxdi",)
_SECTION = "override_neuron_config"
_READ_BY = "nxdi:M/models/config.py:639-640"
# Keys that decide the same as one of vLLM's arguments: the one is compiled, the other is what vLLM goes by.
_TWINS = (
    ("tp_degree", "tensor_parallel_size"),
    ("seq_len", "max_model_len"),
    ("batch_size", "max_num_seqs"),
)


@rule(
    "nxdi.additional-config",
    "error",
    "plugin020:V/worker/neuronx_distributed_model_loader.py:689, the same in 0.3.0 and 0.5.x",
    backends=_NXDI,
    covers=("override-key-spelling",),
)
def additional_config(situation: Situation) -> Sequence[Remark] | None:
    """Of `--additional-config` only override_neuron_config is read, since 0.3.0 max_prompt_length too.

    Anything else is ignored: the server starts with defaults and one line in the log says that no overrides
    were passed. AWS's examples write `override-neuron-config`, which no version reads. Settings belong into
    the profile's `neuron`, from which neuronctl writes the flag.
    """
    outlook = situation.outlook
    if outlook is None or not outlook.key_faults:
        return None
    found = []
    for fault in outlook.key_faults:
        if "." in fault.path or is_foreign(fault, "nxdi"):
            continue
        key = neuron_key(situation, fault.path)
        said = f"{fault.message}: it has no effect" if fault.kind == "unknown" else fault.message
        found.append(Remark(said, fix=_beside_fix(fault), key=key))
    return found or None


def _beside_fix(fault: KeyFault) -> str:
    if fault.kind == "too-new":
        return f"remove it, or use vllm-neuron {fault.since}"
    if fault.kind == "bad-value":
        return "put the settings under neuron in the profile, as a mapping"
    if fault.nearest == _SECTION:
        return f"write {_SECTION}, or put the settings under neuron in the profile"
    if fault.nearest and fault.nearest.startswith(f"{_SECTION}."):
        return f"write {fault.nearest}, or put it under neuron in the profile"
    return f"write {fault.nearest}" if fault.nearest else "remove it"


@rule("nxdi.unknown-key", "error", _READ_BY, backends=_NXDI, covers=("unknown-neuron-keys",))
def unknown_key(situation: Situation) -> Sequence[Remark] | None:
    """A key that NxD Inference does not know has no effect: it logs one warning and compiles without it.

    By its code (not run). Keys of its sub-configurations are dropped without a warning. The message names
    the nearest key that exists and the first release known to have it.
    """
    return _remarks(situation, ("unknown", "removed", "ignored"))


@rule(
    "nxdi.global-topk-spelling",
    "error",
    "nxdi:M/models/config.py:1072; sdk:libraries/nxd-inference/developer_guides/vllm-user-guide-v1.rst:480",
    backends=_NXDI,
    covers=("global-topk-spelling",),
)
def global_topk_spelling(situation: Situation) -> Remark | None:
    """AWS's guide writes `global_top_k`; the code reads `global_topk` and ignores the other.

    The device then chooses from its default number of tokens. `features.sampling.global_top_k` of a profile
    is written as the code reads it.
    """
    outlook = situation.outlook
    if outlook is None or not outlook.key_faults:
        return None
    fault = next((one for one in outlook.key_faults if _is_global_top_k(one)), None)
    if fault is None:
        return None
    return Remark(
        "global_top_k of on_device_sampling_config is not read, though AWS's guide writes it so: by its code "
        "(not run) NxD Inference reads global_topk",
        fix="set features.sampling.global_top_k, or write global_topk",
        key=_key(situation, fault),
    )


@rule("nxdi.key-too-new", "error", _READ_BY, backends=_NXDI, covers=("unknown-neuron-keys",))
def key_too_new(situation: Situation) -> Sequence[Remark] | None:
    """A key that came with a later NxD Inference than this stack has is ignored like an unknown one.

    Only some releases were compared, so a key is called too new only where the release before the one that
    brought it is not older than what is here.
    """
    return _remarks(situation, ("too-new",))


@rule("nxdi.bad-value", "error", "nxdi:M/models/config.py", backends=_NXDI, covers=("unknown-neuron-keys",))
def bad_value(situation: Situation) -> Sequence[Remark] | None:
    """A value of another type than the key takes, or none of those it allows.

    NxD Inference looks at few of its values when it starts; others fail, or decide something else, during
    the compile.
    """
    return _remarks(situation, ("bad-value",))


@rule("nxdi.deprecated-key", "warning", "nxdi:M/models/config.py", backends=_NXDI)
def deprecated_key(situation: Situation) -> Sequence[Remark] | None:
    """A key that this NxD Inference still reads and a later one may not."""
    if find_refusal(situation, "cte-block-kernel-flag") is not None:
        return None
    return _remarks(situation, ("deprecated",))


@rule(
    "nxdi.draft-overrides",
    "error",
    "fork-exa:vllm_neuron/worker/neuronx_distributed_model_loader.py (0.5.x)",
    backends=_NXDI,
)
def draft_overrides(situation: Situation) -> Remark | None:
    """`draft_overrides` sets what differs for the draft of speculative decoding, since plugin 0.5.

    Earlier plugins hand it on to NxD Inference, which does not know it.
    """
    if "draft_overrides" not in text_settings(situation):
        return None
    version = situation.stack.versions.get("vllm-neuron")
    if at_least(version, "0.5"):
        return None
    return Remark(
        f"draft_overrides is read by vllm-neuron 0.5.0 and later, and this is {version}",
        fix="remove it, or use vllm-neuron 0.5.0 or later",
        key=neuron_key(situation, "draft_overrides"),
    )


@rule(
    "nxdi.override-differs",
    "warning",
    "measured with plugin 0.2.0: tp_degree 4 against --tensor-parallel-size 2, seq_len 256 against "
    "--max-model-len 128",
    backends=_NXDI,
)
def override_differs(situation: Situation) -> Sequence[Remark] | None:
    """A key of the Neuron config that contradicts one of vLLM's arguments wins in the compiled model only.

    vLLM goes on with its own number: it schedules, limits requests and is given cores by that. Nothing
    refuses the pair. Say the number once, under `engine`.
    """
    settings = text_settings(situation)
    if not any(name in settings for name, _ in _TWINS):
        return None
    prediction = find_prediction(situation)
    if prediction is None:
        return None
    found = []
    for name, twin in _TWINS:
        compiled, scheduled = prediction.neuron_config.get(name), prediction.engine.get(twin)
        if name in settings and compiled is not None and compiled != scheduled:
            found.append(
                Remark(
                    f"{name} {compiled} is what is compiled, while vLLM goes on with {twin} {scheduled}",
                    fix=f"set engine.{twin} to the number you mean and remove {name}",
                    key=neuron_key(situation, name),
                )
            )
    return found or None


def _remarks(situation: Situation, kinds: tuple[str, ...]) -> list[Remark] | None:
    outlook = situation.outlook
    if outlook is None or not outlook.key_faults:
        return None
    # A model with images stops at any key but its two, whatever it is: another rule tells of that.
    is_told = find_refusal(situation, "multimodal-flat-keys") is not None
    return [
        Remark(_message(fault), fix=_fix(fault), key=_key(situation, fault))
        for fault in _inner(outlook)
        if fault.kind in kinds and not (is_told and fault.path.count(".") == 1)
    ] or None


def _inner(outlook: Outlook) -> Iterator[KeyFault]:
    """What is wrong inside the Neuron config; `neuron.other-generation` tells of the native plugin's keys."""
    for fault in outlook.key_faults:
        if "." in fault.path and not is_foreign(fault, "nxdi") and not _is_global_top_k(fault):
            yield fault


def _is_global_top_k(fault: KeyFault) -> bool:
    return fault.nearest == "global_topk" and fault.path.endswith(".global_top_k")


def _message(fault: KeyFault) -> str:
    return fault.message if fault.nearest is None else f"{fault.message}; did you mean {_nearest(fault)}?"


def _nearest(fault: KeyFault) -> str:
    """The nearest key, with the first release of NxD Inference that is known to have it."""
    outer = fault.path.split(".")[-2]
    home = known_keys("nxdi", _SECTION).get(outer)
    section = home.section if home and home.section else _SECTION
    key = known_keys("nxdi", section).get(str(fault.nearest))
    since = f" (NxD Inference {key.since} and later)" if key and key.since else ""
    return f"{fault.nearest}{since}"


def _fix(fault: KeyFault) -> str:
    if fault.kind == "too-new":
        return f"remove it, or use NxD Inference {fault.since} or later"
    if fault.kind == "bad-value":
        return "give it a value of that kind, or remove it"
    if fault.nearest is None and fault.path.rpartition(".")[2].replace("-", "_") in WHOLE:
        return "put its keys directly under neuron"
    return f"write {fault.nearest}" if fault.nearest else "remove it"


def _key(situation: Situation, fault: KeyFault) -> str | None:
    path = fault.path.partition(".")[2]
    return neuron_key(situation, path) if path else additional_config_key(situation)


@rule(
    "nxdi.world-size",
    "warning",
    "nxd:src/neuronx_distributed/parallel_layers/parallel_state.py",
    backends=_NXDI,
)
def world_size(situation: Situation) -> Remark | None:
    """`world_size` counts the cores of all groups together: a multiple of TP x PP x EP.

    By the code of NxD (not run) a smaller one lowers the tensor parallelism, and one that is no multiple
    stops the compile. Where nobody says it, NxD Inference computes it.
    """
    if "world_size" not in text_settings(situation):
        return None
    prediction = find_prediction(situation)
    if prediction is None:
        return None
    size, *degrees = (
        prediction.neuron_config.get(name) for name in ("world_size", "tp_degree", "pp_degree", "ep_degree")
    )
    group = math.prod(degree for degree in degrees if isinstance(degree, int))
    if not isinstance(size, int) or size % group == 0:
        return None
    return Remark(
        f"world_size {size} is no multiple of the {group} cores of TP x PP x EP",
        fix=f"remove it, or set it to {group}",
        key=text_key(situation, "world_size"),
    )


@rule("nxdi.on-cpu", "warning", "nxdi:M/models/config.py:102", backends=_NXDI)
def on_cpu(situation: Situation) -> Remark | None:
    """`on_cpu` makes NxD Inference run the model on the host, for tests without a Neuron device."""
    if text_settings(situation).get("on_cpu") is not True:
        return None
    return Remark(
        "on_cpu is true: NxD Inference runs the model on the host's CPU, and the Neuron cores stay idle",
        fix="remove it; a server for the CPU is had by backend: cpu",
        key=text_key(situation, "on_cpu"),
    )


@rule(
    "nxdi.continuous-batching-off",
    "warning",
    "nxdi:M/modules/kvcache/kv_cache_manager.py (update_kv_by_layer_id)",
    backends=_NXDI,
)
def continuous_batching_off(situation: Situation) -> Remark | None:
    """The plugin prefills one prompt at a time, and turns continuous batching on for more than one sequence.

    By the code of NxD Inference (not run) each prompt would otherwise be written over the cache of the first
    sequence.
    """
    if text_settings(situation).get("is_continuous_batching") is not False:
        return None
    prediction = find_prediction(situation)
    if prediction is None:
        return None
    batch, prefilled = (prediction.neuron_config.get(name) for name in ("batch_size", "ctx_batch_size"))
    if not isinstance(batch, int) or not isinstance(prefilled, int) or batch <= prefilled:
        return None
    return Remark(
        f"is_continuous_batching is false with a batch of {batch}: by its code (not run) NxD Inference "
        "writes each prompt over the cache of the first sequence",
        fix="remove it, or set engine.max_num_seqs: 1",
        key=text_key(situation, "is_continuous_batching"),
    )


RULES = (
    additional_config,
    unknown_key,
    global_topk_spelling,
    key_too_new,
    bad_value,
    draft_overrides,
    override_differs,
    world_size,
    on_cpu,
    continuous_batching_off,
    deprecated_key,
)
