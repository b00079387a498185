"""Rules about compiled artifacts and the variables that decide where they are made and kept."""

from __future__ import annotations

from collections.abc import Mapping

from neuronctl.rules.nxdi_refusals import find_prediction
from neuronctl.rules.place import engine_key, neuron_key, remove_variable, variable_key
from neuronctl.rules.rule import Remark, rule
from neuronctl.rules.situation import Situation

_NXDI = ("nxdi",)
_LOADER = "plugin020:V/worker/neuronx_distributed_model_loader.py:184-194,214-226"
_FOLDER = "NEURON_COMPILED_ARTIFACTS"
_WORK_FOLDER = "BASE_COMPILE_WORK_DIR"
# From this batch on AWS saw some models run slower with shard-on-load (weights-sharding-guide.rst:95-96).
_SLOW_FROM_BATCH = 32


@rule("artifacts.own-folder", "info", _LOADER, backends=_NXDI, covers=("artifacts-settings-ignored",))
def own_folder(situation: Situation) -> Remark | None:
    """A folder of the user's own takes the place of the store, and what lies in it is loaded as it is.

    The plugin does not compare it with what is asked for: the settings in its neuron_config.json win over the
    profile's, with one general warning. neuronctl compares first, and refuses what differs; it cannot tell
    whether the weights in it are the model's. One folder is good for one set of settings.
    """
    path = situation.profile.shape.artifacts.path
    if path is None:
        return None
    return Remark(
        f"artifacts.path {path} takes the place of the store: its settings are compared with this profile "
        "before a start, and damage that no header shows is not noticed",
        fix="leave artifacts.path out: the store has a folder for each set of settings",
        key="artifacts.path",
    )


@rule(
    "artifacts.folder-from-environment",
    "warning",
    _LOADER,
    backends=_NXDI,
    covers=("artifacts-settings-ignored",),
)
def folder_from_environment(situation: Situation) -> Remark | None:
    """NEURON_COMPILED_ARTIFACTS names a folder whose content the plugin loads, whatever was asked for.

    The plugin ignores settings that differ from those in the folder, with one general warning: a server may
    run with another length, batch or tensor parallel size than was asked for. neuronctl compares first, and
    refuses what differs.
    """
    path = situation.environment.get(_FOLDER)
    if not path:
        return None
    return Remark(
        f"{_FOLDER} is {path}, which takes the place of the store: its settings are compared with this "
        "profile before a start, and damage that no header shows is not noticed",
        fix=f"{remove_variable(situation, _FOLDER)}: the store has a folder for each set of settings",
        key=variable_key(situation, _FOLDER),
    )


@rule(
    "artifacts.no-weights",
    "warning",
    "nxdi:M/models/application_base.py:630-645",
    backends=_NXDI,
    covers=("artifacts-moved-model",),
)
def no_weights(situation: Situation) -> Remark | None:
    """Without save_sharded_checkpoint an artifact holds graphs only, and depends on the model's folder.

    By NxD Inference's code (not run) the weights are cut again at each start, from the path that
    neuron_config.json has kept. Where that is gone, releases from 0.7 on look into the artifact, earlier ones
    nowhere; so it does not load on another host, or after the model has moved.
    """
    if _is_sharded(situation):
        return None
    return Remark(
        "save_sharded_checkpoint is false: the artifact holds no weights, and by NxD Inference's code (not "
        f"run) each start cuts them again from {situation.model.path}; without that folder it does not load",
        fix=_sharded_fix(situation),
        key=_sharded_key(situation),
    )


@rule(
    "artifacts.quantized-elsewhere",
    "error",
    "nxdi:M/models/application_base.py (checkpoint_loader_fn); "
    "plugin020:V/worker/neuronx_distributed_model_loader.py, _compile_and_load_model",
    backends=_NXDI,
    forcible=True,
)
def quantized_elsewhere(situation: Situation) -> Remark | None:
    """An artifact without weights reads the quantised ones at each start, from where its compile put them.

    Another compile that names the same folder overwrites them, and then another model is served under this
    name; nothing in the artifact tells.
    """
    path = _predicted(situation).get("quantized_checkpoints_path")
    if _is_sharded(situation) or not _predicted(situation).get("quantized") or not path:
        return None
    return Remark(
        "save_sharded_checkpoint is false: by its code (not run) each start reads the quantised weights "
        f"from {path}, which any other compile may overwrite",
        fix=_sharded_fix(situation),
        key=_sharded_key(situation),
    )


