"""Rules about the serving Python: what is installed, from where, and which SDK it adds up to."""

from __future__ import annotations

from neuronctl.rules.packages import PLUGIN_REQUIREMENTS
from neuronctl.rules.place import neuron_key, remove_variable, variable_key
from neuronctl.rules.rule import NEURON, Remark, rule
from neuronctl.rules.situation import Situation
from neuronctl.stack.compat import sdks
from neuronctl.stack.identify import identify_stack
from neuronctl.stack.install import PIP_REPOSITORY, install_words, pip_words
from neuronctl.stack.installation import IMPORT_NAMES
from neuronctl.stack.version import at_least, release

# Nothing that serves a model imports it.
_UNUSED = "jax-neuronx"


@rule(
    "stack.pypi-placeholder",
    "error",
    "whl:vllm_neuron-0.1.0, neuronx_distributed_inference-0.1.0, neuronx_cc-1.0.post1; "
    "gh:aws-neuron/aws-neuron-sdk#916",
    backends=NEURON,
    covers=("pypi-placeholder",),
)
def pypi_placeholder(situation: Situation) -> Remark | None:
    """PyPI's empty packages under Neuron's names.

    They hold nothing but the words WRONG PACKAGE, if that; the real ones come from AWS's own repository.
    """
    empty = [one for one in situation.stack.placeholders if one.split()[0] != _UNUSED]
    if not empty:
        return None
    python, names = situation.stack.python, [one.split()[0] for one in empty]
    verb = "is an empty package" if len(empty) == 1 else "are empty packages"
    found = identify_stack(situation.stack)
    words = f"install from {PIP_REPOSITORY} with exact versions"
    if found.sdk is not None and found.plugin is not None:
        words = install_words(found.sdk, found.plugin, python)
    return Remark(
        f"{', '.join(empty)} {verb} of PyPI, not AWS's",
        fix=f"{pip_words(python, 'uninstall', '-y', *names)}, then {words}",
    )


@rule(
    "stack.missing-module",
    "error",
    "sdk:vllm-neuron/docs/getting-started/setup-guide.md:44-47; pub:58037814155",
    backends=NEURON,
    covers=("native-missing-nki",),
)
def missing_module(situation: Situation) -> Remark | None:
    """Packages that the engine imports and that are not there.

    What each generation imports is in the table of versions (compat.yaml). Installing the native plugin does
    not bring the compiler, nki and libtorch-neuronx-lite; AWS's images and virtual environments have them. A
    package may also be half removed: its metadata is there, and it is not.
    """
    missing = situation.stack.missing_modules
    if not missing:
        return None
    told = {IMPORT_NAMES.get(one.split()[0]) for one in situation.stack.placeholders}
    missing = tuple(one for one in missing if one not in told and one != IMPORT_NAMES[_UNUSED])
    if not missing:
        return None
    fix = "use AWS's image or virtual environment"
    found = identify_stack(situation.stack)
    if found.sdk is not None and found.plugin is not None:
        fix += f", or {install_words(found.sdk, found.plugin, situation.stack.python)}"
    return Remark(f"{situation.stack.python} cannot import {', '.join(missing)}", fix=fix)


@rule(
    "stack.mixed-sdk",
    "warning",
    "sdk:src/helperscripts/n2-manifest.json; the Dockerfiles of AWS's images",
    backends=NEURON,
)
def mixed_sdk(situation: Situation) -> Remark | None:
    """Packages of another SDK than the rest.

    Each SDK's manifest, and each image, pins versions that were released together. Others may work; nobody
    tests them.
    """
    if situation.stack.assumed is not None:
        return None
    found = identify_stack(situation.stack)
    if found.sdk is None:
        return None
    # The first have rules of their own; the manifests' torch-xla is for the native generation.
    passed = {*PLUGIN_REQUIREMENTS, "transformers", *(("torch-xla",) if situation.backend == "nxdi" else ())}
    odd = [each for each in found.misfits if each.issue is None and each.package not in passed]
    if not odd:
        return None
    said = ", ".join(f"{each.package} {each.has} (wants {' or '.join(each.wants)})" for each in odd)
    plugins = [one for one in found.sdk.plugins if one.generation == situation.backend]
    plugin = found.plugin or next(iter(plugins), None)
    fix = f"use one SDK, {found.sdk.version}"
    if plugin is not None:
        fix = install_words(found.sdk, plugin, situation.stack.python)
    return Remark(f"most packages are of SDK {found.sdk.version}, and these are not: {said}", fix=fix)


@rule(
    "stack.unknown-sdk",
    "info",
    "sdk:src/helperscripts/n2-manifest.json",
    backends=NEURON,
)
def unknown_sdk(situation: Situation) -> Remark | None:
    """The installed packages are of no SDK that neuronctl knows, so versions are not compared."""
    if situation.stack.assumed is not None or identify_stack(situation.stack).sdk is not None:
        return None
    plugin = situation.stack.versions.get("vllm-neuron")
    if plugin is None:
        return None
    return Remark(
        f"plugin {plugin} and the packages beside it are of no Neuron SDK that is known here (newest: "
        f"{sdks()[0].version}); whether they go together is not checked",
        fix="a newer neuronctl may know it",
    )


