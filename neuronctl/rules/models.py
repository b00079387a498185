"""Rules about single models on NxD Inference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from neuronctl.model.size import count_parameters
from neuronctl.rules.nxdi_refusals import find_prediction, find_refusal, name_plugin, text_settings
from neuronctl.rules.place import engine_key, neuron_key
from neuronctl.rules.rule import Remark, rule
from neuronctl.rules.situation import Situation
from neuronctl.stack.version import at_least, fits

_NXDI = ("nxdi",)
_NOTES = "sdk:release-notes/components/nxd-inference.rst"
_GUIDE = "sdk:libraries/nxd-inference/developer_guides/vllm-user-guide-v1.rst"

_BATCH = ("tkg_batch_size", "batch_size")
_PIXTRAL = "LlavaForConditionalGeneration"
_PIXTRAL_BATCH = 4
_PIXTRAL_BATCH_TRN2 = 32
_PIXTRAL_TOKENS = 10240
_QWEN3_MOE = "Qwen3MoeForCausalLM"
_QWEN3_MOE_BATCH = 16
_QWEN_VL = ("Qwen2VLForConditionalGeneration", "Qwen3VLForConditionalGeneration")
_QWEN_VL_TOKENS = 32768
_QWEN_VL_VISION_TOKENS = 16384
# Families that the release notes name, by the beginning of their architectures.
_HAD_SHARD_ON_HIDDEN = ("Llama4", "Mixtral", "Dbrx")
_TOP_K_BATCH = 4
# Architecture and billions of parameters of the models that the report names.
_FAIL_ON_INF2 = {"Qwen2ForCausalLM": 14, "Qwen3ForCausalLM": 8}


@rule(
    "model.pixtral-limits",
    "error",
    f"{_NOTES}:166 (2.27); {_GUIDE}, known issue 6; "
    "plugin020:V/worker/neuronx_distributed_model_loader.py:671-675; fork-infinity loader",
    backends=_NXDI,
    covers=("pixtral-limits",),
)
def pixtral_limits(situation: Situation) -> list[Remark] | None:
    """Pixtral goes up to 4 sequences and 10240 tokens, and not with plugins before 0.3.0.

    Above 4 sequences plugin 0.3.0 refuses it, and AWS's guide tells of accesses out of bounds. The release
    notes of SDK 2.28 state 32 sequences for Trn2; there it is a warning (model.pixtral-batch-disputed).
    """
    if situation.model.facts.architecture != _PIXTRAL:
        return None
    return list(_pixtral_faults(situation))


def _pixtral_faults(situation: Situation) -> Iterator[Remark]:
    refusal = find_refusal(situation, "pixtral-limits")
    if not at_least(situation.stack.versions.get("vllm-neuron"), "0.3"):
        said = refusal.message if refusal else ""
        yield Remark(
            f"{name_plugin(situation)} does not serve Pixtral: {said} (read in the code of 0.2.0)",
            fix="use vllm-neuron 0.3.0 or later (Neuron SDK 2.27.1)",
            key="model.id",
        )
        refusal = None
    batch = _batch(situation)
    limit, why = (
        _PIXTRAL_BATCH,
        refusal.message if refusal else "more are out of bounds, says AWS's vLLM guide",
    )
    if _claims_large_batch(situation):
        limit, why = _PIXTRAL_BATCH_TRN2, "what the release notes of SDK 2.28 state for Trn2"
    if batch > limit:
        name, key = _deciding(situation, "max_num_seqs", _BATCH)
        yield Remark(
            f"{batch} sequences at once are more than the {limit} that Pixtral can do here: {why}",
            fix=f"set {name} to {limit} or less",
            key=key,
        )
    length = max(_predicted(situation, "seq_len"), _whole(situation.engine.get("max_model_len")))
    if length > _PIXTRAL_TOKENS:
        name, key = _deciding(situation, "max_model_len", ("seq_len",))
        yield Remark(
            f"{length} tokens are more than the {_PIXTRAL_TOKENS} that Pixtral can do on NxD Inference",
            fix=f"set {name} to {_PIXTRAL_TOKENS} or less",
            key=key,
        )


@rule(
    "model.pixtral-batch-disputed",
    "warning",
    f"{_NOTES} (2.28, improvements); against it {_GUIDE}, known issue 6",
    backends=_NXDI,
    covers=("pixtral-limits",),
)
def pixtral_batch_disputed(situation: Situation) -> Remark | None:
    """AWS's pages differ about Pixtral with more than 4 sequences on Trn2.

    The release notes of SDK 2.28 state a batch of 32 there; AWS's vLLM guide still says that more than 4 are
    out of bounds.
    """
    if situation.model.facts.architecture != _PIXTRAL or not _claims_large_batch(situation):
        return None
    batch = _batch(situation)
    if not _PIXTRAL_BATCH < batch <= _PIXTRAL_BATCH_TRN2:
        return None
    name, key = _deciding(situation, "max_num_seqs", _BATCH)
    return Remark(
        f"Pixtral with {batch} sequences on Trn2: the release notes of SDK 2.28 state up to "
        f"{_PIXTRAL_BATCH_TRN2}, AWS's vLLM guide tells of accesses out of bounds above {_PIXTRAL_BATCH}",
        fix=f"set {name} to {_PIXTRAL_BATCH}, or compare the answers with those of {_PIXTRAL_BATCH}",
        key=key,
    )


@rule("model.qwen3-moe-batch", "error", f"{_NOTES}:105 (2.28)", backends=_NXDI, covers=("qwen3-moe-batch",))
def qwen3_moe_batch(situation: Situation) -> Remark | None:
    """With SDK 2.28 mixtures of the Qwen3 family are supported from a batch of 16 on only."""
    if situation.model.facts.architecture != _QWEN3_MOE or not fits(_nxdi(situation), "0.8"):
        return None
    batch = _batch(situation)
    if batch >= _QWEN3_MOE_BATCH:
        return None
    name, key = _deciding(situation, "max_num_seqs", _BATCH)
    return Remark(
        f"a batch of {batch}: SDK 2.28 (NxD Inference {_nxdi(situation)}) supports Qwen3 MoE from "
        f"{_QWEN3_MOE_BATCH} on only",
        fix=f"set {name} to {_QWEN3_MOE_BATCH} or more",
        key=key,
    )


@rule(
    "model.qwen3-moe-235b-slow",
    "warning",
    f"{_NOTES}:75 (2.29)",
    backends=_NXDI,
    covers=("qwen3-moe-235b-slow",),
)
def qwen3_moe_235b_slow(situation: Situation) -> Remark | None:
    """Qwen3 MoE 235B may decode slower with SDK 2.29 than before."""
    if situation.model.facts.architecture != _QWEN3_MOE or not fits(_nxdi(situation), "0.9"):
        return None
    if _billions(situation) != 235:
        return None
    return Remark(
        f"with SDK 2.29 (NxD Inference {_nxdi(situation)}) Qwen3 MoE 235B may decode slower than before, say "
        "its release notes",
        fix="use SDK 2.28 where the speed of decoding matters",
        key="model.id",
    )


@rule(
    "model.qwen-vl-limits",
    "error",
    f"{_NOTES}:106-107 (2.28)",
    backends=_NXDI,
    covers=("qwen-vl-limits",),
)
def qwen_vl_limits(situation: Situation) -> list[Remark] | None:
    """What SDK 2.28 supports of Qwen2-VL and Qwen3-VL.

    One prompt at a time in the vision encoder, and no videos; for Qwen3-VL up to 32768 tokens, of which up to
    16384 are of images.
    """
    architecture = situation.model.facts.architecture
    if architecture not in _QWEN_VL or not fits(_nxdi(situation), "0.8"):
        return None
    return list(_qwen_vl_faults(situation, architecture))


def _qwen_vl_faults(situation: Situation, architecture: str) -> Iterator[Remark]:
    vision = situation.outlook.settings.get("vision_neuron_config") if situation.outlook else None
    vision = vision if isinstance(vision, Mapping) else {}
    if (batch := _whole(vision.get("batch_size"))) > 1:
        yield Remark(
            f"a batch of {batch} in the vision encoder: SDK 2.28 supports 1 for Qwen-VL",
            fix="set neuron.vision_neuron_config.batch_size to 1",
            key=neuron_key(situation, "vision_neuron_config.batch_size"),
        )
    limits = situation.engine.get("limit_mm_per_prompt")
    if isinstance(limits, Mapping) and limits.get("video"):
        yield Remark(
            f"{limits['video']} videos in a prompt: SDK 2.28 supports no videos for Qwen-VL",
            fix="set engine.limit_mm_per_prompt.video to 0",
            key=engine_key(situation, "limit_mm_per_prompt"),
        )
    if architecture != "Qwen3VLForConditionalGeneration":
        return
    length = max(_predicted(situation, "seq_len"), _whole(situation.engine.get("max_model_len")))
    if length > _QWEN_VL_TOKENS:
        name, key = _deciding(situation, "max_model_len", ("seq_len",))
        yield Remark(
            f"{length} tokens: SDK 2.28 supports {_QWEN_VL_TOKENS} for Qwen3-VL, text and images together",
            fix=f"set {name} to {_QWEN_VL_TOKENS} or less",
            key=key,
        )
    if (tokens := _whole(vision.get("seq_len"))) > _QWEN_VL_VISION_TOKENS:
        yield Remark(
            f"{tokens} tokens in the vision encoder: SDK 2.28 supports {_QWEN_VL_VISION_TOKENS} for Qwen3-VL",
            fix=f"set neuron.vision_neuron_config.seq_len to {_QWEN_VL_VISION_TOKENS} or less",
            key=neuron_key(situation, "vision_neuron_config.seq_len"),
        )


@rule(
    "model.moe-kernel-removed",
    "warning",
    f"{_NOTES}:62 (2.29)",
    backends=_NXDI,
    covers=("moe-shard-on-hidden-removed",),
)
def moe_kernel_removed(situation: Situation) -> Remark | None:
    """SDK 2.29 removed a kernel that made prefill of Llama 4, Mixtral and DBRX faster."""
    architecture = situation.model.facts.architecture
    if not architecture.startswith(_HAD_SHARD_ON_HIDDEN) or not at_least(_nxdi(situation), "0.9"):
        return None
    return Remark(
        f"{architecture} with NxD Inference {_nxdi(situation)}: SDK 2.29 removed the shard-on-hidden kernel "
        "of its prefill, which may be slower without",
        fix="use SDK 2.28 where the speed of prefill matters, as the release notes say",
        key="model.id",
    )


@rule(
    "model.top-k-kernel-off",
    "warning",
    f"{_NOTES}:72 (2.29)",
    backends=_NXDI,
    covers=("topk-kernel-accuracy",),
)
def top_k_kernel_off(situation: Situation) -> Remark | None:
    """SDK 2.29 has a known problem of accuracy at batches up to 4 when the top-K kernel is off.

    It is on unless the profile says otherwise, except on Trn1 and Inf2, where NxD Inference leaves it off.
    """
    prediction = find_prediction(situation)
    sampling = prediction.neuron_config.get("on_device_sampling_config") if prediction else None
    if not isinstance(sampling, Mapping) or sampling.get("top_k_kernel_enabled") is not False:
        return None
    batch = _batch(situation)
    if batch > _TOP_K_BATCH or not fits(_nxdi(situation), "0.9"):
        return None
    instance = situation.machine.instance
    is_off_by_default = instance is not None and instance.hardware == "TRN1"
    return Remark(
        f"a batch of {batch} without the top-K kernel (top_k_kernel_enabled is false): SDK 2.29 has a known "
        f"problem of accuracy at batches up to {_TOP_K_BATCH}",
        fix="use SDK 2.28 on this instance"
        if is_off_by_default
        else "leave top_k_kernel_enabled out of on_device_sampling_config",
        key=neuron_key(situation, "on_device_sampling_config"),
    )


@rule(
    "model.llama-70b-on-trn1",
    "warning",
    "gh:vllm-project/vllm-neuron#16",
    backends=_NXDI,
    covers=("llama70b-trn1-cte",),
)
def llama_70b_on_trn1(situation: Situation) -> Remark | None:
    """Llama 70B was reported not to compile on Trn1 with NxD Inference 0.7.

    The compiler fails on the graphs of prefill ([NCC_INLA001] type must be boolean, but is null). A
    maintainer answered that the attention kernel of prefill is not supported on Trn1, and to use Trn2.
    """
    instance = situation.machine.instance
    if instance is None or instance.family not in ("trn1", "trn1n"):
        return None
    if situation.model.facts.architecture != "LlamaForCausalLM" or not fits(_nxdi(situation), "0.7"):
        return None
    if _billions(situation) != 70:
        return None
    return Remark(
        f"Llama 70B on {instance.name} with NxD Inference {_nxdi(situation)}: compiles were reported to fail "
        "with NCC_INLA001 (type must be boolean, but is null), whatever the length",
        fix="use Trn2 with a later SDK, as a maintainer of the plugin says",
        key="model.id",
    )


@rule(
    "model.qwen-on-inf2",
    "warning",
    "gh:aws-neuron/aws-neuron-sdk#1303",
    backends=_NXDI,
    covers=("inf2-qwen-match-replace8",),
)
def qwen_on_inf2(situation: Situation) -> Remark | None:
    """Qwen2.5 14B and Qwen3 8B were reported not to compile for Inf2 with SDK 2.28.

    The compiler fails on the graph of token generation ([NCC_IXCG856] MATCH_REPLACE8). Qwen2.5 7B compiles.
    """
    instance, billions = situation.machine.instance, _FAIL_ON_INF2.get(situation.model.facts.architecture)
    if billions is None or instance is None or instance.family != "inf2":
        return None
    if not fits(_nxdi(situation), "0.8") or _billions(situation) != billions:
        return None
    return Remark(
        f"{situation.model.id} on {instance.name} with SDK 2.28: compiles of Qwen2.5 14B and Qwen3 8B for "
        "Inf2 were reported to fail with NCC_IXCG856 (MATCH_REPLACE8)",
        fix="no remedy is known; use Trn2, or Qwen2.5 7B, which was reported to compile",
        key="model.id",
    )


@rule(
    "model.llama4-fused-moe",
    "warning",
    "gh:vllm-project/vllm-neuron#11",
    backends=_NXDI,
    covers=("llama4-moe-fused",),
)
def llama4_fused_moe(situation: Situation) -> Remark | None:
    """Llama 4 with images was reported to fail in the fused MoE kernel with plugin 0.3, on Trn1n and Trn2."""
    if not situation.model.facts.architecture.startswith("Llama4"):
        return None
    instance, plugin = situation.machine.instance, situation.stack.versions.get("vllm-neuron", "")
    if instance is None or instance.family not in ("trn1n", "trn2") or not fits(plugin, "0.3"):
        return None
    return Remark(
        f"Llama 4 on {instance.name} with {name_plugin(situation)}: a crash of the fused MoE kernel was "
        "reported",
        fix="see vllm-project/vllm-neuron issue 11; whether a later plugin is free of it is not recorded",
        key="model.id",
    )


@rule(
    "model.mllama-fused-qkv",
    "warning",
    "gh:aws-neuron/neuronx-distributed-inference#4",
    backends=_NXDI,
    covers=("mllama-fused-qkv",),
)
def mllama_fused_qkv(situation: Situation) -> Remark | None:
    """Checkpoints of Llama 3.2 Vision have no fused QKV weights, which fused_qkv looks for.

    Seen with SDK 2.22 as a KeyError that names qkv_proj.Wqkv.weight.
    """
    if situation.model.facts.architecture != "MllamaForConditionalGeneration":
        return None
    prediction = find_prediction(situation)
    if prediction is None or not prediction.neuron_config.get("fused_qkv"):
        return None
    return Remark(
        "fused_qkv is true, and the checkpoint of Llama 3.2 Vision has no such weights (a KeyError for "
        "qkv_proj.Wqkv.weight with SDK 2.22)",
        fix="set neuron.fused_qkv to false",
        key=neuron_key(situation, "fused_qkv"),
    )


def _nxdi(situation: Situation) -> str:
    """The version of NxD Inference: 0.7 is SDK 2.27's, 0.8 SDK 2.28's, 0.9 SDK 2.29's (compat.yaml)."""
    return situation.stack.versions.get("neuronx-distributed-inference", "")


