"""Lines of neuron-monitor, from captured ones to hostile ones, and the memory that sysfs tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.doctor.utilisation import CoreUse, RuntimeUse, Utilisation, read_monitor, read_sysfs_memory
from tests.plan_sample import sample_host

GIB = 2**30
HARDWARE = {"neuron_device_memory_size": 32 * GIB, "neuroncore_per_device_count": 2, "error": ""}


def report(**changes: Any) -> dict[str, Any]:
    """One process on the cores 0 and 1, as captured on an inf2.xlarge under load and cut short."""
    return {
        "neuroncore_counters": {
            "neuroncores_in_use": {
                "0": {"effective_flops": 875590474948, "neuroncore_utilization": 89.40087251059674},
                "1": {"effective_flops": 0, "neuroncore_utilization": 0},
            },
            "period": 1.000665759,
        },
        "memory_used": {"neuron_runtime_used_bytes": {"host": 1166249984, "neuron_device": 141649980}},
        **changes,
    }


def line(*reports: Any, hardware: Any = HARDWARE) -> str:
    data = [{"pid": 2199 + number, "report": each} for number, each in enumerate(reports)]
    return json.dumps({"neuron_runtime_data": data, "neuron_hardware_info": hardware})


def used(value: Any) -> str:
    return line(report(memory_used={"neuron_runtime_used_bytes": value}))


def test_nobody_at_work() -> None:
    assert read_monitor(line()) == Utilisation(device_bytes=32 * GIB, cores_per_device=2)


def test_a_process_at_work() -> None:
    (runtime,) = read_monitor(line(report())).runtimes
    assert runtime == RuntimeUse(
        2199, {0: CoreUse(89.40087251059674), 1: CoreUse(0.0)}, device_bytes=141649980
    )


def test_memory_by_core_as_documented() -> None:
    parts = {"constants": 193986816, "model_code": 176285056, "runtime_memory": 0, "tensors": 20971520}
    told = {"neuron_device": 5, "usage_breakdown": {"neuroncore_memory_usage": {"1": parts, "7": parts}}}
    (runtime,) = read_monitor(used(told)).runtimes
    assert list(runtime.cores) == [0, 1, 7]
    assert runtime.cores[7] == CoreUse(None, sum(parts.values()))
    assert runtime.cores[1] == CoreUse(0.0, sum(parts.values()))


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"neuron_device": 7}, 7),
        ({"device": 8}, 8),
        (9, 9),
        ({"hbm": 3}, None),
        ({"device": -1}, None),
        ("x", None),
    ],
)
def test_the_memory_of_a_process_by_whatever_name(value: Any, size: int | None) -> None:
    assert read_monitor(used(value)).runtimes[0].device_bytes == size


@pytest.mark.parametrize("percent", [None, "50", True, -1, [], 1e400, 10**400])
def test_a_percentage_that_is_none(percent: Any) -> None:
    counters = {"neuroncores_in_use": {"0": {"neuroncore_utilization": percent}}}
    (runtime,) = read_monitor(line(report(neuroncore_counters=counters))).runtimes
    assert runtime.cores == {0: CoreUse(None)}


def test_no_core_computes_more_than_all_the_time() -> None:
    counters = {"neuroncores_in_use": {"0": {"neuroncore_utilization": 100.3}, "x": {}, "-1": {}, "٣": {}}}
    assert read_monitor(line(report(neuroncore_counters=counters))).runtimes[0].cores == {0: CoreUse(100.0)}


@pytest.mark.parametrize("broken", [None, [], "x", 1, {"neuroncore_counters": [], "memory_used": 3}])
def test_a_process_that_is_told_badly_still_has_its_pid(broken: Any) -> None:
    assert read_monitor(line(broken, report())).runtimes[0] == RuntimeUse(2199)
    assert len(read_monitor(line(broken, report())).runtimes) == 2


def test_what_neuron_monitor_says_of_a_driver_that_is_not_there() -> None:
    told = read_monitor(line(hardware={"error": "failed to open\x1b[2J the driver"}))
    assert told.trouble == "failed to open [2J the driver"
    assert told.runtimes == ()


@pytest.mark.parametrize(
    "text", ["", "garbage", "[]", "3", "{}", '{"a": 1}', "[" * 100_000, '{"a":' + "9" * 5000]
)
def test_what_is_no_report(text: str) -> None:
    told = read_monitor(text)
    assert told.trouble
    assert told.runtimes == ()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["0", "1", "pid", "report", "memory_used", "neuroncore_counters", "neuroncores_in_use"]
            )
            | st.sampled_from(
                ["neuron_runtime_used_bytes", "usage_breakdown", "neuroncore_memory_usage", "device"]
            )
            | st.sampled_from(
                ["neuron_runtime_data", "neuron_hardware_info", "neuroncore_utilization", "error"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.text() | json_values.map(json.dumps))
def test_no_line_makes_it_fail(text: str) -> None:
    told = read_monitor(text)
    for runtime in told.runtimes:
        assert runtime.pid > 0
        for core in runtime.cores.values():
            assert core.percent is None or 0 <= core.percent <= 100


@given(json_values, json_values)
def test_no_part_makes_it_fail(part: Any, hardware: Any) -> None:
    broken = report()
    broken["memory_used"]["neuron_runtime_used_bytes"] = part
    broken["neuroncore_counters"]["neuroncores_in_use"] = part
    assert len(read_monitor(line(broken, part, hardware=hardware)).runtimes) == 2


def write(root: Path, path: str, text: str) -> None:
    file = root / "sys/devices/virtual/neuron_device" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_memory_by_sysfs_is_the_sum_of_its_kinds_on_all_cores(tmp_path: Path) -> None:
    assert read_sysfs_memory(sample_host(tmp_path), 0) is None
    for core, kind, size in ((0, "constants", 5), (0, "tensors", 7), (1, "constants", 11)):
        folder = f"neuron0/neuron_core{core}/stats/memory_usage/device_mem/{kind}"
        write(tmp_path, f"{folder}/total", f"{size}\n")
        write(tmp_path, f"{folder}/present", "999\n")
    assert read_sysfs_memory(sample_host(tmp_path), 0) == 23
    assert read_sysfs_memory(sample_host(tmp_path), 1) is None


def test_memory_by_sysfs_where_totals_are_zero_and_bytes_are_present(tmp_path: Path) -> None:
    folder = "neuron3/neuron_core0/stats/memory_usage/device_mem/tensors"
    write(tmp_path, f"{folder}/total", "0")
    assert read_sysfs_memory(sample_host(tmp_path), 3) == 0
    write(tmp_path, f"{folder}/present", "42")
    assert read_sysfs_memory(sample_host(tmp_path), 3) == 42
