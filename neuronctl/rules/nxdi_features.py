"""Rules about features of NxD Inference: quantisation, sampling, speculative decoding, LoRA adapters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from neuronctl.neuron.architectures import is_image_to_text
from neuronctl.rules.nxdi_refusals import find_prediction, find_refusal, name_plugin, text_settings
from neuronctl.rules.place import engine_key, neuron_key, remove_variable, variable_key
from neuronctl.rules.rule import Remark, rule
from neuronctl.rules.situation import Situation
from neuronctl.stack.version import at_least

_NXDI = ("nxdi",)
_LOADER = "plugin020:V/worker/neuronx_distributed_model_loader.py"
_GUIDE = "sdk:libraries/nxd-inference/developer_guides/vllm-user-guide-v1.rst"
_FEATURE_GUIDE = "sdk:libraries/nxd-inference/developer_guides/feature-guide.rst"
_SCALARS = "XLA_HANDLE_SPECIAL_SCALAR"
# The most tokens that the device samples from (plugin020:V/worker/neuronx_distributed_model_runner.py:74).
_MOST_TOP_K = 256
_CPU_SAMPLING = "NEURON_ON_DEVICE_SAMPLING_DISABLED"
# Defaults for requests that sampling on the device does not look at.
_IGNORED_ON_DEVICE = ("frequency_penalty", "min_p", "presence_penalty", "repetition_penalty")


@rule(
    "nxdi.quantized-needs-path",
    "error",
    "nxdi:M/models/config.py:218-221",
    backends=_NXDI,
    covers=("quantized-needs-path",),
)
def quantized_needs_path(situation: Situation) -> Remark | None:
    """Quantised weights want a folder: NxD Inference reads them from it, or writes them there first."""
    refusal = find_refusal(situation, "quantized-needs-path")
    if refusal is None:
        return None
    said = "features.quantization.weights"
    weights = situation.profile.shape.features.quantization.weights
    what = f"{said}: {weights}" if weights else "quantized: true"
    return Remark(
        f"{what} without a folder for the quantised weights: {refusal.error}: {refusal.message}",
        fix="set features.quantization.checkpoint to a folder that can be written",
        key=said if weights else neuron_key(situation, "quantized"),
    )


@rule(
    "nxdi.fp8-xla-scalar",
    "error",
    f"{_FEATURE_GUIDE}:414,481",
    backends=_NXDI,
    covers=("fp8-xla-scalar",),
)
def fp8_xla_scalar(situation: Situation) -> Remark | None:
    """f8e4m3 weights, and a quantised KV cache, want XLA_HANDLE_SPECIAL_SCALAR=1, or results are wrong.

    neuronctl sets it for `features.quantization.weights: fp8`, unless your environment says otherwise.
    """
    prediction = find_prediction(situation)
    if prediction is None or situation.environment.get(_SCALARS) == "1":
        return None
    config = prediction.neuron_config
    is_fp8 = config.get("quantization_dtype") == "f8e4m3" and any(
        config.get(name)
        for name in ("quantized", "activation_quantization_type", "quantized_mlp_kernel_enabled")
    )
    if not is_fp8 and not config.get("kv_cache_quant"):
        return None
    what = "quantization_dtype f8e4m3" if is_fp8 else "kv_cache_quant"
    value = situation.environment.get(_SCALARS)
    return Remark(
        f"{what} with {_SCALARS} {'not set' if value is None else repr(value)}: results are wrong without 1",
        fix=f'set env.{_SCALARS}: "1"',
        key=f"env.{_SCALARS}",
    )


@rule(
    "nxdi.on-device-sampling-env",
    "error",
    f"{_LOADER}:47,66-70",
    backends=_NXDI,
    covers=("on-device-sampling-env",),
)
def on_device_sampling_env(situation: Situation) -> Remark | None:
    """NEURON_ON_DEVICE_SAMPLING_DISABLED ends the start of plugin 0.2: it calls a module.

    Sampling on the host is had by `features.sampling.on_device: false` on every version.
    """
    refusal = find_refusal(situation, "on-device-sampling-env")
    if refusal is None:
        return None
    return Remark(
        f"{_CPU_SAMPLING}={situation.environment.get(_CPU_SAMPLING)} makes {name_plugin(situation)} fail: "
        f"{refusal.error}: {refusal.message}",
        fix=f"{remove_variable(situation, _CPU_SAMPLING)} and set features.sampling.on_device: false",
        key=variable_key(situation, _CPU_SAMPLING),
    )


@rule(
    "nxdi.sampling-not-dynamic",
    "warning",
    "nxdi:M/models/config.py:1070; plugin020:V/worker/neuronx_distributed_model_loader.py:870-899",
    backends=_NXDI,
)
def sampling_not_dynamic(situation: Situation) -> Remark | None:
    """An on_device_sampling_config of your own takes the place of the plugin's, which says `dynamic: true`.

    Without it, by the code of NxD Inference (not run), the device samples all requests alike, whatever
    temperature, top_k and top_p they ask for.
    """
    sampling = text_settings(situation).get("on_device_sampling_config")
    if not isinstance(sampling, Mapping) or sampling.get("dynamic"):
        return None
    return Remark(
        "on_device_sampling_config without dynamic: true: by its code (not run) temperature, top_k and top_p "
        "of requests are ignored",
        fix="add dynamic: true, or use features.sampling.global_top_k",
        key=neuron_key(situation, "on_device_sampling_config"),
    )


@rule(
    "nxdi.global-topk-limit",
    "warning",
    "plugin020:V/worker/neuronx_distributed_model_runner.py:74",
    backends=_NXDI,
)
def global_topk_limit(situation: Situation) -> Remark | None:
    """The device samples from at most 256 tokens; the plugin logs a warning and uses 256 instead of more.

    Where the host samples there is no such limit, and `features.sampling.global_top_k` has no effect.
    """
    asked = situation.profile.shape.features.sampling
    if asked.global_top_k is not None and asked.on_device is False:
        return Remark(
            f"global_top_k {asked.global_top_k} has no effect: features.sampling.on_device is false, and "
            "it is about sampling on the device",
            fix="remove one of the two; on the host a request's own top_k has no limit",
            key="features.sampling.global_top_k",
        )
    sampling = text_settings(situation).get("on_device_sampling_config")
    most = sampling.get("global_topk") if isinstance(sampling, Mapping) else None
    if not isinstance(most, int) or isinstance(most, bool) or 0 < most <= _MOST_TOP_K:
        return None
    feature = asked.global_top_k == most
    return Remark(
        f"global_topk {most} is outside 1 to {_MOST_TOP_K}: the plugin uses {_MOST_TOP_K}",
        fix=f"set features.sampling.global_top_k to {_MOST_TOP_K} or less",
        key="features.sampling.global_top_k"
        if feature
        else neuron_key(situation, "on_device_sampling_config.global_topk"),
    )


@rule(
    "nxdi.sampling-params-ignored",
    "info",
    f"{_GUIDE}:462-475",
    backends=_NXDI,
    covers=("sampling-params-ignored",),
)
def sampling_params_ignored(situation: Situation) -> Remark | None:
    """Sampling on the device knows temperature, top_k and top_p; penalties, min_p and logprobs do nothing.

    A request's top_k is at most 256, which -1 means too. Sampling on the host has all of vLLM's parameters.
    """
    defaults = situation.engine.get("override_generation_config")
    if not isinstance(defaults, Mapping):
        return None
    prediction = find_prediction(situation)
    if prediction is None or prediction.neuron_config.get("on_device_sampling_config") is None:
        return None
    ignored = [name for name in _IGNORED_ON_DEVICE if name in defaults]
    if not ignored:
        return None
    return Remark(
        f"sampling is on the device, which has no {', '.join(ignored)}: AWS's guide lists temperature, top_k "
        "and top_p",
        fix="set features.sampling.on_device: false to sample on the host",
        key=engine_key(situation, "override_generation_config"),
    )


@rule(
    "nxdi.speculative-method",
    "warning",
    f"{_LOADER}:785-791; fork-exa (0.5.x)",
    backends=_NXDI,
    covers=("speculative-method",),
)
def speculative_method(situation: Situation) -> Remark | None:
    """The plugin takes a draft for EAGLE only where the method is exactly `eagle`.

    By its code (not run) up to 0.5.x, `eagle3` becomes plain fused speculation.
    """
    if _speculative(situation).get("method") != "eagle3":
        return None
    return Remark(
        f"speculative method eagle3: by its code (not run) {name_plugin(situation)} takes it for plain fused "
        "speculation",
        fix="set method: eagle, and neuron.is_eagle3: true (NxD Inference 0.7 and later)",
        key=engine_key(situation, "speculative_config"),
    )


@rule("nxdi.eagle-lm-head", "info", f"{_FEATURE_GUIDE}:643-662", backends=_NXDI, covers=("eagle-lm-head",))
def eagle_lm_head(situation: Situation) -> Remark | None:
    """An EAGLE draft must hold the target's LM head, and public drafts come without it.

    Without it the draft does not load, or few of its tokens are accepted. It cannot be seen before the
    draft is here.
    """
    speculative = _speculative(situation)
    if speculative.get("method") != "eagle" or speculative.get("model") is None:
        return None
    return Remark(
        f"the EAGLE draft {speculative.get('model')} must hold lm_head.weight of {situation.model.id}; "
        "public drafts come without it",
        fix="copy lm_head.weight from the target into the draft's checkpoint",
        key=engine_key(situation, "speculative_config"),
    )


@rule("nxdi.v0-only", "error", f"{_GUIDE}:610", backends=_NXDI, covers=("v0-only-features",))
def v0_only(situation: Situation) -> Sequence[Remark] | None:
    """What AWS's guide lists as only in the fork of vLLM V0, which has no support any more.

    Disaggregated inference, Llama 3.2 Vision (mllama), and speculative decoding with a draft model that is
    no EAGLE draft. Ways of speculating without a draft (`ngram`) are not listed at all.
    """
    return list(_v0_features(situation)) or None


def _v0_features(situation: Situation) -> Iterator[Remark]:
    guide = "AWS's guide says that only the fork of vLLM V0 has it"
    if situation.engine.get("kv_transfer_config") is not None:
        yield Remark(
            f"disaggregated inference (kv_transfer_config) with {name_plugin(situation)}: {guide}",
            fix="use the native plugin (vllm-neuron 0.24.0.1.1.0), or remove it",
            key=engine_key(situation, "kv_transfer_config"),
        )
    if situation.model.facts.architecture == "MllamaForConditionalGeneration":
        yield Remark(
            f"{situation.model.id} is an mllama model with {name_plugin(situation)}: {guide}",
            fix="use Llama 4 or Pixtral for images",
            key="model.id",
        )
    speculative = _speculative(situation)
    if speculative.get("model") is not None and speculative.get("method") in (None, "draft_model"):
        yield Remark(
            f"speculative decoding with the draft model {speculative['model']}: {guide}",
            fix="use an EAGLE draft: features.speculative.method: eagle",
            key=engine_key(situation, "speculative_config"),
        )
    method = speculative.get("method")
    if method not in (None, "draft_model", "eagle", "eagle3"):
        yield Remark(
            f"speculative method {method}: {name_plugin(situation)} knows drafts only; by its code (not run) "
            f"it loads a model named {speculative.get('model') or method} as one",
            fix="use an EAGLE draft: features.speculative.method: eagle, or remove it",
            key=engine_key(situation, "speculative_config"),
        )


@rule("nxdi.lora-0-2-0", "error", f"{_LOADER}:681-683", backends=_NXDI, covers=("lora-0.2.0",))
def lora_0_2_0(situation: Situation) -> Remark | None:
    """Plugin 0.2 refuses LoRA; 0.3.0 (SDK 2.27.1) and later serve adapters."""
    refusal = find_refusal(situation, "lora-0.2.0")
    if refusal is None:
        return None
    return Remark(
        f"LoRA adapters with {name_plugin(situation)}: {refusal.error}: {refusal.message}",
        fix="use vllm-neuron 0.3.0 or later (SDK 2.27.1), or remove features.lora",
        key=engine_key(situation, "enable_lora"),
    )


@rule(
    "nxdi.lora-with-images",
    "error",
    "fork-infinity, fork-exa:vllm_neuron/worker/neuronx_distributed_model_loader.py "
    "(NeuronMultiModalCausalLM.execute_model)",
    backends=_NXDI,
)
def lora_with_images(situation: Situation) -> Remark | None:
    """Models that take images are run without adapters: requests that name one are answered without it.

    By the plugin's code up to 0.5.x (not run): what it hands to such a model holds the images, and not which
    adapter a request wants.
    """
    if situation.engine.get("enable_lora") is not True:
        return None
    plugin, architecture = situation.stack.versions.get("vllm-neuron", ""), situation.model.facts.architecture
    if not is_image_to_text(architecture, plugin) or not at_least(plugin, "0.3"):
        return None
    return Remark(
        f"LoRA adapters with {architecture}: by its code (not run) {name_plugin(situation)} does not hand "
        "adapters to models that take images, so that requests are answered without them",
        fix="remove features.lora, or merge the adapter into the checkpoint",
        key=engine_key(situation, "enable_lora"),
    )


@rule(
    "nxdi.lora-path-colon",
    "warning",
    "nxdi:M/modules/lora_serving/config.py:145-148",
    backends=_NXDI,
    covers=("lora-path-colon",),
)
def lora_path_colon(situation: Situation) -> Sequence[Remark] | None:
    """A list of adapters is split at colons, so that a path with a colon is cut off.

    By its code (not run). `features.lora.adapters` of a profile is handed over as a mapping, which is not
    split.
    """
    config = text_settings(situation).get("lora_config")
    if not isinstance(config, Mapping):
        return None
    found = []
    for name in ("lora_ckpt_paths", "lora_ckpt_paths_cpu"):
        paths = config.get(name)
        for path in paths if isinstance(paths, list) else ():
            if isinstance(path, str) and path.count(":") > 1:
                found.append(
                    Remark(
                        f"{name}: {path} is split at its colons: by its code (not run) NxD Inference looks "
                        f"for {path.split(':')[1]}",
                        fix="write a mapping of names to paths, or features.lora.adapters",
                        key=neuron_key(situation, f"lora_config.{name}"),
                    )
                )
    return found or None


@rule(
    "nxdi.lora-max-adapters",
    "error",
    "nxdi:M/modules/lora_serving/config.py (_check_ckpt_config); "
    "fork-infinity:vllm_neuron/worker/neuronx_distributed_model_runner.py (_get_nxdi_lora_config)",
    backends=_NXDI,
)
def lora_max_adapters(situation: Situation) -> Remark | None:
    """Every adapter that is named must find a place in host memory: max_cpu_loras of them do.

    vLLM takes max_loras for it where nothing is said, and NxD Inference refuses more adapters than that.
    """
    adapters = len(situation.profile.shape.features.lora.adapters)
    if not adapters or not at_least(situation.stack.versions.get("vllm-neuron"), "0.3"):
        return None
    places = situation.engine.get("max_cpu_loras") or situation.engine.get("max_loras")
    if not isinstance(places, int) or adapters <= places:
        return None
    return Remark(
        f"{adapters} adapters are named and {places} find a place in host memory: NxD Inference stops with "
        "ValueError: The total number of LoRA checkpoints",
        fix=f"set engine.extra.max_cpu_loras: {adapters}, or name fewer adapters",
        key="features.lora.adapters",
    )


def _speculative(situation: Situation) -> Mapping[str, Any]:
    config = situation.engine.get("speculative_config")
    return config if isinstance(config, Mapping) else {}


RULES = (
    quantized_needs_path,
    fp8_xla_scalar,
    on_device_sampling_env,
    v0_only,
    lora_0_2_0,
    lora_with_images,
    lora_max_adapters,
    sampling_not_dynamic,
    global_topk_limit,
    speculative_method,
    lora_path_colon,
    sampling_params_ignored,
    eagle_lm_head,
)
