"""Rules about what the native plugin can do: sampling, drafts, experts, quantisation, adapters, models."""

from __future__ import annotations

from collections.abc import Mapping

from neuronctl.model.config import quantization_method
from neuronctl.neuron.architectures import supported
from neuronctl.neuron.native import local_ranks
from neuronctl.rules.cores import core_count
from neuronctl.rules.degrees import good_degrees, in_words
from neuronctl.rules.native_keys import neuron_settings
from neuronctl.rules.place import engine_key, neuron_key
from neuronctl.rules.rule import Remark, rule
from neuronctl.rules.situation import Situation
from neuronctl.stack.version import at_least

_NATIVE = ("native",)
_GUIDES = "sdk:vllm-neuron/docs/guides"
_PLATFORM = "g2:vllm_neuron/vllm/platform.py"
_RUNNER = "g2:vllm_neuron/vllm/worker/neuron_model_runner.py"
_WORKER = "g2:vllm_neuron/vllm/worker/neuron_worker.py"
_NXDI = "a stack with NxD Inference (--stack sdk-2.31, plugin 0.5.3) has it"
_MOST_CORES = 64
_COMPONENTS = ("attention_dp_size", "embedding_dp_size", "lm_head_dp_size", "mlp_dp_size")


@rule("native.async-cpu-sampling", "error", _RUNNER, backends=_NATIVE)
def async_cpu_sampling(situation: Situation) -> Remark | None:
    """Asynchronous scheduling wants sampling on the device; the plugin refuses to start otherwise.

    vLLM turns it on where nobody says anything; neuronctl turns it off where the CPU samples.
    """
    settings = neuron_settings(situation)
    if settings.get("on_device_sampling_config", ...) is not None:
        return None
    if situation.engine.get("async_scheduling") is False:
        return None
    return Remark(
        "async_scheduling needs sampling on the device, and on_device_sampling_config is null",
        fix="set engine.async_scheduling: false, or features.sampling.on_device: true",
        key=engine_key(situation, "async_scheduling"),
    )


@rule(
    "native.structured-outputs",
    "warning",
    f"{_PLATFORM}; g2:vllm_neuron/model/neuron_config.py; pub:58037814155",
    backends=_NATIVE,
    covers=("native-structured-outputs",),
)
def structured_outputs(situation: Situation) -> Remark | None:
    """Structured outputs are off unless asked for, and each request that wants them is then refused.

    A tool call that a request insists on (`tool_choice` "required" or a name) is one, and so is a JSON
    schema. neuronctl turns them on with features.tools. vllm-neuron 0.21 is reported to need
    asynchronous scheduling off for them.
    """
    is_on = neuron_settings(situation).get("enable_structured_outputs") is True
    engine = situation.engine
    if not is_on:
        if not engine.get("tool_call_parser"):
            return None
        return Remark(
            f"tool_call_parser {engine['tool_call_parser']} without enable_structured_outputs: requests that "
            "insist on a tool or a JSON schema will be refused",
            fix="set neuron.enable_structured_outputs: true, or name the parser in features.tools.parser",
            key=neuron_key(situation, "enable_structured_outputs")
            or engine_key(situation, "tool_call_parser"),
        )
    if engine.get("async_scheduling") is False or at_least(_plugin(situation), "0.24"):
        return None
    return Remark(
        f"vllm-neuron {_plugin(situation)} is reported to need asynchronous scheduling off for structured "
        "outputs",
        fix="set engine.async_scheduling: false, or take a stack with plugin 0.24 (--stack sdk-2.32)",
        key=engine_key(situation, "async_scheduling"),
    )


@rule("native.speculative-method", "error", _RUNNER, backends=_NATIVE)
def speculative_method(situation: Situation) -> Remark | None:
    """EAGLE3 is the only way of speculating; the plugin refuses any other when it starts.

    Drafts of the first EAGLE and drafts that are models of their own need NxD Inference.
    """
    config = _mapping(situation.engine.get("speculative_config"))
    if not config:
        return None
    method, model = config.get("method"), config.get("model")
    if method == "eagle3" or (method is None and "eagle3" in str(model).lower()):
        return None
    return Remark(
        f"speculative method {method or 'draft model'} ({model}): the native plugin has eagle3 only",
        fix="name an EAGLE3 draft for this model (RedHatAI/…-speculator.eagle3: the name tells the method), "
        f"or remove it; {_NXDI}",
        key=engine_key(situation, "speculative_config"),
    )


