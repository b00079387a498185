"""What doctor says of environment variables: of the shell, and of a profile's `env`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neuronctl.doctor.check import Check, Outcome
from neuronctl.doctor.checks.core_variables import core_variables
from neuronctl.doctor.checks.environment import artifact_variables, compile_variables
from neuronctl.doctor.checks.search_paths import search_paths
from neuronctl.doctor.checks.variable_names import variable_names
from neuronctl.doctor.checks.variable_values import variable_values
from neuronctl.doctor.facts import Facts, Once
from neuronctl.doctor.run import run_checks
from neuronctl.errors import Exit, StackUnfit
from neuronctl.machine.detect import Machine, detect_machine
from neuronctl.pipeline import Request
from neuronctl.result import Finding
from neuronctl.stack.assume import assume_stack
from neuronctl.stack.detect import Stack
from tests.plan_sample import MINIMAL, only, sample_host, sample_machine, sample_stack

NXDI, NATIVE = "sdk-2.28", "sdk-2.32"
CHECKS = (
    variable_names,
    variable_values,
    core_variables,
    compile_variables,
    artifact_variables,
    search_paths,
)
VERSIONS_0_2 = {"vllm": "0.11.0", "vllm-neuron": "0.2.0"}


def look(
    check: Check,
    tmp_path: Path,
    environ: Mapping[str, str] | None = None,
    *,
    stack: Stack | str = NXDI,
    target: str | None = "trn2.3xlarge",
    machine: Mapping[str, Any] | None = None,
    profile: str | None = None,
) -> Outcome:
    """What one check says of a machine and a stack on paper; `target` None is no Neuron machine."""
    host = sample_host(tmp_path, environ)
    request = None
    if profile is not None:
        text = profile if "model:" in profile else MINIMAL + profile
        (tmp_path / "sample.yaml").write_text(text, encoding="utf-8")
        request = Request(reference="./sample.yaml")
    facts = Facts(host, request=request)
    here: Machine = sample_machine()
    if target is not None:
        here = replace(detect_machine(host, target), assumed=False, **(machine or {}))
    facts.machine = Once(lambda: here)
    found = assume_stack(stack) if isinstance(stack, str) else stack
    facts.stack = Once(lambda: found)
    (outcome,) = run_checks((check,), facts)
    return outcome


def cpu(check: Check, tmp_path: Path, environ: Mapping[str, str], **facts: Any) -> Outcome:
    return look(check, tmp_path, environ, stack=sample_stack(), target=None, **facts)


def of(outcome: Outcome, name: str) -> list[Finding]:
    return [finding for finding in outcome.findings if finding.id == name]


def found(outcome: Outcome, name: str, severity: str) -> Finding:
    """The one finding with that id, complete."""
    finding = only(of(outcome, name))
    assert finding.severity == severity
    assert finding.source
    assert finding.fix
    return finding


def test_a_clean_environment(tmp_path: Path) -> None:
    for stack in (NXDI, NATIVE):
        for check in CHECKS:
            outcome = look(check, tmp_path, stack=stack)
            is_native = stack == NATIVE and check is artifact_variables
            assert (outcome.status, outcome.findings) == ("not-here" if is_native else "ok", ()), check.name


def test_whatever_is_found_is_declared() -> None:
    ids = [trouble.id for check in CHECKS for trouble in check.finds]
    assert len(ids) == len(set(ids))
    rules = [rule.id for check in CHECKS for rule in check.rules]
    assert len(rules) == len(set(rules))
    assert all(check.look.__doc__ for check in CHECKS)


# Names.


def test_misspelt(tmp_path: Path) -> None:
    outcome = look(variable_names, tmp_path, {"NEURON_RT_VISIBLE_CORE": "0-1"})
    finding = found(outcome, "environment.misspelt", "warning")
    assert finding.message == "NEURON_RT_VISIBLE_CORE is not known, and looks like NEURON_RT_VISIBLE_CORES"
    assert finding.fix == "unset NEURON_RT_VISIBLE_CORE; is NEURON_RT_VISIBLE_CORES meant?"
    assert not of(outcome, "environment.unknown")
    assert not look(variable_names, tmp_path, {"NEURON_RT_VISIBLE_CORES": "0-1"}).findings


def test_misspelt_and_of_the_other_generation(tmp_path: Path) -> None:
    outcome = look(variable_names, tmp_path, {"VLLM_NEURON_CPU_COMPLE": "1"})
    finding = found(outcome, "environment.misspelt", "warning")
    assert "VLLM_NEURON_CPU_COMPILE meant, which the nxdi backend does not read?" in str(finding.fix)


def test_unknown(tmp_path: Path) -> None:
    environ = {
        "NEURON_OF_MY_OWN": "1",
        "NEURON_RT_LOG_LEVEL_TDRV": "INFO",
        # None of these is judged.
        "VLLM_OF_MY_OWN": "1",
        "HF_OF_MY_OWN": "1",
        "NEURONCTL_HOME": "/x",
        "VLLM_NEURON_SERVICE_HOST": "10.0.0.1",
        "VLLM_NEURON_PORT": "tcp://10.0.0.1:80",
    }
    outcome = look(variable_names, tmp_path, environ)
    finding = only(list(outcome.findings))
    assert found(outcome, "environment.unknown", "info") == finding
    assert "NEURON_OF_MY_OWN is not known here" in finding.message
    assert outcome.says == "2 set: NEURON_OF_MY_OWN, NEURON_RT_LOG_LEVEL_TDRV"


def test_names_in_the_profile_have_a_place(tmp_path: Path) -> None:
    text = "env:\n  NEURON_RT_NUM_COREZ: '4'\n"
    outcome = look(variable_names, tmp_path, profile=text)
    finding = found(outcome, "environment.misspelt", "warning")
    assert str(finding.place) == "sample.yaml:3: env.NEURON_RT_NUM_COREZ"
    assert str(finding.fix).startswith("remove env.NEURON_RT_NUM_COREZ")
    # The shell's own have none.
    outcome = look(variable_names, tmp_path, {"NEURON_RT_NUM_COREZ": "4"})
    assert found(outcome, "environment.misspelt", "warning").place is None


def test_a_profile_that_cannot_be_read_leaves_the_shell(tmp_path: Path) -> None:
    environ = {"NEURON_RT_NUM_COREZ": "4"}
    outcome = look(variable_names, tmp_path, environ, profile="engine: 5\n")
    assert found(outcome, "environment.misspelt", "warning")


def test_another_generation(tmp_path: Path) -> None:
    outcome = look(variable_names, tmp_path, {"NEURON_VISIBLE_DEVICES": "0-1"})
    finding = found(outcome, "environment.no-effect", "warning")
    assert "it is for the native plugin (from 0.21 on), and the backend here is nxdi" in finding.message
    assert finding.fix == "unset NEURON_VISIBLE_DEVICES"
    native = look(variable_names, tmp_path, {"BASE_COMPILE_WORK_DIR": "/x"}, stack=NATIVE)
    assert "the plugin over NxD Inference" in found(native, "environment.no-effect", "warning").message
    v0 = look(variable_names, tmp_path, {"VLLM_NEURON_FRAMEWORK": "x"}, stack=NATIVE)
    assert "vLLM's old fork" in found(v0, "environment.no-effect", "warning").message


def test_what_both_generations_and_others_read(tmp_path: Path) -> None:
    environ = {
        "NEURON_RT_LOG_LEVEL": "INFO",
        "NEURON_CC_FLAGS": "-O1",
        "PROMETHEUS_MULTIPROC_DIR": "/x",
        "HF_HOME": "/x",
        "MASTER_PORT": "1",
    }
    for stack in (NXDI, NATIVE):
        assert not look(variable_names, tmp_path, environ, stack=stack).findings


def test_of_another_version_of_the_plugin(tmp_path: Path) -> None:
    environ = {"VLLM_NEURON_PARALLEL_TRACE_WORKERS": "1"}
    outcome = look(variable_names, tmp_path, environ, stack=NATIVE)
    message = found(outcome, "environment.no-effect", "warning").message
    assert "is known of plugin 0.21 only, and this is 0.24" in message
    assert not look(variable_names, tmp_path, environ, stack="sdk-2.31:native").findings
    environ = {"NEURON_LIBTORCH_CACHE_ROOT": "/x"}
    outcome = look(variable_names, tmp_path, environ, stack="sdk-2.31:native")
    assert "of plugin 0.24 and later" in found(outcome, "environment.no-effect", "warning").message
    assert not look(variable_names, tmp_path, environ, stack=NATIVE).findings


def test_renamed_is_told_once_by_the_rule(tmp_path: Path) -> None:
    outcome = look(variable_names, tmp_path, {"VLLM_NEURON_REMOTE_CACHE": "/x"}, stack=NATIVE)
    finding = only(list(outcome.findings))
    assert finding.id == "native.renamed-variable"
    assert "NEURON_LIBTORCH_REMOTE_CACHE" in finding.message


def test_compiled_artifacts_on_native_are_told_once_by_the_rule(tmp_path: Path) -> None:
    environ = {"NEURON_COMPILED_ARTIFACTS": "/x"}
    outcome = look(variable_names, tmp_path, environ, stack=NATIVE)
    assert only(list(outcome.findings)).id == "native.compiled-artifacts-unused"


def test_a_name_that_is_never_read(tmp_path: Path) -> None:
    environ = {"VLLM_NEURON_CHECKPOINT_CACHE": "/x"}
    outcome = look(variable_names, tmp_path, environ, stack=NATIVE)
    finding = found(outcome, "environment.no-effect", "warning")
    assert finding.fix == "set NXDI_CHECKPOINT_CACHE instead"
    assert not look(variable_names, tmp_path, {"NXDI_CHECKPOINT_CACHE": "/x"}, stack=NATIVE).findings


def test_removed(tmp_path: Path) -> None:
    environ = {"NEURON_RT_ASYNC_EXEC_MAX_INFLIGHT_REQUESTS": "3"}
    new = replace(assume_stack(NATIVE), runtime="2.34.1")
    finding = found(look(variable_names, tmp_path, environ, stack=new), "environment.removed", "warning")
    assert "runtime 2.34.1 no longer has it" in finding.message
    for runtime in ("2.33.9", None):
        old = replace(assume_stack(NATIVE), runtime=runtime)
        assert not look(variable_names, tmp_path, environ, stack=old).findings


def test_on_a_processor_neurons_variables_are_only_told(tmp_path: Path) -> None:
    environ = {"NEURON_RT_VISIBLE_CORES": "zero", "NEURON_RT_NUM_COREZ": "1", "VLLM_CACHE_ROOT": "/x"}
    outcome = cpu(variable_names, tmp_path, environ)
    finding = only(list(outcome.findings))
    assert found(outcome, "environment.unused-on-cpu", "info") == finding
    assert finding.message == "the cpu backend reads none of NEURON_RT_NUM_COREZ, NEURON_RT_VISIBLE_CORES"
    assert not cpu(variable_names, tmp_path, {"HF_HOME": "/x"}).findings
    for check in CHECKS[1:-1]:
        assert cpu(check, tmp_path, environ).status == "not-here"


def test_the_data_hides_what_looks_secret(tmp_path: Path) -> None:
    environ = {
        "HF_TOKEN": "hf_planted0123456789",
        "NEURON_API_KEY": "planted-key",
        "NEURON_COMPILE_CACHE_URL": "https://me:planted-password@host/x",
        "NEURON_RT_LOG_LEVEL": "sk-planted",
    }
    for check in CHECKS:
        outcome = look(check, tmp_path, environ)
        assert "planted" not in repr(outcome), check.name
    data = look(variable_names, tmp_path, environ).data["variables"]
    assert isinstance(data, list)
    told = {one["name"]: one for one in data}
    assert told["HF_TOKEN"] == {
        "name": "HF_TOKEN",
        "value": "(hidden)",
        "from": "environment",
        "known": True,
    }
    assert told["NEURON_API_KEY"]["known"] is False


def test_a_stack_that_cannot_be_asked_leaves_the_names(tmp_path: Path) -> None:
    def fail() -> Stack:
        raise StackUnfit("no Python")

    host = sample_host(tmp_path, {"NEURON_RT_NUM_COREZ": "1", "NEURON_LIBTORCH_CACHE_ROOT": "/x"})
    facts = Facts(host)
    facts.stack = Once(fail)
    facts.machine = Once(lambda: replace(detect_machine(host, "trn2.3xlarge"), assumed=False))
    for outcome in run_checks(CHECKS, facts):
        assert outcome.status != "error", outcome
        if outcome.check is variable_names:
            assert found(outcome, "environment.misspelt", "warning")


# Values.


@pytest.mark.parametrize(
    ("stack", "name", "bad", "good"),
    [
        (NXDI, "DISABLE_NEURON_CUSTOM_SCHEDULER", "true", "1"),
        (NATIVE, "VLLM_NEURON_CPU_MODE", "yes", "1"),
        (NATIVE, "VLLM_NEURON_BARRIER_TIMEOUT", "1h", "3600"),
        (NATIVE, "VLLM_NEURON_SWITCH_CC", "", "0"),
        (NXDI, "NEURON_RT_NUMERICAL_ERRORS_VERBOSITY", "loud", "Debug"),
    ],
)
def test_refused_values(tmp_path: Path, stack: str, name: str, bad: str, good: str) -> None:
    outcome = look(variable_values, tmp_path, {name: bad}, stack=stack)
    finding = found(outcome, "environment.refused-value", "error")
    assert f"{name} is {bad or 'empty'}, not " in finding.message
    assert not look(variable_values, tmp_path, {name: good}, stack=stack).findings


def test_a_value_for_another_generation_is_not_judged(tmp_path: Path) -> None:
    assert not look(variable_values, tmp_path, {"VLLM_NEURON_CPU_MODE": "yes"}).findings


def test_odd_values(tmp_path: Path) -> None:
    outcome = look(variable_values, tmp_path, {"NEURON_RT_LOG_LEVEL": "LOUD"})
    finding = found(outcome, "environment.odd-value", "warning")
    assert "is LOUD, not one of QUIET, ERROR" in finding.message
    assert not look(variable_values, tmp_path, {"NEURON_RT_LOG_LEVEL": "debug"}).findings
    text = "env: {NEURON_RT_LOG_LEVEL: LOUD}\n"
    outcome = look(variable_values, tmp_path, {"NEURON_RT_LOG_LEVEL": "debug"}, profile=text)
    assert str(found(outcome, "environment.odd-value", "warning").place).endswith("env.NEURON_RT_LOG_LEVEL")


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "none is set that would do harm"),
        ({"NEURON_RT_LOG_LEVEL": "debug"}, "1 looked at, none odd"),
        ({"NEURON_RT_LOG_LEVEL": "LOUD"}, "1 looked at, 1 odd"),
        ({"VLLM_PORT": "tcp://10.0.0.1:8000"}, "1 looked at, 1 odd"),
    ],
)
def test_how_many_values_were_looked_at(tmp_path: Path, environ: dict[str, str], says: str) -> None:
    assert look(variable_values, tmp_path, environ).says == says


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    outcome = look(variable_values, tmp_path, {"NEURON_RT_LOG_LEVEL": "x" * 5000})
    assert len(found(outcome, "environment.odd-value", "warning").message) < 250


def test_stale_platform_target(tmp_path: Path) -> None:
    stale = {"NEURON_PLATFORM_TARGET_OVERRIDE": "inf2"}
    outcome = look(variable_values, tmp_path, stale)
    assert only(list(outcome.findings)).id == "machine.platform-override"
    right = {"NEURON_PLATFORM_TARGET_OVERRIDE": "trn2"}
    assert not look(variable_values, tmp_path, right).findings
    # Without an instance type only the spelling can be told.
    unknown = {"instance": None, "instance_name": "trn9.large"}
    wrong = {"NEURON_PLATFORM_TARGET_OVERRIDE": "trainium"}
    outcome = look(variable_values, tmp_path, wrong, machine=unknown)
    assert only(list(outcome.findings)).id == "environment.odd-value"
    assert not look(variable_values, tmp_path, stale, machine=unknown).findings


@pytest.mark.parametrize(
    ("stack", "environ", "rule"),
    [
        (NXDI, {"VLLM_PLUGINS": "lora_filesystem_resolver"}, "stack.plugin-shut-out"),
        (NATIVE, {"VLLM_USE_V2_MODEL_RUNNER": "1"}, "native.v2-model-runner"),
        (NATIVE, {"VLLM_ENGINE_READY_TIMEOUT_S": "60"}, "native.timeouts"),
        (NATIVE, {"VLLM_NEURON_KV_GMU_BUDGET_CAP_FRACTION": "2"}, "native.kv-cap-range"),
        (NATIVE, {"VLLM_NEURON_KV_GMU_BUDGET_CAP_FRACTION": "0.5"}, "native.kv-cap-high"),
    ],
)
def test_rules_about_values_run_without_a_profile(
    tmp_path: Path, stack: str, environ: dict[str, str], rule: str
) -> None:
    outcome = look(variable_values, tmp_path, environ, stack=stack)
    assert only(list(outcome.findings)).id == rule


def test_sampling_disabled_ends_plugin_0_2(tmp_path: Path) -> None:
    old = sample_stack(VERSIONS_0_2)
    assert old.generation == "nxdi"
    environ = {"NEURON_ON_DEVICE_SAMPLING_DISABLED": "1"}
    outcome = look(variable_values, tmp_path, environ, stack=old)
    finding = found(outcome, "environment.sampling-disabled", "error")
    assert "plugin 0.2.0 fails with it" in finding.message
    off = {"NEURON_ON_DEVICE_SAMPLING_DISABLED": "0"}
    assert not look(variable_values, tmp_path, off, stack=old).findings
    newer = sample_stack({**VERSIONS_0_2, "vllm-neuron": "0.5.0"})
    assert not look(variable_values, tmp_path, environ, stack=newer).findings
    assert not look(variable_values, tmp_path, environ, stack=NATIVE).findings


def test_the_port_of_a_service_called_vllm(tmp_path: Path) -> None:
    address = {"VLLM_PORT": "tcp://10.0.0.7:8000"}
    for outcome in (
        look(variable_values, tmp_path, address),
        cpu(variable_values, tmp_path, address),
    ):
        finding = found(outcome, "environment.vllm-port", "error")
        assert "VLLM_PORT is tcp://10.0.0.7:8000, not a number" in finding.message
        assert outcome.check.exit_code is Exit.USAGE
    assert not look(variable_values, tmp_path, {"VLLM_PORT": "5000"}).findings
    assert not cpu(variable_values, tmp_path, {"VLLM_PORT": "5000"}).findings


# Cores and their LNC.


def test_cores_named_and_counted(tmp_path: Path) -> None:
    both = {"NEURON_RT_VISIBLE_CORES": "0-1", "NEURON_RT_NUM_CORES": "4"}
    outcome = look(core_variables, tmp_path, both)
    finding = found(outcome, "environment.cores-twice", "warning")
    assert finding.message == "NEURON_RT_VISIBLE_CORES 0-1 wins over NEURON_RT_NUM_CORES 4"
    for one in both:
        assert not look(core_variables, tmp_path, {one: both[one]}).findings
        assert not look(core_variables, tmp_path, {**both, one: ""}).findings


def test_visible_cores_on_native(tmp_path: Path) -> None:
    environ = {"NEURON_RT_VISIBLE_CORES": "0-99", "NEURON_RT_NUM_CORES": "2"}
    outcome = look(core_variables, tmp_path, environ, stack=NATIVE)
    assert only(list(outcome.findings)).id == "native.visible-cores"


@pytest.mark.parametrize(
    ("stack", "name", "value", "says"),
    [
        (NXDI, "NEURON_RT_VISIBLE_CORES", "0..3", "neither a core nor a range"),
        (NXDI, "NEURON_RT_VISIBLE_CORES", "2-5", "names the cores 4-5, and trn2.3xlarge has the cores 0-3"),
        (NXDI, "NEURON_RT_NUM_CORES", "5", "asks for '5' cores"),
        (NXDI, "NEURON_RT_NUM_CORES", "four", "not a number of cores"),
        (NATIVE, "NEURON_VISIBLE_DEVICES", "0-4", "names the cores 4, and trn2.3xlarge has the cores 0-3"),
        (NATIVE, "NEURON_VISIBLE_DEVICES", "all", "neither a core nor a range"),
    ],
)
def test_cores_that_are_not_here(tmp_path: Path, stack: str, name: str, value: str, says: str) -> None:
    finding = found(
        look(core_variables, tmp_path, {name: value}, stack=stack),
        "environment.bad-cores",
        "error",
    )
    assert finding.message.startswith(f"{name} is {value}: ")
    assert says in finding.message
    good = {name: "2" if name.endswith("NUM_CORES") else "0-3"}
    assert not look(core_variables, tmp_path, good, stack=stack).findings


def test_cores_of_a_machine_that_is_not_known_are_only_read(tmp_path: Path) -> None:
    unknown = {"instance": None, "instance_name": None, "lnc": None}
    for name, bad in (("NEURON_RT_VISIBLE_CORES", "x"), ("NEURON_RT_NUM_CORES", "x")):
        outcome = look(core_variables, tmp_path, {name: bad}, machine=unknown)
        assert found(outcome, "environment.bad-cores", "error")
        assert not look(core_variables, tmp_path, {name: "500"}, machine=unknown).findings


def test_two_names_of_the_lnc(tmp_path: Path) -> None:
    old = {"NEURON_RT_VIRTUAL_CORE_SIZE": "1"}
    both = {**old, "NEURON_LOGICAL_NC_CONFIG": "2"}
    finding = found(look(core_variables, tmp_path, both), "environment.lnc-contradiction", "warning")
    assert "NEURON_RT_VIRTUAL_CORE_SIZE is 1 and NEURON_LOGICAL_NC_CONFIG is 2" in finding.message
    # Alone it stands against what the machine has.
    finding = found(look(core_variables, tmp_path, old), "environment.lnc-contradiction", "warning")
    assert "is 1 and the LNC here (default) is 2" in finding.message
    same = {**old, "NEURON_LOGICAL_NC_CONFIG": "1"}
    assert not look(core_variables, tmp_path, same).findings


@pytest.mark.parametrize(
    ("stack", "environ", "rule"),
    [
        (NATIVE, {"NEURON_CC_FLAGS": "-O1"}, "native.cc-flags"),
        (NATIVE, {"VLLM_NEURON_CPU_COMPILE": "1"}, "native.cpu-compile"),
        (
            NATIVE,
            {"VLLM_NEURON_DISABLE_WARMUP_COMPILE": "1", "NEURON_LIBTORCH_DISABLE_COMPILE_CACHE": "1"},
            "native.warmup-without-cache",
        ),
    ],
)
def test_rules_about_compiles_run_without_a_profile(
    tmp_path: Path, stack: str, environ: dict[str, str], rule: str
) -> None:
    outcome = look(compile_variables, tmp_path, environ, stack=stack)
    assert only(list(outcome.findings)).id == rule


@pytest.mark.parametrize(
    ("environ", "rule"),
    [
        ({"NEURON_COMPILED_ARTIFACTS": "/x"}, "artifacts.folder-from-environment"),
        ({"BASE_COMPILE_WORK_DIR": "/x"}, "artifacts.work-folder"),
        (
            {"NEURON_COMPILE_CACHE_URL": "/x", "NEURON_CC_FLAGS": "--cache_dir=/y"},
            "artifacts.compiler-cache",
        ),
    ],
)
def test_rules_about_folders_run_without_a_profile(
    tmp_path: Path, environ: dict[str, str], rule: str
) -> None:
    outcome = look(artifact_variables, tmp_path, environ)
    assert only(list(outcome.findings)).id == rule
    # The native plugin does not read them, and to say that it loads what is there would be wrong.
    outcome = look(artifact_variables, tmp_path, environ, stack=NATIVE)
    assert (outcome.status, outcome.findings) == ("not-here", ())


# Search paths.


def folder(tmp_path: Path, name: str, *files: str) -> Path:
    path = tmp_path / name
    path.mkdir(parents=True, exist_ok=True)
    for file in files:
        (path / file).touch()
    return path


def test_a_library_that_hides_the_installed_one(tmp_path: Path) -> None:
    folder(tmp_path, "opt/aws/neuron/lib", "libnrt.so.1", "libnccom.so")
    folder(tmp_path, "old", "libnrt.so.1")
    folder(tmp_path, "other", "libnrtx.so")
    paths = {"LD_LIBRARY_PATH": "/other:/old:/opt/aws/neuron/lib"}
    finding = found(look(search_paths, tmp_path, paths), "environment.library-hidden", "warning")
    assert finding.message == "LD_LIBRARY_PATH finds libnrt.so in /old before /opt/aws/neuron/lib"
    for good in ("/opt/aws/neuron/lib:/old", "/other", "/nowhere", ""):
        assert not look(search_paths, tmp_path, {"LD_LIBRARY_PATH": good}).findings


def test_a_library_hides_nothing_where_none_is_installed(tmp_path: Path) -> None:
    folder(tmp_path, "old", "libnrt.so.1")
    assert not look(search_paths, tmp_path, {"LD_LIBRARY_PATH": "/old"}).findings


def test_an_empty_entry_is_the_current_folder(tmp_path: Path) -> None:
    folder(tmp_path, "opt/aws/neuron/lib", "libnrt.so.1")
    (tmp_path / "libnrt.so").touch()
    outcome = look(search_paths, tmp_path, {"LD_LIBRARY_PATH": "/nowhere:"})
    assert "in the current folder" in found(outcome, "environment.library-hidden", "warning").message


def test_a_package_that_hides_the_installed_one(tmp_path: Path) -> None:
    folder(tmp_path, "src/vllm")
    folder(tmp_path, "src", "torch.py")
    folder(tmp_path, "mine/something")
    outcome = look(search_paths, tmp_path, {"PYTHONPATH": "/mine:/src"})
    finding = found(outcome, "environment.package-hidden", "warning")
    assert "PYTHONPATH has /src, whose vllm, torch is imported" in finding.message
    assert not look(search_paths, tmp_path, {"PYTHONPATH": "/mine:/nowhere:"}).findings
