"""Rules about the instance type: cores, LNC, and which plugin runs there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuronctl.errors import UsageError
from neuronctl.machine.devices import NeuronDevice
from neuronctl.model.resolve import resolve_model
from neuronctl.profile.schema import ModelSection
from neuronctl.result import Finding
from tests.plan_sample import at_most_one, found, neuron_plan, sample_host


def one(tmp_path: Path, rule: str, text: str = "", **facts: Any) -> Finding | None:
    """What the rule says, at most one thing; every finding comes with a source and a fix."""
    return at_most_one(neuron_plan(tmp_path, text, **facts), rule)


def said(tmp_path: Path, rule: str, text: str = "", **facts: Any) -> Finding:
    finding = one(tmp_path, rule, text, **facts)
    assert finding is not None
    return finding


def devices(count: int, cores: int = 2, lnc: int = 1) -> tuple[NeuronDevice, ...]:
    """Devices of a machine that is here, nobody on them."""
    return tuple(
        NeuronDevice(index, tuple(range(index * cores, (index + 1) * cores)), lnc, ())
        for index in range(count)
    )


def degree(size: int) -> str:
    return f"engine: {{tensor_parallel_size: {size}}}\n"


def test_machine_unknown_instance(tmp_path: Path) -> None:
    rule = "machine.unknown-instance"
    here = {"instance": None, "instance_name": "trn2.96xlarge", "instance_source": "DMI", "assumed": False}
    finding = said(tmp_path, rule, machine={**here, "devices": devices(2)})
    assert finding.severity == "warning"
    assert "trn2.96xlarge (named by DMI)" in finding.message
    assert str(finding.fix).startswith("plan for one that is like it: --target trn2.")
    # Without devices it is no Neuron machine, which is another rule's.
    assert one(tmp_path, rule, machine=here) is None
    assert one(tmp_path, rule, machine={"devices": devices(12), "assumed": False}) is None


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("env: {NEURON_LOGICAL_NC_CONFIG: '2'}\n", "env.NEURON_LOGICAL_NC_CONFIG"),
        ("neuron: {logical_nc_config: 2}\n", "neuron.logical_nc_config"),
    ],
)
@pytest.mark.parametrize("target", ["trn1.32xlarge", "inf2.xlarge"])
def test_machine_lnc_unsupported(tmp_path: Path, text: str, key: str, target: str) -> None:
    plan = neuron_plan(tmp_path, text, target=target)
    (finding,) = found(plan, "machine.lnc-unsupported")
    assert finding.severity == "error"
    assert f"{key} asks for LNC 2, and {target} " in finding.message
    assert finding.message.endswith("has LNC 1 only")
    assert finding.fix == f"remove {key}, or set it to 1"
    assert str(finding.place) == f"sample.yaml:2: {key}"
    # One cause is told once.
    assert not found(plan, "machine.lnc-mismatch") + found(plan, "machine.cores-not-granted")


def test_machine_lnc_supported(tmp_path: Path) -> None:
    for target, lnc in (("trn1.32xlarge", 1), ("trn2.48xlarge", 1), ("trn2.48xlarge", 2)):
        text = f"neuron: {{logical_nc_config: {lnc}}}\n"
        assert one(tmp_path, "machine.lnc-unsupported", text, target=target) is None


def test_machine_lnc_of_a_machine_that_is_here(tmp_path: Path) -> None:
    here = {"lnc": 2, "lnc_source": "/opt/aws/neuron/logical_nc_config", "assumed": False}
    finding = said(tmp_path, "machine.lnc-unsupported", machine={**here, "devices": devices(12)})
    assert "/opt/aws/neuron/logical_nc_config asks for LNC 2" in finding.message
    assert finding.place is None


def test_machine_lnc_mismatch(tmp_path: Path) -> None:
    rule, trn2 = "machine.lnc-mismatch", "trn2.48xlarge"
    text = "neuron: {logical_nc_config: 2}\nenv: {NEURON_LOGICAL_NC_CONFIG: '1'}\n"
    finding = said(tmp_path, rule, text, target=trn2)
    assert (finding.severity, str(finding.place)) == ("error", "sample.yaml:2: neuron.logical_nc_config")
    assert "logical_nc_config is 2, and NEURON_LOGICAL_NC_CONFIG says 1" in finding.message
    assert one(tmp_path, rule, text.replace("2", "1"), target=trn2) is None
    # The native plugin has no such setting, and another rule says so.
    assert one(tmp_path, rule, text, target=trn2, stack="sdk-2.32") is None
    assert one(tmp_path, rule, "neuron: {logical_nc_config: 1}\n", target=trn2) is None
    assert one(tmp_path, rule, target=trn2) is None


def test_machine_lnc_mismatch_with_the_shell(tmp_path: Path) -> None:
    rule, text = "machine.lnc-mismatch", "neuron: {logical_nc_config: 2}\n"
    facts = {"target": "trn2.48xlarge", "environ": {"NEURON_LOGICAL_NC_CONFIG": "1"}}
    finding = said(tmp_path, rule, text, machine={"devices": devices(16, 8), "assumed": False}, **facts)
    assert "NEURON_LOGICAL_NC_CONFIG is 1 and the plan is for LNC 2" in finding.message
    assert finding.fix == "unset NEURON_LOGICAL_NC_CONFIG, or set neuron.logical_nc_config: 1"
    # The shell's variables are not those of a machine that is elsewhere.
    assert one(tmp_path, rule, text, **facts) is None


def test_machine_lnc_mismatch_with_no_number(tmp_path: Path) -> None:
    text = "env: {NEURON_LOGICAL_NC_CONFIG: two}\n"
    finding = said(tmp_path, "machine.lnc-mismatch", text, target="trn2.48xlarge")
    assert finding.fix == "set NEURON_LOGICAL_NC_CONFIG to 1 or 2, or remove it"
    assert str(finding.place) == "sample.yaml:2: env.NEURON_LOGICAL_NC_CONFIG"


def test_machine_virtual_core_size(tmp_path: Path) -> None:
    rule, text = "machine.virtual-core-size", "env: {NEURON_RT_VIRTUAL_CORE_SIZE: '1'}\n"
    finding = said(tmp_path, rule, text, target="trn2.48xlarge")
    assert finding.severity == "warning"
    assert "NEURON_RT_VIRTUAL_CORE_SIZE is 1 and the plan is for LNC 2" in finding.message
    assert str(finding.place) == "sample.yaml:2: env.NEURON_RT_VIRTUAL_CORE_SIZE"
    assert one(tmp_path, rule, text, target="trn1.32xlarge") is None
    assert one(tmp_path, rule, target="trn2.48xlarge") is None


def test_machine_too_many_cores(tmp_path: Path) -> None:
    finding = said(tmp_path, "machine.too-many-cores", degree(32))
    assert finding.severity == "error"
    assert finding.message == (
        "tensor parallel size 32 wants 32 logical cores, and inf2.48xlarge has 24 (12 devices, LNC 1)"
    )
    assert finding.fix == "set engine.tensor_parallel_size to 1, 2, 4 or 8"
    assert str(finding.place) == "sample.yaml:2: engine.tensor_parallel_size"
    assert one(tmp_path, "machine.too-many-cores", degree(24)) is None


@pytest.mark.parametrize(("lnc", "size", "fits"), [(2, 64, True), (2, 128, False), (1, 128, True)])
def test_machine_too_many_cores_depends_on_the_lnc(tmp_path: Path, lnc: int, size: int, fits: bool) -> None:
    text = degree(size) + f"neuron: {{logical_nc_config: {lnc}}}\n"
    finding = one(tmp_path, "machine.too-many-cores", text, target="trn2.48xlarge")
    assert (finding is None) is fits
    if finding is not None:
        assert "has 64 (16 devices, LNC 2)" in finding.message


def test_machine_too_many_cores_in_a_container(tmp_path: Path) -> None:
    here = {"devices": devices(2), "assumed": False}
    finding = said(tmp_path, "machine.too-many-cores", degree(8), machine=here)
    assert "has 4 (2 devices of 12 are visible here, LNC 1)" in finding.message
    assert finding.fix == "set engine.tensor_parallel_size to 1, 2 or 4"


def test_machine_too_many_cores_for_the_native_plugin(tmp_path: Path) -> None:
    facts = {"target": "trn2.3xlarge", "stack": "sdk-2.32"}
    finding = said(tmp_path, "machine.too-many-cores", degree(8), **facts)
    assert (finding.severity, finding.fix) == ("error", "set engine.tensor_parallel_size to 1, 2 or 4")
    assert one(tmp_path, "machine.too-many-cores", degree(4), **facts) is None
    copies = "engine: {tensor_parallel_size: 4, data_parallel_size: 2}\n"
    finding = said(tmp_path, "machine.too-many-cores", copies, **facts)
    assert "tensor parallel size 4 with the other parallel sizes wants 8 logical cores" in finding.message


def test_machine_too_many_cores_where_no_degree_fits(tmp_path: Path) -> None:
    large = {"num_hidden_layers": 80, "hidden_size": 8192, "intermediate_size": 28672, "vocab_size": 128256}
    large |= {"num_attention_heads": 64, "num_key_value_heads": 8}
    finding = said(tmp_path, "machine.too-many-cores", degree(32), target="inf2.24xlarge", config=large)
    assert finding.fix == (
        "no degree up to 12 divides the heads and fits here; what would fit: trn1.32xlarge"
    )


def test_machine_too_many_cores_by_a_degree_of_its_own(tmp_path: Path) -> None:
    text = degree(2) + "neuron: {tp_degree: 32}\n"
    finding = said(tmp_path, "machine.too-many-cores", text)
    assert "tensor parallel size 2 with a tp_degree of its own wants 32 logical cores" in finding.message


def test_machine_undocumented_degree(tmp_path: Path) -> None:
    rule = "machine.undocumented-degree"
    finding = said(tmp_path, rule, degree(4), target="trn1.32xlarge")
    assert finding.severity == "warning"
    assert "tensor parallel size 4 is not among" in finding.message
    assert finding.message.endswith("1, 2, 8, 16, 32")
    assert str(finding.place) == "sample.yaml:2: engine.tensor_parallel_size"
    assert one(tmp_path, rule, degree(4)) is None
    # Too many is an error already; there is no list for LNC 1 of Trainium2, nor for Trainium3.
    assert one(tmp_path, rule, degree(64), target="trn1.32xlarge") is None
    lnc = "neuron: {logical_nc_config: 1}\n"
    assert one(tmp_path, rule, degree(3) + lnc, target="trn2.48xlarge") is None
    assert one(tmp_path, rule, degree(3), target="trn3.gen1.ultraserver") is None


def test_machine_pipeline_unused(tmp_path: Path) -> None:
    rule, text = "machine.pipeline-unused", "engine: {pipeline_parallel_size: %d}\n"
    finding = said(tmp_path, rule, text % 2)
    assert finding.severity == "warning"
    assert "pipeline_parallel_size 2" in finding.message
    assert "(not run)" in finding.message
    assert str(finding.place) == "sample.yaml:2: engine.pipeline_parallel_size"
    assert one(tmp_path, rule, text % 1) is None
    assert one(tmp_path, rule, text % 2, target="trn2.48xlarge", stack="sdk-2.32") is None


def test_machine_cores_not_granted(tmp_path: Path) -> None:
    rule, text = "machine.cores-not-granted", degree(4) + "env: {NEURON_RT_VISIBLE_CORES: '%s'}\n"
    finding = said(tmp_path, rule, text % "0-1")
    assert finding.severity == "error"
    assert (
        finding.message == "NEURON_RT_VISIBLE_CORES grants the logical cores 0-1: 2 of the 4 that are needed"
    )
    assert str(finding.place) == "sample.yaml:3: env.NEURON_RT_VISIBLE_CORES"
    assert said(tmp_path, rule, text % "0-2,5-7").message.endswith("0-2,5-7: no 4 of them without a gap")
    assert one(tmp_path, rule, text % "4-7") is None
    assert one(tmp_path, rule, degree(32)) is None


def test_machine_cores_not_granted_to_the_native_plugin(tmp_path: Path) -> None:
    """NEURON_RT_VISIBLE_CORES must not be set for it at all, which another rule says."""
    rule, facts = "machine.cores-not-granted", {"target": "trn2.48xlarge", "stack": "sdk-2.32"}
    text = degree(4) + "env: {%s: '2'}\n"
    assert one(tmp_path, rule, text % "NEURON_RT_VISIBLE_CORES", **facts) is None
    assert "2 of the 4" in said(tmp_path, rule, text % "NEURON_RT_NUM_CORES", **facts).message


def test_machine_cores_not_granted_by_a_number(tmp_path: Path) -> None:
    here = {"devices": devices(12), "assumed": False}
    facts = {"environ": {"NEURON_RT_NUM_CORES": "2"}, "machine": here}
    finding = said(tmp_path, "machine.cores-not-granted", degree(4), **facts)
    assert finding.message.startswith("NEURON_RT_NUM_CORES grants the logical cores 0-1")
    assert finding.place is None


def test_machine_core_list(tmp_path: Path) -> None:
    rule, text = "machine.core-list", degree(2) + "env: {NEURON_RT_VISIBLE_CORES: '%s'}\n"
    plan = neuron_plan(tmp_path, text % "0-3,8")
    (finding,) = found(plan, rule)
    assert finding.severity == "info"
    assert "grants 0-3,8" in finding.message
    assert "the server gets the range 0-1" in finding.message
    assert plan.environment["NEURON_RT_VISIBLE_CORES"].value == "0-1"
    assert one(tmp_path, rule, text % "4-7") is None


@pytest.mark.parametrize(
    ("value", "target", "fires"),
    [
        ("trn2", "inf2.48xlarge", True),
        ("gen3", "trn1.32xlarge", True),
        ("inf2", "inf2.48xlarge", False),
        ("gen2", "trn1.32xlarge", False),
        ("trn1n", "trn1n.32xlarge", False),
        ("", "inf2.48xlarge", False),
    ],
)
def test_machine_platform_override(tmp_path: Path, value: str, target: str, fires: bool) -> None:
    text = f"env: {{NEURON_PLATFORM_TARGET_OVERRIDE: '{value}'}}\n"
    finding = one(tmp_path, "machine.platform-override", text, target=target)
    assert (finding is not None) is fires
    if finding is not None:
        assert finding.severity == "warning"
        assert f"NEURON_PLATFORM_TARGET_OVERRIDE is {value} and {target} is" in finding.message
        assert str(finding.place) == "sample.yaml:2: env.NEURON_PLATFORM_TARGET_OVERRIDE"


@pytest.mark.parametrize("target", ["inf2.48xlarge", "trn1.32xlarge", "trn1n.32xlarge"])
def test_machine_native_unsupported(tmp_path: Path, target: str) -> None:
    finding = said(tmp_path, "machine.native-unsupported", target=target, stack="sdk-2.32")
    assert finding.severity == "error"
    assert finding.message == f"plugin 0.24.0.1.1.0 is for trn2 and trn3, not for {target}"
    assert "--stack sdk-2.28" in str(finding.fix)
    assert one(tmp_path, "machine.native-unsupported", target=target, stack="sdk-2.31") is None
    for fit in ("trn2.3xlarge", "trn3.gen1.ultraserver"):
        assert one(tmp_path, "machine.native-unsupported", target=fit, stack="sdk-2.32") is None


@pytest.mark.parametrize("stack", ["sdk-2.29", "sdk-2.30", "sdk-2.31"])
def test_machine_disputed_support(tmp_path: Path, stack: str) -> None:
    finding = said(tmp_path, "machine.disputed-support", stack=stack)
    assert finding.severity == "warning"
    assert "README" in finding.message
    assert "release note of SDK 2.29" in finding.message
    assert "nxd-inference.rst:61" in str(finding.source)
    assert "--stack sdk-2.28" in str(finding.fix)
    assert one(tmp_path, "machine.disputed-support", stack=stack, target="trn2.48xlarge") is None
    assert one(tmp_path, "machine.disputed-support", stack="sdk-2.28") is None


def test_machine_trn3_unlisted(tmp_path: Path) -> None:
    rule, trn3 = "machine.trn3-unlisted", "trn3.gen1.ultraserver"
    finding = said(tmp_path, rule, target=trn3, stack="sdk-2.26")
    assert finding.severity == "warning"
    assert "plugin 0.2.0 does not list trn3" in finding.message
    assert one(tmp_path, rule, target=trn3, stack="sdk-2.27.1:0.3.0") is None
    assert one(tmp_path, rule, target="trn2.48xlarge", stack="sdk-2.26") is None


def test_machine_single_core_native(tmp_path: Path) -> None:
    rule = "machine.single-core-native"
    finding = said(tmp_path, rule, degree(1), target="trn2.48xlarge", stack="sdk-2.32")
    assert finding.severity == "warning"
    assert "SIGSEGV" in finding.message
    assert str(finding.place) == "sample.yaml:2: engine.tensor_parallel_size"
    assert one(tmp_path, rule, degree(2), target="trn2.48xlarge", stack="sdk-2.32") is None
    assert one(tmp_path, rule, degree(1), target="trn2.3xlarge", stack="sdk-2.32") is None
    assert one(tmp_path, rule, degree(1), target="trn2.48xlarge", stack="sdk-2.31") is None


SEVENTY = "meta-llama/Llama-3.3-70B-Instruct"


@pytest.mark.parametrize(
    ("size", "rule", "words"),
    [
        (64, "machine.too-many-cores", "to 16 (not documented for inf2.48xlarge"),
        (24, "nxdi.heads-padded", "to 16 (not documented for inf2.48xlarge"),
        (16, "machine.undocumented-degree", "keep it"),
    ],
)
def test_no_advice_leads_back_to_what_was_refused(tmp_path: Path, size: int, rule: str, words: str) -> None:
    """Of 1, 2, 4, 8 and 24 none divides 64 heads and holds 70 billion parameters in 16 GiB a core."""
    model = resolve_model(ModelSection(id=SEVENTY), sample_host(tmp_path))
    plan = neuron_plan(tmp_path, f"model: {{id: {SEVENTY}}}\n{degree(size)}", model=model)
    (finding,) = found(plan, rule)
    assert words in str(finding.fix)
    assert len([one for one in plan.findings if one.severity != "info"]) == 1


def test_machine_too_many_replicas(tmp_path: Path) -> None:
    rule, text = "machine.too-many-replicas", degree(8) + "server: {replicas: %d}\n"
    finding = said(tmp_path, rule, text % 4)
    assert finding.severity == "error"
    assert finding.message == "server.replicas 4: 3 servers of 8 cores fit into the 24 cores (0-23)"
    assert str(finding.fix).startswith("set server.replicas to 3 or less")
    assert str(finding.place) == "sample.yaml:3: server.replicas"
    assert said(tmp_path, rule, text % 1_000_000_000)
    assert one(tmp_path, rule, text % 3) is None
    granted = "env: {NEURON_RT_VISIBLE_CORES: 0-15}\n"
    assert (
        "2 servers of 8 cores fit into the 16 cores (0-15)"
        in said(tmp_path, rule, text % 3 + granted).message
    )
    # Not even one fits: that is another rule's.
    assert one(tmp_path, rule, degree(32) + "server: {replicas: 2}\n") is None


def test_a_number_in_quotes_is_the_same_lnc(tmp_path: Path) -> None:
    plan = neuron_plan(tmp_path, "neuron: {logical_nc_config: '2'}\n", target="trn2.48xlarge")
    assert [one.id for one in plan.errors] == ["nxdi.bad-value"]


def test_an_lnc_that_is_offered_is_one_that_the_instance_has(tmp_path: Path) -> None:
    finding = said(tmp_path, "machine.lnc-mismatch", "env: {NEURON_LOGICAL_NC_CONFIG: '3'}\n")
    assert finding.fix == "set NEURON_LOGICAL_NC_CONFIG to 1, or remove it"


def test_cores_that_the_target_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the variable names the cores 24, and inf2\.48xlarge has"):
        neuron_plan(tmp_path, "env: {NEURON_RT_VISIBLE_CORES: 23-24}\n")