@rule(
    "native.eagle3-layout",
    "warning",
    "pub:58037814155",
    backends=_NATIVE,
    covers=("eagle3-community-layout",),
)
def eagle3_layout(situation: Situation) -> Remark | None:
    """Reported of plugin 0.21: community EAGLE3 drafts (`.bin` files, names with `midlayer.`) do not load.

    RedHatAI's speculators did. The draft's files are not looked at before it is loaded.
    """
    config = _mapping(situation.engine.get("speculative_config"))
    if not config or at_least(_plugin(situation), "0.24"):
        return None
    model = str(config.get("model"))
    if "eagle3" not in f"{config.get('method')} {model}".lower() or model.startswith("RedHatAI/"):
        return None
    return Remark(
        f"the draft {model}: drafts of the community's layout were reported not to load on plugin 0.21",
        fix="take RedHatAI's speculator for this model, or see that the draft has safetensors and no "
        "weights called midlayer.*",
        key=engine_key(situation, "speculative_config"),
    )


@rule(
    "native.expert-parallel",
    "error",
    f"{_WORKER}; {_GUIDES}/features-guide.md:1030-1033",
    backends=_NATIVE,
    covers=("ep-degree",),
)
def expert_parallel(situation: Situation) -> Remark | None:
    """`ep_degree` above 1 wants vLLM's `--enable-expert-parallel`, and must divide the number of cores."""
    degree = neuron_settings(situation).get("ep_degree", 1)
    if not isinstance(degree, int) or degree <= 1:
        return None
    key = neuron_key(situation, "ep_degree")
    if not situation.engine.get("enable_expert_parallel"):
        return Remark(
            f"ep_degree {degree} requires --enable-expert-parallel",
            fix="set engine.extra.enable_expert_parallel: true",
            key=key,
        )
    world = local_ranks(situation.engine)
    if world % degree == 0:
        return None
    return Remark(
        f"ep_degree {degree} does not divide the {world} cores of the server (TP x DP)",
        fix=f"set it to a divisor of {world}",
        key=key,
    )


@rule("native.component-dp", "error", _PLATFORM, backends=_NATIVE)
def component_dp(situation: Situation) -> Remark | None:
    """Data parallelism of one component works on the decode server of disaggregated inference only."""
    settings = neuron_settings(situation)
    active = {key: size for key in _COMPONENTS if isinstance(size := settings.get(key, 1), int) and size > 1}
    if not active:
        return None
    transfer = _mapping(situation.engine.get("kv_transfer_config"))
    copies = situation.engine.get("data_parallel_size")
    lacks = []
    if not transfer:
        lacks.append("engine.extra.kv_transfer_config")
    elif transfer.get("kv_role") not in ("kv_consumer", "kv_both"):
        lacks.append("kv_role kv_consumer or kv_both in engine.extra.kv_transfer_config")
    if not isinstance(copies, int) or copies < 2:
        lacks.append("engine.data_parallel_size of 2 or more")
    if not lacks:
        return None
    said = ", ".join(f"{key} {size}" for key, size in active.items())
    return Remark(
        f"{said} wants {' and '.join(lacks)}: it is for the decode server of disaggregated inference",
        fix=f"set that, or remove {', '.join(active)}",
        key=neuron_key(situation, next(iter(active))),
    )


@rule(
    "native.mxfp4-on-trn2",
    "error",
    f"{_GUIDES}/features-guide.md:1035-1037",
    backends=_NATIVE,
    covers=("mxfp4-on-trn2",),
)
def mxfp4_on_trn2(situation: Situation) -> Remark | None:
    """MXFP4 needs Trainium3. On Trainium2 the weights can be unpacked to bfloat16, if one says so twice.

    vLLM itself stops at the checkpoint's own mark (`quantization_config`) unless it is hidden, and the
    plugin must be told to unpack.
    """
    instance = situation.machine.instance
    if instance is None or instance.family != "trn2":
        return None
    asked = neuron_settings(situation).get("quantization")
    is_hidden = "quantization_config" in _mapping(situation.engine.get("hf_overrides"))
    is_marked = _checkpoint_method(situation) == "mxfp4" and not is_hidden
    if asked != "mxfp4" and not is_marked:
        return None
    return Remark(
        f"{'neuron.quantization mxfp4' if asked == 'mxfp4' else 'a checkpoint in MXFP4'} is not supported on "
        f"{instance.name}: it needs Trainium3",
        fix="set neuron.quantization: bf16 and engine.hf_overrides: {quantization_config: {}}, and count on "
        "weights about four times as large",
        key=neuron_key(situation, "quantization") or "model.id",
    )


