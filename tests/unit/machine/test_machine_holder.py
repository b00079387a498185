"""Who holds a Neuron device, and how to end it, by where that process runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.machine.devices import NeuronProcess
from neuronctl.machine.holder import find_holder, how_to_end
from tests.doctor_sample import write
from tests.plan_sample import sample_host

ID = "0123456789ab" + "c" * 52
ANOTHER = "f" * 64


def run(root: Path, pid: int, name: str, cgroup: str = "0::/user.slice/session-1.scope\n") -> None:
    """A process in /proc; `self` is who looks."""
    write(root, f"/proc/{pid}/stat", f"{pid} ({name}) S 1 1 1 0\n")
    write(root, f"/proc/{pid}/cmdline", f"{name}\0--flag\0")
    write(root, f"/proc/{pid}/cgroup", cgroup)


def end(root: Path, *told: NeuronProcess) -> str:
    host = sample_host(root)
    return how_to_end(find_holder(host, one) for one in told)


def test_on_the_host(tmp_path: Path) -> None:
    run(tmp_path, 77, "python3")
    run(tmp_path, 78, "VLLM::EngineCore")
    told = (NeuronProcess(77, "python3 serve.py"), NeuronProcess(78, ""))
    assert end(tmp_path, *told) == "kill 77 78"


def test_of_a_container_seen_from_the_host(tmp_path: Path) -> None:
    run(tmp_path, 77, "python3", f"0::/system.slice/docker-{ID}.scope\n")
    holder = find_holder(sample_host(tmp_path), NeuronProcess(77, "python3"))
    assert str(holder).endswith(" of container 0123456789ab")
    said = how_to_end([holder])
    assert "stop container 0123456789ab" in said
    assert "kill" not in said


@pytest.mark.parametrize("command", ["", "python3 other.py"])
def test_the_host_s_number_is_another_process_in_a_container(tmp_path: Path, command: str) -> None:
    write(tmp_path, "/.dockerenv")
    run(tmp_path, 77, "bash", "0::/\n")
    holder = find_holder(sample_host(tmp_path), NeuronProcess(77, command))
    assert str(holder) == "77 (of another container)"
    assert how_to_end([holder]) == "end 77 on the host: from in here nobody can"


def test_our_own_in_a_container(tmp_path: Path) -> None:
    write(tmp_path, "/.dockerenv")
    run(tmp_path, 77, "VLLM::Worker_TP0", f"4:cpu:/docker/{ID}\n")
    write(tmp_path, "/proc/self/cgroup", f"4:cpu:/docker/{ID}\n")
    assert end(tmp_path, NeuronProcess(77, "VLLM::Worker_TP0")) == "kill 77"
    write(tmp_path, "/proc/self/cgroup", f"4:cpu:/docker/{ANOTHER}\n")
    assert "kill" not in end(tmp_path, NeuronProcess(77, "VLLM::Worker_TP0"))


def test_all_kinds_at_once(tmp_path: Path) -> None:
    run(tmp_path, 7, "python3")
    run(tmp_path, 8, "python3", f"0::/kubepods/pod1/{ID}\n")
    said = end(tmp_path, NeuronProcess(7, "python3"), NeuronProcess(8, "python3"), NeuronProcess(9, ""))
    assert said.split("; ")[0] == "kill 7"
    assert "stop container 0123456789ab" in said
    assert "sudo kill 9 (if neuron-ls still shows it)" in said, "it is another user's, or has just ended"


def test_a_process_that_proc_does_not_show_is_of_no_container_on_the_host(tmp_path: Path) -> None:
    holder = find_holder(sample_host(tmp_path), NeuronProcess(77, "/usr/bin/python3 serve.py --key s"))
    assert str(holder) == "77 (python3, which /proc does not show)"
    assert "on the host" not in how_to_end([holder])
