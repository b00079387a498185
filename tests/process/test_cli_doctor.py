"""`neuronctl doctor` on machines made of files: each shows the verdict, the finding and what to type."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.process.neuron_machine import (
    Machine,
    NeuronTerminal,
    add_modinfo,
    add_program,
    change_listing,
    write,
)
from tests.process.terminal import PROJECT, Said, make_python, until

# Nothing here may ask the network, whatever machine the tests run on.
QUIET = "--offline"
PLACEHOLDERS = Path(sys.prefix) / "placeholders"


def ids(said: Said, severity: str | None = None) -> set[str]:
    return {one["id"] for one in said.envelope["findings"] if severity is None or one["severity"] == severity}


def by_name(said: Said) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in said.envelope["data"]["checks"]}


def test_a_healthy_instance(machine: Machine) -> None:
    said = machine().run("doctor", QUIET)
    said.expect(0)
    first, *_ = said.out.splitlines()
    assert first == "✓ This machine can serve a model with the nxdi backend."
    assert "inf2.xlarge (DMI): 1 x Inferentia2, target inf2" in said.out
    assert "2.27.4.0 is loaded, as on disk; runtime 2.30.51" in said.out
    assert "SDK 2.28.0" in said.out


@pytest.mark.parametrize(
    ("name", "devices", "cores"),
    [("trn1.32xlarge", 16, 32), ("trn2.48xlarge", 16, 64), ("inf2.48xlarge", 12, 24)],
)
def test_large_instances(machine: Machine, name: str, devices: int, cores: int) -> None:
    said = machine(name).run("doctor", QUIET, "--json")
    said.expect(0)
    assert not ids(said, "error")
    seen = by_name(said)
    assert seen["instance"]["data"]["instance_type"] == name
    assert seen["devices"]["data"]["devices"] == list(range(devices))
    assert seen["cores-in-use"]["data"]["cores"] == cores


def test_a_container_without_devices(machine: Machine) -> None:
    one = machine()
    shutil.rmtree(one.root / "dev")
    write(one.root, "/.dockerenv")
    said = one.run("doctor", QUIET)
    said.expect(30)
    assert (
        "✗ This machine cannot serve a model with the nxdi backend: the Neuron driver 2.27.4.0 is loaded"
        in (said.out)
    )
    assert "docker run --device=/dev/neuron0" in said.out
    said = one.run("doctor", QUIET, "--json")
    assert ids(said, "error") == {"container.no-device"}


def test_a_device_that_neuron_ls_does_not_list(machine: Machine) -> None:
    one = machine("inf2.24xlarge")
    change_listing(one.root, lambda listing: listing.remove(listing[3]))
    one.run("doctor", QUIET).expect(
        0, "neuron-ls tells of 5 devices, and /dev has 6; not listed: device 3", "dmesg | grep -i neuron"
    )
    one.profile("engine: {tensor_parallel_size: 12, max_model_len: 128, max_num_seqs: 4}")
    said = one.run("doctor", "p.yaml", QUIET)
    said.expect(30, "✗ This machine cannot", "not listed: device 3", "follow: machine.too-many-cores")


def test_a_neuron_ls_that_may_not_be_run(machine: Machine) -> None:
    one = machine()
    (one.root / "bin" / "neuron-ls").chmod(0o644)
    said = one.run("doctor", QUIET)
    assert f"neuron-ls may not be run: {one.root}/bin/neuron-ls lacks the right to execute it" in said.out
    assert "try: sudo chmod a+x that file" in said.out
    assert "neither in PATH" not in said.out


def test_a_container_with_a_gap_between_its_devices(machine: Machine) -> None:
    one = machine("inf2.24xlarge")
    for index in (1, 4, 5):
        (one.root / "dev" / f"neuron{index}").unlink()
    write(one.root, "/.dockerenv")
    said = one.run("doctor", QUIET)
    assert "the visible devices have gaps: 0, 2, 3" in said.out
    assert "devices.some-missing" not in said.out, "a container is given what it is given"


def test_an_instance_that_lost_a_device(machine: Machine) -> None:
    one = machine("inf2.24xlarge")
    (one.root / "dev" / "neuron5").unlink()
    said = one.run("doctor", QUIET)
    assert "5 of the 6 devices of inf2.24xlarge are visible; not there: 5" in said.out
    (one.root / "dev" / "neuron3").unlink()
    said = one.run("doctor", QUIET, "--json")
    assert ids(said, "warning") == {"devices.some-missing"}, "the gap follows from it"


def test_a_driver_whose_version_cannot_be_read(machine: Machine) -> None:
    one = machine()
    write(one.root, "/sys/module/neuron/version", "junk here\n")
    said = one.run("doctor", QUIET)
    said.expect(
        0, "! driver", "one is loaded, which is not known", "try: see what is there: cat /sys/module/"
    )
    assert "none is loaded" not in said.out


def test_no_driver(machine: Machine) -> None:
    one = machine()
    shutil.rmtree(one.root / "dev")
    shutil.rmtree(one.root / "sys" / "module")
    said = one.run("doctor", QUIET)
    said.expect(30)
    assert "devices.driver-missing" in said.out
    assert "install aws-neuronx-dkms, then sudo modprobe neuron" in said.out


def test_no_runtime_stops_everything(machine: Machine) -> None:
    said = machine(runtime=None).run("doctor", QUIET)
    said.expect(30, "error devices.runtime-missing: the runtime, libnrt.so, is neither in LD_LIBRARY_PATH")
    assert "try: install aws-neuronx-runtime-lib" in said.out
    assert "2.27.4.0 is loaded, as on disk; no runtime is found" in said.out


def test_a_runtime_that_ld_library_path_leads_to(machine: Machine, tmp_path: Path) -> None:
    one = machine(runtime=None)
    write(tmp_path, "/runtime/libnrt.so.2.30.51.0")
    said = one.run("doctor", QUIET, env={"LD_LIBRARY_PATH": str(tmp_path / "runtime")})
    said.expect(0, "2.27.4.0 is loaded, as on disk; runtime 2.30.51.0")


def test_a_broken_python_says_nothing_about_the_runtime(machine: Machine, tmp_path: Path) -> None:
    write(tmp_path, "/broken/python", "#!/bin/sh\nexit 1\n")
    (tmp_path / "broken" / "python").chmod(0o755)
    said = machine().run("doctor", QUIET, "--python", str(tmp_path / "broken" / "python"))
    said.expect(31, "2.27.4.0 is loaded, as on disk; runtime 2.30.51.0")
    assert "runtime-missing" not in said.out


def test_a_driver_too_old(machine: Machine) -> None:
    said = machine(driver="2.24.7.0", runtime="2.32.10.0").run("doctor", QUIET)
    said.expect(30)
    assert "devices.driver-too-old" in said.out
    assert "try: upgrade aws-neuronx-dkms on the host" in said.out


def test_a_driver_too_new(machine: Machine) -> None:
    said = machine(driver="2.29.1.0", runtime="2.30.51.0").run("doctor", QUIET)
    said.expect(30)
    assert "devices.driver-too-new" in said.out
    assert (
        "try: upgrade aws-neuronx-runtime-lib to 2.33 or newer, or keep a driver older than 2.29" in said.out
    )


def test_a_driver_that_was_not_reloaded_is_the_cause_of_its_age(machine: Machine) -> None:
    one = machine(driver="2.24.7.0", runtime="2.32.10.0")
    add_modinfo(one.root, "2.28.3.0")
    said = one.run("doctor", QUIET)
    said.expect(30)
    assert (
        "error devices.driver-not-reloaded: driver 2.28.3.0 is installed, and 2.24.7.0 is still loaded"
        in said.out
    )
    assert "from it follow: devices.driver-too-old" in said.out
    assert "sudo rmmod neuron; sudo modprobe neuron" in said.out


def test_a_driver_on_disk_that_does_not_fit_either_is_not_to_be_loaded(machine: Machine) -> None:
    one = machine(driver="2.20.0", runtime="2.32.10.0")
    add_modinfo(one.root, "2.21.0")
    said = one.run("doctor", QUIET)
    said.expect(30, "error devices.driver-too-old: driver 2.20.0 does not go with runtime 2.32.10.0")
    assert "rmmod" not in said.out


def test_cores_in_use_by_a_process_that_lives(machine: Machine) -> None:
    one = machine()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as holder:
        write(one.root, f"/proc/{holder.pid}/stat", f"{holder.pid} (python3) S 77 1 1 0\n")
        write(one.root, f"/proc/{holder.pid}/status", f"Name:\tpython3\nUid:\t{os.getuid()}\t0\t0\t0\n")
        write(one.root, f"/proc/{holder.pid}/cmdline", "/usr/bin/python3\0--api-key\0sk-never-to-be-shown\0")
        change_listing(
            one.root,
            lambda listing: listing[0]["neuron_processes"].append(
                {"pid": holder.pid, "command": "python3 --api-key sk-never-to-be-shown"}
            ),
        )
        said = one.run("doctor", QUIET)
        holder.communicate(b"\n")
    assert f"warning devices.all-held: device 0 (of 1) is held by process {holder.pid} (python3, " in said.out
    assert "never-to-be-shown" not in said.out + said.err


def test_the_profile_s_cores_in_use_stop_it(machine: Machine) -> None:
    one = machine()
    change_listing(
        one.root, lambda listing: listing[0]["neuron_processes"].append({"pid": 4242, "command": "python3"})
    )
    one.profile()
    said = one.run("doctor", "p.yaml", QUIET)
    assert said.code != 0
    assert "4242" in said.out
    assert "from it follow: devices.all-held" in said.out


def test_orphaned_workers_are_ended_by_fix(machine: Machine) -> None:
    one = machine()
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        write(one.root, f"/proc/{worker.pid}/stat", f"{worker.pid} (VLLM::Worker_TP) S 1 1 1 0\n")
        write(one.root, f"/proc/{worker.pid}/status", f"Uid:\t{os.getuid()}\t0\t0\t0\n")
        write(one.root, f"/proc/{worker.pid}/cmdline", "VLLM::Worker_TP0\0")
        change_listing(
            one.root,
            lambda listing: listing[0]["neuron_processes"].append(
                {"pid": worker.pid, "command": "VLLM::Worker_TP0"}
            ),
        )
        said = one.run("doctor", QUIET)
        assert "1 worker of a server that has ended still holds devices" in said.out
        assert "neuronctl can mend 1 of it: neuronctl doctor --fix" in said.out
        assert worker.poll() is None, "nothing is mended without --fix"
        one.profile()
        said = one.run("doctor", "p.yaml", QUIET)
        said.expect(
            30, "nxdi backend: 1 worker of a server that has ended", "from it follow: devices.cores-in-use"
        )
        refused = one.run("doctor", QUIET, "--fix")
        refused.expect(2)
        assert "neuronctl doctor --fix --yes" in refused.err
        assert worker.poll() is None
        mended = one.run("doctor", QUIET, "--fix", "--yes")
        assert f"end the orphaned worker {worker.pid} (VLLM::Worker_TP0, " in mended.err
        assert until(lambda: worker.poll() is not None, "the worker to end")
    finally:
        worker.kill()
        worker.wait()


def test_memory_errors_of_a_device(machine: Machine) -> None:
    one = machine("inf2.24xlarge")
    write(
        one.root, "/sys/devices/virtual/neuron_device/neuron3/stats/hardware/mem_ecc_uncorrected/total", "7\n"
    )
    said = one.run("doctor", QUIET)
    said.expect(0)
    assert (
        "warning devices.hardware-errors: the Neuron devices counted 7 uncorrected memory errors" in said.out
    )


def test_counters_that_nobody_may_read(machine: Machine) -> None:
    one = machine()
    shutil.rmtree(one.root / "sys" / "devices" / "virtual" / "neuron_device")
    said = one.run("doctor", QUIET)
    assert "? device memory errors" in said.out
    assert "1 check could not run" in said.out.splitlines()[0]


@pytest.mark.parametrize("said", ["garbage", "-5", ""])
def test_one_counter_of_one_device_that_says_no_number(machine: Machine, said: str) -> None:
    one = machine("inf2.24xlarge")
    counters = one.root / "sys/devices/virtual/neuron_device/neuron3/stats/hardware"
    (counters / "mem_ecc_uncorrected" / "total").write_text(said)
    check = ("doctor", QUIET, "--check", "device-memory-errors")
    silence = "the counters of device 3 in sysfs say nothing to this user"
    one.run(*check).expect(1, f"? device memory errors  {silence}")
    (counters / "sram_ecc_uncorrected" / "total").write_text("7\n")
    one.run(*check).expect(0, f"7, and {silence}")
    shutil.rmtree(counters)
    one.run(*check).expect(1, silence)


def test_a_driver_without_one_of_the_counters(machine: Machine) -> None:
    one = machine()
    shutil.rmtree(one.root / "sys/devices/virtual/neuron_device/neuron0/stats/hardware/sram_ecc_uncorrected")
    one.run("doctor", QUIET, "--check", "device-memory-errors").expect(0, "device memory errors  none")


def test_workers_of_a_server_that_is_process_one_are_no_orphans(machine: Machine) -> None:
    """As in a container whose entry point is vllm serve."""
    one = machine()
    write(one.root, "/proc/1/stat", "1 (vllm) S 0 1 1 0\n")
    write(one.root, "/proc/1/status", "Uid:\t0\t0\t0\t0\n")
    write(one.root, "/proc/1/cmdline", "/opt/venv/bin/python\0/opt/venv/bin/vllm\0serve\0/model\0")
    write(one.root, "/proc/77/stat", "77 (VLLM::EngineCore) S 1 1 1 0\n")
    write(one.root, "/proc/77/status", "Uid:\t0\t0\t0\t0\n")
    write(one.root, "/proc/77/cmdline", "VLLM::EngineCore\0")
    change_listing(
        one.root,
        lambda listing: listing[0]["neuron_processes"].append({"pid": 77, "command": "VLLM::EngineCore"}),
    )
    said = one.run("doctor", QUIET, "--json")
    assert "devices.orphaned-workers" not in ids(said)
    assert "devices.all-held" in ids(said)
    assert said.envelope["data"]["remedies"] == []


def test_a_stale_lnc_that_is_passed_over_does_no_harm(machine: Machine) -> None:
    one = machine()
    write(one.root, "/opt/aws/neuron/logical_nc_config", "NEURON_LOGICAL_NC_CONFIG=2\n")
    said = one.run("doctor", QUIET, "--json", env={"NEURON_LOGICAL_NC_CONFIG": "1"})
    said.expect(0)
    assert ids(said, "warning") == {"machine.lnc-places"}


@pytest.mark.parametrize(
    "words", [("--yes",), ("--watch", "--fix"), ("--watch", "--check", "pip"), ("--check", "hub", QUIET)]
)
def test_flags_of_which_one_would_do_nothing(laptop: NeuronTerminal, words: tuple[str, ...]) -> None:
    laptop.run("doctor", *words).expect(2)


def test_an_lnc_that_the_chip_does_not_have(machine: Machine) -> None:
    said = machine().run("doctor", QUIET, env={"NEURON_LOGICAL_NC_CONFIG": "2"})
    said.expect(30)
    assert "NEURON_LOGICAL_NC_CONFIG says LNC 2, and inf2.xlarge has LNC 1 only" in said.out
    assert "try: unset NEURON_LOGICAL_NC_CONFIG" in said.out


def test_two_places_that_say_another_lnc(machine: Machine) -> None:
    one = machine("trn2.48xlarge")
    write(one.root, "/opt/aws/neuron/logical_nc_config", "NEURON_LOGICAL_NC_CONFIG=1\n")
    said = one.run("doctor", QUIET)
    assert "neuron-ls says 2, /opt/aws/neuron/logical_nc_config says 1" in said.out
    assert "export NEURON_LOGICAL_NC_CONFIG=1" in said.out
    said = one.run("doctor", QUIET, env={"NEURON_LOGICAL_NC_CONFIG": "1"})
    assert "lnc-places" not in said.out, "what was advised has been done"


@pytest.mark.parametrize(("name", "file", "right"), [("inf2.xlarge", 2, 1), ("trn2.48xlarge", 7, 2)])
def test_a_file_whose_lnc_the_chip_does_not_have_is_corrected(
    machine: Machine, name: str, file: int, right: int
) -> None:
    one = machine(name)
    write(one.root, "/opt/aws/neuron/logical_nc_config", f"NEURON_LOGICAL_NC_CONFIG={file}\n")
    said = one.run("doctor", QUIET)
    said.expect(0, f"neuron-ls says {right}, /opt/aws/neuron/logical_nc_config says {file}")
    assert (
        f"let them agree: NEURON_LOGICAL_NC_CONFIG={right} in /opt/aws/neuron/logical_nc_config\n" in said.out
    )


@pytest.mark.parametrize("value", ["2", "two"])
def test_an_lnc_that_the_chip_does_not_have_is_told_once(machine: Machine, value: str) -> None:
    said = machine().run("doctor", QUIET, "--json", env={"NEURON_LOGICAL_NC_CONFIG": value})
    assert ids(said, "error") == {"machine.lnc-impossible"}
    assert "environment.odd-value" not in ids(said)


def test_placeholder_packages(machine: Machine, tmp_path: Path) -> None:
    one = machine()
    site = tmp_path / "site"
    shutil.copytree(Path(one.python).parent / "site", site)
    for old in site.glob("vllm_neuron-*"):
        shutil.rmtree(old)
    metadata = site / "vllm_neuron-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Name: vllm-neuron\nVersion: 0.1.0\nSummary: WRONG PACKAGE\n")
    python = tmp_path / "python"
    script = Path(one.python).read_text()
    python.write_text(script.replace(str(Path(one.python).parent / "site"), str(site)))
    python.chmod(0o755)
    said = one.run("doctor", QUIET, "--python", str(python))
    said.expect(31)
    first = said.out.splitlines()[0]
    assert "vllm-neuron 0.1.0 is an empty package of PyPI, not AWS's" in first
    assert (
        f"try: {python} -m pip uninstall -y vllm-neuron, then install from https://pip.repos.neuron"
        in said.out
    )
    assert "neuronctl doctor --fix" in said.out


@pytest.mark.parametrize("with_vllm", [True, False])
def test_the_real_placeholder_packages(laptop: NeuronTerminal, tmp_path: Path, with_vllm: bool) -> None:
    """Those that pip installs from the ordinary index: `make setup` puts them into a folder of their own."""
    python = make_python(tmp_path / "bin", with_vllm=with_vllm)
    script = python.read_text()
    python.write_text(script.replace("PYTHONPATH=", f"PYTHONPATH={PLACEHOLDERS}:"))
    said = laptop.run("doctor", QUIET, "--json", "--python", str(python))
    said.expect(31)
    assert "WRONG" not in said.out
    (first, *_) = said.envelope["findings"]
    assert first["id"] == "stack.pypi-placeholder"
    for name in (
        "vllm-neuron 0.1.0",
        "neuronx-distributed-inference 0.1.0",
        "neuronx-cc 1.0.post1",
        "nki 0.0.1",
    ):
        assert name in first["message"]
    assert "pip uninstall -y " in first["fix"]
    (remedy,) = said.envelope["data"]["remedies"]
    assert remedy["command"][1:5] == ["-m", "pip", "uninstall", "-y"]
    assert len(remedy["command"]) == 5 + len(list(PLACEHOLDERS.glob("*.dist-info")))


def test_a_neuron_instance_with_vllm_for_a_processor(
    machine: Machine, serving: tuple[Path, Path], tmp_path: Path
) -> None:
    said = machine().run("doctor", QUIET, "--python", str(make_python(tmp_path / "plain")))
    said.expect(31)
    assert "without Neuron's plugin" in said.out.splitlines()[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_doctor_leaves_nothing_running(machine: Machine, number: int) -> None:
    one = machine()
    pids = one.root / "pids"
    add_program(one.root, "neuron-ls", f"echo $$ >> {pids}; sleep 600 & echo $! >> {pids}; wait")
    running = one.start("doctor", QUIET)
    until(lambda: pids.exists() and len(pids.read_text().split()) == 2, "neuron-ls to hang")
    running.signal(number)
    running.end(clean=False).expect(128 + number)
    for pid in pids.read_text().split():
        stat = Path(f"/proc/{pid}/stat")
        until(lambda stat=stat: not stat.exists() or " Z " in stat.read_text(), "it to end")  # type: ignore[misc]


def test_the_wrong_generation(machine: Machine) -> None:
    said = machine("trn1.32xlarge", sdk="2.32.0", driver="2.29.1.0", runtime="2.34.1.0").run("doctor", QUIET)
    said.expect(30)
    assert "machine.native-unsupported" in said.out
    assert "take an image of SDK 2.28" in said.out


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("sleep 600", "neuron-ls did not answer in 10 s"),
        ("echo garbage", "neuron-ls printed something that is no JSON: garbage"),
        ("echo no driver >&2; exit 1", "neuron-ls ended with 1, saying: no driver"),
        ("yes", "neuron-ls printed more than 8 MiB and was stopped"),
        ("kill -SEGV $$", "neuron-ls was ended by signal 11, saying nothing"),
    ],
)
def test_a_neuron_ls_that_is_broken(machine: Machine, script: str, says: str) -> None:
    one = machine()
    add_program(one.root, "neuron-ls", script)
    said = one.run("doctor", QUIET)
    said.expect(0)
    assert f"warning devices.neuron-ls: {says}" in said.out
    assert "could not run" in said.out.splitlines()[0], "who holds the cores is not known"
    one.run("doctor", QUIET, "--strict").expect(1)


def test_a_laptop_without_vllm(laptop: NeuronTerminal, tmp_path: Path) -> None:
    python = make_python(tmp_path / "empty", with_vllm=False)
    said = laptop.run("doctor", QUIET, "--python", str(python))
    said.expect(31)
    assert "has no vLLM" in said.out.splitlines()[0]
    assert "pip install 'neuronctl[cpu]'" in said.out


def test_a_laptop_with_vllm_for_its_processor(laptop: NeuronTerminal) -> None:
    said = laptop.run("doctor", QUIET)
    said.expect(0)
    assert "error" not in said.out
    assert "? " not in said.out, "everything could be looked at"
    assert said.out.startswith("✓ This machine can serve a model with the cpu backend")
    assert "driver" not in [line.split()[1] for line in said.out.splitlines()[2:] if line]
    assert "this is no Neuron machine" in laptop.run("doctor", QUIET, "--all").out


def test_a_profile_that_can_run(laptop: NeuronTerminal) -> None:
    said = laptop.run("doctor", "p.yaml", QUIET, "--json")
    said.expect(0)
    assert said.envelope["data"]["profile"] == "p.yaml"
    assert said.envelope["data"]["can_serve"] is True
    assert "artifact.not-compiled" in ids(said, "info")


def test_a_profile_with_mistakes(laptop: NeuronTerminal) -> None:
    (laptop.cwd / "bad.yaml").write_text("model: {id: org/x}\nengin: {}\nserver: {port: many}\n")
    said = laptop.run("doctor", "--profile", "bad.yaml", QUIET)
    said.expect(2)
    assert "bad.yaml:2" in said.out
    assert "bad.yaml:3" in said.out


def test_a_profile_that_is_not_there(laptop: NeuronTerminal) -> None:
    said = laptop.run("doctor", "--profile", "no-such", QUIET)
    said.expect(2)
    assert "no-such" in said.out.splitlines()[0]


def test_one_check_alone_and_a_name_that_is_none(machine: Machine) -> None:
    one = machine()
    said = one.run("doctor", "--check", "driver", "--check", "cores in use", "--json")
    said.expect(0)
    assert set(by_name(said)) == {"driver", "cores-in-use"}
    assert said.envelope["data"]["can_serve"] is None
    wrong = one.run("doctor", "--check", "drivr")
    wrong.expect(2)
    assert "did you mean driver?" in wrong.err


def test_the_list_names_every_check(laptop: NeuronTerminal) -> None:
    listed = {line.split()[0] for line in laptop.run("doctor", "--list").out.splitlines()}
    said = laptop.run("doctor", QUIET, "--json")
    assert set(by_name(said)) <= listed
    assert "driver" in listed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)]
    if shutil.which("mount") is None or subprocess.run(options, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here; what is said of a full disk is a unit test too")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_is_nearly_full_and_one_that_is(machine: Machine, small_disk: Path) -> None:
    one = machine()
    home = {"NEURONCTL_HOME": str(small_disk / "home")}
    said = one.run("doctor", QUIET, env=home)
    said.expect(0)
    assert "warning disk.nearly-full: " in said.out
    assert str(small_disk) in said.out
    with (small_disk / "brim").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    said = one.run("doctor", QUIET, env=home)
    said.expect(30)
    assert "disk.full" in said.out
    assert "This machine cannot serve a model" in said.out.splitlines()[0]
    assert "NEURONCTL_HOME" in said.out


def test_a_finding_of_doctor_can_be_explained(laptop: NeuronTerminal) -> None:
    said = laptop.run("explain", "devices.all-held")
    said.expect(0)
    assert "neuronctl doctor --check cores-in-use" in said.out


def test_nothing_is_written(machine: Machine) -> None:
    """As on a read-only file system, or where doctor is the first thing that anybody types."""
    one = machine()
    one.run("doctor", QUIET).expect(0)
    assert not one.store_home.exists()


def test_a_bundle_has_everything_and_no_secret(machine: Machine) -> None:
    one = machine()
    secrets = {
        "HF_TOKEN": "hf_" + "Planted1" * 4,
        "MY_API_KEY": "very-much-planted-2",
        "DB": "pg://u:planted3pw@h/x",
    }
    one.profile()
    one.run("compile", "p.yaml", env=secrets).expect(0)
    (log,) = one.logs()
    log.write_text(log.read_text() + "Authorization: Bearer planted4token5678\nordinary words\n")
    said = one.run("doctor", "p.yaml", QUIET, "--bundle", "to-send.tar.gz", env=secrets)
    said.expect(0)
    assert "files, secrets hidden" in said.err
    bundle = one.cwd / "to-send.tar.gz"
    assert bundle.stat().st_mode & 0o077 == 0
    with tarfile.open(bundle) as archive:
        content = {
            member.name: file.read().decode() for member in archive if (file := archive.extractfile(member))
        }
    everything = "\n".join([*content, *content.values()])
    for planted in ("Planted1Planted1", "very-much-planted-2", "planted3pw", "planted4token5678"):
        assert planted not in everything
    assert "ordinary words" in everything
    doctor = json.loads(content["doctor.json"])
    assert doctor["data"]["can_serve"] is True
    assert {"profile", "driver", "store"} <= {check["name"] for check in doctor["data"]["checks"]}
    assert "MY_API_KEY" in content["environment.txt"]
    assert any(name.startswith("logs/") for name in content)
    assert any("manifest" in name for name in content)
    again = one.run("doctor", QUIET, "--bundle", "to-send.tar.gz")
    again.expect(2)
    assert "to-send.tar.gz" in again.err
    one.run("doctor", QUIET, "--bundle", "to-send.txt").expect(2)


def test_watch_shows_a_table_until_it_is_stopped(machine: Machine) -> None:
    one = machine()
    running = one.start("doctor", "--watch", "--interval", "0.2")
    until(lambda: running.out.read_text().count("host memory") >= 2, "two tables")
    running.signal(signal.SIGINT)
    said = running.end()
    said.expect(0)
    assert "error" not in said.err
    assert "neuronctl" not in said.err


def test_watch_as_lines_of_json(machine: Machine) -> None:
    one = machine()
    running = one.start("doctor", "--watch", "--interval", "0.2", "--json")
    until(lambda: running.out.read_text().count("\n") >= 2, "two lines")
    running.signal(signal.SIGTERM)
    said = running.end()
    for line in said.out.splitlines():
        assert len(json.loads(line)["devices"]) == 1


def test_a_table_that_nobody_reads_any_more_is_no_failure(machine: Machine) -> None:
    one = machine()
    environ = {**one.env, "PATH": os.environ["PATH"]}
    shell = 'set -o pipefail; "$0" "$@" | head -1'
    words = (sys.executable, *one.program, "doctor", "--watch", "--interval", "0.2")
    done = subprocess.run(
        ["bash", "-c", shell, *words], env=environ, cwd=one.cwd, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--watch", "p.yaml"), "--watch with --profile"),
        (("--watch", "--strict"), "--watch with --strict"),
        (("--watch", "--check", "driver"), "--watch with --check"),
        (("--interval", "2"), "--interval without --watch"),
        (("--list", "--bundle", "F.zip"), "--list with --bundle"),
        (("--list", "--watch"), "--list with --watch"),
        (("--yes",), "--yes without --fix"),
        (("--check", "profile"), "--check profile looks at a profile, and none is named"),
        (("--check", "artifact", "--check", "driver"), "--check artifact looks at a profile"),
        (("--profile", ""), "no profile is named"),
        (("",), "no profile is named"),
        (("--set", "garbage"), "no profile is named"),
    ],
)
def test_words_that_would_do_nothing_are_refused(machine: Machine, words: tuple[str, ...], said: str) -> None:
    quiet = () if {"--watch", "--list"} & set(words) else (QUIET,)
    machine().run("doctor", *quiet, *words).expect(2, said)


def test_a_step_that_failed_is_not_offered_again(machine: Machine, tmp_path: Path) -> None:
    one = machine()
    write(tmp_path, "/empty/nki-0.0.1.dist-info/METADATA", "Name: nki\nSummary: WRONG PACKAGE\n")
    script = Path(one.env["NEURONCTL_PYTHON"]).read_text()
    python = tmp_path / "python"
    wrapped = script.replace("PYTHONPATH=", f"PYTHONPATH={tmp_path / 'empty'}:")
    lines = wrapped.splitlines()
    lines.insert(1, 'if [ "$1" = -m ]; then echo "No module named pip" >&2; exit 1; fi')
    python.write_text("\n".join(lines) + "\n")
    python.chmod(0o755)
    words = ("doctor", QUIET, "--python", str(python))
    assert "neuronctl can mend 1 of it: neuronctl doctor --fix" in one.run(*words).out
    said = one.run(*words, "--fix", "--yes")
    assert "No module named pip" in said.err
    assert "can mend" not in said.out


@pytest.mark.parametrize("limit", [5, 40])
def test_a_machine_on_which_no_thread_starts_is_sick_and_no_bug(tmp_path: Path, limit: int) -> None:
    """The limit counts for ordinary users: root keeps its rights to files, and gives this one up."""
    words = [sys.executable, "-m", "neuronctl", "doctor", QUIET]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("no setpriv")
        words = ["setpriv", "--ruid=65534", "--bounding-set=-sys_resource,-sys_admin", *words]
    done = subprocess.run(
        words,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd=PROJECT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 30, done
    assert "unexpected" not in done.stdout + done.stderr
    assert "error machine.no-threads" in done.stdout or "error host.few-processes" in done.stdout
    assert "try: ulimit -u unlimited; docker run --pids-limit" in done.stdout
