"""Rules about vLLM's own arguments: those it does not take, and those that the plugin overrules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from neuronctl.rules.cores import exceeds_cores
from neuronctl.rules.nxdi_refusals import find_prediction, find_refusal, name_plugin
from neuronctl.rules.place import engine_key
from neuronctl.rules.rule import NEURON, Remark, rule
from neuronctl.rules.situation import Situation
from neuronctl.stack.flags import Answer, check_flag

_NXDI = ("nxdi",)
# Ways of speculating that want a draft, whose configuration says no number of tokens.
_WITH_DRAFT = ("draft_model", "eagle", "eagle3")
_FLAGS = "measured on the parsers of vLLM 0.11.0, 0.16.0, 0.24.0 and 0.32.0"
# The version that was tried after each (stack/flags.yaml, measured_versions).
_TRIED_NEXT = {"0.11.0": "0.16.0", "0.16.0": "0.24.0", "0.24.0": "0.32.0"}
# What the plugin overrules by design of the plan, or what other rules tell.
_TOLD_ELSEWHERE = (
    "additional_config.",
    "enable_chunked_prefill ",
    "max_num_batched_tokens ",
    "num_gpu_blocks_override ",
    "on_device_sampling_config ",
    "override_neuron_config.",
    "speculative method ",
)


@rule("vllm.flag-refused", "error", _FLAGS, backends=NEURON, covers=("device-flag-removed",))
def flag_refused(situation: Situation) -> Sequence[Remark] | None:
    """This version of vLLM has no such argument, or does not take this value for it.

    vLLM's parser stops at it. `--device` and `--override-neuron-config` are of a fork of vLLM V0 that AWS's
    older examples still use.
    """
    version = situation.stack.vllm_version
    return [
        Remark(
            f"vLLM {version} does not take {flag}"
            f"{f' (tried with {answer.measured_on})' if answer.inferred else ''}: {_reason(answer)}",
            fix=_flag_fix(name, answer),
            key=engine_key(situation, name),
        )
        for name, flag, answer, taken_by in _refused_flags(situation)
        if taken_by is None
    ] or None


@rule("vllm.flag-doubtful", "warning", _FLAGS, backends=NEURON)
def flag_doubtful(situation: Situation) -> Sequence[Remark] | None:
    """The version tried before this one refused the argument, and the one tried after it takes it."""
    version = situation.stack.vllm_version
    return [
        Remark(
            f"vLLM {answer.measured_on} refused {flag} and {taken_by} takes it; {version} was not tried: "
            f"{_reason(answer)}",
            fix=_flag_fix(name, answer),
            key=engine_key(situation, name),
        )
        for name, flag, answer, taken_by in _refused_flags(situation)
        if taken_by is not None
    ] or None


def _refused_flags(situation: Situation) -> Iterator[tuple[str, str, Answer, str | None]]:
    """Name and flag of each argument that is refused, why, and the later version that takes it."""
    version = situation.stack.vllm_version
    if version is None:
        return
    for name, value in situation.engine.items():
        if value is None:
            continue
        text = str(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else None
        flag = ("--no-" if value is False else "--") + name.replace("_", "-")
        refused = _find_refused(version, flag, text)
        if refused is not None:
            yield name, flag, *refused


@lru_cache(maxsize=4096)
def _find_refused(version: str, flag: str, value: str | None) -> tuple[Answer, str | None] | None:
    answer = check_flag(version, flag, value)
    if answer.accepted is not False:
        return None
    after = _TRIED_NEXT.get(answer.measured_on or "") if answer.inferred else None
    is_taken = after is not None and check_flag(after, flag, value).accepted is not False
    return answer, after if is_taken else None


def _reason(answer: Answer) -> str:
    return answer.reason.removeprefix("error: ")


def _flag_fix(name: str, answer: Answer) -> str:
    if name == "override_neuron_config":
        return "remove it, and put the settings under neuron in the profile"
    return f"remove {name}" if answer.has_no_flag else f"give {name} a value that vLLM takes"


@rule(
    "neuron.quantization-neuron-quant",
    "error",
    "sdk:libraries/nxd-inference/developer_guides/vllm-user-guide-v1.rst:486; "
    "sdk:vllm-neuron/docs/guides/reference-configuration.md (Quantization options warning)",
    backends=NEURON,
    covers=("quantization-neuron-quant",),
)
def quantization_neuron_quant(situation: Situation) -> Remark | None:
    """vLLM's `--quantization neuron_quant` must not be set; the result is wrong or not quantised.

    Both generations of the plugin still list the name. Quantisation is set in the Neuron config.
    """
    if situation.engine.get("quantization") != "neuron_quant":
        return None
    fix = (
        "remove it and set features.quantization.weights: int8 or fp8, and features.quantization.checkpoint "
        "to a folder that can be written"
    )
    if situation.backend == "native":
        fix = "remove it and use neuron.quantization, or a checkpoint that is quantised already"
    return Remark(
        "quantization neuron_quant must not be set, say AWS's guides for both plugins: the model is served "
        "with wrong quantisation or none",
        fix=fix,
        key=engine_key(situation, "quantization"),
    )


@rule(
    "nxdi.max-num-batched-tokens-forced",
    "warning",
    "plugin020:V/platform.py:186-193, the same in 0.5.x",
    backends=_NXDI,
    covers=("max-num-batched-tokens-forced",),
)
def max_num_batched_tokens_forced(situation: Situation) -> Remark | None:
    """The plugin's scheduler has one token budget and overwrites what is said.

    By its code (not run) up to 0.5.x, though its own log line says the flag overrides it. Only chunked
    prefill, which uses vLLM's scheduler, leaves the number as it is.
    """
    stated = situation.engine.get("max_num_batched_tokens")
    prediction = find_prediction(situation)
    if stated is None or prediction is None:
        return None
    used = prediction.engine["max_num_batched_tokens"]
    if used == stated:
        return None
    return Remark(
        f"max_num_batched_tokens {stated} becomes {used}: the plugin's scheduler overwrites it",
        fix="remove it; only features.chunked_prefill makes use of it",
        key=engine_key(situation, "max_num_batched_tokens"),
    )


@rule(
    "nxdi.swap-space",
    "error",
    "measured with vLLM 0.11.0: tensor_parallel_size 8 on a host with 23.54 GiB",
    backends=_NXDI,
)
def swap_space(situation: Situation) -> Remark | None:
    """vLLM sets 4 GiB of host memory aside for each rank, and refuses more than 70 % of what there is.

    Where there are fewer cores than ranks, that alone is told (machine.too-many-cores).
    """
    refusal = find_refusal(situation, "swap-space")
    if refusal is None or exceeds_cores(situation):
        return None
    return Remark(
        refusal.message.rpartition("Value error, ")[2],
        fix="set a smaller engine.swap_space (GiB for each rank; 0 is allowed)",
        key=engine_key(situation, "swap_space"),
    )


@rule(
    "vllm.speculative-incomplete",
    "error",
    "vLLM's config/speculative.py (SpeculativeConfig.__post_init__)",
    backends=NEURON,
)
def speculative_incomplete(situation: Situation) -> Remark | None:
    """A draft wants a name and a number of tokens, fewer than the longest sequence has.

    Without one of the two vLLM stops before the model is loaded. More tokens than `max_model_len` can never
    be checked at once.
    """
    config = situation.engine.get("speculative_config")
    if not isinstance(config, Mapping) or config.get("method") not in _WITH_DRAFT:
        return None
    model, tokens = config.get("model"), config.get("num_speculative_tokens")
    length = situation.engine.get("max_model_len")
    if model is None:
        wrong, fix = "without a draft", "set features.speculative.model to the draft"
    elif tokens is None:
        wrong, fix = "without num_speculative_tokens", "set features.speculative.tokens, such as 5"
    elif isinstance(tokens, int) and isinstance(length, int) and tokens >= length:
        wrong = f"with {tokens} tokens at a time, and a sequence has {length} (max_model_len)"
        fix = "set features.speculative.tokens to a few, such as 5"
    else:
        return None
    return Remark(
        f"speculative method {config.get('method')} {wrong}",
        fix=fix,
        key=engine_key(situation, "speculative_config"),
    )


@rule("nxdi.overruled", "info", "plugin020:V/platform.py:143-210", backends=_NXDI)
def overruled(situation: Situation) -> Sequence[Remark] | None:
    """The plugin changes some of vLLM's arguments without saying so; the plan shows what will be used."""
    prediction = find_prediction(situation)
    if prediction is None or not prediction.silent:
        return None
    return [
        Remark(f"{name_plugin(situation)}: {said}", key=engine_key(situation, said.partition(" ")[0]))
        for said in prediction.silent
        if not said.startswith(_TOLD_ELSEWHERE)
    ] or None


RULES = (
    flag_refused,
    quantization_neuron_quant,
    swap_space,
    speculative_incomplete,
    flag_doubtful,
    max_num_batched_tokens_forced,
    overruled,
)