@rule(
    "artifacts.shard-on-load-slow",
    "warning",
    "sdk:libraries/nxd-inference/developer_guides/weights-sharding-guide.rst:95-96",
    backends=_NXDI,
    covers=("shard-on-load-perf",),
)
def shard_on_load_slow(situation: Situation) -> Remark | None:
    """AWS saw some models, such as Llama 3.1 8B, run slower at a batch of 32 and more with shard-on-load."""
    if _is_sharded(situation):
        return None
    batch = _predicted(situation).get("batch_size")
    if not isinstance(batch, int) or batch < _SLOW_FROM_BATCH:
        return None
    return Remark(
        f"save_sharded_checkpoint is false and the batch size is {batch}: from {_SLOW_FROM_BATCH} on AWS saw "
        "some models run slower when weights are cut while they are loaded",
        fix=_sharded_fix(situation),
        key=_sharded_key(situation),
    )


@rule(
    "artifacts.work-folder",
    "info",
    "nxd:src/neuronx_distributed/trace/model_builder.py:93-101,543-545,643-647,720-729",
    backends=_NXDI,
    covers=("workdir-collision", "workdir-cache-key"),
)
def work_folder(situation: Situation) -> Remark | None:
    """Compiles that share a work folder delete each other's files.

    By its code (not run) NxD removes BASE_COMPILE_WORK_DIR when a compile begins. Its path is also part of
    the key of the compiler's own cache, so that another path means that everything is compiled again.
    neuronctl gives each compile a folder of its own: in the one that is named, else in the store.
    """
    path = situation.environment.get(_WORK_FOLDER)
    if not path:
        return None
    return Remark(
        f"{_WORK_FOLDER} is {path}: by NxD's code (not run) each compile removes that folder when it begins, "
        "so neuronctl gives each compile a folder of its own in it",
        fix=f"{remove_variable(situation, _WORK_FOLDER)}: then that folder is beside the store, and gone "
        "with the compile",
        key=variable_key(situation, _WORK_FOLDER),
    )


@rule(
    "artifacts.compiler-cache",
    "info",
    "sdk:about-neuron/arch/neuron-features/neuron-caching.rst",
    backends=_NXDI,
)
def compiler_cache(situation: Situation) -> Remark | None:
    """Of the two ways to name the compiler's own cache, --cache_dir in NEURON_CC_FLAGS wins."""
    flags = situation.environment.get("NEURON_CC_FLAGS")
    url = situation.environment.get("NEURON_COMPILE_CACHE_URL")
    if not flags or not url or "--cache_dir" not in flags:
        return None
    return Remark(
        f"NEURON_COMPILE_CACHE_URL {url} is not used: --cache_dir in NEURON_CC_FLAGS ({flags}) wins",
        fix="set one of the two",
        key="env.NEURON_COMPILE_CACHE_URL",
    )


# What NxD Inference sets in its long-context mode (nxdi:M/utils/runtime_env.py:8-27).
_LONG_CONTEXT = {
    "NEURON_RT_EXEC_TIMEOUT": "600",
    "NEURON_RT_DBG_SCRATCHPAD_ON_SINGLE_CORE": "1",
}
_LONG_CONTEXT_TOKENS = 32768


