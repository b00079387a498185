"""What the plugin or NxD Inference itself would refuse: found by id for other rules, and told by one rule."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from neuronctl.neuron.checks import refuses_block_layout
from neuronctl.neuron.prediction import Prediction, Refusal
from neuronctl.rules.place import feature_is_said, neuron_key
from neuronctl.rules.rule import Remark, rule
from neuronctl.rules.situation import Situation

# Refusals that rules of their own tell, by the known issue or by `topic`.
TOLD = frozenset(
    {
        "additional-config",
        "bad-value",
        "blocks-rounding",
        "chunked-prefill",
        "cte-block-kernel-flag",
        "dtype",
        "head-divisibility",
        "lora-0.2.0",
        "multimodal-flat-keys",
        "num-gpu-blocks-override",
        "on-device-sampling-env",
        "pa-blocks-mismatch",
        "pixtral-limits",
        "prefix-buckets-none",
        "prefix-caching-default",
        "quantized-needs-path",
        "swap-space",
        "unsupported-arch",
    }
)
# Refusals without a known issue are told apart by what they say.
_TOPICS = (
    ("Too large swap space", "swap-space"),
    ("additional_config.dict[any,any]", "additional-config"),
    ("Unsupported dtype", "bad-value"),
    ("cast_type must be one of", "bad-value"),
    ("is not a valid QuantizedDtype", "bad-value"),
    ("Unsupported activation quantization type", "bad-value"),
    ("override_neuron_config for ImageToText", "multimodal-flat-keys"),
)
# What mends those that no other rule is about: words of the text, what to do, the profile's key.
_MENDED: tuple[tuple[str, str, str | None], ...] = (
    (
        "max_context_length cannot be more than max_length",
        "leave seq_len and max_length to engine.max_model_len, or set max_context_length to a shorter one",
        None,
    ),
    ("Conflicting max_prompt_length", "remove neuron.max_context_length", "neuron.max_context_length"),
    (
        "Must pass speculative_config",
        "set features.speculative, or remove neuron.enable_fused_speculation",
        "features.speculative",
    ),
    (
        "1 validation error for VllmConfig\n  Value error, invalid literal for int()",
        'set env.DISABLE_NEURON_CUSTOM_SCHEDULER to "0" or "1"',
        "env.DISABLE_NEURON_CUSTOM_SCHEDULER",
    ),
    (
        "'NoneType' object has no attribute 'pop'",
        "give --additional-config an override_neuron_config, which LoRA reads its settings from",
        "features.lora",
    ),
    (
        "When sequence parallel is enabled",
        "let TP divide engine.max_model_len and each prefill bucket, or remove sequence_parallel_enabled",
        "engine.max_model_len",
    ),
    ("does not yet support fused speculation", "remove features.speculative", "features.speculative"),
    (
        "Could not find modules_to_not_convert",
        "set neuron.modules_to_not_convert to what stays unquantised, such as [lm_head]",
        "neuron.modules_to_not_convert",
    ),
)

_CHUNKED_ATTENTION = re.compile(
    r"The Neuron config (\w+): .* chunked attention\. Only config value of (\w+) is supported"
)
# Why settings are refused without a text, and what to do (nxdi:M/models/config.py:210-213,645-689,719-720).
_WITHOUT_TEXT = {
    ("token_generation_batches", "AssertionError"): (
        "none may be above the batch of decoding, {most}",
        "let none be above {most}, or raise engine.max_num_seqs",
    ),
    ("token_generation_batches", "ValueError"): (
        "it goes with no speculation, chunked prefill, prefix caching or block KV layout",
        "remove it, or turn that feature off",
    ),
    ("ep_dispatch_cc_option", "ValueError"): (
        "TP may not be above the batch of decoding, {most}",
        "remove it, or set engine.max_num_seqs to TP or more",
    ),
}
# Buckets that are too long: words of the text, the feature that sets them, and the key.
_BUCKETS = (
    ("Context bucket", "prefill", "context_encoding_buckets"),
    ("Token generation bucket", "decode", "token_generation_buckets"),
)
_OF_FEATURES = {
    "is_prefix_caching": "features.prefix_caching",
    "is_chunked_prefill": "features.chunked_prefill",
}


def topic(refusal: Refusal) -> str | None:
    """What a refusal is about: the id of its known issue, else one of our own, None for the rest."""
    if refusal.issue is not None:
        return refusal.issue
    if refusal.error == "KeyError":
        return "dtype"
    # The plugin takes keys out of an override_neuron_config that is no mapping.
    if "pop" in refusal.message and "NoneType" not in refusal.message:
        return "additional-config"
    return next((name for words, name in _TOPICS if words in refusal.message), None)


def find_prediction(situation: Situation) -> Prediction | None:
    """What the plugin will make of the plan; None where nothing is predicted."""
    return situation.outlook.prediction if situation.outlook else None


def find_refusal(situation: Situation, wanted: str) -> Refusal | None:
    """The first refusal about a topic."""
    prediction = find_prediction(situation)
    if prediction is None or not prediction.refusals:
        return None
    return next((one for one in prediction.refusals if topic(one) == wanted), None)


def text_settings(situation: Situation) -> Mapping[str, Any]:
    """The settings handed over for the language model: those of a multimodal model stand one level deeper."""
    if situation.outlook is None:
        return {}
    settings = situation.outlook.settings
    text = settings.get("text_neuron_config")
    return {**settings, **text} if isinstance(text, Mapping) else settings


def text_key(situation: Situation, name: str) -> str | None:
    """The profile's key of a setting of the language model, which see `text_settings`."""
    nested = situation.outlook is not None and name not in situation.outlook.settings
    return neuron_key(situation, f"text_neuron_config.{name}" if nested else name)


