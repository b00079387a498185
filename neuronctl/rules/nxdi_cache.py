"""Rules about NxD Inference's KV cache: layout, blocks, prefix caching, chunked prefill, buckets."""

from __future__ import annotations

import math

from neuronctl.neuron.checks import refuses_block_layout
from neuronctl.neuron.prediction import Prediction
from neuronctl.rules.nxdi_refusals import find_prediction, find_refusal, name_plugin, text_key, text_settings
from neuronctl.rules.place import engine_key, feature_is_said, neuron_key
from neuronctl.rules.rule import Remark, rule
from neuronctl.rules.situation import Situation
from neuronctl.stack.version import at_least

_NXDI = ("nxdi",)
_LOADER = "plugin020:V/worker/neuronx_distributed_model_loader.py"
_GUIDE = "sdk:libraries/nxd-inference/developer_guides/vllm-user-guide-v1.rst"
_SCHEDULER = "DISABLE_NEURON_CUSTOM_SCHEDULER"


@rule(
    "nxdi.num-gpu-blocks-override",
    "error",
    f"{_GUIDE}:603-606; plugin020:README.md Known Issues 2",
    backends=_NXDI,
    covers=("num-gpu-blocks-override",),
)
def num_gpu_blocks_override(situation: Situation) -> Remark | None:
    """vLLM and the compiled model must count the same blocks of the KV cache.

    In the contiguous layout one block holds a whole sequence, so there are exactly max_num_seqs. With prefix
    caching or chunked prefill at least ceil(max_model_len / block_size) x max_num_seqs are needed. Other
    numbers give errors or wrong answers. neuronctl computes the number where none is said.
    """
    prediction = find_prediction(situation)
    if prediction is None or not isinstance(counted := prediction.engine["num_gpu_blocks_override"], int):
        return None
    blocks = counted - 1  # the plugin has added its null block
    names = ("max_num_seqs", "max_model_len", "block_size")
    sequences, length, block = (prediction.engine[name] for name in names)
    key = engine_key(situation, "num_gpu_blocks_override")
    if find_refusal(situation, "num-gpu-blocks-override") is not None:
        needed = math.ceil(int(str(length)) / int(str(block))) * int(str(sequences))
        twin = "; remove pa_num_blocks" if "pa_num_blocks" in text_settings(situation) else ""
        return Remark(
            f"{blocks} blocks of {block} tokens do not hold {sequences} sequences of {length} tokens: "
            f"{name_plugin(situation)} wants at least {needed}",
            fix=f"set engine.num_gpu_blocks_override: {needed}, or leave it out{twin}",
            key=key,
        )
    is_block_layout = prediction.neuron_config.get("is_block_kv_layout", True)
    # Where prefix caching or chunked prefill is asked for and fails, that is told, not its blocks.
    is_asked = prediction.engine["enable_prefix_caching"] or situation.engine.get("enable_chunked_prefill")
    if is_block_layout or is_asked or blocks == sequences:
        return None
    return Remark(
        f"num_gpu_blocks_override {blocks} with the contiguous KV layout: one block holds a sequence, so it "
        f"must be max_num_seqs, {sequences}",
        fix=f"set engine.num_gpu_blocks_override: {sequences}, or leave it out",
        key=key,
    )


@rule(
    "nxdi.pa-blocks-mismatch",
    "error",
    f"{_LOADER}:796-829; {_GUIDE}:603-606",
    backends=_NXDI,
    covers=("pa-blocks-mismatch",),
)
def pa_blocks_mismatch(situation: Situation) -> Remark | None:
    """`pa_num_blocks` of the Neuron config and num_gpu_blocks_override of vLLM are one number, said twice.

    With the block KV layout the plugin refuses two that differ, or the first without the second. Leave both
    out: neuronctl computes them.
    """
    settings = text_settings(situation)
    if "pa_num_blocks" not in settings:
        return None
    stated, blocks = settings["pa_num_blocks"], situation.engine.get("num_gpu_blocks_override")
    if stated == blocks:
        return None
    shape = situation.profile.shape.engine
    twin = f"num_gpu_blocks_override is {blocks}"
    if blocks is None:
        twin = "num_gpu_blocks_override is not set"
    elif shape.num_gpu_blocks_override is None and not shape.extra:
        twin = f"its twin num_gpu_blocks_override is not in the profile, and is {blocks}"
    prediction, twin_fix = find_prediction(situation), ""
    if prediction is not None and _suits_layout(prediction, stated):
        twin_fix = f", or set engine.num_gpu_blocks_override: {stated} as well"
    return Remark(
        f"pa_num_blocks is {stated}, and {twin}: vLLM and the compiled model would count different blocks",
        fix=f"remove pa_num_blocks{twin_fix}",
        key=neuron_key(situation, "pa_num_blocks"),
    )


