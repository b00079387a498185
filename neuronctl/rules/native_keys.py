"""Rules about the keys of the native plugin's configuration, and about those of the other generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neuronctl.neuron.keys import KeyFault
from neuronctl.neuron.migration import SECTIONS, is_foreign, other_generation, translate
from neuronctl.rules.place import neuron_key
from neuronctl.rules.rule import NEURON, Remark, rule
from neuronctl.rules.situation import Situation

_NATIVE = ("native",)
_CODE = "g2:vllm_neuron/model/neuron_config.py (read, not run)"
_GUIDE = "sdk:vllm-neuron/docs/guides/reference-configuration.md"
_QUANTIZED = ("quantized", "quantization_dtype")
_LANGUAGE_ONLY = "mm_language_model_only"
_OWNERS = {"nxdi": "NxD Inference", "native": "the native plugin"}
# Stacks of each generation, as `--stack` names them.
_STACKS = {"nxdi": "sdk-2.31", "native": "sdk-2.32"}


def neuron_settings(situation: Situation) -> Mapping[str, Any]:
    """The Neuron config that is handed over; empty where there is none."""
    return situation.outlook.settings if situation.outlook else {}


def _place(situation: Situation, path: str) -> str | None:
    """Where the profile says the key whose path inside `--additional-config` this is."""
    first, _, rest = path.partition(".")
    return neuron_key(situation, rest if first in SECTIONS.values() and rest else path)


@rule(
    "neuron.other-generation",
    "error",
    "sdk:vllm-neuron/docs/getting-started/migration-nxdi-to-vllm-neuron.md:41-123; "
    "plugin020:V/worker/neuronx_distributed_model_loader.py:689",
    backends=NEURON,
    covers=("generation-mismatch-config",),
)
def other_generation_keys(situation: Situation) -> Remark | None:
    """A setting of NxD Inference on the native plugin, or the other way round, does nothing.

    The two generations of the plugin share a flag, `--additional-config`, and hardly a key in it. By their
    code (not run) both ignore the other's section and keys, so a profile for one would be compiled by the
    other without its settings.
    """
    outlook = situation.outlook
    if outlook is None or not outlook.key_faults:
        return None
    foreign = [fault for fault in outlook.key_faults if is_foreign(fault, outlook.generation)]
    # This key has a rule of its own, which knows more.
    foreign = [fault for fault in foreign if outlook.generation == "nxdi" or _word(fault) not in _QUANTIZED]
    if not foreign:
        return None
    other = other_generation(outlook.generation)
    words = tuple(
        dict.fromkeys(word for fault in foreign for word in _foreign_words(outlook.additional_config, fault))
    )
    known = {word: text for word in words if (text := translate(word, outlook.generation))}
    fix = f"remove {'it' if len(words) == 1 else 'them'}, or take a stack of their generation"
    fix += f" (--stack {_STACKS[other]})"
    if known:
        fix = "write instead: " + "; ".join(f"{word} → {text}" for word, text in known.items()) + f"; {fix}"
    return Remark(
        f"{', '.join(words)}: of {_OWNERS[other]}, and {_OWNERS[outlook.generation]} ignores what it does "
        "not know",
        fix=fix,
        key=_place(situation, foreign[0].path),
    )


@rule("native.unknown-key", "error", _CODE, backends=_NATIVE, covers=("unknown-neuron-keys-native",))
def unknown_key(situation: Situation) -> list[Remark] | None:
    """The native plugin reads the keys it knows and drops the others without a word.

    A typing error would cost a compile, and the server would run without the setting. By the plugin's code
    (not run); keys that only its documentation has are `native.key-not-read`.
    """
    outlook = situation.outlook
    if outlook is None or not outlook.key_faults:
        return None
    found = []
    for fault in outlook.key_faults:
        if fault.kind == "ignored" or is_foreign(fault, "native"):
            continue
        if _word(fault) == _LANGUAGE_ONLY:
            continue
        version = situation.stack.versions.get("vllm-neuron", "of another version")
        fix = f"{fault.path} is no key of vllm-neuron {version}: remove it"
        if fault.kind == "bad-value":
            fix = f"give {fault.path} a value of that kind"
        elif fault.nearest:
            fix = f"did you mean {fault.nearest}?"
        found.append(Remark(fault.message, fix, _place(situation, fault.path)))
    return found


@rule("native.key-not-read", "warning", f"{_GUIDE}; {_CODE}", backends=_NATIVE)
def key_not_read(situation: Situation) -> list[Remark] | None:
    """AWS's documentation has the key, and by the plugin's code (not run) nothing reads it.

    So it is with `temperature`, `top_k` and `top_p` of `on_device_sampling_config`: requests say them.
    """
    outlook = situation.outlook
    if outlook is None or not outlook.key_faults:
        return None
    return [
        Remark(fault.message, "remove it", _place(situation, fault.path))
        for fault in outlook.key_faults
        if fault.kind == "ignored" and not is_foreign(fault, "native")
    ]


@rule(
    "native.quantized-ignored",
    "error",
    f"sdk:vllm-neuron/docs/getting-started/migration-nxdi-to-vllm-neuron.md:49; {_CODE}",
    backends=_NATIVE,
    covers=("native-quantized-keys-ignored",),
)
def quantized_ignored(situation: Situation) -> Remark | None:
    """`quantized` and `quantization_dtype` do nothing: the model would be served unquantised.

    AWS's migration guide says that they still exist; by the plugin's code (not run) they do not. What is
    quantised says the checkpoint, or `quantization`.
    """
    said = [key for key in _QUANTIZED if key in neuron_settings(situation)]
    if not said:
        return None
    return Remark(
        f"{' and '.join(said)}: by the native plugin's code not read, though the migration guide has "
        f"{'it' if len(said) == 1 else 'them'}; the model would be served as it is",
        fix="name a checkpoint that is quantised (its config.json has quantization_config), or set "
        "neuron.quantization",
        key=neuron_key(situation, said[0]),
    )


@rule(
    "native.language-model-only-nested",
    "error",
    f"{_GUIDE} (EPD construction roles)",
    backends=_NATIVE,
    covers=("mm-language-model-only-nested",),
)
def language_model_only_nested(situation: Situation) -> Remark | None:
    """`mm_language_model_only` counts only beside `neuron_config`, not in it.

    Nested it is ignored without an error: the vision tower is built as well, and wastes device memory.
    """
    outlook = situation.outlook
    if outlook is None or not outlook.key_faults:
        return None
    for fault in outlook.key_faults:
        if "." in fault.path and _word(fault) == _LANGUAGE_ONLY:
            return Remark(
                f"{fault.path} is ignored where it stands, and both towers are built",
                fix=f"move it up: neuron.{_LANGUAGE_ONLY}: true",
                key=_place(situation, fault.path),
            )
    return None


def _word(fault: KeyFault) -> str:
    return fault.path.rpartition(".")[2]


def _foreign_words(config: object, fault: KeyFault) -> list[str]:
    """The key itself; for a whole section of the other generation, the keys in it."""
    word = _word(fault)
    value = config
    for step in fault.path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    is_section = word.replace("-", "_") in SECTIONS.values()
    return [str(key) for key in value] if is_section and isinstance(value, Mapping) and value else [word]


RULES = (other_generation_keys, unknown_key, key_not_read, quantized_ignored, language_model_only_nested)
