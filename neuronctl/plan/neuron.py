"""What the two backends for Neuron have in common: settings, cores, environment."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Literal

from neuronctl.errors import MachineUnfit
from neuronctl.machine.cores import CoreSet, granted_cores, partition
from neuronctl.model.model import Model
from neuronctl.neuron.keys import KeyFault, check_additional_config
from neuronctl.neuron.outlook import Outlook, flat_settings
from neuronctl.plan.given import Given
from neuronctl.plan.key import KEY_FORMAT, compiling_arguments, compiling_passthrough, compiling_variables
from neuronctl.plan.plan import Setting
from neuronctl.profile.variable import variable_place

LNC_VARIABLE = "NEURON_LOGICAL_NC_CONFIG"
TARGET_VARIABLE = "NEURON_PLATFORM_TARGET_OVERRIDE"

# Keys of a profile's `neuron` that stand beside the Neuron config, not in it (reference:
# neuron_config_keys and vllm_defaults).
BESIDE = {
    "override_neuron_config": frozenset({"max_prompt_length"}),
    "neuron_config": frozenset({"vision_neuron_config", "mm_language_model_only"}),
}
# For models that take images, the nxdi plugin allows nothing beside these two.
TEXT, VISION = "text_neuron_config", "vision_neuron_config"

# A length and a batch that fit most machines. vLLM's own defaults are the model's whole context, and 256
# requests at once: the nxdi plugin compiles both as they are (reference: measured, "no --max-num-seqs").
_LENGTH = 4096
_SEQUENCES = 4
# Reference: known_issues, qwen3-moe-batch.
_QWEN3_MOE, _QWEN3_MOE_SEQUENCES = "Qwen3MoeForCausalLM", 16


def default_length(given: Given) -> Setting:
    """`max_model_len` where nobody says one."""
    context = given.model.facts.context_length
    if context is not None and context <= _LENGTH:
        return Setting(context, "neuronctl: the model's whole context")
    return Setting(_LENGTH, "neuronctl: vLLM's default, the whole context, would be compiled")


def default_sequences(given: Given) -> Setting:
    """`max_num_seqs` where nobody says it."""
    if given.model.facts.architecture == _QWEN3_MOE:
        return Setting(_QWEN3_MOE_SEQUENCES, "neuronctl: SDK 2.28 supports no fewer for this family")
    return Setting(_SEQUENCES, "neuronctl: vLLM's default of 256 would be compiled as the batch size")


def stated_neuron(given: Given, section: str) -> dict[str, Setting]:
    """The profile's `neuron` keys that go into the Neuron config."""
    return {
        key: Setting(value, str(given.profile.origin(f"neuron.{key}")))
        for key, value in given.profile.shape.neuron.items()
        if key not in BESIDE[section]
    }


def additional_config(
    given: Given, engine: dict[str, Setting], section: str, settings: Mapping[str, Setting]
) -> tuple[Mapping[str, Any], object]:
    """Put the settings into vLLM's `--additional-config`, under `section`.

    What the profile says under `engine.extra.additional_config` is laid over it; the same flag after `--`
    takes the place of all of it (measured: "second --additional-config wins"). Gives the Neuron config in
    force and the whole of what vLLM will get.
    """
    neuron = given.profile.shape.neuron
    ours: dict[str, Any] = {section: _arranged(given, section, settings)}
    ours |= {key: neuron[key] for key in sorted(BESIDE[section]) if key in neuron}
    stated = engine.get("additional_config")
    if stated is None:
        engine["additional_config"] = Setting(ours, "neuronctl: see the Neuron config")
    elif isinstance(stated.value, Mapping):
        engine["additional_config"] = Setting(_laid_over(ours, stated.value), stated.origin)
    config = given.effective(engine)["additional_config"]
    if isinstance(config, str):
        config = _read(config)
    found = config.get(section) if isinstance(config, Mapping) else None
    return (found if isinstance(found, Mapping) else {}), config


def neuron_origins(
    given: Given, engine: Mapping[str, Setting], over: Mapping[str, Any], settings: Mapping[str, Setting]
) -> dict[str, str]:
    """Who decided each of the Neuron settings in force, by its path."""
    otherwise = engine["additional_config"].origin
    found = {}
    for path, _ in flat_settings(over):
        outer, _, inner = path.partition(".")
        setting = settings.get(inner) if outer in (TEXT, VISION) else settings.get(outer)
        said = given.profile.origin(f"neuron.{path}")
        if said.kind != "built-in":
            found[path] = str(said)
        else:
            found[path] = setting.origin if setting is not None else otherwise
    return found


def logical_cores_config(given: Given, settings: Mapping[str, Setting]) -> int:
    """The LNC in force: a variable in the profile's `env`, else the setting, else the machine's."""
    said = given.profile.shape.env.get(LNC_VARIABLE)
    if said is None and (setting := settings.get("logical_nc_config")) is not None:
        said = str(setting.value)
    return int(said) if said in ("1", "2") else (given.machine.lnc or 1)


def neuron_environment(given: Given, lnc: int) -> dict[str, Setting]:
    """Variables for each Neuron engine. The LNC is said where there is a choice: a compile is for one."""
    instance = given.machine.instance
    if instance is None or len(instance.lnc_supported) < 2:
        return {}
    return {
        LNC_VARIABLE: Setting(str(lnc), "neuronctl: what is compiled for one LNC does not load with another")
    }


