"""Mend: what doctor can safely do about what it found, after asking."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from neuronctl.doctor.check import Remedy
from neuronctl.errors import NeuronctlError
from neuronctl.host import Host

# pip may have to ask its repositories.
_TIMEOUT_S = 300.0

Ask = Callable[[str], bool]


@dataclass(frozen=True)
class Mended:
    """What became of one remedy: `done`, or not, because nobody wanted it or it failed; `says` tells."""

    remedy: Remedy
    done: bool
    says: str


def mend(remedies: Sequence[Remedy], host: Host, ask: Ask) -> tuple[Mended, ...]:
    """Do each remedy that `ask`, called with what it is, agrees to. What fails does not stop the next one."""
    return tuple(_one(remedy, host) if ask(question(remedy)) else _left(remedy) for remedy in remedies)


def question(remedy: Remedy) -> str:
    """What is asked before a remedy is carried out: what it does, and the command if there is one."""
    command = f"\n    {shlex.join(remedy.argv)}" if remedy.argv else ""
    return f"{remedy.finding}: {remedy.title}?{command}"


def _left(remedy: Remedy) -> Mended:
    return Mended(remedy, False, "left alone")


def _one(remedy: Remedy, host: Host) -> Mended:
    if remedy.argv is not None:
        done = host.run(remedy.argv, timeout_s=_TIMEOUT_S)
        return Mended(remedy, done.why is None, done.why or "done")
    assert remedy.act is not None
    try:
        return Mended(remedy, True, remedy.act(host))
    except NeuronctlError as error:
        return Mended(remedy, False, f"{error}")
    except OSError as error:
        return Mended(remedy, False, f"{error.filename or 'the disk'}: {error.strerror}")
