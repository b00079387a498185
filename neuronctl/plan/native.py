"""What the native backend makes of a profile: vLLM with the plugin that needs no NxD Inference.

Intent becomes vLLM's arguments and `additional_config.neuron_config` (reference: neuron_config_keys,
native_neuron_config and migration_map). What this generation cannot do is left to the rules to say.
"""

from __future__ import annotations

from collections.abc import Mapping

from neuronctl.errors import Place
from neuronctl.machine.cores import CoreSet, parse_cores
from neuronctl.neuron.native import (
    BATCHED_TOKENS,
    COLD_COMPILE_TIMEOUTS_S,
    COMPILATION_TIMEOUTS,
    DECODE_STEP,
    SEGMENT_SIZES,
    SINGLE_SHOT_LENGTH,
    local_ranks,
    prefill_tokens,
)
from neuronctl.neuron.outlook import Outlook
from neuronctl.plan.fit import choose_tensor_parallel, estimate_native
from neuronctl.plan.given import Decided, Given
from neuronctl.plan.neuron import (
    additional_config,
    assign_cores,
    default_length,
    default_sequences,
    find_key_faults,
    logical_cores_config,
    neuron_environment,
    neuron_key_inputs,
    neuron_origins,
    stated_neuron,
    whole,
)
from neuronctl.plan.plan import Setting
from neuronctl.stack.version import at_least

SECTION = "neuron_config"
CORES_VARIABLE = "NEURON_VISIBLE_DEVICES"

# What the plugin's own cache key covers, and what its compiler reads (reference: env_vars, native).
_COMPILING_VARIABLES = (
    "NEURON_CC_FLAGS",
    "NEURON_LOGICAL_NC_CONFIG",
    "NEURON_PLATFORM_TARGET_OVERRIDE",
    "VLLM_NEURON_BACKEND",
    "VLLM_NEURON_DISABLE_NKI_KERNELS",
    "VLLM_NEURON_SWITCH_CC",
    "VLLM_NEURON_KV_GMU_BUDGET_CAP_FRACTION",
    "VLLM_NEURON_MIN_KV_BUDGET_GIB",
)
_COMPILING_VERSIONS = (
    "vllm",
    "vllm-neuron",
    "libtorch-neuronx-lite",
    "neuronx-cc",
    "nki",
    "libneuronxla",
    "torch",
    "transformers",
)


def decide_native(given: Given) -> Decided:
    """The native backend's part of the plan. Raises UsageError for cores that cannot be read."""
    lnc = logical_cores_config(given, {})
    defaults = _defaults(given, lnc)
    settings = _neuron_settings(given, defaults)
    defaults |= _scheduling(given, settings)
    engine = given.engine(defaults)
    over, config = additional_config(given, engine, SECTION, settings)
    effective = given.effective(engine)
    degree = whole(effective.get("tensor_parallel_size")) or 1
    granted, assigned = assign_cores(given, local_ranks(effective), lnc)
    environment = given.environment(_environment(given, lnc))
    if (named := _named_cores(given)) is not None:
        assigned = named
    elif assigned is not None:
        environment[CORES_VARIABLE] = Setting(
            str(assigned), "neuronctl: the plugin wants exactly one core for each rank, by their ids"
        )
    cores = len(granted) if granted is not None else None
    fit = estimate_native(given, effective, degree, lnc, cores)
    outlook = Outlook(
        generation="native",
        settings=over,
        origins=neuron_origins(given, engine, over, settings),
        additional_config=config,
        tensor_parallel_size=degree,
        lnc=lnc,
        granted=granted,
        assigned=assigned,
        key_faults=find_key_faults(given, config, "native"),
        estimate=fit.estimate,
        find_fitting=fit.find_fitting,
        find_degrees=fit.find_degrees,
    )
    key_inputs = neuron_key_inputs(
        given,
        outlook,
        engine,
        environment,
        versions=_COMPILING_VERSIONS,
        variables=_COMPILING_VARIABLES,
    )
    return Decided(engine, environment, key_inputs, outlook=outlook)


def _defaults(given: Given, lnc: int) -> dict[str, Setting]:
    """vLLM's arguments where nobody says them."""
    defaults = {"max_model_len": default_length(given), "max_num_seqs": default_sequences(given)}
    defaults["tensor_parallel_size"] = choose_tensor_parallel(given, defaults, lnc)
    defaults |= _prefill(given, defaults)
    if (speculative := _speculative(given)) is not None:
        defaults["speculative_config"] = speculative
    return defaults


