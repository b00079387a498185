"""Rules about what the native plugin compiles and how much memory its KV cache gets."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from neuronctl.neuron.native import (
    DECODE_STEP,
    KV_CAP_FRACTION,
    LEAST_KV_GIB,
    SEGMENT_SIZES,
    SINGLE_SHOT_LENGTH,
    prefill_tokens,
)
from neuronctl.rules.native_keys import neuron_settings
from neuronctl.rules.place import engine_key, neuron_key, variable_key
from neuronctl.rules.rule import Remark, rule
from neuronctl.rules.situation import Situation

_NATIVE = ("native",)
_BUCKETS = "g2:vllm_neuron/utils/bucket_utils.py"
_RUNNER = "g2:vllm_neuron/vllm/worker/neuron_model_runner.py"
_WORKER = "g2:vllm_neuron/vllm/worker/neuron_worker.py"
_GUIDE = "sdk:vllm-neuron/docs/guides/reference-configuration.md"
_CAP = "VLLM_NEURON_KV_GMU_BUDGET_CAP_FRACTION"
_LEAST = "VLLM_NEURON_MIN_KV_BUDGET_GIB"
# vLLM's own gpu_memory_utilization.
_UTILIZATION = 0.9
_GIB = 2**30
_SIZES = ", ".join(str(size) for size in SEGMENT_SIZES)


@rule(
    "native.buckets",
    "error",
    f"{_BUCKETS}; sdk:vllm-neuron/docs/design/vllm/additional-config.md; pub:62095941065",
    backends=_NATIVE,
    covers=("native-buckets",),
)
def buckets(situation: Situation) -> list[Remark] | None:
    """The plugin checks its lists of buckets when its workers start, and refuses what does not fit.

    Each must ascend. Prefill buckets end at the most tokens of one prefill, batch buckets at
    `max_num_seqs`; decode buckets stay below `max_model_len`, which is always compiled, and are multiples of
    128; there is one size of segment, whole blocks of the KV cache, and the prefill bucket is the same.
    """
    settings = neuron_settings(situation)
    if not any(key.endswith("_buckets") for key in settings) and "block_size" not in situation.engine:
        return None
    tokens, sequences = prefill_tokens(situation.engine), situation.engine.get("max_num_seqs")
    length = situation.engine.get("max_model_len")
    found = []

    def ends(key: str, limit: object, name: str) -> None:
        sizes = _sizes(settings, key)
        if sizes is None:
            return
        if not _ascends(sizes):
            wrong = f"{key} {sizes} must be positive numbers that ascend"
        elif isinstance(limit, int) and sizes[-1] != limit:
            wrong = f"{key} ends at {sizes[-1]}, and must end at {name} {limit}"
        else:
            return
        found.append(Remark(wrong, f"end the list at {limit}", neuron_key(situation, key)))

    ends("num_batched_tokens_buckets", tokens, "the most tokens of one prefill,")
    ends("num_seqs_buckets", sequences, "engine.max_num_seqs,")
    decode = _sizes(settings, "decode_context_length_buckets")
    if decode is not None and isinstance(length, int):
        fits = _ascends(decode) and decode[-1] < length and not any(size % DECODE_STEP for size in decode)
        if not fits:
            found.append(
                Remark(
                    f"decode_context_length_buckets {decode} must ascend, be multiples of {DECODE_STEP} and "
                    f"stay below max_model_len {length}",
                    f"leave out what is not below {length}: the whole length is always compiled",
                    neuron_key(situation, "decode_context_length_buckets"),
                )
            )
    return found + _segments(situation, settings, tokens, length)


def _segments(
    situation: Situation, settings: Mapping[str, object], tokens: int | None, length: object
) -> list[Remark]:
    """What is wrong with the size of a segment, stated or implied."""
    segments, prefill = (
        _sizes(settings, "kv_segment_size_buckets"),
        settings.get("num_batched_tokens_buckets"),
    )
    key = neuron_key(situation, "kv_segment_size_buckets")
    if segments is not None and (len(segments) != 1 or segments[0] not in SEGMENT_SIZES):
        return [Remark(f"kv_segment_size_buckets {segments} must be one of {_SIZES}", "set one of them", key)]
    if segments is None:
        if tokens is None or tokens not in SEGMENT_SIZES or not isinstance(length, int) or tokens >= length:
            return []
        segments = [tokens]
    block_size = situation.engine.get("block_size")
    if isinstance(block_size, int) and block_size > 0 and segments[0] % block_size:
        return [
            Remark(
                f"a segment of {segments[0]} tokens is not a number of blocks of block_size {block_size}",
                "set engine.block_size to a power of two, or leave it to the plugin (32)",
                engine_key(situation, "block_size"),
            )
        ]
    if prefill is None or prefill == segments:
        return []
    return [
        Remark(
            f"num_batched_tokens_buckets {prefill} must be {segments}: prompts are prefilled in segments of "
            f"{segments[0]} tokens, and a bucket is one segment",
            f"set num_batched_tokens_buckets: {segments}, or prefill prompts whole with "
            f"engine.max_num_batched_tokens: {length} and features.prefix_caching: false",
            neuron_key(situation, "num_batched_tokens_buckets"),
        )
    ]


@rule("native.segment-size", "error", _BUCKETS, backends=_NATIVE)
def segment_size(situation: Situation) -> Remark | None:
    """Prompts longer than one prefill are worked through in segments, and the kernel knows five sizes.

    Prompts are prefilled whole where `max_num_batched_tokens` reaches `max_model_len`, up to 16384 tokens.
    Segments are what vLLM calls chunked prefill: without it vLLM refuses them.
    """
    tokens, length = prefill_tokens(situation.engine), situation.engine.get("max_model_len")
    if (
        tokens is None
        or not isinstance(length, int)
        or "kv_segment_size_buckets" in neuron_settings(situation)
    ):
        return None
    key = engine_key(situation, "max_num_batched_tokens")
    if tokens < length and situation.engine.get("enable_chunked_prefill") is False:
        return Remark(
            f"chunked prefill is turned off, and prompts of max_model_len {length} are prefilled in segments "
            f"of {tokens} tokens",
            fix=f"remove it, or set engine.max_model_len to {SINGLE_SHOT_LENGTH} or less, all of it in "
            "engine.max_num_batched_tokens",
            key=engine_key(situation, "enable_chunked_prefill"),
        )
    if tokens < length:
        if tokens in SEGMENT_SIZES:
            return None
        return Remark(
            f"max_num_batched_tokens {tokens} is below max_model_len {length} and none of the sizes that "
            f"segmented prefill has: {_SIZES}",
            fix="set engine.max_num_batched_tokens to one of them",
            key=key,
        )
    if length <= SINGLE_SHOT_LENGTH:
        return None
    return Remark(
        f"max_model_len {length} cannot be prefilled whole: only up to {SINGLE_SHOT_LENGTH} tokens",
        fix=f"set engine.max_num_batched_tokens to one of {_SIZES}",
        key=key,
    )


@rule(
    "native.prefix-caching-single-shot",
    "error",
    f"{_RUNNER}; sdk:vllm-neuron/docs/model-recipes/qwen3-embedding-8b.md; pub:62095941065; pub:58037814155",
    backends=_NATIVE,
    covers=("native-segment-vs-apc",),
)
def prefix_caching_single_shot(situation: Situation) -> Remark | None:
    """Prefix caching wants prompts prefilled in segments; the plugin refuses to start otherwise.

    vLLM turns prefix caching on where nobody says anything. neuronctl turns it off where prompts are
    prefilled whole and nobody asks for it.
    """
    engine = situation.engine
    if engine.get("enable_prefix_caching") is False or "kv_segment_size_buckets" in neuron_settings(
        situation
    ):
        return None
    tokens, length = prefill_tokens(engine), engine.get("max_model_len")
    if tokens is None or not isinstance(length, int) or tokens < length:
        return None
    smaller = max((size for size in SEGMENT_SIZES if size < length), default=None)
    fix = "set features.prefix_caching: false"
    if smaller is not None:
        fix += f", or engine.max_num_batched_tokens: {smaller} for segments"
    return Remark(
        f"prefix caching needs segmented prefill, and prompts of max_model_len {length} are prefilled whole",
        fix=fix,
        key=engine_key(situation, "enable_prefix_caching"),
    )


@rule("native.prefill-buckets-one", "warning", _BUCKETS, backends=_NATIVE)
def prefill_buckets_one(situation: Situation) -> Remark | None:
    """With segmented prefill the segment is the one prefill bucket; others asked for are left out."""
    asked = situation.profile.shape.features.buckets.prefill
    if asked is None:
        return None
    compiled = neuron_settings(situation).get("num_batched_tokens_buckets")
    missing = [size for size in asked if not isinstance(compiled, list) or size not in compiled]
    if not missing:
        return None
    return Remark(
        f"features.buckets.prefill {', '.join(map(str, missing))}: not compiled; the prefill buckets are "
        f"{compiled}",
        fix="ask for one of the sizes of a segment "
        f"({_SIZES}), or prefill prompts whole: features.prefix_caching: false and buckets up to "
        "engine.max_model_len",
        key="features.buckets.prefill",
    )


@rule(
    "native.vision-prefix-caching",
    "warning",
    "sdk:vllm-neuron/docs/model-recipes/qwen3-vl.md (Known limitations)",
    backends=_NATIVE,
)
def vision_prefix_caching(situation: Situation) -> Remark | None:
    """AWS's recipe for Qwen3-VL says that segmented prefill and prefix caching are not supported yet."""
    if not situation.model.facts.is_multimodal:
        return None
    tokens, length = prefill_tokens(situation.engine), situation.engine.get("max_model_len")
    if tokens is None or not isinstance(length, int) or tokens >= length:
        return None
    return Remark(
        f"prompts with images are prefilled in segments of {tokens} tokens, which AWS's recipe for Qwen3-VL "
        "calls not supported",
        fix=f"set engine.max_num_batched_tokens: {length} and features.prefix_caching: false"
        + (
            ""
            if length <= SINGLE_SHOT_LENGTH
            else f", and engine.max_model_len to {SINGLE_SHOT_LENGTH} or less"
        ),
        key=engine_key(situation, "max_num_batched_tokens"),
    )