def _suits_layout(prediction: Prediction, blocks: object) -> bool:
    """Whether vLLM may be told this number of blocks, which nxdi.num-gpu-blocks-override would refuse."""
    sequences, length, block = (
        prediction.engine[name] for name in ("max_num_seqs", "max_model_len", "block_size")
    )
    if not prediction.neuron_config.get("is_block_kv_layout"):
        return blocks == sequences
    if not isinstance(blocks, int) or not isinstance(block, int):
        return False
    return blocks >= math.ceil(int(str(length)) / block) * int(str(sequences))


@rule(
    "nxdi.blocks-rounding",
    "error",
    f"{_LOADER}:741-747,845-859",
    backends=_NXDI,
    covers=("blocks-rounding",),
)
def blocks_rounding(situation: Situation) -> Remark | None:
    """Without num_gpu_blocks_override the plugin divides max_model_len by block_size and drops the rest.

    Where the length is no multiple of the block it then has one block too few for each sequence, and its own
    check stops the start.
    """
    refusal = find_refusal(situation, "blocks-rounding")
    prediction = find_prediction(situation)
    if refusal is None or prediction is None:
        return None
    length, block = prediction.engine["max_model_len"], prediction.engine["block_size"]
    return Remark(
        f"max_model_len {length} is no multiple of block_size {block} and num_gpu_blocks_override is not "
        f"set: {refusal.message}",
        fix="leave num_gpu_blocks_override to neuronctl, or make the length a multiple of the block",
        key=engine_key(situation, "num_gpu_blocks_override"),
    )


@rule(
    "nxdi.prefix-caching-default",
    "error",
    "plugin020:V/platform.py:203-210",
    backends=_NXDI,
    covers=("prefix-caching-default",),
)
def prefix_caching_default(situation: Situation) -> Remark | None:
    """Prefix caching is on by default in vLLM, and then the plugin wants a block size.

    neuronctl turns it off where nobody asks for it, and gives a block size where somebody does.
    """
    refusal = find_refusal(situation, "prefix-caching-default")
    if refusal is None:
        return None
    return Remark(
        "prefix caching is on and there is no block_size: the plugin stops with "
        '"When prefix caching is enabled, block_size must be set."',
        fix="set engine.block_size: 32, or features.prefix_caching: false",
        key=engine_key(situation, "block_size"),
    )


@rule(
    "nxdi.prefix-caching-batch-1",
    "error",
    "plugin020:README.md Known Issues 3",
    backends=_NXDI,
    covers=("prefix-caching-batch1",),
)
def prefix_caching_batch_1(situation: Situation) -> Remark | None:
    """Prefix caching with one sequence gives wrong answers (plugin 0.2.0).

    The README of plugin 0.2.0 says so. No later version is known to have it mended.
    """
    prediction = find_prediction(situation)
    if prediction is None or prediction.engine["max_num_seqs"] != 1:
        return None
    if not prediction.engine["enable_prefix_caching"]:
        return None
    version = situation.stack.versions.get("vllm-neuron", "")
    later = f"; it is not known to be mended in {version}" if at_least(version, "0.3") else ""
    return Remark(
        f"prefix caching with max_num_seqs 1 gives wrong answers, says the README of plugin 0.2.0{later}",
        fix="set engine.max_num_seqs: 2 or more, or features.prefix_caching: false",
        key=engine_key(situation, "max_num_seqs"),
    )


