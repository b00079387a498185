"""The machine's facts, read from files written by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.machine.detect import detect_machine
from tests.plan_sample import sample_host

X86 = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8488C
flags\t\t: fpu vme avx2 avx512f amx_tile
bugs\t\t: spectre_v1

processor\t: 1
model name\t: another core
flags\t\t: fpu

"""
ARM = """\
processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd sve bf16
CPU implementer\t: 0x41

processor\t: 1
Features\t: fp
"""


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("cpuinfo", "model", "flags"),
    [
        (X86, "Intel(R) Xeon(R) Platinum 8488C", ("amx_tile", "avx2", "avx512f", "fpu", "vme")),
        (ARM, "", ("asimd", "bf16", "fp", "sve")),
        ("", "", ()),
        ("nonsense\n:::\n", "", ()),
    ],
)
def test_the_first_core_speaks_for_all(
    tmp_path: Path, cpuinfo: str, model: str, flags: tuple[str, ...]
) -> None:
    write(tmp_path, "proc/cpuinfo", cpuinfo)
    machine = detect_machine(sample_host(tmp_path))
    assert (machine.cpu_model, machine.cpu_flags) == (model, flags)


MEMINFO = "MemTotal:       16384 kB\nMemFree:          100 kB\n"
V2 = "sys/fs/cgroup/memory.max"
V1 = "sys/fs/cgroup/memory/memory.limit_in_bytes"


@pytest.mark.parametrize(
    ("files", "memory_bytes"),
    [
        ({"proc/meminfo": MEMINFO}, 16 * 2**20),
        ({"proc/meminfo": MEMINFO, V2: "max\n"}, 16 * 2**20),
        ({"proc/meminfo": MEMINFO, V2: "1000000\n"}, 1_000_000),
        ({"proc/meminfo": MEMINFO, V2: f"{2**40}\n"}, 16 * 2**20),
        ({"proc/meminfo": MEMINFO, V1: "2000000\n"}, 2_000_000),
        ({"proc/meminfo": MEMINFO, V1: "9223372036854771712\n"}, 16 * 2**20),
        ({V2: "1000000\n"}, 1_000_000),
        ({"proc/meminfo": "no such line\n"}, None),
        ({}, None),
    ],
)
def test_memory_is_the_smaller_of_what_there_is_and_what_is_allowed(
    tmp_path: Path, files: dict[str, str], memory_bytes: int | None
) -> None:
    for path, text in files.items():
        write(tmp_path, path, text)
    assert detect_machine(sample_host(tmp_path)).memory_bytes == memory_bytes


@pytest.mark.parametrize(
    ("group", "files", "memory_bytes"),
    [
        ("0::/pod/one\n", {"pod/memory.max": "3000000", "pod/one/memory.max": "max"}, 3_000_000),
        # The lowest limit counts, however much of it is taken.
        (
            "0::/pod/one\n",
            {"pod/memory.max": "3000000", "pod/memory.current": "3000000", "pod/one/memory.max": "2000000"},
            2_000_000,
        ),
        ("7:memory:/a/b\n", {"memory/a/memory.limit_in_bytes": "4000000"}, 4_000_000),
    ],
)
def test_the_groups_above_have_limits_too(
    tmp_path: Path, group: str, files: dict[str, str], memory_bytes: int
) -> None:
    write(tmp_path, "proc/meminfo", MEMINFO)
    write(tmp_path, "proc/self/cgroup", group)
    for path, text in files.items():
        write(tmp_path, f"sys/fs/cgroup/{path}", text)
    assert detect_machine(sample_host(tmp_path)).memory_bytes == memory_bytes


def test_nothing_that_can_be_read_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "proc" / "cpuinfo").mkdir(parents=True)  # a folder cannot be read as a file
    machine = detect_machine(sample_host(tmp_path))
    assert (machine.cpu_model, machine.cpu_flags, machine.memory_bytes) == ("", (), None)
    assert machine.cores >= 1
    assert machine.architecture


def test_the_compiler_is_the_one_that_torch_will_call(tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name, size in (("g++-12", 5), ("clang++", 7)):
        (bin_ / name).write_bytes(b"x" * size)
        (bin_ / name).chmod(0o755)
    (bin_ / "g++").symlink_to("g++-12")

    def compiler(**environ: str) -> str:
        return detect_machine(sample_host(tmp_path, {"PATH": str(bin_), **environ})).compiler

    assert compiler() == "g++-12, 5 bytes"
    assert compiler(CXX="clang++") == "clang++, 7 bytes"
    assert compiler(CXX="nothing") == ""
    assert compiler(PATH=str(tmp_path)) == ""
