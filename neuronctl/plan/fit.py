"""Will it fit? From what was decided to an Estimate, and the smallest tensor parallel size that fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal

from neuronctl.machine.catalog import instance_types
from neuronctl.model.config import quantization_method
from neuronctl.model.context import longest_context
from neuronctl.model.known import known_model
from neuronctl.model.size import DTYPE_BYTES, count_parameters
from neuronctl.neuron.checks import shared_lengths
from neuronctl.neuron.estimate import (
    Estimate,
    Load,
    Room,
    estimate,
    fitting_degrees,
    kv_heads_per_core,
    listed_degrees,
    smallest_that_fits,
)
from neuronctl.neuron.heads import PADDED_AS_DOCUMENTED, divides_heads
from neuronctl.neuron.prediction import Prediction
from neuronctl.plan.given import Given
from neuronctl.plan.neuron import assign_cores, whole
from neuronctl.plan.plan import Setting

_BUCKETS_ASSUMED = 4
# vLLM's default gpu_memory_utilization, and the least that the native plugin wants for the KV cache
# (reference: env_vars, VLLM_NEURON_MIN_KV_BUDGET_GIB).
_NATIVE_SHARE, _NATIVE_KV_BYTES = 0.9, 2**30
_DTYPE = "bfloat16"
# Checkpoints whose weights take one byte each, and which the native plugin runs as they are.
_STORED_QUANTIZED = ("modelopt", "fp8")


@dataclass(frozen=True)
class Fit:
    """Whether it fits, and what would.

    `estimate` is None where the model's size or the machine is not known; `find_fitting` finds what would
    fit if it does not, in words; `find_degrees` the tensor parallel sizes that divide the heads and fit, as
    far as that is known: documented ones, or where none of them does, any.
    """

    estimate: Estimate | None = None
    find_fitting: Callable[[], tuple[str, ...]] = tuple
    find_degrees: Callable[[], tuple[int, ...]] = tuple


def estimate_fit(
    given: Given,
    effective: Mapping[str, object],
    lnc: int,
    cores: int | None,
    prediction: Prediction,
) -> Fit:
    """Whether what NxD Inference will build fits."""
    config = prediction.neuron_config
    load = _load(
        given,
        effective,
        degree=whole(config.get("tp_degree")) or 1,
        batch=whole(config.get("batch_size")) or 1,
        length=whole(config.get("seq_len")) or 1,
        context_length=whole(config.get("max_context_length")) or 1,
        neuron=config,
        buckets={name: len(sizes) for name, sizes in prediction.buckets.items()},
        shared_lengths=shared_lengths(config, prediction.buckets),
    )
    return _judge(given, load, lnc, cores)


def estimate_native(
    given: Given, effective: Mapping[str, object], degree: int, lnc: int, cores: int | None
) -> Fit:
    """Whether it fits with the native plugin, which sizes its KV cache by itself: one sequence must fit."""
    length = whole(effective.get("max_model_len")) or 1
    load = _load(
        given,
        effective,
        degree=degree,
        batch=1,
        length=length,
        context_length=min(length, whole(effective.get("max_num_batched_tokens")) or length),
    )
    return _judge(given, load, lnc, cores)


def choose_tensor_parallel(given: Given, defaults: Mapping[str, Setting], lnc: int) -> Setting:
    """The smallest documented degree that divides the attention heads and whose cores hold the model.

    `defaults` are the other arguments where nobody says them. 1 where machine or model say too little, and
    where somebody says a degree, which then wins. Only the cores that are granted count.
    """
    effective = given.effective(given.engine(defaults))
    instance, heads = given.machine.instance, given.model.facts.attention_heads
    if "tensor_parallel_size" in effective or instance is None or not heads:
        return Setting(1, "neuronctl: vLLM's default")
    granted, _ = assign_cores(given, 1, lnc)
    room = _room(given, lnc, len(granted) if granted is not None else None)
    documented = instance.tp_degrees or tuple(2**power for power in range(room.cores.bit_length()))
    degrees = [degree for degree in documented if degree <= room.cores]
    kv_heads = given.model.facts.kv_heads or heads
    even = [degree for degree in degrees if divides_heads(heads, kv_heads, degree)]
    may_pad = given.model.facts.architecture in PADDED_AS_DOCUMENTED
    if given.stack.generation == "native" and even[:1] == [1] and len(even) > 1:
        even.remove(1)  # one core alone can crash without a message (reference: tp1-sigsegv)
    length = whole(effective.get("max_model_len")) or 1
    for degree in degrees if may_pad else even:
        load = _load(
            given,
            effective,
            degree=degree,
            batch=whole(effective.get("max_num_seqs")) or 1,
            length=length,
            context_length=length,
        )
        if load is not None and _holds_weights(given, estimate(load, room)):
            return Setting(degree, "neuronctl: the smallest degree whose cores hold the model")
    return Setting(max(even, default=1), "neuronctl: the largest degree that divides the attention heads")


def _holds_weights(given: Given, found: Estimate) -> bool:
    """Whether a core holds it; the native plugin takes no more of it than vLLM's share for KV and weights."""
    if given.stack.generation != "native" or found.core_memory_bytes is None:
        return bool(found.fits_core)
    return found.core_bytes < _NATIVE_SHARE * found.core_memory_bytes - _NATIVE_KV_BYTES