@rule(
    "native.kv-budget",
    "error",
    f"{_WORKER}; {_GUIDE} (Troubleshooting)",
    backends=_NATIVE,
    covers=("native-kv-budget",),
    forcible=True,
)
def kv_budget(situation: Situation) -> Remark | None:
    """The KV cache gets at most a share of the memory, and less where the weights leave less.

    Share: `VLLM_NEURON_KV_GMU_BUDGET_CAP_FRACTION` (0.30) of what `gpu_memory_utilization` grants. Below
    `VLLM_NEURON_MIN_KV_BUDGET_GIB` (1.0), or below what one sequence of `max_model_len` needs, the server
    stops after it has loaded the weights. Rests on the estimate of the weights.
    """
    outlook = situation.outlook
    if outlook is None or outlook.estimate is None or outlook.estimate.core_memory_bytes is None:
        return None
    granted = outlook.estimate.core_memory_bytes * _number(
        situation.engine.get("gpu_memory_utilization"), _UTILIZATION
    )
    amounts = {amount.name: amount.bytes for amount in outlook.estimate.per_core}
    weights, sequence = amounts["weights"] + amounts.get("draft", 0), amounts["KV cache"]
    if weights >= outlook.estimate.core_memory_bytes:
        return None  # The weights alone do not fit: the estimate says so.
    cap = _number(situation.environment.get(_CAP), KV_CAP_FRACTION)
    least = _number(situation.environment.get(_LEAST), LEAST_KV_GIB) * _GIB
    budget = max(min(granted - weights, granted * cap), 0)
    if situation.engine.get("num_gpu_blocks_override") is not None:
        sequence = 0
    if budget >= max(least, sequence):
        return None
    length = situation.engine.get("max_model_len")
    needs = f"the plugin wants {least / _GIB:.2f} GiB"
    if sequence > least:
        needs = f"one sequence of max_model_len {length} takes {sequence / _GIB:.2f} GiB"
    capped = granted * cap < granted - weights
    ways = [f"raise {_CAP} (now {cap:g})"] if capped else []
    if sequence > least or not capped:
        ways.append("raise engine.tensor_parallel_size")
    if sequence > least:
        ways.append("lower engine.max_model_len")
    return Remark(
        f"the KV cache gets {budget / _GIB:.2f} GiB of a core and {needs}: vLLM is granted "
        f"{granted / _GIB:.2f} GiB, of which weights take {weights / _GIB:.2f} GiB (estimated)",
        fix=", or ".join([*ways, "raise engine.gpu_memory_utilization"]),
        key=engine_key(situation, "tensor_parallel_size"),
    )


