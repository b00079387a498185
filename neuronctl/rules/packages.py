"""Rules about packages of the serving Python that do not go together; the table is stack/compat.yaml.

None of them is about a stack that is only assumed (`--stack`): that is as AWS put it together.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from neuronctl.rules.rule import NEURON, Remark, rule
from neuronctl.rules.situation import Situation
from neuronctl.stack.identify import Misfit, identify_stack
from neuronctl.stack.install import PIP_REPOSITORY, pip_words
from neuronctl.stack.installation import IMPORT_NAMES

PLUGIN_REQUIREMENTS = ("numpy", "scipy", "setuptools")
_FIELD_REPORT = "pub:62095941065"


def _remarks(situation: Situation, issue: str) -> list[Remark] | None:
    """What breaks a package rule that answers a known issue."""
    if situation.stack.assumed is not None:
        return None
    misfits = identify_stack(situation.stack).misfits
    return [_remark(each, situation.stack.python) for each in misfits if each.issue == issue] or None


def _remark(misfit: Misfit, python: Path) -> Remark:
    reported = "reported: " if misfit.basis == "field report" else ""
    has = f"{misfit.package} is not there" if misfit.has is None else f"here is {misfit.package} {misfit.has}"
    return Remark(f"{has}; {reported}{misfit.why}", fix=_pip(misfit, python))


def _pip(misfit: Misfit, python: Path) -> str:
    wants = misfit.wants[0]
    if wants == "absent":
        return pip_words(python, "uninstall", "-y", misfit.package)
    index = (f"--extra-index-url={PIP_REPOSITORY}",) if misfit.package in IMPORT_NAMES else ()
    return pip_words(python, "install", *index, f"{misfit.package}{wants}")


@rule(
    "stack.torch-neuronx-beside-native",
    "warning",
    _FIELD_REPORT,
    backends=("native",),
    covers=("native-torch-neuronx-present",),
)
def torch_neuronx_beside_native(situation: Situation) -> list[Remark] | None:
    """torch-neuronx, or the older torch that it brings, beside the native plugin.

    Reported: pip takes torch back to 2.9, and the plugin ends with an undefined symbol (ncclDevCommDestroy).
    """
    return _remarks(situation, "native-torch-neuronx-present")


@rule(
    "stack.nki-version",
    "warning",
    _FIELD_REPORT,
    backends=("native",),
    covers=("nki-version-mismatch",),
)
def nki_version(situation: Situation) -> list[Remark] | None:
    """Plugin 0.24 with another NKI than 0.6.

    Reported: neuronx-cc 2.26 forces nki 0.5, and the plugin cannot import CPCollectiveMode; neuronx-cc 2.27
    goes with nki 0.6.
    """
    return _remarks(situation, "nki-version-mismatch")


@rule("stack.islpy-too-new", "warning", _FIELD_REPORT, backends=NEURON, covers=("islpy-too-new",))
def islpy_too_new(situation: Situation) -> list[Remark] | None:
    """An islpy that breaks neuronx-cc 2.27.

    Reported: every compile ends with exit 70 and [NCC_ISMP902], which only the compiler's own output shows.
    """
    return _remarks(situation, "islpy-too-new")


@rule(
    "stack.nrtpy-beside-nki",
    "error",
    "sdk:release-notes/components/runtime.rst:232-233",
    backends=NEURON,
    covers=("nrtpy-nki-conflict",),
)
def nrtpy_beside_nki(situation: Situation) -> list[Remark] | None:
    """The wheels of nrtpy and nki share a namespace: one environment can have one of them."""
    return _remarks(situation, "nrtpy-nki-conflict")


@rule(
    "stack.stale-plugin",
    "error",
    "sdk:release-notes/components/nxd-inference.rst:168",
    backends=("nxdi",),
    covers=("stale-plugin-source-sdk-2.27",),
)
def stale_plugin(situation: Situation) -> list[Remark] | None:
    """Plugin 0.2.0, as it is on GitHub, with SDK 2.27, whose release note calls the two incompatible."""
    remarks = _remarks(situation, "stale-plugin-source-sdk-2.27") or ()
    fix = "take plugin 0.2.2+lts, of the image of vLLM 0.11.0 (plan with --stack sdk-2.27.1:0.2.2+lts)"
    return [replace(remark, fix=fix) for remark in remarks] or None


@rule(
    "stack.no-nxdi",
    "error",
    "sdk:release-notes/components/containers.rst:30-31; sdk:release-notes/components/dlamis.rst:31-32",
    backends=("nxdi",),
    covers=("sdk-2.32-no-nxdi",),
)
def no_nxdi(situation: Situation) -> Remark | None:
    """The plugin stands on NxD Inference, and that is not installed.

    Images and machine images of SDK 2.32 no longer bring it. Their own plugin is of the native generation,
    whose settings have other names.
    """
    plugin = situation.stack.versions.get("vllm-neuron")
    if situation.stack.generation != "nxdi" or "neuronx-distributed-inference" in situation.stack.versions:
        return None
    return Remark(
        f"plugin {plugin} stands on neuronx-distributed-inference, which is not installed; images of SDK "
        "2.32 no longer bring it",
        fix="stay on an image of SDK 2.31 (plan with --stack sdk-2.31), or go over to the native plugin",
    )


@rule(
    "stack.plugin-requirements",
    "warning",
    "plugin020:requirements/core.txt; sdk:neuron-runtime/nrt-troubleshoot.rst:243-249",
    backends=("nxdi",),
    covers=("numpy-abi",),
)
def plugin_requirements(situation: Situation) -> list[Remark] | None:
    """Packages that plugin 0.2.0 itself requires to be older.

    With another numpy than modules were compiled for they end with "module compiled against API version".
    """
    if situation.stack.assumed is not None or situation.stack.other_versions.keys().isdisjoint(
        PLUGIN_REQUIREMENTS
    ):
        return None
    misfits = identify_stack(situation.stack).misfits
    python = situation.stack.python
    return [_remark(each, python) for each in misfits if each.package in PLUGIN_REQUIREMENTS] or None


@rule("stack.transformers", "warning", "sdk:release-notes/releasecontent.rst:70-80", backends=("nxdi",))
def transformers(situation: Situation) -> list[Remark] | None:
    """Another transformers than NxD Inference 0.10 is released with."""
    if situation.stack.assumed is not None:
        return None
    misfits = identify_stack(situation.stack).misfits
    python = situation.stack.python
    return [_remark(each, python) for each in misfits if each.package == "transformers"] or None


RULES = (
    torch_neuronx_beside_native,
    nki_version,
    islpy_too_new,
    nrtpy_beside_nki,
    stale_plugin,
    no_nxdi,
    plugin_requirements,
    transformers,
)