def _judge(given: Given, load: Load | None, lnc: int, cores: int | None) -> Fit:
    machine, facts = given.machine, given.model.facts
    if machine.instance is None:
        return Fit()
    room = _room(given, lnc, cores)
    if load is None:
        heads, kv_heads = facts.attention_heads, facts.kv_heads
        if not heads or not kv_heads:
            return Fit()
        listed = [degree for degree in listed_degrees(room) if degree <= room.cores]
        dividing = tuple(degree for degree in listed if divides_heads(heads, kv_heads, degree))
        return Fit(find_degrees=lambda: dividing)
    found = estimate(load, room)
    # Space can be freed: another machine or another TP is no answer to a full disk.
    elsewhere = replace(room, disk_free_bytes=None)
    find_degrees = partial(fitting_degrees, load, elsewhere)
    if not found.refused and not found.doubtful and load.tp_degree <= room.cores:
        return Fit(found, find_degrees=find_degrees)
    others = _others(given.stack.generation or "nxdi")
    others = tuple((name, other) for name, other in others if name != machine.instance.name)
    longest = longest_context(given.model.config, facts.context_length) if facts.context_length else None
    return Fit(found, partial(smallest_that_fits, load, elsewhere, others, longest), find_degrees)


def _room(given: Given, lnc: int, cores: int | None) -> Room:
    machine, instance = given.machine, given.machine.instance
    logical = instance.logical_cores.get(lnc, 0) if instance else 0
    return Room(
        core_memory_bytes=instance.core_memory_bytes.get(lnc) if instance else None,
        cores=logical if cores is None else cores,
        host_memory_bytes=machine.memory_bytes,
        disk_free_bytes=machine.disk_free_bytes,
        # The documented lists are for the default LNC.
        tp_degrees=instance.tp_degrees if instance and lnc == instance.lnc_default else None,
    )


@cache
def _others(generation: str) -> tuple[tuple[str, Room], ...]:
    """The other instance types that the plugin supports, in order of their devices' memory."""
    column = "native_0.21_0.24" if generation == "native" else "nxdi_0.2_to_0.4"
    single = [
        one
        for one in instance_types()
        if not one.ultraserver and one.plugin_support.get(column) == "supported"
    ]
    return tuple(
        (
            one.name,
            Room(
                one.core_memory_bytes.get(one.lnc_default),
                one.logical_cores[one.lnc_default],
                one.host_memory_bytes,
                None,
                one.tp_degrees,
            ),
        )
        for one in sorted(single, key=lambda one: (one.devices * one.device_memory_bytes, one.vcpus or 0))
    )


