"""Rules about the environment variables that the native plugin reads, or refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuronctl.plan.plan import Plan
from tests.plan_sample import found, neuron_plan
from tests.reference import reference

OLD = "sdk-2.31:native"
HERE: dict[str, Any] = {"machine": {"assumed": False}}


def native(tmp_path: Path, text: str = "", **facts: Any) -> Plan:
    return neuron_plan(tmp_path, text, **{"target": "trn2.3xlarge", "stack": "sdk-2.32", **facts})


def variables(**values: str) -> str:
    return "env:\n" + "".join(f"  {name}: '{value}'\n" for name, value in values.items())


def test_native_visible_cores(tmp_path: Path) -> None:
    cores = {"NEURON_RT_VISIBLE_CORES": "2-3"}
    plan = native(tmp_path, "engine: {tensor_parallel_size: 2}\n", environ=cores, **HERE)
    (finding,) = found(plan, "native.visible-cores")
    assert finding.severity == "error"
    assert "NEURON_RT_VISIBLE_CORES is set (2-3), and the native plugin refuses to start" in finding.message
    assert finding.fix == ("unset NEURON_RT_VISIBLE_CORES; to choose the cores: NEURON_VISIBLE_DEVICES=2-3")
    # The outer bound is kept all the same.
    assert plan.environment["NEURON_VISIBLE_DEVICES"].value == "2-3"
    (finding,) = found(native(tmp_path, variables(**cores)), "native.visible-cores")
    assert str(finding.fix).startswith("remove env.NEURON_RT_VISIBLE_CORES")
    assert str(finding.place) == "sample.yaml:3: env.NEURON_RT_VISIBLE_CORES"


def test_cores_named_here_say_nothing_of_an_assumed_machine(tmp_path: Path) -> None:
    assert not found(native(tmp_path, environ={"NEURON_RT_VISIBLE_CORES": "0"}), "native.visible-cores")
    assert not found(native(tmp_path, **HERE), "native.visible-cores")


def test_native_visible_devices(tmp_path: Path) -> None:
    text = "engine: {tensor_parallel_size: 2}\n" + variables(NEURON_VISIBLE_DEVICES="0-2")
    (finding,) = found(native(tmp_path, text), "native.visible-devices")
    assert finding.severity == "error"
    assert "NEURON_VISIBLE_DEVICES 0-2 names 3 cores, and the server has 2 ranks" in finding.message
    assert "name 2 of them" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:4: env.NEURON_VISIBLE_DEVICES"
    good = native(tmp_path, text.replace("0-2", "1,3"))
    assert not found(good, "native.visible-devices")
    assert good.environment["NEURON_VISIBLE_DEVICES"].value == "1,3"
    assert native(tmp_path, "engine: {tensor_parallel_size: 2}\n").errors == ()


def test_cores_that_the_machine_does_not_have(tmp_path: Path) -> None:
    text = "engine: {tensor_parallel_size: 2}\n" + variables(NEURON_VISIBLE_DEVICES="3-4")
    (finding,) = found(native(tmp_path, text), "native.visible-devices")
    assert "names the cores 4, and 0-3 are granted" in finding.message


def test_native_cc_flags(tmp_path: Path) -> None:
    (finding,) = found(native(tmp_path, environ={"NEURON_CC_FLAGS": "-O1"}), "native.cc-flags")
    assert finding.severity == "warning"
    assert "NEURON_CC_FLAGS is -O1: reported" in finding.message
    assert finding.fix == "unset NEURON_CC_FLAGS"
    (finding,) = found(native(tmp_path, variables(NEURON_CC_FLAGS="-O1")), "native.cc-flags")
    assert finding.fix == "remove env.NEURON_CC_FLAGS from sample.yaml:3"
    assert str(finding.place) == "sample.yaml:3: env.NEURON_CC_FLAGS"
    assert not found(native(tmp_path), "native.cc-flags")


def test_native_compiled_artifacts_unused(tmp_path: Path) -> None:
    text = variables(NEURON_COMPILED_ARTIFACTS="/there")
    (finding,) = found(native(tmp_path, text), "native.compiled-artifacts-unused")
    assert finding.severity == "warning"
    assert "NEURON_COMPILED_ARTIFACTS is /there: reported to have no effect" in finding.message
    assert "VLLM_CACHE_ROOT" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:3: env.NEURON_COMPILED_ARTIFACTS"
    assert not found(native(tmp_path), "native.compiled-artifacts-unused")


def test_native_renamed_variable(tmp_path: Path) -> None:
    names = dict(reference("env_vars")["rename_0_21_to_0_24"])
    del names["basis"]
    for old, new in names.items():
        for stack, wrong, right in (("sdk-2.32", old, new), (OLD, new, old)):
            matches = found(
                native(tmp_path, variables(**{wrong: "2000"}), stack=stack), "native.renamed-variable"
            )
            if old == "VLLM_NEURON_COMPILATION_TIMEOUT":
                assert not matches  # The plan sets it under both names.
                continue
            (finding,) = matches
            assert finding.severity == "warning"
            assert f"{wrong} seems to be called {right} in vllm-neuron" in finding.message
            assert finding.fix == f"set {right} instead, or both"
            assert str(finding.place) == f"sample.yaml:3: env.{wrong}"
            both = variables(**{wrong: "2000", right: "2000"})
            assert not found(native(tmp_path, both, stack=stack), "native.renamed-variable")


def test_native_timeouts(tmp_path: Path) -> None:
    (finding,) = found(native(tmp_path, variables(VLLM_ENGINE_READY_TIMEOUT_S="600")), "native.timeouts")
    assert finding.severity == "warning"
    assert "VLLM_ENGINE_READY_TIMEOUT_S 600 s: a cold compile may take longer" in finding.message
    assert "VLLM_ENGINE_READY_TIMEOUT_S=5400" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:3: env.VLLM_ENGINE_READY_TIMEOUT_S"
    assert not found(native(tmp_path, variables(VLLM_ENGINE_READY_TIMEOUT_S="1800")), "native.timeouts")
    assert not found(native(tmp_path), "native.timeouts")


@pytest.mark.parametrize("value", ["1", "true", " Yes", "on"])
def test_native_v2_model_runner(tmp_path: Path, value: str) -> None:
    plan = native(tmp_path, variables(VLLM_USE_V2_MODEL_RUNNER=value))
    (finding,) = found(plan, "native.v2-model-runner")
    assert finding.severity == "error"
    assert "the native plugin refuses it" in finding.message
    assert finding.fix == "remove env.VLLM_USE_V2_MODEL_RUNNER from sample.yaml:3"
    assert str(finding.place) == "sample.yaml:3: env.VLLM_USE_V2_MODEL_RUNNER"
    assert not found(native(tmp_path, variables(VLLM_USE_V2_MODEL_RUNNER="0")), "native.v2-model-runner")


def test_native_cpu_compile(tmp_path: Path) -> None:
    (finding,) = found(native(tmp_path, variables(VLLM_NEURON_CPU_COMPILE="1")), "native.cpu-compile")
    assert finding.severity == "error"
    assert "VLLM_NEURON_CPU_COMPILE needs NEURON_PLATFORM_TARGET_OVERRIDE" in finding.message
    assert finding.fix == "set env.NEURON_PLATFORM_TARGET_OVERRIDE: trn2"
    assert str(finding.place) == "sample.yaml:3: env.VLLM_NEURON_CPU_COMPILE"
    target = {"VLLM_NEURON_CPU_COMPILE": "1", "NEURON_PLATFORM_TARGET_OVERRIDE": "trn2"}
    assert not found(native(tmp_path, variables(**target)), "native.cpu-compile")
    (finding,) = found(native(tmp_path, variables(**target, VLLM_NEURON_CPU_MODE="1")), "native.cpu-compile")
    assert "exclude each other" in finding.message
    draft = "features: {speculative: {method: eagle, draft: x}}\n".replace("draft", "model")
    text = "model: {id: org/small}\n" + draft + variables(**target)
    (finding,) = found(native(tmp_path, text), "native.cpu-compile")
    assert "does not compile speculative decoding" in finding.message


def test_native_warmup_without_cache(tmp_path: Path) -> None:
    both = {"VLLM_NEURON_DISABLE_WARMUP_COMPILE": "1", "NEURON_LIBTORCH_DISABLE_COMPILE_CACHE": "1"}
    (finding,) = found(native(tmp_path, variables(**both)), "native.warmup-without-cache")
    assert finding.severity == "error"
    assert "exclude each other: no compile, and no cache" in finding.message
    assert finding.fix == "remove NEURON_LIBTORCH_DISABLE_COMPILE_CACHE"
    assert str(finding.place) == "sample.yaml:4: env.NEURON_LIBTORCH_DISABLE_COMPILE_CACHE"
    one = variables(VLLM_NEURON_DISABLE_WARMUP_COMPILE="1")
    assert not found(native(tmp_path, one), "native.warmup-without-cache")


def test_native_tp64_cold(tmp_path: Path) -> None:
    text = "engine: {tensor_parallel_size: 64}\n"
    wide = {"target": "trn2.48xlarge", "config": {"num_attention_heads": 64}}
    (finding,) = found(native(tmp_path, text, stack=OLD, **wide), "native.tp64-cold")
    assert finding.severity == "warning"
    assert "tensor_parallel_size 64 on vllm-neuron 0.21.0.1.0.0" in finding.message
    assert "compile again" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:2: engine.tensor_parallel_size"
    assert not found(native(tmp_path, text, **wide), "native.tp64-cold")
    assert not found(native(tmp_path, text.replace("64", "32"), stack=OLD, **wide), "native.tp64-cold")
