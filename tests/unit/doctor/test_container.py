"""What doctor says of the container that it runs in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from neuronctl.doctor.check import Outcome
from neuronctl.doctor.checks.container import container
from neuronctl.doctor.facts import Facts
from neuronctl.doctor.run import run_checks
from neuronctl.machine.cage import Cage, find_cage
from tests.doctor_sample import look, write
from tests.plan_sample import sample_host

VARIABLE = "AWS_NEURON_VISIBLE_DEVICES"


def look_at(
    root: Path, environ: Mapping[str, str] | None = None, *, devices: int = 0, **machine: Any
) -> Outcome:
    write(root, "/.dockerenv")
    for index in range(devices):
        write(root, f"/dev/neuron{index}")
    return look(container, root, environ, **machine)


@pytest.mark.parametrize(
    ("path", "text", "environ", "cage"),
    [
        (None, "", {}, None),
        ("/.dockerenv", "", {}, Cage("docker", None)),
        ("/run/.containerenv", "", {}, Cage("podman", None)),
        ("/run/systemd/container", "lxc\n", {}, Cage("lxc", None)),
        (None, "", {"container": "systemd-nspawn"}, Cage("systemd-nspawn", None)),
        (None, "", {"container": "Not a name; rm"}, None),
        ("/proc/1/cgroup", "4:memory:/docker/0123\n", {}, Cage("docker", None)),
        ("/proc/self/cgroup", "0::/system.slice/containerd-ab.scope\n", {}, Cage("containerd", None)),
        ("/proc/1/cgroup", "0::/\n", {}, None),
        ("/proc/1/cgroup", "0::/user.slice/my-docker.service\n", {}, None),
        (None, "", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, Cage(None, "Kubernetes")),
        (None, "", {"ECS_CONTAINER_METADATA_URI_V4": "http://x"}, Cage(None, "ECS")),
    ],
)
def test_the_marks_of_a_container(
    tmp_path: Path, path: str | None, text: str, environ: dict[str, str], cage: Cage | None
) -> None:
    if path:
        write(tmp_path, path, text)
    assert find_cage(sample_host(tmp_path, environ)) == cage


def test_outside_of_a_container_nothing_is_said(tmp_path: Path) -> None:
    facts = Facts(sample_host(tmp_path))
    (outcome,) = run_checks((container,), facts)
    assert outcome.status == "not-here"


def test_the_devices_and_the_image_are_told(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    outcome = look_at(tmp_path, environ, devices=2, in_aws_image=True)
    assert outcome.status == "ok"
    assert outcome.says == (
        "a container of docker, in Kubernetes, 2 Neuron devices granted, AWS's vLLM image, whose health "
        "check asks port 8080"
    )
    assert outcome.data["devices"] == [0, 1]
    assert outcome.data["health_check_port"] == 8080


def test_on_a_laptop_devices_are_not_spoken_of(tmp_path: Path) -> None:
    outcome = look_at(tmp_path)
    assert outcome.says == "a container of docker"
    assert outcome.data["aws_image"] is False


@pytest.mark.parametrize(
    ("asked", "devices", "found"),
    [
        ("ALL", 0, ["container.devices-not-granted"]),
        ("all", 0, ["container.devices-not-granted"]),
        ("0", 0, ["container.devices-not-granted"]),
        ("ALL", 1, []),
        ("0,1", 2, []),
        ("0,1,2", 2, ["container.fewer-devices"]),
        ("0,0", 1, []),
        ("", 0, []),
        ("something else", 0, []),  # no documented form: nothing is claimed
    ],
)
def test_container_devices_not_granted(tmp_path: Path, asked: str, devices: int, found: list[str]) -> None:
    outcome = look_at(tmp_path, {VARIABLE: asked}, devices=devices)
    assert [one.id for one in outcome.findings] == found
    assert all("--device" in (one.fix or "") for one in outcome.findings)


def test_a_word_of_no_known_form_is_not_repeated(tmp_path: Path) -> None:
    outcome = look_at(tmp_path, {VARIABLE: "hf_secret"})
    assert "hf_secret" not in repr(outcome)