def name_plugin(situation: Situation) -> str:
    """The plugin with its version, as messages name it."""
    return f"vllm-neuron {situation.stack.versions.get('vllm-neuron', 'of an unknown version')}"


@rule(
    "nxdi.plugin-refuses",
    "error",
    "plugin020:V/worker/neuronx_distributed_model_loader.py; nxdi:M/models/config.py; vLLM's own checks",
    backends=("nxdi",),
)
def plugin_refuses(situation: Situation) -> Sequence[Remark] | None:
    """vLLM, its plugin or NxD Inference checks something and stops, and no other rule is about it.

    The message is theirs. They stop minutes after the start, once vLLM is imported and the model is found;
    the same checks are made here, before anything starts.
    """
    prediction = find_prediction(situation)
    if prediction is None or not prediction.refusals:
        return None
    # Where a model has no chunked prefill, its buckets are not too long for the pieces of it.
    is_moot = bool(prediction.engine["enable_chunked_prefill"])
    is_moot = is_moot and any(refuses_block_layout(one) for one in prediction.refusals)
    return [
        _remark(one, situation, prediction)
        for one in prediction.refusals
        if topic(one) not in TOLD and not (is_moot and one.message.startswith("Context bucket"))
    ] or None


def _remark(refusal: Refusal, situation: Situation, prediction: Prediction) -> Remark:
    if refusal.about in ("is_prefix_caching", "is_block_kv_layout"):
        return Remark(
            f"{refusal.about} is false while vLLM has prefix caching on: {name_plugin(situation)} stops with "
            f"{refusal.error} and no text",
            fix=f"remove {refusal.about}, or set features.prefix_caching: false",
            key=f"neuron.{refusal.about}",
        )
    if refusal.about is not None:
        stated = text_settings(situation).get(refusal.about)
        why, fix = _WITHOUT_TEXT[refusal.about, refusal.error]
        most = prediction.neuron_config.get("tkg_batch_size")
        return Remark(
            f"{refusal.about} {stated}: NxD Inference stops with {refusal.error} and no text, because "
            f"{why.format(most=most)}",
            fix=fix.format(most=most),
            key=text_key(situation, refusal.about),
        )
    said = refusal.message.replace("\n ", "") or "without a text"
    fix, key = _mend(refusal.message, situation)
    if refusal.part is not None:
        fix, key = _mend_part(refusal, refusal.part, situation)
    return Remark(
        f"{name_plugin(situation)} refuses {refusal.part or 'this'}: {refusal.error}: {said}",
        fix=fix,
        key=key,
    )


def _mend_part(refusal: Refusal, part: str, situation: Situation) -> tuple[str, str | None]:
    """What to do about one of the two Neuron configs of a model that takes images."""
    if "max_context_length cannot be more than max_length" in refusal.message:
        length = situation.engine.get("max_model_len")
        fix = f"leave {part}.seq_len out, or let it be engine.max_model_len ({length}) or more"
        return fix, neuron_key(situation, f"{part}.seq_len")
    return f"change what it names in neuron.{part}", neuron_key(situation, part)


def _mend(message: str, situation: Situation) -> tuple[str, str | None]:
    """What to do about a refusal with this text, and the profile's key of it."""
    if found := _CHUNKED_ATTENTION.match(message):
        name, wanted = found.groups()
        feature = _OF_FEATURES.get(name)
        key = feature or neuron_key(situation, name) or neuron_key(situation, f"text_neuron_config.{name}")
        return f"set {feature or name}: {wanted.lower()}", key
    if "does not yet support block_kv_layout" in message:
        asked = [name for name in _OF_FEATURES.values() if situation.engine.get(f"enable_{name[9:]}")]
        if not asked:
            return "leave is_block_kv_layout out", neuron_key(situation, "text_neuron_config")
        return f"set {' and '.join(asked)} to false", asked[0]
    for words, feature, name in _BUCKETS:
        if words in message:
            most = message.rpartition(" ")[2]
            said = feature_is_said(situation, f"features.buckets.{feature}")
            key = f"features.buckets.{feature}" if said else text_key(situation, name)
            return f"let no {feature} bucket be longer than {most}, {_bound(feature, situation)}", key
    return next(
        ((fix, key) for words, fix, key in _MENDED if words in message),
        ("change the setting that it names; neuronctl plan shows the whole predicted Neuron config", None),
    )


def _bound(feature: str, situation: Situation) -> str:
    """What bounds a bucket, in words."""
    if feature == "prefill" and situation.engine.get("enable_chunked_prefill"):
        return "which is engine.max_num_batched_tokens, a piece of a prompt"
    return "which is engine.max_model_len, or what the Neuron settings say in its place"


RULES = (plugin_refuses,)