def _claims_large_batch(situation: Situation) -> bool:
    instance = situation.machine.instance
    is_trn2 = instance is not None and instance.family == "trn2"
    return is_trn2 and at_least(situation.stack.versions.get("vllm-neuron"), "0.4")


def _batch(situation: Situation) -> int:
    """The largest batch that is compiled, as the plugin's own check of Pixtral takes it."""
    return max(_predicted(situation, name) for name in _BATCH) or _whole(situation.engine.get("max_num_seqs"))


def _predicted(situation: Situation, name: str) -> int:
    prediction = find_prediction(situation)
    return _whole(prediction.neuron_config.get(name)) if prediction else 0


def _deciding(situation: Situation, argument: str, settings: tuple[str, ...]) -> tuple[str, str | None]:
    """What decides a number, and where the profile says it.

    One of the Neuron `settings` wins over vLLM's `argument`; where a model takes images it stands one level
    deeper.
    """
    said = text_settings(situation)
    for name in settings:
        if name in said:
            nested = situation.outlook is not None and name not in situation.outlook.settings
            path = f"text_neuron_config.{name}" if nested else name
            return f"neuron.{path}", neuron_key(situation, path)
    return f"engine.{argument}", engine_key(situation, argument)


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _billions(situation: Situation) -> int | None:
    """Parameters by the name that such a model goes by: 8 for 8.2 billion."""
    counted = count_parameters(situation.model.config)
    return counted.total // 10**9 if counted else None


RULES = (
    pixtral_limits,
    pixtral_batch_disputed,
    qwen3_moe_batch,
    qwen3_moe_235b_slow,
    qwen_vl_limits,
    moe_kernel_removed,
    top_k_kernel_off,
    llama_70b_on_trn1,
    qwen_on_inf2,
    llama4_fused_moe,
    mllama_fused_qkv,
)