def _prefill(given: Given, defaults: Mapping[str, Setting]) -> dict[str, Setting]:
    """`max_num_batched_tokens`, and prefix caching where it cannot be.

    A prompt is prefilled in segments of one size, or whole. Prefix caching, which vLLM turns on, wants
    segments (vllm_neuron/vllm/worker/neuron_model_runner.py).
    """
    said = given.effective(given.engine(defaults))
    length = whole(said.get("max_model_len"))
    if length is None:
        return {}
    asked = given.profile.shape.features.buckets.prefill or ()
    caching, tokens = said.get("enable_prefix_caching"), whole(said.get("max_num_batched_tokens"))
    sizes = [size for size in SEGMENT_SIZES if size < length]
    reason = None
    if not sizes:
        reason = f"no segment is shorter than {length} tokens"
    elif said.get("enable_chunked_prefill") is False:
        reason = "chunked prefill is turned off"
    elif given.model.facts.is_multimodal:
        reason = "models with images have no segmented prefill"
    elif len(asked) > 1 and caching is not True:
        reason = "segmented prefill compiles one bucket, and several are asked for"
    settings = {}
    if tokens is None and reason is not None and length <= SINGLE_SHOT_LENGTH:
        tokens = length
        settings["max_num_batched_tokens"] = Setting(tokens, f"neuronctl: whole prompts at once; {reason}")
    elif tokens is None:
        most = max(asked, default=BATCHED_TOKENS)
        tokens = max((size for size in sizes if size <= most), default=SEGMENT_SIZES[0])
        settings["max_num_batched_tokens"] = Setting(tokens, "neuronctl: the size of a segment of prefill")
    if tokens >= length and caching is None and "kv_segment_size_buckets" not in given.profile.shape.neuron:
        settings["enable_prefix_caching"] = Setting(
            False, "neuronctl: the plugin refuses prefix caching where prompts are prefilled whole"
        )
    return settings


def _speculative(given: Given) -> Setting | None:
    """vLLM's own words for a draft. An EAGLE3 draft is told by its name, as vLLM itself does."""
    asked = given.profile.shape.features.speculative
    if asked.method is None:
        return None
    method = "eagle3" if "eagle3" in (asked.model or "").lower() else asked.method
    config: dict[str, object] = {"method": method, "model": asked.model}
    if asked.tokens is not None:
        config["num_speculative_tokens"] = asked.tokens
    return Setting(config, f"features.speculative, {given.profile.origin('features.speculative')}")


def _neuron_settings(given: Given, defaults: Mapping[str, Setting]) -> dict[str, Setting]:
    """The Neuron config: what features imply, then the profile's `neuron`."""
    features, settings = given.profile.shape.features, {}
    effective = given.effective(given.engine(defaults))

    def imply(key: str, value: object, feature: str) -> None:
        settings[key] = Setting(value, f"features.{feature}, {given.profile.origin(f'features.{feature}')}")

    sampling = features.sampling
    if sampling.on_device is False:
        imply("on_device_sampling_config", None, "sampling.on_device")
    elif sampling.global_top_k is not None:
        imply("on_device_sampling_config", {"max_top_k": sampling.global_top_k}, "sampling.global_top_k")
    tokens, length = prefill_tokens(effective), whole(effective.get("max_model_len"))
    if features.buckets.prefill is not None and tokens is not None and length is not None:
        # The largest must be what one prefill can hold, and a segment is the only size there is.
        shorter = sorted({size for size in features.buckets.prefill if size < tokens})
        imply(
            "num_batched_tokens_buckets", [*(shorter if tokens == length else ()), tokens], "buckets.prefill"
        )
    if features.buckets.decode is not None and length is not None:
        # The whole length is always compiled, and not to be named (reference: native_neuron_config).
        sizes = {-(-size // DECODE_STEP) * DECODE_STEP for size in features.buckets.decode}
        if shorter := sorted(size for size in sizes if size < length):
            imply("decode_context_length_buckets", shorter, "buckets.decode")
    if features.tools.parser is not None:
        imply("enable_structured_outputs", True, "tools.parser")
    return settings | stated_neuron(given, SECTION)


def _scheduling(given: Given, settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """Asynchronous scheduling, which vLLM turns on, where it cannot be."""
    sampling, structured = (
        settings.get("on_device_sampling_config"),
        settings.get("enable_structured_outputs"),
    )
    why = None
    if sampling is not None and sampling.value is None:
        why = "it wants sampling on the device"
    elif structured is not None and structured.value is True and not _is_0_24(given):
        why = "vllm-neuron 0.21 is reported to need it off for structured outputs"
    return {"async_scheduling": Setting(False, f"neuronctl: {why}")} if why else {}


def _environment(given: Given, lnc: int) -> dict[str, Setting]:
    settings = neuron_environment(given, lnc)
    for name, limit_s in COLD_COMPILE_TIMEOUTS_S.items():
        settings[name] = Setting(str(limit_s), "neuronctl: vLLM's own limit is too short for a cold compile")
    seen = {**given.environ, **given.profile.shape.env}
    for name, other in (COMPILATION_TIMEOUTS, COMPILATION_TIMEOUTS[::-1]):
        if other in seen:
            settings[name] = Setting(seen[other], f"neuronctl: as {other}, its name in another version")
    machine = given.machine
    # A trn2.3xlarge often has none (reference: instances, and known_issues, efa-missing-native).
    lacks_efa = machine.has_efa is False or (machine.assumed and machine.instance_name == "trn2.3xlarge")
    if lacks_efa:
        settings["NEURON_SKIP_EFA_AFFINITY"] = Setting(
            "1", "neuronctl: the plugin does not start without an EFA"
        )
    return settings


def _named_cores(given: Given) -> CoreSet | None:
    """The cores that the profile, or this shell for this machine, names itself; rules look at them."""
    name = CORES_VARIABLE
    said = given.profile.shape.env.get(name)
    if said is None and not given.machine.assumed:
        said = given.environ.get(name)
    return parse_cores(said, place=Place(key=name)) if said else None


def _is_0_24(given: Given) -> bool:
    version = given.stack.versions.get("vllm-neuron")
    return version is None or at_least(version, "0.24")
