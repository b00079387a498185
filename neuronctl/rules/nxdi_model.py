"""Rules about what NxD Inference makes of a model: architecture, heads, kernels, settings for images."""

from __future__ import annotations

from neuronctl.neuron.architectures import supported
from neuronctl.neuron.heads import PADDED_AS_DOCUMENTED, shard_heads
from neuronctl.rules.degrees import good_degrees, in_words
from neuronctl.rules.nxdi_refusals import find_refusal, name_plugin, text_settings
from neuronctl.rules.place import engine_key, neuron_key
from neuronctl.rules.rule import Remark, rule
from neuronctl.rules.situation import Situation

_NXDI = ("nxdi",)
_LOADER = "plugin020:V/worker/neuronx_distributed_model_loader.py"
# The newest native plugin that is known; only its list of models matters here.
_NATIVE = "0.24.0.1.1.0"
_MOST_CORES = 64
_HEADS = (
    "sdk:libraries/nxd-inference/developer_guides/feature-guide.rst:145-146; nxdi:M/modules/attention/gqa.py"
)


@rule("nxdi.unsupported-arch", "error", f"{_LOADER}:656-659", backends=_NXDI, covers=("unsupported-arch",))
def unsupported_arch(situation: Situation) -> Remark | None:
    """NxD Inference has no model for this architecture, or the plugin does not map to it.

    The plugin goes by the first of `architectures` in config.json. Which models the native plugin has is
    derived from its documentation.
    """
    if find_refusal(situation, "unsupported-arch") is None:
        return None
    architecture = situation.model.facts.architecture
    plugin = situation.stack.versions.get("vllm-neuron", "")
    support = supported(architecture, plugin)
    fix = "choose another model: no plugin is known to have it"
    if support.since is not None:
        fix = f"use vllm-neuron {support.since} or later"
    elif supported(architecture, _NATIVE).ok:
        fix = f"use the native plugin, vllm-neuron {_NATIVE} on trn2"
    return Remark(
        f"{name_plugin(situation)} has no model for {architecture}: {support.note}", fix=fix, key="model.id"
    )


@rule(
    "nxdi.head-divisibility",
    "error",
    "measured with 9 heads (3 KV) at TP 2; nxdi:M/modules/attention/gqa.py; plugin020:V/platform.py:57-84",
    backends=_NXDI,
    covers=("head-divisibility",),
)
def head_divisibility(situation: Situation) -> Remark | None:
    """Tensor parallelism that neither divides the KV heads nor is divided by them fails while weights load.

    The plugin turns vLLM's own check off. Measured once; for other numbers it follows from the same code.
    """
    heads = situation.outlook.heads if situation.outlook else None
    if heads is None or not heads.crashes:
        return None
    refusal = find_refusal(situation, "head-divisibility")
    said = f" ({refusal.error}: {refusal.message})" if refusal and refusal.message else ""
    return Remark(
        f"{heads.why}{said}",
        fix=f"set engine.tensor_parallel_size to {_even_degrees(situation)}",
        key=engine_key(situation, "tensor_parallel_size"),
    )


@rule(
    "nxdi.heads-padded",
    "error",
    _HEADS,
    backends=_NXDI,
    covers=("head-divisibility",),
    forcible=True,
)
def heads_padded(situation: Situation) -> Remark | None:
    """Tensor parallelism that does not divide the attention heads makes NxD Inference pad them.

    AWS's guide wants a degree that divides the heads. By its code (not run) NxD Inference adds heads of
    zeros instead: every core works on them for each token, and holds their weights. Choose another degree;
    `--force` accepts the cost.
    """
    if situation.model.facts.architecture in PADDED_AS_DOCUMENTED:
        return None
    if (message := _padding_costs(situation)) is None:
        return None
    return Remark(
        message,
        fix=f"set engine.tensor_parallel_size to {_even_degrees(situation)}",
        key=engine_key(situation, "tensor_parallel_size"),
    )


@rule(
    "nxdi.heads-padded-as-documented",
    "warning",
    f"{_HEADS}; AWS's tutorials for Llama 4 and Pixtral; fork-infinity:test/e2e/offline/test_offline_e2e.py",
    backends=_NXDI,
)
def heads_padded_as_documented(situation: Situation) -> Remark | None:
    """The heads of Llama 4 and Pixtral Large are not divided by the degree that AWS runs them with.

    AWS's own tutorials and the plugin's tests take 64 for 40 and for 96 heads. What it costs is told.
    """
    if situation.model.facts.architecture not in PADDED_AS_DOCUMENTED:
        return None
    message = _padding_costs(situation)
    return Remark(message, key=engine_key(situation, "tensor_parallel_size")) if message else None


