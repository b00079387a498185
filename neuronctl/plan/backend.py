"""Which backend a profile means, or why the serving Python has none for it."""

from __future__ import annotations

from neuronctl.errors import StackUnfit
from neuronctl.machine.detect import Machine
from neuronctl.profile.resolve import Profile
from neuronctl.stack.detect import Stack
from neuronctl.stack.install import pip_words

# How one speaks of a Python that a backend can use.
_PYTHONS = {
    "nxdi": "a Python with the plugin over NxD Inference (0.2 to 0.5)",
    "native": "a Python with the native plugin (0.21 or newer)",
    "cpu": "a Python with vLLM for processors",
}


def choose_backend(profile: Profile, stack: Stack, machine: Machine) -> str:
    """The backend the profile names, or with `auto` the one that the serving Python fits.

    Raises StackUnfit where there is no vLLM, or where the two do not go together.
    """
    wanted, has = profile.shape.backend, stack.generation
    if has is None:
        raise no_vllm(stack, wanted, machine)
    if wanted in ("auto", has):
        return has
    raise _other_generation(stack, wanted, has, machine)


def no_vllm(stack: Stack, wanted: str, machine: Machine) -> StackUnfit:
    """The error for a serving Python without vLLM, where the backend `wanted` is meant."""
    from neuronctl.stack.lack import find_lack  # only for a refusal: it reads the table of SDKs

    lack = find_lack(stack, wanted) if wanted != "cpu" else None
    because = f": {lack.what}" if lack else ""
    name = "name a Python that has vLLM with --python or NEURONCTL_PYTHON"
    if lack:
        fix = f"{lack.fix}, or {name}"
    elif wanted in ("nxdi", "native") or (wanted == "auto" and machine.is_neuron):
        sdk = "sdk-2.32" if wanted == "native" else "sdk-2.28"
        fix = f"{name}, as AWS's images and machine images bring it; "
        fix += f"--stack {sdk} plans for software that is not here"
    else:
        fix = f"{pip_words(stack.python, 'install', 'neuronctl[cpu]')} to try it on a CPU, or {name}; "
        fix += "--stack sdk-2.28 plans for software that is not here"
    return StackUnfit(
        f"the serving Python {stack.python} ({stack.chosen_by}) has no vLLM{because}",
        fix=fix,
        code="stack.no-vllm",
    )


def _other_generation(stack: Stack, wanted: str, has: str, machine: Machine) -> StackUnfit:
    from neuronctl.rules.machine import runs_native
    from neuronctl.stack.lack import find_lack

    lack = find_lack(stack, wanted) if wanted != "cpu" else None
    because = f": {lack.what}" if lack else ""
    name = f"with {'--stack' if stack.assumed else '--python'}"
    ways = []
    if has == "nxdi" or (has == "cpu" and not machine.is_neuron):
        ways.append(f"set backend: auto or backend: {has}")
    if wanted != "native" or runs_native(machine):
        ways.append(f"name {_PYTHONS[wanted]} {name}")
    elif has == "cpu":
        because += "; and no native plugin is for this machine"
        ways.append(f"set backend: nxdi and name {_PYTHONS['nxdi']} {name}")
    if has == "cpu" and machine.is_neuron:
        ways.append("set backend: cpu if the processor is meant")
    if has == "native" and runs_native(machine):
        ways.append("set backend: auto or backend: native, for which neuronctl only plans")
    if lack:
        ways.append(lack.fix)
    return StackUnfit(
        f"the profile wants the {wanted} backend, and the serving Python {stack.python} "
        f"({stack.chosen_by}) has vLLM for {has}{because}",
        fix="; or ".join(ways),
        code="stack.other-generation",
    )