@rule(
    "nxdi.prefix-bucket-overflow",
    "warning",
    "sdk:libraries/nxd-inference/developer_guides/feature-guide.rst:985-996; "
    "nxdi:M/models/model_wrapper.py:1043; AWS's tutorial for prefix caching with Llama 3.3 70B",
    backends=_NXDI,
    covers=("prefix-bucket-overflow",),
)
def prefix_bucket_overflow(situation: Situation) -> Remark | None:
    """A cached prefix that is longer than the largest prefix bucket ends the engine while it serves.

    The rest of a prompt takes the smallest prefill bucket that holds it, so a prefix can be as long as
    max_model_len less the smallest prefill bucket. A warning, because AWS's tutorial serves 8192 tokens with
    prefix buckets up to 2048, which holds as long as no more of a prompt is cached.
    """
    prediction = find_prediction(situation)
    if prediction is None or not prediction.neuron_config.get("is_prefix_caching"):
        return None
    prefixes = prediction.neuron_config.get("prefix_buckets")
    sizes = prediction.neuron_config.get("context_encoding_buckets")
    if not isinstance(prefixes, list) or not isinstance(sizes, list):
        return None
    length, largest, smallest = int(str(prediction.engine["max_model_len"])), max(prefixes), min(sizes)
    if largest >= length - smallest:
        return None
    return Remark(
        f"the largest of prefix_buckets is {largest}, and a prefix may be {length - smallest} tokens long "
        f"(max_model_len {length} less the smallest prefill bucket {smallest})",
        fix=f"add {length - smallest} to prefix_buckets",
        key=neuron_key(situation, "prefix_buckets"),
    )


@rule(
    "nxdi.buckets-too-short",
    "warning",
    "nxdi:M/models/model_wrapper.py:771-778; nxdi:M/modules/autobucketing.py",
    backends=_NXDI,
)
def buckets_too_short(situation: Situation) -> list[Remark] | None:
    """What is longer than the largest bucket has no graph, and fails while the server runs.

    Prefill buckets want to end at the longest prompt (max_model_len, or max_context_length where it is set),
    decode buckets at max_model_len. A warning, because it holds as long as no request is that long.
    """
    settings = text_settings(situation)
    if not ("context_encoding_buckets" in settings or "token_generation_buckets" in settings):
        return None
    prediction = find_prediction(situation)
    if prediction is None or not prediction.neuron_config.get("enable_bucketing"):
        return None
    config = prediction.neuron_config
    ends = [("token_generation_buckets", "max_length", "decode")]
    if config.get("chunked_prefill_config") is None:  # its buckets are pairs, of pieces of a prompt
        ends.append(("context_encoding_buckets", "max_context_length", "prefill"))
    found = []
    for name, limit, feature in ends:
        sizes, longest = config.get(name), config.get(limit)
        if not isinstance(sizes, list) or not isinstance(longest, int) or max(sizes) >= longest:
            continue
        said = feature_is_said(situation, f"features.buckets.{feature}")
        what = "a prompt" if feature == "prefill" else "a request"
        found.append(
            Remark(
                f"the largest of {name} is {max(sizes)}, and {what} may be {longest} tokens long: what is "
                "longer than the bucket fails",
                fix=f"add {longest} to the {feature} buckets, or set engine.max_model_len to {max(sizes)}",
                key=f"features.buckets.{feature}" if said else text_key(situation, name),
            )
        )
    return found or None


@rule(
    "nxdi.prefix-buckets-none",
    "error",
    "nxdi:M/modules/autobucketing.py",
    backends=_NXDI,
    covers=("prefix-buckets-none",),
)
def prefix_buckets_none(situation: Situation) -> Remark | None:
    """With prefix caching, prefill buckets of your own want prefix buckets of your own.

    NxD Inference puts both into one list, and fails where the second is missing.
    """
    refusal = find_refusal(situation, "prefix-buckets-none")
    if refusal is None:
        return None
    said = feature_is_said(situation, "features.buckets.prefill")
    sizes = text_settings(situation).get("context_encoding_buckets")
    return Remark(
        f"prefill buckets {sizes} with prefix caching and no prefix_buckets: {refusal.error}: "
        f"{refusal.message}",
        fix="set neuron.prefix_buckets as well, or leave both to NxD Inference",
        key="features.buckets.prefill" if said else neuron_key(situation, "context_encoding_buckets"),
    )


