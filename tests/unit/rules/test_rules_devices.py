"""Rules about what is on the machine: devices and who holds them, driver, kernel, libraries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neuronctl.machine.devices import NeuronDevice, NeuronProcess
from neuronctl.result import Finding
from neuronctl.stack.assume import assume_stack
from neuronctl.stack.detect import Stack
from tests.plan_sample import at_most_one, neuron_plan

TP4 = "engine: {tensor_parallel_size: 4}\n"


def devices(*indexes: int, cores: int = 2, lnc: int = 1) -> tuple[NeuronDevice, ...]:
    """Devices with these numbers, nobody on them; cores are counted over those that are visible."""
    return tuple(
        NeuronDevice(index, tuple(range(at * cores, (at + 1) * cores)), lnc, ())
        for at, index in enumerate(indexes)
    )


ALL = devices(*range(12))


def held(by: dict[int, tuple[NeuronProcess, ...]]) -> tuple[NeuronDevice, ...]:
    """The twelve devices of an inf2.48xlarge, some of them held."""
    return tuple(replace(device, processes=by.get(device.index, ())) for device in ALL)


def process(pid: int, command: str) -> NeuronProcess:
    return NeuronProcess(pid, command)


def one(tmp_path: Path, rule: str, text: str = "", **facts: Any) -> Finding | None:
    """What the rule says of a machine that is here, an inf2.48xlarge where nothing else is said."""
    machine = {"devices": ALL, "driver": "2.26.5.0", "assumed": False, **facts.pop("machine", {})}
    return at_most_one(neuron_plan(tmp_path, text, machine=machine, **facts), rule)


def said(tmp_path: Path, rule: str, text: str = "", **facts: Any) -> Finding:
    finding = one(tmp_path, rule, text, **facts)
    assert finding is not None
    return finding


def with_runtime(version: str, name: str = "sdk-2.28") -> Stack:
    return replace(assume_stack(name), runtime=version)


NOTHING = {"devices": (), "driver": None}


def test_devices_driver_missing(tmp_path: Path) -> None:
    rule = "devices.driver-missing"
    finding = said(tmp_path, rule, machine=NOTHING)
    assert finding.severity == "error"
    assert "inf2.48xlarge is a Neuron instance, and no Neuron driver is loaded" in finding.message
    assert "modprobe neuron" in str(finding.fix)
    bare = {**NOTHING, "instance": None, "instance_name": None}
    finding = said(tmp_path, rule, machine=bare)
    assert finding.message == "this machine has no Neuron device and no Neuron driver"
    assert "--target inf2.48xlarge" in str(finding.fix)
    other = {**bare, "instance_name": "m7i.large"}
    finding = said(tmp_path, rule, machine=other)
    assert "m7i.large is no Neuron instance that is known" in finding.message
    assert "modprobe" not in str(finding.fix), "there is nothing that a driver could drive"
    caged = said(tmp_path, rule, machine={**NOTHING, "in_container": True})
    assert "on this container's host: a container cannot bring a driver" in str(caged.fix)


def test_devices_driver_missing_where_none_is_needed(tmp_path: Path) -> None:
    rule = "devices.driver-missing"
    assert one(tmp_path, rule) is None
    assert one(tmp_path, rule, machine={**NOTHING, "assumed": True}) is None
    text = "env: {VLLM_NEURON_CPU_COMPILE: '%s'}\n"
    native = {"machine": NOTHING, "target": "trn2.48xlarge", "stack": "sdk-2.32"}
    assert one(tmp_path, rule, text % 1, **native) is None
    assert one(tmp_path, rule, text % 0, **native) is not None
    # The plugin over NxD Inference has no such way.
    assert one(tmp_path, rule, text % 1, machine=NOTHING) is not None


def test_devices_not_contiguous(tmp_path: Path) -> None:
    rule = "devices.not-contiguous"
    finding = said(tmp_path, rule, TP4, machine={"devices": devices(0, 3)})
    assert finding.severity == "error"
    assert "4 cores need 2 devices" in finding.message
    assert finding.message.endswith("not contiguous: 0, 3")
    assert one(tmp_path, rule, TP4, machine={"devices": devices(2, 3)}) is None
    # Both cores are on the first one.
    text = "engine: {tensor_parallel_size: 2}\n"
    assert one(tmp_path, rule, text, machine={"devices": devices(0, 3)}) is None


def test_devices_cores_in_use(tmp_path: Path) -> None:
    machine = {"devices": held({1: (process(77, "/usr/bin/python3 serve.py --api-key sesame"),)})}
    finding = said(tmp_path, "devices.cores-in-use", TP4, machine=machine)
    assert finding.severity == "error"
    assert finding.message == "the cores 0-3 are wanted, and device 1 is held by process 77 (python3)"
    assert finding.fix == "take cores that are free: export NEURON_RT_VISIBLE_CORES=4-7; or end process 77"
    assert one(tmp_path, "devices.shared", TP4, machine=machine) is None


def test_devices_cores_in_use_on_a_native_stack(tmp_path: Path) -> None:
    chips = devices(*range(16), cores=4, lnc=2)
    busy = (replace(chips[0], processes=(process(77, "VLLM::EngineCore"),)), *chips[1:])
    facts: dict[str, Any] = {"target": "trn2.48xlarge", "stack": "sdk-2.32"}
    finding = said(tmp_path, "devices.cores-in-use", TP4, machine={"devices": busy}, **facts)
    assert "export NEURON_VISIBLE_DEVICES=4-7; or end process 77 and wait" in str(finding.fix)
    other = TP4 + "env: {NEURON_VISIBLE_DEVICES: 4-7}\n"
    assert one(tmp_path, "devices.cores-in-use", other, machine={"devices": busy}, **facts) is None


def test_devices_cores_in_use_elsewhere(tmp_path: Path) -> None:
    machine = {"devices": held({2: (process(77, "python3"),)})}
    assert one(tmp_path, "devices.cores-in-use", TP4, machine=machine) is None
    assert one(tmp_path, "devices.shared", TP4, machine=machine) is None
    text = TP4 + "env: {NEURON_RT_VISIBLE_CORES: 4-7}\n"
    assert one(tmp_path, "devices.cores-in-use", text, machine=machine) is not None


def test_devices_cores_in_use_by_workers_of_vllm(tmp_path: Path) -> None:
    workers = tuple(process(80 + rank, f"VLLM::Worker_TP{rank}") for rank in range(4))
    machine = {"devices": held(dict.fromkeys(range(12), workers))}
    finding = said(tmp_path, "devices.cores-in-use", TP4, machine=machine)
    assert "devices 0, 1 are held by process 80 (VLLM::Worker_TP0)" in finding.message
    assert finding.message.endswith(" and 1 more")
    # No cores are free.
    assert finding.fix == (
        "end processes 80 81 82 83 and wait until neuron-ls shows none (reported: up to 45 s)"
    )


def test_devices_cores_in_use_by_a_process_without_a_name(tmp_path: Path) -> None:
    machine = {"devices": held({0: (process(77, ""),)})}
    finding = said(tmp_path, "devices.cores-in-use", TP4, machine={**machine, "in_container": True})
    assert "process 77 (of another container)" in finding.message
    assert str(finding.fix).endswith("or end process 77 on the host")
    finding = said(tmp_path, "devices.cores-in-use", TP4, machine=machine)
    assert "process 77 (whose name is not told)" in finding.message
    assert str(finding.fix).endswith("or end process 77")


def test_free_cores_are_named_where_the_profile_names_them(tmp_path: Path) -> None:
    machine = {"devices": held({1: (process(77, "python3"),)})}
    text = TP4 + "env: {NEURON_RT_VISIBLE_CORES: 0-9}\n"
    finding = said(tmp_path, "devices.cores-in-use", text, machine=machine)
    assert "set env.NEURON_RT_VISIBLE_CORES: '4-7' in sample.yaml:3" in str(finding.fix)
    assert "export" not in str(finding.fix)


def test_devices_shared(tmp_path: Path) -> None:
    text = "engine: {tensor_parallel_size: 1}\n"
    machine = {"devices": held({0: (process(77, "python3"),)})}
    finding = said(tmp_path, "devices.shared", text, machine=machine)
    assert finding.severity == "warning"
    assert finding.message.endswith("which cores of it, neuron-ls does not tell")
    assert "NEURON_RT_VISIBLE_CORES=2;" in str(finding.fix)
    assert one(tmp_path, "devices.cores-in-use", text, machine=machine) is None
    assert one(tmp_path, "devices.shared", text) is None


def test_devices_driver_too_new(tmp_path: Path) -> None:
    rule, machine = "devices.driver-too-new", {"driver": "2.29.0.0"}
    finding = said(tmp_path, rule, machine=machine, stack=with_runtime("2.30.51.0"))
    assert finding.severity == "error"
    assert "runtime 2.30.51.0 does not go with driver 2.29.0.0" in finding.message
    assert "nrt_init() fails" in finding.message
    assert "2.33" in str(finding.fix)
    assert one(tmp_path, rule, machine=machine, stack=with_runtime("2.33.10.0")) is None
    assert one(tmp_path, rule, stack=with_runtime("2.30.51.0")) is None
    assert one(tmp_path, rule, machine={"driver": None}, stack=with_runtime("2.30.51.0")) is None


def test_devices_driver_too_old(tmp_path: Path) -> None:
    rule, machine = "devices.driver-too-old", {"driver": "2.26.10.0"}
    finding = said(tmp_path, rule, machine=machine, stack=with_runtime("2.32.31.0"))
    assert finding.severity == "error"
    assert "driver 2.26.10.0 does not go with runtime 2.32.31.0" in finding.message
    assert "aws-neuronx-dkms" in str(finding.fix)
    assert one(tmp_path, rule, machine={"driver": "2.27.4.0"}, stack=with_runtime("2.32.31.0")) is None


def test_devices_driver_too_old_on_trn2(tmp_path: Path) -> None:
    facts: dict[str, Any] = {"machine": {"driver": "2.21.37.0"}, "stack": with_runtime("2.26.42.0")}
    assert one(tmp_path, "devices.driver-too-old", target="trn2.48xlarge", **facts) is not None
    assert one(tmp_path, "devices.driver-too-old", target="trn1.32xlarge", **facts) is None


def test_devices_kernel_6_18(tmp_path: Path) -> None:
    rule, kernel = "devices.kernel-6.18", "6.18.5-12.amzn2023.x86_64"
    finding = said(tmp_path, rule, machine={"driver": "2.26.5.0", "kernel": kernel})
    assert finding.severity == "warning"
    assert "2.26.5.0" in finding.message
    assert "2.26.10" in str(finding.fix)
    assert one(tmp_path, rule, machine={"driver": "2.26.10.0", "kernel": kernel}) is None
    assert one(tmp_path, rule, machine={"driver": "2.26.5.0", "kernel": "6.8.0-1030-aws"}) is None


def test_devices_driver_not_reloaded(tmp_path: Path) -> None:
    rule = "devices.driver-not-reloaded"
    finding = said(tmp_path, rule, machine={"driver": "2.26.5.0", "driver_installed": "2.27.4.0"})
    assert finding.severity == "warning"
    assert finding.message == "driver 2.27.4.0 is installed, and 2.26.5.0 is still loaded"
    assert "rmmod neuron" in str(finding.fix)
    assert one(tmp_path, rule, machine={"driver": "2.26.5.0", "driver_installed": "2.26.5.0"}) is None
    assert one(tmp_path, rule) is None


def on_disk(tmp_path: Path, loaded: str, waiting: str, runtime: str) -> dict[str, Finding]:
    """What is found of these two drivers with that runtime, by its id."""
    machine = {"driver": loaded, "driver_installed": waiting}
    found = neuron_plan(tmp_path, machine=machine, stack=with_runtime(runtime)).findings
    return {finding.id: finding for finding in found if "driver" in finding.id}


def test_a_driver_on_disk_that_does_not_fit_either_is_no_advice(tmp_path: Path) -> None:
    assert set(on_disk(tmp_path, "2.20.0", "2.21.0", "2.32.31.0")) == {"devices.driver-too-old"}


@pytest.mark.parametrize(("waiting", "why"), [("2.21.0", "runtime 2.32"), ("2.29.0", "driver 2.29")])
def test_a_driver_on_disk_that_would_break_what_works(tmp_path: Path, waiting: str, why: str) -> None:
    found = on_disk(tmp_path, "2.27.4.0", waiting, "2.32.31.0")
    assert set(found) == {"devices.driver-on-disk-unfit"}
    finding = found["devices.driver-on-disk-unfit"]
    assert finding.severity == "warning"
    assert finding.message.startswith(f"driver 2.27.4.0 is loaded, and {waiting} on disk takes its place")
    assert f"does not go with {why}" in finding.message
    assert str(finding.fix).endswith("until then neither restart the machine nor load the driver anew")


def test_a_driver_too_old_with_one_too_new_on_disk(tmp_path: Path) -> None:
    found = on_disk(tmp_path, "2.20.0", "2.29.0", "2.32.31.0")
    assert set(found) == {"devices.driver-too-old", "devices.driver-on-disk-unfit"}
    assert "restart" not in str(found["devices.driver-on-disk-unfit"].fix)


def test_devices_fork_unsafe_kernel(tmp_path: Path) -> None:
    rule, old = "devices.fork-unsafe-kernel", {"kernel": "5.10.240-238.amzn2.x86_64", "has_efa": True}
    finding = said(tmp_path, rule, machine=old)
    assert finding.severity == "warning"
    assert "Linux 5.10.240-238.amzn2.x86_64 is older than 5.15" in finding.message
    assert finding.fix == "set env.FI_EFA_FORK_SAFE: '1'"
    assert one(tmp_path, rule, "env: {FI_EFA_FORK_SAFE: '1'}\n", machine=old) is None
    assert one(tmp_path, rule, machine={**old, "has_efa": False}) is None
    assert one(tmp_path, rule, machine={**old, "kernel": "5.15.0-1080-aws"}) is None


def test_devices_runtime_missing(tmp_path: Path) -> None:
    rule, without = "devices.runtime-missing", {"has_runtime": False, "devices": devices(0, cores=2)}
    finding = said(tmp_path, rule, TP4, machine=without)
    assert finding.severity == "error"
    assert "libnrt.so, is neither in LD_LIBRARY_PATH" in finding.message
    assert str(finding.fix).startswith("install aws-neuronx-runtime-lib")
    assert one(tmp_path, rule, TP4, machine={**without, "has_runtime": True}) is None
    assert one(tmp_path, rule, TP4, machine={**without, "devices": ()}) is None, "a driver is wanted first"
    assert one(tmp_path, rule, TP4) is None


def test_devices_collectives_missing(tmp_path: Path) -> None:
    rule, without = "devices.collectives-missing", {"has_collectives": False}
    finding = said(tmp_path, rule, TP4, machine=without)
    assert finding.severity == "error"
    assert "tensor parallel size 4 needs libnccom.so" in finding.message
    assert finding.fix == "install aws-neuronx-collectives"
    assert one(tmp_path, rule, "engine: {tensor_parallel_size: 1}\n", machine=without) is None
    assert one(tmp_path, rule, TP4, machine={"has_collectives": True}) is None
    assert one(tmp_path, rule, TP4) is None


def test_devices_no_efa(tmp_path: Path) -> None:
    rule, machine = "devices.no-efa", {"devices": devices(0, cores=4, lnc=2), "has_efa": False}
    facts: dict[str, Any] = {"target": "trn2.3xlarge", "stack": "sdk-2.32"}
    text = "env: {NEURON_SKIP_EFA_AFFINITY: '0'}\n"
    finding = said(tmp_path, rule, text, machine=machine, **facts)
    assert finding.severity == "error"
    assert "NEURON_SKIP_EFA_AFFINITY is 0" in finding.message
    assert finding.fix == "set env.NEURON_SKIP_EFA_AFFINITY: '1'"
    assert str(finding.place) == "sample.yaml:2: env.NEURON_SKIP_EFA_AFFINITY"
    environ = {"NEURON_SKIP_EFA_AFFINITY": ""}
    finding = said(tmp_path, rule, machine=machine, environ=environ, **facts)
    assert finding.message.endswith("NEURON_SKIP_EFA_AFFINITY is empty")
    assert one(tmp_path, rule, machine=machine, **facts) is None
    assert one(tmp_path, rule, text, machine={**machine, "has_efa": True}, **facts) is None
    assert one(tmp_path, rule, text, machine={**machine, "has_efa": None}, **facts) is None
    # The plugin over NxD Inference does without.
    assert one(tmp_path, rule, text, machine=machine, target="trn2.3xlarge") is None


def test_devices_hardware_errors(tmp_path: Path) -> None:
    finding = said(tmp_path, "devices.hardware-errors", machine={"hardware_errors": 7})
    assert finding.severity == "warning"
    assert "7 uncorrected memory errors" in finding.message
    assert one(tmp_path, "devices.hardware-errors") is None


@pytest.mark.parametrize("stack", ["sdk-2.28", "sdk-2.32"])
def test_a_machine_that_is_assumed_has_nothing_of_this(tmp_path: Path, stack: str) -> None:
    plan = neuron_plan(tmp_path, target="trn2.48xlarge", stack=stack)
    assert not [each.id for each in plan.findings if each.id.startswith("devices.")]