@rule(
    "native.quantization",
    "error",
    f"{_GUIDES}/reference-configuration.md (Quantization options)",
    backends=_NATIVE,
)
def quantization(situation: Situation) -> Remark | None:
    """The native plugin does not make INT8 or FP8 of a model: FP8 weights come in the checkpoint.

    `features.quantization` asks for weights that are quantised when they are loaded, as NxD Inference does.
    """
    asked = situation.profile.shape.features.quantization.weights
    if asked is None:
        return None
    has = _checkpoint_method(situation)
    if asked == "fp8" and has in ("modelopt", "fp8"):
        return None
    fix = "remove features.quantization"
    if asked == "fp8":
        fix = "name a checkpoint with FP8 weights of ModelOpt as model.id"
    return Remark(
        f"features.quantization.weights {asked}: the native plugin does not quantise, and the checkpoint "
        f"{'has no quantised weights' if has is None else f'is quantised by {has}'}",
        fix=f"{fix}; {_NXDI}",
        key="features.quantization.weights",
    )


@rule("native.compressed-tensors-weights", "error", _PLATFORM, backends=_NATIVE)
def compressed_tensors_weights(situation: Situation) -> Remark | None:
    """Of compressed-tensors checkpoints the plugin takes the scales of the KV cache only.

    It refuses quantised weights when it starts, except with `quantization: mxfp8`, which unpacks them.
    """
    if _checkpoint_method(situation) != "compressed-tensors":
        return None
    if neuron_settings(situation).get("quantization") == "mxfp8":
        return None
    groups = situation.model.config["quantization_config"].get("config_groups")
    named = [name for name, group in (groups or {}).items() if group.get("weights")]
    if not named:
        return None
    return Remark(
        f"the checkpoint's weights are quantised with compressed-tensors ({', '.join(named)}), which the "
        "native plugin refuses",
        fix="name the checkpoint that is not quantised, or one of ModelOpt",
        key="model.id",
    )


@rule(
    "native.lora",
    "warning",
    f"{_RUNNER} (a note stands where LoRA would be applied; read, not run)",
    backends=_NATIVE,
)
def lora(situation: Situation) -> Remark | None:
    """By its code (not run) the native plugin does nothing with LoRA adapters, and its guides have none."""
    if not situation.engine.get("enable_lora"):
        return None
    return Remark(
        f"LoRA adapters: by its code (not run) vllm-neuron {_plugin(situation)} does not apply them",
        fix=f"remove features.lora; {_NXDI}",
        key=engine_key(situation, "enable_lora"),
    )


@rule(
    "native.model-not-listed",
    "warning",
    "pub:70891553229; sdk:vllm-neuron/docs/model-recipes/ (names of architectures derived)",
    backends=_NATIVE,
)
def model_not_listed(situation: Situation) -> Remark | None:
    """The native plugin has its own few models; NxD Inference has others.

    The list is made from the documentation's names of models, so a model that is not on it may work.
    """
    architecture = situation.model.facts.architecture
    support = supported(architecture, _plugin(situation) or "0.24")
    if support.ok:
        return None
    nxdi = supported(architecture, "0.5.3")
    return Remark(
        f"{architecture} is {support.note}",
        fix=_NXDI if nxdi.ok else "take one of these models",
        key="model.id",
    )


@rule(
    "native.vision-config", "error", f"{_PLATFORM}; g2:vllm_neuron/model/neuron_config.py", backends=_NATIVE
)
def vision_config(situation: Situation) -> list[Remark] | None:
    """Settings of the vision encoder that the plugin refuses together."""
    outlook = situation.outlook
    if outlook is None or not isinstance(outlook.additional_config, Mapping):
        return None
    vision = outlook.additional_config.get("vision_neuron_config")
    if not isinstance(vision, Mapping):
        return None
    key, found = neuron_key(situation, "vision_neuron_config"), []
    if vision.get("num_vision_tokens_buckets") and vision.get("max_vision_seq_len"):
        found.append(
            Remark(
                "vision_neuron_config has both num_vision_tokens_buckets and max_vision_seq_len",
                "keep one: the buckets, or the limit up to which buckets are made",
                key,
            )
        )
    engine = situation.engine
    world = local_ranks({name: size for name, size in engine.items() if name != "data_parallel_size"})
    split = [size if isinstance(size, int) else 1 for size in (vision.get("tp_size"), vision.get("dp_size"))]
    product = split[0] * split[1]
    # Where one of them is 1 the plugin works it out from the other.
    wrong = product != world if min(split) > 1 else world % product != 0
    if wrong:
        found.append(
            Remark(
                f"tp_size {split[0]} x dp_size {split[1]} of vision_neuron_config do not make the {world} "
                "cores of the server",
                "leave one of them out: it follows from the other",
                key,
            )
        )
    return found


