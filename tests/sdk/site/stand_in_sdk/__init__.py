"""What the stand-in packages share: behaviours on demand, versions, folders.

Environment variables that say where the stand-in works:

    STAND_IN_DEV             folder in which devices are looked for (`neuron0`, ...); default /dev
    STAND_IN_DEVICE_TARGET   what the device is: inf2 (default), trn1, trn2, trn3
    STAND_IN_TMP             folder used instead of /tmp and /var/tmp, for compile work and compile cache
    STAND_IN_HUB             folder that is the hub: a model `org/name` lies in STAND_IN_HUB/org/name

Environment variable STAND_IN_SDK: a comma-separated list of behaviours, `name` or `name=value`:

    hang=PHASE               never leaves that phase: import, config, trace, cc, save, shard, load, warmup
    die-in=PHASE             fails in that phase; save and shard leave a half-written file before they end
    die-saying=FILE          prints FILE to stderr when compiling begins, and exits with code 1
    die-saying-load=FILE     the same when loading begins
    compile-s=S              seconds that each run of the compiler takes (default 0)
    cc-70=N                  the first N runs of the compiler exit with code 70; the count is kept in a file
                             beside the compile cache
    cc-killed                the compiler dies of SIGKILL, as where memory runs out
    cc-children              the compiler starts two processes that ignore INT, TERM and HUP, one of them in a
                             session of its own
    other=FIELD:VALUE        that field of NeuronConfig silently gets another value when a compile is set up:
                             a plugin that overrules its user; VALUE is JSON
    drop=RELATIVE/PATH       the finished output lacks that file, without an error
    truncate=RELATIVE/PATH   the finished output has only half of that file, without an error
    forget=PATH              that file or folder is removed whenever loading begins, as by a cleaner
    no-seam                  the model loader has no `_compile_and_load_model`: a version nobody knows
    only-first=FILE          all the above only until FILE exists, which is made at the first look
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

VARIABLE = "STAND_IN_SDK"


@cache
def behaviours() -> dict[str, str]:
    """What STAND_IN_SDK asks for."""
    wanted = {}
    for word in os.environ.get(VARIABLE, "").split(","):
        if word.strip():
            name, _, value = word.strip().partition("=")
            wanted[name] = value
    if first := wanted.pop("only-first", ""):
        if Path(first).exists():
            return {}
        Path(first).touch()
    return wanted


def behaviours_as_text() -> str:
    """The behaviours in force, for the environment of a child."""
    return ",".join(f"{name}={value}" for name, value in behaviours().items())


def enter(phase: str, leave_half: Callable[[], None] | None = None) -> None:
    """Faults that are bound to a phase; `leave_half` writes what is left behind."""
    wanted = behaviours()
    if phase not in (wanted.get("hang"), wanted.get("die-in")):
        return
    if leave_half is not None:
        leave_half()
    print(f"stand-in: in phase {phase}", file=sys.stderr, flush=True)  # noqa: T201 - servers speak there
    while wanted.get("hang") == phase:
        time.sleep(3600)
    raise RuntimeError(f"stand-in was told to die in {phase}")


def die_saying(name: str) -> None:
    """End here and now with somebody else's words, if that is asked for."""
    if file := behaviours().get(name):
        sys.stderr.write(Path(file).read_text(encoding="utf-8"))
        sys.stderr.flush()
        os._exit(1)


def begin_loading() -> None:
    """What is wanted of the moment in which loading begins."""
    die_saying("die-saying-load")
    if path := behaviours().get("forget"):
        shutil.rmtree(path, ignore_errors=True)
        Path(path).unlink(missing_ok=True)
    enter("load")


@cache
def version(distribution: str) -> str:
    """The version of an installed distribution, from the name of its metadata folder."""
    stem = distribution.replace("-", "_") + "-"
    for folder in sys.path:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            if name.startswith(stem) and name.endswith(".dist-info"):
                return name[len(stem) : -len(".dist-info")]
    raise ModuleNotFoundError(f"No package metadata was found for {distribution}")


def release(distribution: str) -> tuple[int, ...]:
    """The first two numbers of a distribution's version."""
    parts = version(distribution).replace("+", ".").replace("-", ".").split(".")
    return tuple(int(part) for part in parts[:2])


def temporary(default: str) -> str:
    """STAND_IN_TMP, or the folder that the real software uses."""
    return os.environ.get("STAND_IN_TMP") or default


def device_folder() -> str:
    """Where devices are."""
    return os.environ.get("STAND_IN_DEV", "/dev")


def device_target() -> str:
    """What the device of this machine is."""
    return os.environ.get("STAND_IN_DEVICE_TARGET", "inf2")