def _padding_costs(situation: Situation) -> str | None:
    """What padding costs, in words; None where nothing is padded, or where it fails altogether."""
    heads = situation.outlook.heads if situation.outlook else None
    if heads is None or heads.crashes or not heads.wasted_fraction:
        return None
    return f"{heads.why}, on each core and for each token; AWS's guide wants a degree that divides the heads"


def _even_degrees(situation: Situation) -> str:
    """The degrees at which nothing is padded and nothing fails, as many as there are cores, in words."""
    # Among the good ones of a model that AWS pads are those that pad.
    if situation.model.facts.architecture not in PADDED_AS_DOCUMENTED and (good := good_degrees(situation)):
        return good
    facts, outlook = situation.model.facts, situation.outlook
    heads, kv_heads = facts.attention_heads or 1, facts.kv_heads or 1
    cores = len(outlook.granted) if outlook and outlook.granted else _MOST_CORES
    degrees = [degree for degree in range(1, min(heads, cores) + 1) if heads % degree == 0]
    return in_words([degree for degree in degrees if not shard_heads(heads, kv_heads, degree).crashes])


@rule(
    "nxdi.multimodal-flat-keys",
    "error",
    f"{_LOADER}:903-910",
    backends=_NXDI,
)
def multimodal_flat_keys(situation: Situation) -> Remark | None:
    """A model that takes images has two Neuron configs, one for text and one for vision.

    The plugin allows nothing beside text_neuron_config and vision_neuron_config, and stops at any other key.
    """
    outlook = situation.outlook
    if find_refusal(situation, "multimodal-flat-keys") is None or outlook is None:
        return None
    allowed = ("text_neuron_config", "vision_neuron_config")
    beside = ("lora_ckpt_json", "target_modules") if situation.engine.get("enable_lora") is True else ()
    flat = [name for name in outlook.settings if name not in (*allowed, *beside)] or ["max_prompt_length"]
    nearest = {fault.path.rpartition(".")[2]: fault.nearest for fault in outlook.key_faults}
    meant = nearest.get(flat[0]) or flat[0]
    fix = f"write {meant}" if meant in allowed else f"put it under neuron.text_neuron_config: {{{meant}: …}}"
    return Remark(
        f"{', '.join(flat)} for {situation.model.facts.architecture}: {name_plugin(situation)} takes "
        f"{' and '.join(allowed)} only, and stops at other keys",
        fix=fix,
        key=neuron_key(situation, flat[0]),
    )


@rule(
    "nxdi.fused-qkv-lost",
    "warning",
    "nxdi:M/models/config.py:152,438-444 (0.9.0)",
    backends=_NXDI,
    covers=("fused-qkv-lost",),
)
def fused_qkv_lost(situation: Situation) -> Remark | None:
    """With activation quantisation NxD Inference reads fused_qkv twice, and the second time it is gone.

    By its code of 0.9.0 (not run). The model is then compiled with separate projections and no message.
    """
    settings = text_settings(situation)
    if not settings.get("fused_qkv") or settings.get("activation_quantization_type") is None:
        return None
    return Remark(
        "fused_qkv: true with activation_quantization_type "
        f"{settings['activation_quantization_type']}: by its code (0.9.0, not run) NxD Inference loses "
        "fused_qkv, which becomes false",
        fix="remove one of the two",
        key=neuron_key(situation, "fused_qkv"),
    )


@rule(
    "nxdi.cte-block-kernel-flag",
    "error",
    "nxdi:M/models/config.py:482-511 (0.9.0)",
    backends=_NXDI,
    covers=("cte-block-kernel-flag",),
)
def cte_block_kernel_flag(situation: Situation) -> Remark | None:
    """attn_block_cte_nki_kernel_enabled is deprecated, and refuses the defaults of the flags it stands for.

    It wants each of them to be true, and their defaults are false.
    """
    refusal = find_refusal(situation, "cte-block-kernel-flag")
    if refusal is None:
        return None
    return Remark(
        f"NxD Inference refuses attn_block_cte_nki_kernel_enabled: {refusal.error}: {refusal.message}",
        fix="remove it, and set qkv_kernel_enabled, qkv_nki_kernel_enabled, attn_kernel_enabled and "
        "out_proj_kernel_enabled",
        key=neuron_key(situation, "attn_block_cte_nki_kernel_enabled"),
    )


RULES = (
    unsupported_arch,
    head_divisibility,
    multimodal_flat_keys,
    cte_block_kernel_flag,
    heads_padded,
    heads_padded_as_documented,
    fused_qkv_lost,
)