@rule("native.kv-cap-range", "error", _WORKER, backends=_NATIVE)
def kv_cap_range(situation: Situation) -> Remark | None:
    """The plugin refuses a share of the KV cache that is not above 0 and at most 1."""
    said = situation.environment.get(_CAP)
    if said is None:
        return None
    try:
        if 0 < float(said) <= 1:
            return None
    except ValueError:
        pass
    return Remark(
        f"{_CAP} is {said}, and must be a number above 0 and at most 1",
        fix=f"remove it for the plugin's own {KV_CAP_FRACTION}",
        key=variable_key(situation, _CAP),
    )


@rule(
    "native.kv-cap-high",
    "warning",
    f"{_GUIDE} (Troubleshooting)",
    backends=_NATIVE,
    covers=("native-evrf009",),
)
def kv_cap_high(situation: Situation) -> Remark | None:
    """A larger share for the KV cache can be too much for the compiler (NCC_EVRF009).

    AWS's guide lists a high cap among the causes, and its own example uses 0.35: it depends on the model.
    """
    said = situation.environment.get(_CAP)
    if said is None or not KV_CAP_FRACTION < _number(said, 0) <= 1:
        return None
    return Remark(
        f"{_CAP} is {said}, above the plugin's own {KV_CAP_FRACTION}: the compile may fail with NCC_EVRF009",
        fix="if it does, lower it, engine.gpu_memory_utilization, engine.max_model_len "
        "or engine.max_num_seqs",
        key=variable_key(situation, _CAP),
    )


def _sizes(settings: Mapping[str, object], key: str) -> list[int] | None:
    """A list of whole numbers; None for what is absent, or of another kind, which native.unknown-key says.

    A null that is said is an empty list to the plugin: it asks whether the key is there.
    """
    value = settings.get(key, False)
    if value is None:
        return []
    if not isinstance(value, list) or any(not isinstance(size, int) for size in value):
        return None
    return value


def _ascends(sizes: list[int]) -> bool:
    return bool(sizes) and sizes[0] > 0 and all(one < other for one, other in pairwise(sizes))


def _number(value: object, otherwise: float) -> float:
    try:
        return float(value) if isinstance(value, str | int | float) else otherwise
    except ValueError:
        return otherwise


RULES = (
    buckets,
    segment_size,
    prefix_caching_single_shot,
    prefill_buckets_one,
    vision_prefix_caching,
    kv_budget,
    kv_cap_range,
    kv_cap_high,
)
