"""`neuronctl doctor` where one fact hangs or is garbage: that fact is lost, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.process.neuron_machine import Machine, add_program
from tests.process.terminal import Said, until

QUIET = "--offline"


def hang(root: Path, path: str) -> None:
    """Whoever reads the file now waits without end."""
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    os.mkfifo(file)


def lost(said: Said) -> dict[str, str]:
    """The checks that could not look, and why."""
    return {name: one["says"] for name, one in by_name(said).items() if one["status"] == "cannot-tell"}


def by_name(said: Said) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in said.envelope["data"]["checks"]}


SYSFS = "/sys/devices/virtual/neuron_device/neuron0"


@pytest.mark.parametrize(
    ("path", "checks"),
    [
        ("/proc/meminfo", {"memory", "huge-pages"}),
        ("/proc/self/cgroup", {"memory", "container", "devices"}),
        ("/proc/self/mounts", {"network-folders"}),
        ("/proc/net/tcp", {"port"}),
        ("/proc/77/cmdline", {"servers"}),
        ("/sys/module/neuron/version", {"driver"}),
        ("/sys/devices/virtual/dmi/id/product_name", {"instance"}),
        (f"{SYSFS}/stats/hardware/mem_ecc_uncorrected/total", {"device-memory-errors"}),
        ("/sys/class/infiniband/one/device/vendor", {"efa", "limits"}),
        ("/opt/aws/neuron/logical_nc_config", {"lnc"}),
        ("/proc/cpuinfo", set()),
        ("/etc/ld.so.cache", set()),
        ("/etc/pip.conf", set()),
    ],
)
def test_a_file_that_hangs_costs_what_depends_on_it_and_nothing_else(
    machine: Machine, path: str, checks: set[str]
) -> None:
    one = machine()
    hang(one.root, path)
    said = one.run("doctor", QUIET, "--json").expect(0)
    assert lost(said).keys() == checks
    assert all(says.startswith(f"{path} did not answer in ") for says in lost(said).values())
    assert said.envelope["data"]["can_serve"] is True


def test_all_of_a_driver_that_hangs(machine: Machine) -> None:
    one = machine("inf2.24xlarge")
    add_program(one.root, "neuron-ls", "exit 1")
    for path in (
        "/sys/module/neuron/version",
        f"{SYSFS}/core_count",
        f"{SYSFS}/info/architecture/device_name",
    ):
        hang(one.root, path)
    hang(one.root, f"{SYSFS}/stats/hardware/sram_ecc_uncorrected/total")
    said = one.run("doctor", QUIET, "--json").expect(0)
    assert lost(said).keys() == {"driver", "cores-in-use", "device-memory-errors"}
    assert by_name(said)["instance"]["status"] == "ok"
    assert by_name(said)["devices"]["data"]["devices"] == list(range(6))


def test_a_driver_whose_version_hangs_is_not_missing(machine: Machine) -> None:
    one = machine()
    (one.root / "dev" / "neuron0").unlink()
    hang(one.root, "/sys/module/neuron/version")
    said = one.run("doctor", QUIET, "--json").expect(0)
    assert lost(said).keys() == {"driver"}


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("sleep 600", "modinfo did not answer in 5 s"),
        ("yes", "modinfo printed more than 8 MiB and was stopped"),
        ("echo '<html>'", "modinfo tells something that is no version"),
        ("kill -SEGV $$", "modinfo was ended by signal 11, saying nothing"),
    ],
)
def test_a_modinfo_that_does_not_tell(machine: Machine, script: str, why: str) -> None:
    one = machine()
    add_program(one.root, "modinfo", script)
    said = one.run("doctor", "--check", "driver").expect(0)
    assert "! driver  2.27.4.0 is loaded, which one is on disk is not known; runtime 2.30.51.0" in said.out
    assert f"warning devices.driver-on-disk-unknown: which driver is on disk is not known: {why}" in said.out


def test_no_module_on_disk_is_how_it_is_in_a_container(machine: Machine) -> None:
    one = machine()
    add_program(one.root, "modinfo", "echo 'modinfo: ERROR: Module neuron not found.' >&2; exit 1")
    said = one.run("doctor", "--check", "driver").expect(0)
    assert "✓ driver  2.27.4.0 is loaded; runtime 2.30.51.0" in said.out


@pytest.mark.parametrize(
    ("number", "told"), [("1e999", "inf"), ("NaN", "nan"), ("-1", "-1"), ('"2"', "'2'"), ("1e6", "1000000.0")]
)
def test_a_neuron_ls_whose_numbers_are_garbage(machine: Machine, number: str, told: str) -> None:
    one = machine()
    (one.root / "listing.json").write_text(f'[{{"neuron_device": 0, "nc_count": {number}}}]')
    said = one.run("doctor", QUIET).expect(0)
    why = f"neuron-ls printed nc_count {told} for the device at place 0"
    assert f"warning devices.neuron-ls: {why}" in said.out
    assert f"? cores in use    {why}" in said.out


def test_what_neuron_ls_leaves_running_is_ended(machine: Machine) -> None:
    one = machine()
    pid = one.root / "pid"
    add_program(
        one.root, "neuron-ls", f"sleep 600 >/dev/null 2>&1 & echo $! > {pid}; cat {one.root}/listing.json"
    )
    said = one.start("doctor", QUIET).end(clean=False).expect(0)
    assert "nobody holds any of 2 cores" in said.out
    stat = Path(f"/proc/{pid.read_text().strip()}/stat")
    until(lambda: not stat.exists() or " Z " in stat.read_text(), "it to end")


def add_python(root: Path, script: str) -> Path:
    folder = root / "opt" / "venv" / "bin"
    folder.mkdir(parents=True)
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return python


def test_a_python_that_floods_has_said_too_much(machine: Machine) -> None:
    one = machine()
    python = add_python(one.root, "yes")
    said = one.run("doctor", QUIET, "--python", str(python)).expect(31)
    assert "does not work as a Python interpreter: it printed more than 8 MiB and was stopped" in said.out


def test_a_profile_that_is_broken_does_not_pass_a_single_check(machine: Machine) -> None:
    one = machine()
    one.profile("engin: {}")
    said = one.run("doctor", "--profile", "p.yaml", "--check", "port").expect(2)
    assert said.out.startswith("✗ This machine cannot serve the profile p.yaml")
    assert "error profile.unknown-key: no such key (p.yaml:" in said.out
    assert "? port     the profile cannot be read" in said.out