@rule(
    "nxdi.long-context-mode",
    "info",
    "nxdi:M/utils/runtime_env.py:8-27; nxdi:M/models/config.py:614-622",
    backends=_NXDI,
)
def long_context_mode(situation: Situation) -> Remark | None:
    """From prompts of 32768 tokens on, NxD Inference sets variables of the runtime by itself.

    It gives a step 600 seconds, and the scratchpad larger pages on one core. A variable that is set already
    stays as it is.
    """
    length = _predicted(situation).get("max_context_length")
    if not isinstance(length, int) or length < _LONG_CONTEXT_TOKENS:
        return None
    page = _predicted(situation).get("scratchpad_page_size")
    wanted = _LONG_CONTEXT | ({"NEURON_SCRATCHPAD_PAGE_SIZE": str(page)} if page else {})
    kept = {name: situation.environment[name] for name in wanted if name in situation.environment}
    words = [f"sets {name}={value}" for name, value in wanted.items() if name not in kept]
    words += [f"leaves {name}={value} as it is" for name, value in kept.items()]
    return Remark(
        f"prompts of {length} tokens turn on NxD Inference's long-context mode, which {', '.join(words)}",
        key=engine_key(situation, "max_model_len"),
    )


def _predicted(situation: Situation) -> Mapping[str, object]:
    prediction = find_prediction(situation)
    return prediction.neuron_config if prediction else {}


def _is_sharded(situation: Situation) -> bool:
    """Whether the artifact will hold the weights, those of a vision encoder included."""
    prediction = find_prediction(situation)
    if prediction is None or not prediction.neuron_config or _is_unread(situation):
        return True
    vision = prediction.vision_config
    if vision is None and situation.model.facts.is_multimodal:
        return True  # a plugin without a vision config refuses the model: nothing is compiled
    configs = (prediction.neuron_config,) if vision is None else (prediction.neuron_config, vision)
    return all(config.get("save_sharded_checkpoint") for config in configs)


def _is_unread(situation: Situation) -> bool:
    """Whether `--additional-config` is one that the plugin refuses or passes over, which others tell."""
    config = situation.outlook.additional_config if situation.outlook else None
    if not isinstance(config, Mapping):
        return True
    return bool(config) and not isinstance(config.get("override_neuron_config"), Mapping)


def _sharded_fix(situation: Situation) -> str:
    # What comes after `--` takes the place of neuronctl's.
    said = situation.outlook.origins if situation.outlook else {}
    if any(path.endswith("save_sharded_checkpoint") for path in said) and _sharded_key(situation):
        return "leave save_sharded_checkpoint out: neuronctl sets it to true"
    return "set save_sharded_checkpoint: true in the override_neuron_config of --additional-config"


def _sharded_key(situation: Situation) -> str | None:
    is_sharded = _predicted(situation).get("save_sharded_checkpoint")
    prediction = find_prediction(situation)
    if prediction is None or prediction.vision_config is None:
        return neuron_key(situation, "save_sharded_checkpoint")
    part = "vision_neuron_config" if is_sharded else "text_neuron_config"
    return neuron_key(situation, f"{part}.save_sharded_checkpoint")


_NETWORK_FILESYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "lustre", "fuse.sshfs")


@rule(
    "artifacts.network-filesystem",
    "info",
    "g2; sdk:vllm-neuron/docs/design/compilation/compilation_cache.md:145-153",
    backends=("native",),
    covers=("nfs-home-cache",),
)
def network_filesystem(situation: Situation) -> Remark | None:
    """neuronctl's folder, and the compile cache with it, is on a network file system.

    By its code (not run) the native plugin notices a home on NFS and moves its work folder to /tmp; what goes
    wrong otherwise is not stated.
    """
    kind = situation.machine.filesystem
    if kind is None or kind not in _NETWORK_FILESYSTEMS:
        return None
    return Remark(
        f"neuronctl's folder is on {kind}; by its code (not run) the native plugin keeps its work folder off "
        "NFS, and does not say why",
        fix="NEURONCTL_HOME=/path/on/a/local/disk, or NEURON_LIBTORCH_REMOTE_CACHE for a cache to share",
    )


RULES = (
    network_filesystem,
    own_folder,
    folder_from_environment,
    no_weights,
    quantized_elsewhere,
    shard_on_load_slow,
    work_folder,
    compiler_cache,
    long_context_mode,
)
