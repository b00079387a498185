"""Rules about containers."""

from __future__ import annotations

from pathlib import Path

from neuronctl.machine.devices import NeuronDevice
from tests.plan_sample import found, neuron_plan

DEVICE = NeuronDevice(0, (0, 1), 1, ())


def test_container_no_device(tmp_path: Path) -> None:
    rule, here = "container.no-device", {"driver": "2.26.5.0", "assumed": False}
    plan = neuron_plan(tmp_path, machine=here)
    (finding,) = found(plan, rule)
    assert finding.severity == "error"
    assert finding.message == "the Neuron driver 2.26.5.0 is loaded, and there is no /dev/neuron* here"
    assert "--device=/dev/neuron0" in str(finding.fix)
    assert finding.source
    assert not found(plan, "devices.driver-missing")
    assert not found(neuron_plan(tmp_path, machine={**here, "devices": (DEVICE,)}), rule)
    assert not found(neuron_plan(tmp_path, machine={**here, "assumed": True}), rule)


def test_container_healthcheck_port(tmp_path: Path) -> None:
    rule, image = "container.healthcheck-port", {"in_aws_image": True}
    (finding,) = found(neuron_plan(tmp_path, "server: {port: 8123}\n", machine=image), rule)
    assert finding.severity == "warning"
    assert "asks port 8080, and the server listens on 8123" in finding.message
    assert str(finding.fix).startswith("set server.port: 8080")
    assert str(finding.place) == "sample.yaml:2: server.port"
    assert not found(neuron_plan(tmp_path, "server: {port: 8080}\n", machine=image), rule)
    assert not found(neuron_plan(tmp_path, "server: {port: 8123}\n"), rule)


def test_container_mangled_json(tmp_path: Path) -> None:
    rule, image = "container.mangled-json", {"in_aws_image": True}
    mangled = ("--additional-config", "{override_neuron_config: {}}")
    (finding,) = found(neuron_plan(tmp_path, machine=image, passthrough=mangled), rule)
    assert finding.severity == "info"
    assert "reported" in finding.message
    assert "'{override_neuron_config: {}}'" in finding.message
    assert "--entrypoint" in str(finding.fix)
    whole = ("--additional-config", '{"override_neuron_config": {}}')
    assert not found(neuron_plan(tmp_path, machine=image, passthrough=whole), rule)
    assert not found(neuron_plan(tmp_path, passthrough=mangled), rule)