@rule(
    "stack.shadowed-compiler",
    "warning",
    "pub:66828044719 (reported)",
    backends=NEURON,
    covers=("path-shadowed-compiler",),
)
def shadowed_compiler(situation: Situation) -> Remark | None:
    """PATH finds another neuronx-cc than the serving Python's own.

    Reported: an older one in ~/.local/bin made each compile fail with [NCC_INLA001].
    """
    stack = situation.stack
    if not stack.compiler_outside:
        return None
    return Remark(
        f"PATH finds {stack.compiler_path} before the neuronx-cc of {stack.python}; reported: with an older "
        "one each compile fails with [NCC_INLA001]",
        fix=f"put {stack.python.parent} first in PATH, or remove {stack.compiler_path}",
    )


@rule(
    "stack.pip-index-replaced",
    "warning",
    "gh:aws-neuron/aws-neuron-sdk#1224, #1215, #1228",
    backends=NEURON,
    covers=("pip-index-replaced",),
)
def pip_index_replaced(situation: Situation) -> Remark | None:
    """pip looks for everything in AWS's repository, which has Neuron's packages only.

    Older instructions set index-url where they meant extra-index-url.
    """
    index = situation.stack.pip_index
    if index is None:
        return None
    return Remark(
        f"pip's index-url is {index.url} (in {index.place}): ordinary packages are not found there",
        fix=index.as_extra,
    )


@rule(
    "stack.async-mode",
    "warning",
    "sdk:release-notes/components/runtime.rst:55; nxdi:M/models/model_base.py:3045",
    backends=("nxdi",),
    covers=("async-env-removed",),
)
def async_mode(situation: Situation) -> Remark | None:
    """async_mode rests on a variable that runtime 2.34 no longer has.

    By its code (not run) NxD Inference sets NEURON_RT_ASYNC_EXEC_MAX_INFLIGHT_REQUESTS; the runtime of SDK
    2.32 warns about it and does nothing else.
    """
    outlook, runtime = situation.outlook, situation.stack.runtime
    if outlook is None or outlook.prediction is None:
        return None
    if outlook.prediction.neuron_config.get("async_mode") is not True or not at_least(runtime, "2.34"):
        return None
    return Remark(
        f"async_mode sets NEURON_RT_ASYNC_EXEC_MAX_INFLIGHT_REQUESTS, by its code (not run), and runtime "
        f"{runtime} no longer knows that variable",
        fix="remove neuron.async_mode, or take a runtime older than 2.34 (SDK 2.31)",
        key=neuron_key(situation, "async_mode"),
    )


@rule(
    "stack.plugin-shut-out",
    "error",
    "vLLM's plugins/__init__.py (load_plugins_by_group); entry point `neuron` of both generations; "
    "gh:vllm-project/vllm-neuron#16",
    backends=NEURON,
)
def plugin_shut_out(situation: Situation) -> Remark | None:
    """VLLM_PLUGINS names the plugins that vLLM may load, and Neuron's is not among them.

    vLLM then starts without it, on no Neuron device. The names are compared as they are, blanks included.
    """
    variable = "VLLM_PLUGINS"
    said = situation.environment.get(variable)
    if said is None or "neuron" in said.split(","):
        return None
    key = variable_key(situation, variable)
    return Remark(
        f"{variable} is {said or 'empty'}, so vLLM does not load Neuron's plugin, which is called neuron",
        fix=f"{remove_variable(situation, variable)}, or add neuron to it",
        key=key,
    )


@rule(
    "stack.installed-twice",
    "warning",
    "neuronctl: two .dist-info folders of one package in one folder",
    backends=NEURON,
)
def installed_twice(situation: Situation) -> list[Remark] | None:
    """The metadata of two versions of one package lie side by side, and only one can be the code.

    It happens where pip was stopped, or where a folder was copied over another.
    """
    if not situation.stack.duplicates:
        return None
    python = situation.stack.python
    return [
        Remark(
            f"{name} is installed twice, as {' and '.join(versions)}; {versions[0]} is what the plan is for",
            fix=f"{pip_words(python, 'uninstall', name)} until none is left, then install it once",
        )
        for name, versions in situation.stack.duplicates.items()
    ]


@rule(
    "stack.unreadable-version",
    "warning",
    "neuronctl: versions are compared by their leading numbers",
    backends=NEURON,
)
def unreadable_version(situation: Situation) -> Remark | None:
    """A version that begins with no number cannot be compared, so rules about versions may miss it.

    Neither can that of a vLLM whose metadata is gone, as after a removal that was stopped.
    """
    stack, fix = situation.stack, "install the package again"
    odd = [f"{name} {version}" for name, version in stack.versions.items() if not release(version)]
    if stack.vllm_folder is not None and stack.vllm_version is None:
        return Remark(
            f"{stack.vllm_folder} is there without its metadata: which vLLM it is, nobody knows", fix
        )
    if not odd:
        return None
    return Remark(
        f"{', '.join(odd)}: no version that can be compared, so it counts as older than all others", fix
    )


RULES = (
    pypi_placeholder,
    missing_module,
    plugin_shut_out,
    installed_twice,
    unreadable_version,
    mixed_sdk,
    unknown_sdk,
    shadowed_compiler,
    pip_index_replaced,
    async_mode,
)
