"""Checks of what the environment says of compiling: what changes it, and where its output goes."""

from __future__ import annotations

from neuronctl.doctor.check import NotHere, Seen, check
from neuronctl.doctor.facts import FACTS_S, Facts
from neuronctl.doctor.said import find_said, show
from neuronctl.errors import Exit
from neuronctl.rules import artifacts, native_environment


@check(
    "compile variables",
    "Variables that change what is compiled",
    exit_code=Exit.USAGE,
    rules=(
        native_environment.cc_flags,
        native_environment.cpu_compile,
        native_environment.warmup_without_cache,
    ),
    timeout_s=FACTS_S,
)
def compile_variables(facts: Facts) -> Seen:
    """Compiler flags and switches of the environment and the profile's `env`, and what excludes each other.

    They change what is compiled. Those of the shell do so for every profile that is compiled from it.
    """
    if facts.backend == "cpu":
        raise NotHere("the cpu backend calls no Neuron compiler")
    return show(
        find_said(facts),
        "NEURON_CC_FLAGS",
        "NEURON_PLATFORM_TARGET_OVERRIDE",
        "VLLM_NEURON_CPU_COMPILE",
        "VLLM_NEURON_DISABLE_WARMUP_COMPILE",
        "NEURON_LIBTORCH_DISABLE_COMPILE_CACHE",
        "VLLM_NEURON_DISABLE_COMPILE_CACHE",
    )


@check(
    "artifact variables",
    "Variables that name folders of compiled output",
    rules=(artifacts.folder_from_environment, artifacts.work_folder, artifacts.compiler_cache),
    timeout_s=FACTS_S,
)
def artifact_variables(facts: Facts) -> Seen:
    """Where the plugin over NxD Inference and its compiler keep what they make.

    NEURON_COMPILED_ARTIFACTS is respected as a folder of your own, which is compared with the plan before a
    start. Of two ways to name the compiler's cache one wins in silence.
    """
    if facts.backend != "nxdi":
        raise NotHere("only the plugin over NxD Inference reads them")
    return show(
        find_said(facts), "NEURON_COMPILED_ARTIFACTS", "BASE_COMPILE_WORK_DIR", "NEURON_COMPILE_CACHE_URL"
    )


CHECKS = (compile_variables, artifact_variables)
