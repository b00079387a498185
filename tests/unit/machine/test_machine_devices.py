"""Answers of neuron-ls, from real ones to hostile ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.machine.devices import Listing, NeuronDevice, NeuronProcess, read_neuron_ls

SAMPLES = Path(__file__).parents[2] / "data" / "neuron_ls"


def sample(name: str) -> Listing:
    return read_neuron_ls((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def test_trn1_as_captured() -> None:
    assert sample("trn1.2xlarge-idle") == Listing(devices=(NeuronDevice(0, (0, 1), None, ()),))


def test_one_of_sixteen_devices_with_processes_as_captured() -> None:
    holders = tuple(NeuronProcess(pid, "") for pid in (1966680, 1966681))
    assert sample("trn2.48xlarge-one-of-16-busy") == Listing(
        devices=(NeuronDevice(0, (0, 1, 2, 3), 2, holders),),
        instance_name="trn2.48xlarge",
    )


def test_the_documented_excerpt() -> None:
    one, other = sample("trn2n.48xlarge-excerpt").devices
    assert (one.index, other.index) == (0, 15)
    assert other.core_ids == (60, 61, 62, 63)
    assert other.processes == (NeuronProcess(113985, "neuron-bench exec --run-as-cc-neff --..."),)


@pytest.mark.parametrize(
    ("name", "devices", "cores"),
    [
        ("inf2.48xlarge-eight-of-12-reconstructed", 8, 16),
        ("inf2.8xlarge-reconstructed", 1, 2),
        ("trn2n.48xlarge-reconstructed", 16, 64),
        ("counts-only", 2, 4),
    ],
)
def test_cores_are_counted_over_all_devices(name: str, devices: int, cores: int) -> None:
    found = sample(name).devices
    assert [device.index for device in found] == list(range(devices))
    assert [core for device in found for core in device.core_ids] == list(range(cores))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        "7",
        "<html><body>404</body></html>",
        "[1, 2]",
        '[{"nc_count": 2}, null]',
        "[" * 100_000,
        '[{"neuron_device": ' + "9" * 10_000 + "}]",
        json.dumps([{"nc_count": 2}] * 2000),
        '[{"nc_count": 2}]' + " " * 5_000_000,
    ],
    ids=lambda text: text[:20],
)
def test_no_answer_is_no_devices(text: str) -> None:
    listing = read_neuron_ls(text)
    assert listing.devices == ()
    assert listing.kind == "bad"
    assert listing.trouble is not None
    assert listing.trouble.startswith("printed ")
    assert len(listing.trouble) < 120


@pytest.mark.parametrize(
    "element",
    [
        {"memory_size": "32 GB", "neuron_processes": "none"},
        {"memory_size": -1, "neuroncore_ids": [None], "connected_to": 3},
        {"memory_size": 1e400, "neuroncore_ids": [], "neuron_device": None},
        {"neuron_processes": [None, 3, {}, {"pid": None}, {"pid": 0}]},
        {"instance_type": ["trn1.2xlarge"], "logical_neuroncore_config": 0},
    ],
)
def test_what_is_not_told_is_passed_over(element: dict[str, Any]) -> None:
    text = json.dumps([{"nc_count": 1, **element}])
    assert read_neuron_ls(text) == Listing((NeuronDevice(0, (0,), None, ()),))


@pytest.mark.parametrize(
    ("element", "told"),
    [
        ("{}", "no cores"),
        ('{"nc_count": 0}', "no cores"),
        ('{"nc_count": 1e999}', "nc_count inf"),
        ('{"nc_count": NaN}', "nc_count nan"),
        ('{"nc_count": -2}', "nc_count -2"),
        ('{"nc_count": "2"}', "nc_count '2'"),
        ('{"nc_count": true}', "nc_count True"),
        ('{"nc_count": 1000000000}', "nc_count 1000000000"),
        ('{"neuroncore_ids": {"0": 1}}', "neuroncore_ids {'0': 1}"),
        ('{"neuroncore_ids": [0, -1]}', "neuroncore_ids -1"),
        ('{"neuroncore_ids": [1152921504606846976]}', "neuroncore_ids 1152921504606846976"),
        (json.dumps({"neuroncore_ids": list(range(5000))}), "5000 neuroncore_ids"),
        ('{"nc_count": 2, "neuron_device": []}', "neuron_device []"),
        ('{"nc_count": 2, "logical_neuroncore_config": 1e9}', "logical_neuroncore_config 1000000000.0"),
        ('{"nc_count": 2, "neuron_processes": [{"pid": "1"}]}', "pid '1'"),
        ('{"nc_count": 2, "neuron_processes": [{"pid": -4}]}', "pid -4"),
    ],
)
def test_with_a_number_that_cannot_be_nothing_is_believed(element: str, told: str) -> None:
    listing = read_neuron_ls(f'[{{"nc_count": 2}}, {element}]')
    assert listing == Listing(trouble=f"printed {told} for the device at place 1", kind="bad")


def test_a_process_cannot_write_to_the_terminal() -> None:
    held = {"nc_count": 2, "neuron_processes": [{"pid": 4, "command": "a\x1b[2Jb\n" + "c" * 10_000}]}
    (process,) = read_neuron_ls(json.dumps([held])).devices[0].processes
    assert process.command.startswith("a [2Jb c")
    assert len(process.command) <= 500


KEYS = [*json.loads((SAMPLES / "trn2.48xlarge-one-of-16-busy.json").read_text(encoding="utf-8"))[0], "pid"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=8)
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_read_or_passed_over(answer: object) -> None:
    for text in (json.dumps(answer), json.dumps([answer])):
        for device in read_neuron_ls(text).devices:
            assert device.index >= 0
            assert all(core >= 0 for core in device.core_ids)
            assert device.lnc is None or device.lnc > 0


@pytest.mark.parametrize(
    ("told", "lnc", "core_ids"),
    [
        (2, 1, tuple(range(24, 32))),
        (2, 2, (12, 13, 14, 15)),
        (2, None, (12, 13, 14, 15)),
        (None, 2, (6, 7)),
        (None, 1, (12, 13, 14, 15)),
        (2, 3, (12, 13, 14, 15)),  # 8 cores do not make groups of 3: a rule speaks of that
    ],
)
def test_the_same_device_at_another_lnc(told: int | None, lnc: int | None, core_ids: tuple[int, ...]) -> None:
    device = NeuronDevice(3, (12, 13, 14, 15), told, ())
    assert device.at_lnc(lnc).core_ids == core_ids
