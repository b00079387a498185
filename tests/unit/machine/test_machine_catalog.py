"""The catalog against the reference, fact by fact."""

from __future__ import annotations

from typing import Any

import pytest

from neuronctl.errors import UsageError
from neuronctl.machine.catalog import chips, find_instance, instance_types
from tests.reference import reference

GIB = 2**30
REFERENCE = reference("instances")
INSTANCES: list[dict[str, Any]] = REFERENCE["instances"]


def plain_name(facts: dict[str, Any]) -> str:
    """UltraServers have an explanation behind their names there."""
    return str(facts["name"]).partition(" ")[0]


def test_the_catalog_has_every_instance_type_in_the_same_order() -> None:
    assert [each.name for each in instance_types()] == [plain_name(facts) for facts in INSTANCES]


@pytest.mark.parametrize("facts", INSTANCES, ids=plain_name)
def test_an_instance_type_is_what_the_reference_says(facts: dict[str, Any]) -> None:
    found = find_instance(plain_name(facts))
    degrees = facts["tp_degrees_valid"]
    memory = facts["host_memory_gib"]
    assert found.family == facts["family"]
    assert found.chip == facts["chip"]
    assert found.devices == facts["neuron_devices"]
    assert found.lnc_default == facts["lnc_default"]
    assert found.lnc_supported == tuple(facts["logical_cores"])
    assert found.logical_cores == facts["logical_cores"]
    assert {lnc: cores // found.devices for lnc, cores in found.logical_cores.items()} == facts[
        "logical_cores_per_device"
    ]
    assert found.device_memory_bytes == facts["device_memory_gib_per_device"] * GIB
    assert found.device_memory_bytes * found.devices == facts["device_memory_gib_total"] * GIB
    assert found.vcpus == facts["vcpu"]
    assert found.host_memory_bytes == (None if memory is None else memory * GIB)
    assert found.compiler_target == facts["compiler_target"]
    assert found.hardware == facts["nxd_hardware_class"]
    assert found.tp_degrees == (None if degrees is None else tuple(degrees))
    assert found.plugin_support == facts["plugin_support"]
    assert found.ultraserver == (facts.get("kind") == "ultraserver")
    for source in facts["source"]:
        document = source.partition(" (")[0]
        assert document in found.sources or not document.startswith("sdk:")


@pytest.mark.parametrize("facts", INSTANCES, ids=plain_name)
def test_a_core_s_memory_is_known_where_a_source_states_it(facts: dict[str, Any]) -> None:
    stated = REFERENCE["chips"][facts["chip"]]["memory_gib_per_logical_core"]
    assert find_instance(plain_name(facts)).core_memory_bytes == {
        lnc: gib * GIB for lnc, gib in stated.items() if gib is not None
    }


@pytest.mark.parametrize("name", REFERENCE["chips"])
def test_a_chip_is_what_the_reference_says(name: str) -> None:
    facts = REFERENCE["chips"][name]
    chip = next(each for each in chips() if each.name == name)
    sysfs = facts["sysfs"] or {}
    assert chip.physical_cores == facts["physical_cores_per_chip"]
    assert chip.memory_bytes == facts["memory_gib_per_chip"] * GIB
    assert chip.lnc_supported == tuple(facts["lnc_supported"])
    assert chip.lnc_default == facts["lnc_default"]
    assert chip.device_name == sysfs.get("info/architecture/device_name")


def test_ec2s_wrong_memory_is_not_used() -> None:
    assert find_instance("trn2.48xlarge").device_memory_bytes == 96 * GIB


def test_what_is_disputed_says_why() -> None:
    for each in instance_types():
        disputed = "disputed" in each.plugin_support.values()
        assert disputed == any("disputed" in note for note in each.notes), each.name


def test_every_fact_has_a_source_of_a_kind_that_the_file_explains() -> None:
    kinds = {"sdk", "nxdi", "nxd", "driver", "plugin-0.2.0", "plugin-0.5", "dlc", "gh", "third-party"}
    for each in instance_types():
        assert {source.partition(":")[0] for source in each.sources} <= kinds
        assert len(each.sources) >= 4


@pytest.mark.parametrize("said", ["trn1.32xlarge", " TRN1.32xlarge\n"])
def test_a_name_is_found_however_it_is_written(said: str) -> None:
    assert find_instance(said).name == "trn1.32xlarge"


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("trn2.48xlage", "--target trn2.48xlarge"),
        ("inf2.48xlarg", "--target inf2.48xlarge"),
        ("trn3.gen2", "--target trn3.gen2.ultraserver"),
        ("zz", "take one of inf2.xlarge, "),
        ("", "take one of inf2.xlarge, "),
        ("x" * 100_000, "take one of inf2.xlarge, "),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(said: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_instance(said)
    assert caught.value.error_code == "usage.unknown-target"
    assert caught.value.fix is not None
    assert caught.value.fix.startswith(fix)
    assert len(caught.value.what) < 200
