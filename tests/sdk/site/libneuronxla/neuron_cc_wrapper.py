"""Runs neuronx-cc as a process of its own, with a cache of what it made and of what it could not make."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from stand_in_sdk import VARIABLE, behaviours_as_text, temporary, version

_COMPILER = Path(__file__).parents[2] / "bin" / "neuronx-cc"
_OURS = ("--cache_dir=", "--no_cache", "--retry_failed_compilation", "--log_level=")


def compile_hlo(hlo: Path, neff: Path, arguments: Sequence[str]) -> None:
    """Make `neff` from `hlo`, from the cache where it has it. Raises RuntimeError."""
    flags = os.environ.get("NEURON_CC_FLAGS", "").split()
    passed = [*arguments, *(flag for flag in flags if not flag.startswith(_OURS))]
    if "--no_cache" in flags:
        _run(hlo, neff, passed)
        return
    entry = _entry(hlo, passed, flags)
    entry.mkdir(parents=True, exist_ok=True)
    made = entry / "model.neff"
    with (entry / "model.hlo_module.pb.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (entry / "model.done").exists():
            _log(f"Using a cached neff at {made}. Exiting with a successfully compiled graph.")
        elif (entry / "model.log").exists() and "--retry_failed_compilation" not in flags:
            what = "Will skip compilation, please set --retry_failed_compilation for recompilation."
            _log(f"Got a cached failed neff at {made}. {what}")
            raise RuntimeError("neuronx-cc compilation failed with 70. Check compiler logs.")
        else:
            shutil.copyfile(hlo, entry / "model.hlo_module.pb")
            (entry / "compile_flags.json").write_text(json.dumps(passed))
            # Whoever is interrupted leaves a failed entry: it is called failed until it is done.
            (entry / "model.log").write_text("the compilation did not end\n")
            _run(hlo, made, passed)
            (entry / "model.done").touch()
            (entry / "model.log").unlink()
    if made != neff:
        shutil.copyfile(made, neff)


def cache_folder() -> Path:
    """Where NEFFs are kept."""
    for flag in os.environ.get("NEURON_CC_FLAGS", "").split():
        if flag.startswith("--cache_dir="):
            return Path(flag.partition("=")[2])
    url = os.environ.get("NEURON_COMPILE_CACHE_URL")
    return Path(url) if url else Path(temporary("/var/tmp")) / "neuron-compile-cache"


def _entry(hlo: Path, passed: Sequence[str], flags: Sequence[str]) -> Path:
    """Its name is made of the graph and of the flags, with the place of the log among them."""
    graph = hashlib.sha256(hlo.read_bytes()).hexdigest()[:20]
    words = hashlib.sha256(json.dumps(passed).encode()).hexdigest()[:8]
    return cache_folder() / f"neuronxcc-{version('neuronx-cc')}" / f"MODULE_{graph}+{words}"


def _run(hlo: Path, neff: Path, arguments: Sequence[str]) -> None:
    compiler = shutil.which("neuronx-cc")
    command = [compiler] if compiler else [sys.executable, "-S", str(_COMPILER)]
    words = ["compile", "--framework=XLA", str(hlo), "--output", str(neff), *arguments]
    _log(f"Call compiler with cmd: neuronx-cc {' '.join(words)}")
    # The children take the behaviours as they are now: whoever asks again would be told "only first".
    environment = {**os.environ, VARIABLE: behaviours_as_text(), "STAND_IN_CACHE": str(cache_folder())}
    code = subprocess.run([*command, *words], env=environment, check=False).returncode
    if code == 0:
        print("Compiler status PASS", file=sys.stderr, flush=True)  # noqa: T201 - as the real one
        return
    if code < 0:
        said = (
            f"Backend exited with code {code}\n"
            "[F137] neuronx-cc was forcibly killed - This most commonly occurs due to insufficient system "
            "memory. Using a smaller data type, dimensions, batch size, or a larger instance type may help."
        )
        print(said, file=sys.stderr, flush=True)  # noqa: T201 - as the real one
        code = 70
    print("Compiler status ERROR", file=sys.stderr, flush=True)  # noqa: T201 - as the real one
    raise RuntimeError(f"neuronx-cc compilation failed with {code}. Check compiler logs.")


def _log(text: str) -> None:
    moment = time.strftime("%Y-%m-%d %H:%M:%S.000000")
    line = f"{moment}:  {os.getpid()}  INFO ||NEURON_CC_WRAPPER||: {text}"
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - as the real one