def _load(
    given: Given,
    effective: Mapping[str, object],
    *,
    degree: int,
    batch: int,
    length: int,
    context_length: int,
    neuron: Mapping[str, object] | None = None,
    buckets: Mapping[str, int] | None = None,
    shared_lengths: tuple[int, ...] = (),
) -> Load | None:
    """What is to be held; None where the model does not say how large it is."""
    model, facts, neuron = given.model, given.model.facts, neuron or {}
    sizes = (facts.layers, facts.kv_heads, facts.attention_heads, facts.head_dim, facts.hidden_size)
    parameters = _parameters(model.config)
    stored = DTYPE_BYTES.get(facts.dtype or _DTYPE, 2)
    # Files of no size say nothing: they are not downloaded yet, or stand for others.
    checkpoint = (model.weights[0] if model.weights else 0) or (parameters or 0) * stored
    if not checkpoint or facts.vocabulary is None or not all(sizes):
        return None
    layers, kv_heads, heads, head_dim, hidden = (int(size or 0) for size in sizes)
    dtype = DTYPE_BYTES.get(str(effective.get("dtype", facts.dtype or _DTYPE)), 2)
    counts = dict(buckets or {"context_encoding_model": _BUCKETS_ASSUMED, "decode": _BUCKETS_ASSUMED})
    prefill = counts.pop("context_encoding_model", 0)
    block_layout = bool(neuron.get("is_block_kv_layout"))
    draft_parameters, draft_layers = _draft(effective, facts.vocabulary, hidden)
    adapters, adapters_least = _adapters_bytes(given, effective, dtype)
    return Load(
        parameters=parameters or checkpoint // stored,
        weight_bytes=checkpoint,
        layers=layers,
        kv_heads=kv_heads,
        attention_heads=heads,
        head_dim=head_dim,
        hidden_size=hidden,
        vocabulary=facts.vocabulary,
        tp_degree=degree,
        kv_heads_per_core=kv_heads_per_core(kv_heads, heads, degree),
        dtype_bytes=dtype,
        quantized=_quantized(neuron),
        kv_bytes_per_value=1 if neuron.get("kv_cache_quant") else dtype,
        batch=batch,
        length=length,
        context_length=context_length,
        kv_blocks=whole(neuron.get("pa_num_blocks")) if block_layout else None,
        block_size=whole(neuron.get("pa_block_size")) if block_layout else None,
        context_buckets=prefill,
        decode_buckets=sum(counts.values()),
        draft_parameters=draft_parameters,
        draft_layers=draft_layers,
        lora_bytes=adapters,
        lora_least_bytes=adapters_least,
        is_tied=bool(facts.is_tied),
        is_moe=facts.experts is not None,
        is_multimodal=facts.is_multimodal,
        save_sharded=bool(neuron.get("save_sharded_checkpoint")),
        is_stored_quantized=not neuron and quantization_method(model.config) in _STORED_QUANTIZED,
        is_downloaded=model.here,
        may_pad=bool(neuron) and facts.architecture in PADDED_AS_DOCUMENTED,
        shared_lengths=shared_lengths,
    )


def _parameters(config: Mapping[str, Any]) -> int | None:
    counted = count_parameters(config)
    return counted.total if counted else None


def _quantized(neuron: Mapping[str, object]) -> Literal["int8", "fp8"] | None:
    if not neuron.get("quantized"):
        return None
    return "int8" if neuron.get("quantization_dtype") == "int8" else "fp8"


def _draft(effective: Mapping[str, object], vocabulary: int, hidden: int) -> tuple[int, int]:
    """Parameters and layers of a draft model that is known; NxD Inference wants the lm_head in it too."""
    config = effective.get("speculative_config")
    name = config.get("model") if isinstance(config, Mapping) else None
    known = known_model(name, None) if isinstance(name, str) else None
    if known is None or known.parameters is None:
        return 0, 0
    shape = known.config or known.assumed_config or {}
    head = 0 if known.lm_head_stored else vocabulary * hidden
    return known.parameters + head, whole(shape.get("num_hidden_layers")) or 0


def _adapters_bytes(given: Given, effective: Mapping[str, object], dtype_bytes: int) -> tuple[int, int]:
    """Two matrices of the adapter's rank beside each projection of attention and MLP; beside the smallest."""
    facts, rank = given.model.facts, whole(effective.get("max_lora_rank")) or 16
    count = whole(effective.get("max_loras")) if effective.get("enable_lora") else 0
    hidden, wide = facts.hidden_size or 0, facts.intermediate_size or 0
    queries = (facts.attention_heads or 0) * (facts.head_dim or 0)
    keys = (facts.kv_heads or 0) * (facts.head_dim or 0)
    ends = 2 * (hidden + queries) + 2 * (hidden + keys) + 3 * (hidden + wide)
    one_end = (count or 0) * (facts.layers or 0) * rank * dtype_bytes
    return one_end * ends, one_end * (hidden + min(queries, keys))
