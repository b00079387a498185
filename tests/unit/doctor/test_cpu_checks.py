"""What doctor says of the needs of the cpu backend."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from neuronctl.doctor.check import Check
from neuronctl.doctor.checks import cpu as checks
from neuronctl.machine.python_headers import header_folders
from neuronctl.stack.assume import assume_stack
from tests.doctor_sample import ids, look, write
from tests.plan_sample import sample_host, sample_stack


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.name)
def test_nothing_of_it_matters_to_another_backend(tmp_path: Path, check: Check) -> None:
    outcome = look(check, tmp_path, stack=assume_stack("sdk-2.28"))
    assert (outcome.status, outcome.findings) == ("not-here", ())


# Compiler and headers


def test_compiler_and_headers_beside_the_interpreter_of_an_environment(tmp_path: Path) -> None:
    write(tmp_path, "/venv/pyvenv.cfg", "home = /usr/bin\nversion = 3.12.4\n")
    write(tmp_path, "/usr/lib/python3.12/os.py")
    assert ids(look(checks.cpp_compiler, tmp_path)) == ["cpu.no-python-headers"]
    write(tmp_path, "/usr/include/python3.12/Python.h")
    outcome = look(checks.cpp_compiler, tmp_path)
    assert outcome.status == "ok"
    assert outcome.data["python_headers"] == "/usr/include/python3.12"
    assert outcome.says == "g++-12, 1000 bytes; Python.h in /usr/include/python3.12"


def test_headers_of_another_version_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, "/venv/pyvenv.cfg", "home = /usr/bin\n")
    write(tmp_path, "/usr/lib/python3.12/os.py")
    write(tmp_path, "/usr/include/python3.11/Python.h")
    outcome = look(checks.cpp_compiler, tmp_path)
    assert (outcome.status, ids(outcome)) == ("error", ["cpu.no-python-headers"])
    assert "python3.12-dev" in (outcome.findings[0].fix or "")


def test_an_interpreter_of_which_nobody_knows_where_it_is_installed(tmp_path: Path) -> None:
    """As a script that calls another one."""
    outcome = look(checks.cpp_compiler, tmp_path)
    assert (outcome.status, outcome.findings) == ("cannot-tell", ())


@pytest.mark.parametrize("variable", ["CPATH", "CPLUS_INCLUDE_PATH"])
def test_headers_where_the_compiler_is_told_to_look(tmp_path: Path, variable: str) -> None:
    write(tmp_path, "/opt/headers/Python.h")
    assert look(checks.cpp_compiler, tmp_path, {variable: "/nothing:/opt/headers"}).status == "ok"


def test_our_own_interpreter_knows_its_headers(tmp_path: Path) -> None:
    host = sample_host(tmp_path)
    own = header_folders(host, Path(sys.executable), "3.11.7")
    assert own == (Path(sysconfig.get_path("include")),)


def test_an_interpreter_that_a_link_leads_to(tmp_path: Path) -> None:
    write(tmp_path, "/opt/python/bin/python3.12")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(tmp_path / "opt/python/bin/python3.12")
    folders = header_folders(sample_host(tmp_path), tmp_path / "bin" / "python", "3.12.4")
    assert folders[0] == tmp_path / "opt/python/include/python3.12"
    assert tmp_path / "opt/python/include/python3.12t" in folders


def test_no_compiler_is_told_by_the_rule(tmp_path: Path) -> None:
    write(tmp_path, "/venv/pyvenv.cfg", "home = /usr/bin\n")
    write(tmp_path, "/usr/include/python3.12/Python.h")
    outcome = look(checks.cpp_compiler, tmp_path, compiler="")
    assert (outcome.status, ids(outcome)) == ("error", ["cpu.no-compiler"])


# libnuma


@pytest.mark.parametrize(
    "path",
    ["/usr/lib/x86_64-linux-gnu/libnuma.so.1", "/usr/lib64/libnuma.so.1", "/lib/libnuma.so.1"],
)
def test_cpu_no_libnuma(tmp_path: Path, path: str) -> None:
    outcome = look(checks.libnuma, tmp_path)
    assert (outcome.status, ids(outcome)) == ("error", ["cpu.no-libnuma"])
    write(tmp_path, path)
    assert look(checks.libnuma, tmp_path).status == "ok"


def test_libnuma_in_the_linkers_list_or_where_the_user_says(tmp_path: Path) -> None:
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / "libnuma.so.1").write_text("")
    named = look(checks.libnuma, tmp_path, {"LD_LIBRARY_PATH": f":{tmp_path}/libraries"})
    assert named.data["found_in"] == f"{tmp_path}/libraries"
    write(tmp_path, "/etc/ld.so.cache", "glibc-ld.so.cache1.1\0libnuma.so.1\0/lib/libnuma.so.1\0")
    assert look(checks.libnuma, tmp_path).data["found_in"] == "/etc/ld.so.cache"


def test_of_another_vllm_nobody_knows_whether_it_needs_libnuma(tmp_path: Path) -> None:
    outcome = look(checks.libnuma, tmp_path, stack=sample_stack({"vllm": "0.24.0+cpu"}))
    assert (outcome.status, "not known" in outcome.says) == ("ok", True)


# Instruction sets


@pytest.mark.parametrize(
    ("architecture", "flags", "found"),
    [
        ("x86_64", ("avx2", "avx512f", "fpu"), []),
        ("x86_64", ("avx2", "fpu"), ["cpu.no-avx512"]),
        ("x86_64", ("fpu", "sse4_2"), ["cpu.no-avx2"]),
        ("aarch64", ("asimd", "fp"), []),
        ("aarch64", ("fp",), ["cpu.no-neon"]),
        ("s390x", ("vx",), []),
    ],
)
def test_cpu_no_avx2(tmp_path: Path, architecture: str, flags: tuple[str, ...], found: list[str]) -> None:
    outcome = look(checks.instruction_sets, tmp_path, architecture=architecture, cpu_flags=flags)
    assert ids(outcome) == found


def test_without_flags_nothing_is_claimed(tmp_path: Path) -> None:
    outcome = look(checks.instruction_sets, tmp_path, cpu_flags=())
    assert outcome.findings == ()
    assert outcome.status == "cannot-tell"