@rule("native.scheduling-policy", "error", "g2:vllm_neuron/vllm/core/scheduler.py", backends=_NATIVE)
def scheduling_policy(situation: Situation) -> Remark | None:
    """The plugin's scheduler serves requests in the order in which they come, and refuses another policy."""
    policy = situation.engine.get("scheduling_policy", "fcfs")
    if policy == "fcfs" or situation.engine.get("scheduler_cls"):
        return None
    return Remark(
        f"scheduling_policy {policy}: the native plugin has fcfs only",
        fix="remove engine.extra.scheduling_policy",
        key=engine_key(situation, "scheduling_policy"),
    )


@rule(
    "native.heads",
    "warning",
    "vLLM's config/model.py (verify_with_parallel_config), which plugin 0.2 to 0.5 turns off; whether the "
    "native one does is not known",
    backends=_NATIVE,
)
def heads(situation: Situation) -> Remark | None:
    """Tensor parallelism that does not divide the attention heads.

    vLLM itself refuses it (`Total number of attention heads … must be divisible by tensor parallel size`).
    Whether the native plugin turns that check off, as the older one does, is not known.
    """
    count, outlook = situation.model.facts.attention_heads, situation.outlook
    if outlook is None or not count or count % max(outlook.tensor_parallel_size, 1) == 0:
        return None
    cores = core_count(situation) or _MOST_CORES
    even = [one for one in range(1, min(count, cores) + 1) if count % one == 0]
    return Remark(
        f"tensor parallel size {outlook.tensor_parallel_size} does not divide the {count} attention heads, "
        "which vLLM refuses unless the plugin turns its check off",
        fix=f"set engine.tensor_parallel_size to {good_degrees(situation) or in_words(even)}",
        key=engine_key(situation, "tensor_parallel_size"),
    )


@rule(
    "native.executor",
    "warning",
    f"{_PLATFORM} (mp or uni; read, not run)",
    backends=_NATIVE,
)
def executor(situation: Situation) -> Remark | None:
    """The native plugin's workers are started by vLLM's mp or uni executor.

    By its code (not run) these are the two that it knows.
    """
    backend = situation.engine.get("distributed_executor_backend")
    if backend in (None, "mp", "uni"):
        return None
    return Remark(
        f"distributed_executor_backend {backend}: by its code (not run) the native plugin has mp and uni",
        fix="remove it, or set it to mp",
        key=engine_key(situation, "distributed_executor_backend"),
    )


@rule(
    "native.top-k-off-device",
    "warning",
    "neuronctl: global_topk is a key of on_device_sampling_config, which is null then",
    backends=_NATIVE,
)
def top_k_off_device(situation: Situation) -> Remark | None:
    """A bound of the tokens that are sampled on the device, while the device does not sample."""
    sampling = situation.profile.shape.features.sampling
    if sampling.global_top_k is None or sampling.on_device is not False:
        return None
    return Remark(
        f"features.sampling.global_top_k {sampling.global_top_k} has no effect with on_device: false",
        fix="remove one of the two",
        key="features.sampling.global_top_k",
    )


@rule(
    "native.nixl",
    "info",
    "sdk:vllm-neuron/docs/getting-started/setup-guide.md:106-117",
    backends=_NATIVE,
    covers=("nixl-libs",),
)
def nixl(situation: Situation) -> Remark | None:
    """Disaggregated inference needs NIXL, and NIXL libraries that few images have."""
    engine = situation.engine
    name = next((name for name in ("kv_transfer_config", "ec_transfer_config") if engine.get(name)), None)
    if name is None:
        return None
    return Remark(
        f"{name}: NIXL wants libfabric.so.1 (of the EFA installer) and a libcuda.so.1, a stub will do",
        fix="ldconfig -p | grep -e libfabric.so.1 -e libcuda.so.1 must list both",
        key=engine_key(situation, name),
    )


def _mapping(value: object) -> Mapping[str, object]:
    """An argument that vLLM takes as JSON, which engine.extra may hold as text; empty for anything else."""
    if isinstance(value, str) and value.startswith("{"):
        import json

        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, Mapping) else {}


def _checkpoint_method(situation: Situation) -> str | None:
    """How the checkpoint says that it is quantised."""
    return quantization_method(situation.model.config)


def _plugin(situation: Situation) -> str | None:
    return situation.stack.versions.get("vllm-neuron")


RULES = (
    async_cpu_sampling,
    structured_outputs,
    speculative_method,
    eagle3_layout,
    expert_parallel,
    component_dp,
    mxfp4_on_trn2,
    quantization,
    compressed_tensors_weights,
    lora,
    model_not_listed,
    vision_config,
    scheduling_policy,
    heads,
    executor,
    top_k_off_device,
    nixl,
)