def assign_cores(given: Given, degree: int, lnc: int) -> tuple[CoreSet | None, CoreSet | None]:
    """The logical cores that the environment grants, and the first run of `degree` of them.

    None where no machine is known, or it has no such LNC, and where there is no such run. Raises UsageError
    for a core set that cannot be read.
    """
    all_cores = replace(given.machine, lnc=lnc).core_ids
    if not all_cores:
        return None, None
    name = given.machine.instance_name or "this machine"
    said = given.profile.shape.env
    places = {each: variable_place(given.profile, each) for each in said}
    granted = granted_cores({**given.environ, **said}, all_cores, machine=name, places=places)
    try:
        return granted, partition(granted, degree, 1)[0]
    except MachineUnfit:
        return granted, None


def find_key_faults(
    given: Given, config: object, generation: Literal["nxdi", "native"]
) -> tuple[KeyFault, ...]:
    """What is wrong with the keys of `--additional-config`, for the versions of this stack."""
    versions = given.stack.versions
    plugin = versions.get("vllm-neuron")
    version = plugin if generation == "native" else versions.get("neuronx-distributed-inference")
    return check_additional_config(config, generation=generation, plugin=plugin, version=version)


def neuron_key_inputs(
    given: Given,
    outlook: Outlook,
    engine: Mapping[str, Setting],
    environment: Mapping[str, Setting],
    *,
    versions: Collection[str],
    variables: Collection[str],
    beginnings: tuple[str, ...] = (),
    without: Collection[str] = (),
    reads_model: bool = False,
) -> dict[str, object]:
    """The inputs of the key that the two backends share.

    `versions` names the distributions and `variables` those of the environment that change what is
    compiled, `beginnings` those of others that may; `without` the arguments that do not, or that are in the
    key in another form. `reads_model`: what is compiled is of use only where the model lies in the same
    folder.
    """
    instance = given.machine.instance
    seen = compiling_variables(given.keyed(environment), variables, beginnings=beginnings)
    values = {name: setting.value for name, setting in engine.items()}
    return {
        "format": KEY_FORMAT,
        "backend": outlook.generation,
        "versions": {name: given.stack.versions[name] for name in versions if name in given.stack.versions},
        "python": ".".join(given.stack.python_version.split(".")[:2]),
        "machine": {"target": instance.compiler_target if instance else None, "lnc": outlook.lnc},
        "model": _model_identity(given.model) | ({"path": str(given.model.path)} if reads_model else {}),
        "engine": compiling_arguments(values, without=without),
        "passthrough": compiling_passthrough(given.passthrough),
        "environment": _said_elsewhere(given, outlook.lnc, seen),
    }


# Flags of the compiler's wrapper about its cache and its words (reference: env_vars, NEURON_CC_FLAGS).
_WRAPPER_FLAGS = ("--cache_dir", "--no_cache", "--log_level", "--retry_failed_compilation")


def _said_elsewhere(given: Given, lnc: int, variables: dict[str, str]) -> dict[str, str]:
    """The variables without what is no setting of the compile, or stands in the key already.

    Without a device the platform must be said, with one it need not be; so for the LNC.
    """
    instance = given.machine.instance
    kept = dict(variables)
    if instance is not None and kept.get(TARGET_VARIABLE) == instance.compiler_target:
        del kept[TARGET_VARIABLE]
    if kept.get(LNC_VARIABLE) == str(lnc):
        del kept[LNC_VARIABLE]
    if "NEURON_CC_FLAGS" in kept:
        words = kept.pop("NEURON_CC_FLAGS").split()
        if flags := [word for word in words if word.partition("=")[0] not in _WRAPPER_FLAGS]:
            kept["NEURON_CC_FLAGS"] = " ".join(flags)
    return kept


def _model_identity(model: Model) -> dict[str, object]:
    """What tells one model's weights from another's: a commit, else a digest, else the folder."""
    if model.commit is not None:
        return {"id": model.id, "commit": model.commit, "config": model.config}
    if model.identity is not None:
        return {"weights": model.identity, "config": model.config}
    return {"path": str(model.path), "config": model.config}


def renamed(value: object, names: Mapping[str, str]) -> object:
    """`value` with some of its texts replaced, at any depth: paths by what lies there."""
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, Mapping):
        return {key: renamed(one, names) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [renamed(one, names) for one in value]
    return value


def whole(value: object) -> int | None:
    """A whole number; None for anything else, truth values included."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _arranged(given: Given, section: str, settings: Mapping[str, Setting]) -> dict[str, Any]:
    """The settings as the section wants them; for a model that takes images in two, text and vision.

    Flat keys that the profile itself says stay flat, so that the refusal they meet can be told.
    """
    values = {key: setting.value for key, setting in settings.items()}
    if section != "override_neuron_config" or not given.model.facts.is_multimodal:
        return values
    stated = given.profile.shape.neuron
    implied = {key: value for key, value in values.items() if key not in stated and key != "lora_ckpt_json"}
    sharded = {key: implied[key] for key in ("save_sharded_checkpoint",) if key in implied}
    # The plugin takes LoRA's adapters from beside the two, before it looks at them.
    flat = {
        key: value
        for key, value in values.items()
        if (key in stated or key == "lora_ckpt_json") and key not in (TEXT, VISION)
    }
    return {
        TEXT: implied | _mapping(values.get(TEXT)),
        VISION: sharded | _mapping(values.get(VISION)),
        **flat,
    }


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _laid_over(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**ours, **theirs}
    for key in ours.keys() & theirs.keys():
        if isinstance(ours[key], Mapping) and isinstance(theirs[key], Mapping):
            merged[key] = {**ours[key], **theirs[key]}
    return merged


def _read(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
