"""The table of environment variables: the same facts as the reference, and what is made of them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.neuron.native import RENAMED
from neuronctl.neuron.variables import find_variable, is_neurons, nearest_variable, variables
from neuronctl.stack.version import release
from tests.reference import reference

REFERENCE = reference("env_vars")
GENERATIONS = {"v0", "nxdi", "native", "runtime", "compiler", "nki", "container", "vllm", "all"}
# Which the reference tells as one entry, under a name that is none.
SET_BY_WORKERS = (
    "NEURON_RT_MAP_HBM",
    "NEURON_RT_XU_COMPUTE_MAX_QUEUED_REQUESTS",
    "NEURON_RT_IO_RING_CACHE_SIZE",
    "NEURON_RT_DISABLE_EXECUTION_BARRIER",
)


def names_of(entry: str) -> list[str]:
    """The names of one entry of the reference, which may stand together or share their beginning."""
    said = re.sub(r"\(\+ .*\)", "", entry)
    parts = [part for part in re.split(r" / | \(|\)", said) if part.strip()]
    first = parts[0].strip()
    if first.endswith("_WARMUP"):
        return [first, *(f"VLLM_NEURON_SKIP{part.strip()}WARMUP" for part in parts[1:])]
    return [part.strip() for part in parts]


def expected() -> dict[str, dict[str, Any]]:
    entries = [one for one in REFERENCE["variables"] if one["name"] != "set_by_native_worker"]
    return {name: one for one in entries for name in names_of(one["name"])}


def test_every_variable_of_the_reference_is_known() -> None:
    assert set(expected()) <= set(variables())
    assert len(expected()) > 90
    workers = next(one for one in REFERENCE["variables"] if one["name"] == "set_by_native_worker")
    assert all(name in workers["meaning"] and name in variables() for name in SET_BY_WORKERS)


@pytest.mark.parametrize("name", sorted(expected()))
def test_its_facts_are_those_of_the_reference(name: str) -> None:
    said, variable = expected()[name], variables()[name]
    words = {word.split()[0] for word in said["generation"]}
    if name == "VLLM_NEURON_CHECKPOINT_CACHE":
        assert variable.instead == "NXDI_CHECKPOINT_CACHE"
    # One name more where vLLM or the runtime itself reads what a plugin or NxD Inference sets.
    assert words <= set(variable.generations)
    assert set(variable.generations) - words <= {"vllm", "runtime"}
    for word in said["generation"]:
        version = word.partition(" ")[2]
        assert not version or version in (variable.only, variable.since)
    if "allowed" in said:
        assert {str(each) for each in said["allowed"]} <= set(variable.allowed)
    if "removed" in said:
        assert variable.removed_in == {"runtime": "2.34"}
        assert "runtime 2.34" in said["removed"]
    if "name_in_0_21" in said:
        assert variable.renamed_from is not None
        assert (variable.renamed_from.name, variable.renamed_from.version) == (said["name_in_0_21"], "0.24")
    for source in said["source"]:
        file = re.split(r"[ :(;]", source.partition(":")[2] or source)[0]
        assert file.partition(".rst")[0].partition(".md")[0] in variable.source, source


def test_the_renames_are_told_from_both_sides() -> None:
    table = REFERENCE["rename_0_21_to_0_24"]
    renames = {old: new for old, new in table.items() if old != "basis"}
    assert renames == dict(RENAMED)
    told = {one.name: one.renamed_to.name for one in variables().values() if one.renamed_to}
    assert told == renames
    back = {one.renamed_from.name: one.name for one in variables().values() if one.renamed_from}
    assert back == renames


def test_the_table_is_consistent() -> None:
    for variable in variables().values():
        assert variable.generations, variable.name
        assert set(variable.generations) <= GENERATIONS, variable.name
        assert variable.source.strip(), variable.name
        assert variable.meaning.strip(), variable.name
        assert not (variable.allowed and variable.form), variable.name
        assert variable.takes or not variable.refused, variable.name
        assert variable.instead is None or variable.instead in variables()
        for version in (variable.only, variable.since, *(variable.removed_in or {}).values()):
            assert version is None or len(release(version)) == 2
        # What counts as documented must itself be accepted.
        assert all(variable.accepts(each) for each in variable.allowed), variable.name


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("NEURON_LOGICAL_NC_CONFIG", ["1", "2", " 2 ", ""], ["3", "two", "1.0"]),
        ("NEURON_RT_LOG_LEVEL", ["info", "INFO", "WARN"], ["LOUD"]),
        ("NEURON_RT_VISIBLE_CORES", ["0", "0-3", "0-3,8", ""], ["0..3", "3-0", "all"]),
        ("NEURON_RT_NUM_CORES", ["0", "8", ""], ["-1", "eight"]),
        ("NEURON_RT_VALIDATE_HASH", ["TRUE", "false", "0"], ["yes"]),
        ("DISABLE_NEURON_CUSTOM_SCHEDULER", ["0", "1", "2"], ["true", "", "1.0"]),
        ("VLLM_NEURON_MIN_KV_BUDGET_GIB", ["1", "0.5"], ["", "one"]),
        ("VLLM_NEURON_BARRIER_TIMEOUT", ["60"], ["1h", ""]),
        ("NEURON_RT_NUMERICAL_ERRORS_VERBOSITY", ["NONE", "verbose"], ["loud"]),
        ("NEURON_CC_FLAGS", ["", "-O1 --anything"], []),
    ],
)
def test_values(name: str, good: list[str], bad: list[str]) -> None:
    variable = variables()[name]
    assert [value for value in good if not variable.accepts(value)] == []
    assert [value for value in bad if variable.accepts(value)] == []


@given(st.sampled_from(sorted(variables())), st.text(max_size=30))
def test_no_value_is_too_odd(name: str, value: str) -> None:
    assert variables()[name].accepts(value) in (True, False)


@pytest.mark.parametrize(
    ("name", "readers"),
    [
        ("NEURON_RT_LOG_LEVEL", ["nxdi", "native"]),
        ("NEURON_VISIBLE_DEVICES", ["native"]),
        ("BASE_COMPILE_WORK_DIR", ["nxdi"]),
        ("VLLM_NEURON_FRAMEWORK", []),
        ("HF_TOKEN", ["nxdi", "native", "cpu"]),
        ("PROMETHEUS_MULTIPROC_DIR", ["nxdi", "native", "cpu"]),
    ],
)
def test_who_reads_it(name: str, readers: list[str]) -> None:
    assert [one for one in ("nxdi", "native", "cpu") if variables()[name].is_read_by(one)] == readers


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("NEURON_RT_VISIBLE_CORE", "NEURON_RT_VISIBLE_CORES"),
        ("NEURON_VISIBLE_CORES", "NEURON_RT_VISIBLE_CORES"),
        ("VLLM_NEURON_CPU_COMPLE", "VLLM_NEURON_CPU_COMPILE"),
        ("NEURON_CC_FLAG", "NEURON_CC_FLAGS"),
        ("NEURON_SOMETHING_ELSE", None),
        ("NEURON_RT_DBG_DMA_PACKETIZATION_SIZE", None),
    ],
)
def test_the_nearest_one(name: str, near: str | None) -> None:
    assert find_variable(name) is None
    assert nearest_variable(name) == near


def test_families_are_known_by_their_beginning() -> None:
    for name, family in (
        ("NEURON_RT_LOG_LEVEL_TDRV", "NEURON_RT_LOG_LEVEL"),
        ("NXD_INFERENCE_CAPTURE_FORMAT", "NXD_INFERENCE_CAPTURE"),
        ("VLLM_NEURON_RUNTIME_INPUT_SNAPSHOT_RANKS", "VLLM_NEURON_RUNTIME_INPUT_SNAPSHOT"),
    ):
        variable = find_variable(name)
        assert variable is not None
        assert variable.name == family
    assert find_variable("NEURON_RT_LOG_LEVELS") is None


@pytest.mark.parametrize(
    ("name", "value", "is_ours"),
    [
        ("NEURON_ANYTHING", "1", True),
        ("VLLM_NEURON_ANYTHING", "1", True),
        ("NXD_ANYTHING", "1", True),
        ("NKI_ANYTHING", "1", True),
        ("FI_EFA_FORK_SAFE", "1", True),
        ("NEURONCTL_HOME", "/x", False),
        ("VLLM_ANYTHING", "1", False),
        ("HF_ANYTHING", "1", False),
        # Kubernetes' words about a service called vllm-neuron, and another called neuron-monitor.
        ("VLLM_NEURON_SERVICE_HOST", "10.0.0.1", False),
        ("VLLM_NEURON_SERVICE_PORT_HTTP", "8000", False),
        ("VLLM_NEURON_PORT", "tcp://10.0.0.1:8000", False),
        ("VLLM_NEURON_PORT", "8000", True),
        ("NEURON_MONITOR_PORT_8000_TCP_ADDR", "10.0.0.1", False),
    ],
)
def test_whose_it_is(name: str, value: str, is_ours: bool) -> None:
    assert is_neurons(name, value) is is_ours
