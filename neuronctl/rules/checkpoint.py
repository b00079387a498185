"""Rules about checkpoints whose weights are quantised already."""

from __future__ import annotations

from collections.abc import Mapping

from neuronctl.model.config import quantization_method
from neuronctl.rules.place import engine_key
from neuronctl.rules.rule import Remark, rule
from neuronctl.rules.situation import Situation

# What each plugin says to vLLM that it supports. neuron_quant, mxfp4, fp8 and the weights of
# compressed-tensors have rules of their own, or go only with further settings.
_NATIVE_TAKES = ("modelopt", "compressed-tensors", "neuron_quant", "mxfp4", "fp8")
_NXDI_TAKES = ("fbgemm_fp8", "neuron_quant")
# NxD Inference unpacks the experts of gpt-oss itself.
_NXDI_UNPACKS = ("mxfp4",)


@rule(
    "native.checkpoint-quantization",
    "error",
    "g2:vllm_neuron/vllm/platform.py (supported_quantization); vLLM's platforms/interface.py "
    "(verify_quantization)",
    backends=("native",),
)
def native_checkpoint(situation: Situation) -> Remark | None:
    """Quantised weights of a kind that the native plugin does not have.

    vLLM asks the plugin which it supports (compressed-tensors, modelopt) and refuses the others.
    """
    found = _quantization(situation)
    if found is None or found[0] in _NATIVE_TAKES:
        return None
    method, said, key = found
    return Remark(
        f"{said} {method}: vLLM refuses it, because the native plugin supports compressed-tensors and "
        "modelopt only",
        fix="name the checkpoint that is not quantised, or one of ModelOpt",
        key=key,
    )


@rule(
    "nxdi.checkpoint-quantization",
    "warning",
    "plugin020:V/platform.py:30-31,86-87 (supported_quantization; vLLM's own check is turned off)",
    backends=("nxdi",),
)
def nxdi_checkpoint(situation: Situation) -> Remark | None:
    """Quantised weights of a kind that the plugin does not list.

    It turns vLLM's check off, so nothing refuses them at once; by its code (not run) NxD Inference looks for
    weights that are not packed. It makes INT8 and FP8 itself, of a checkpoint that is not quantised.
    """
    found = _quantization(situation)
    if found is None or found[0] in (*_NXDI_TAKES, *_NXDI_UNPACKS):
        return None
    prediction = situation.outlook.prediction if situation.outlook else None
    if prediction is not None and prediction.neuron_config.get("quantized"):
        return None  # the weights come from quantized_checkpoints_path
    method, said, key = found
    return Remark(
        f"{said} {method}: the plugin lists {' and '.join(_NXDI_TAKES)} only, nothing unpacks the weights, "
        "and the estimate counts them as not quantised",
        fix="name the checkpoint that is not quantised, with features.quantization.weights: int8 or fp8",
        key=key,
    )


def _quantization(situation: Situation) -> tuple[str, str, str | None] | None:
    """The method that is asked for or that the checkpoint has, who says it, and the profile's key."""
    asked = situation.engine.get("quantization")
    if isinstance(asked, str) and asked:
        return asked, "engine.quantization", engine_key(situation, "quantization")
    method = quantization_method(situation.model.config)
    overrides = situation.engine.get("hf_overrides")
    is_hidden = "quantization_config" in overrides if isinstance(overrides, Mapping | str) else False
    if method is None or is_hidden:
        return None
    return method, "the checkpoint's weights are quantised with", "model.id"


RULES = (native_checkpoint, nxdi_checkpoint)