@rule(
    "nxdi.prefix-caching-trn1-compiler",
    "warning",
    "gh:aws-neuron/aws-neuron-sdk#1304",
    backends=_NXDI,
    covers=("prefix-caching-trn1-compiler",),
)
def prefix_caching_trn1_compiler(situation: Situation) -> Remark | None:
    """The compiler was reported to fail on Trainium1 with prefix caching.

    One report, of plugin 0.5.0 with neuronx-cc 2.23 on trn1.32xlarge: NCC_ITEN404. Other versions and
    Inferentia2, which is compiled by the same part, are not known to differ.
    """
    instance, prediction = situation.machine.instance, find_prediction(situation)
    if instance is None or instance.hardware != "TRN1" or prediction is None:
        return None
    if not prediction.engine["enable_prefix_caching"]:
        return None
    compiler = situation.stack.versions.get("neuronx-cc", "of an unknown version")
    return Remark(
        "prefix caching is reported to fail in the compiler (NCC_ITEN404) with plugin 0.5.0 and neuronx-cc "
        f"2.23 on trn1.32xlarge; this is {instance.name} with neuronx-cc {compiler}",
        fix="set features.prefix_caching: false, or use trn2",
        key=engine_key(situation, "enable_prefix_caching"),
    )


@rule(
    "nxdi.chunked-prefill",
    "error",
    f"{_GUIDE}:602; plugin020:README.md Known Issues 1; {_LOADER}:841-843; plugin020:V/platform.py:168-183",
    backends=_NXDI,
    covers=("chunked-prefill",),
)
def chunked_prefill(situation: Situation) -> Remark | None:
    """Chunked prefill wants vLLM's own scheduler, a block size and a chunked_prefill_config.

    The plugin's own scheduler turns it off without an error; DISABLE_NEURON_CUSTOM_SCHEDULER=1 takes vLLM's
    instead, which has chunked prefill on unless told otherwise. `features.chunked_prefill: true` sets all of
    it.
    """
    prediction = find_prediction(situation)
    if prediction is None:
        return None
    asked = situation.engine.get("enable_chunked_prefill") is True
    scheduler = situation.engine.get("scheduler_cls")
    if asked and not prediction.engine["enable_chunked_prefill"]:
        said = situation.environment.get(_SCHEDULER, "not set")
        return Remark(
            "chunked prefill together with the plugin's own scheduler, which turns it off without a word "
            f"({_SCHEDULER} is {said})",
            fix=f'set env.{_SCHEDULER}: "1", or features.chunked_prefill: false',
            key=_scheduler_key(situation),
        )
    if asked and isinstance(scheduler, str) and "ContinuousBatchingNeuronScheduler" in scheduler:
        return Remark(
            f"chunked prefill together with the scheduler {scheduler}, which has none",
            fix="remove engine.scheduler_cls, or set features.chunked_prefill: false",
            key=engine_key(situation, "scheduler_cls"),
        )
    refusal = find_refusal(situation, "chunked-prefill")
    if refusal is None or any(refuses_block_layout(one) for one in prediction.refusals):
        return None
    why = refusal.message.rpartition("\n  ")[2]
    fix = "set features.chunked_prefill: true, which sets all that it wants, or remove the variable"
    if situation.model.facts.is_multimodal:
        fix = "set features.chunked_prefill: false; no model that takes images has it"
    elif not why and situation.profile.shape.features.chunked_prefill:
        fix = "leave is_block_kv_layout and chunked_prefill_config out: features.chunked_prefill sets both"
    if not why:
        missing = "is_block_kv_layout is false"
        if not text_settings(situation).get("chunked_prefill_config"):
            missing = "there is no chunked_prefill_config"
        why = f"chunked prefill is on and {missing}: {refusal.error} without a text"
    return Remark(
        f"{_SCHEDULER} is {situation.environment.get(_SCHEDULER, 'not set')}: {why}",
        fix=fix,
        key=_scheduler_key(situation),
    )


def _scheduler_key(situation: Situation) -> str | None:
    if _SCHEDULER in situation.profile.shape.env:
        return f"env.{_SCHEDULER}"
    return engine_key(situation, "enable_chunked_prefill")


RULES = (
    prefix_caching_default,
    prefix_caching_batch_1,
    num_gpu_blocks_override,
    pa_blocks_mismatch,
    blocks_rounding,
    prefix_buckets_none,
    prefix_bucket_overflow,
    buckets_too_short,
    chunked_prefill,
    prefix_caching_trn1_compiler,
)
