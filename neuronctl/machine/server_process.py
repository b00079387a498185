"""Server process: what serves a model on this machine, from /proc alone."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from neuronctl.host import Host
from neuronctl.machine.process import Process, read_process
from neuronctl.machine.reading import SCAN_S, answered, list_folder, read_text

# vLLM's own default (vllm/entrypoints/openai/cli_args.py), and neuronctl's.
_PORT = 8000
_ENTRIES = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.launchers.api_server.entry")
_PYTHON = re.compile(r"python[0-9.]*t?", re.ASCII)
_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
_MOST = 64


@dataclass(frozen=True)
class ServerProcess:
    """A process that serves, or one of neuronctl's that watches over such ones.

    `kind` is vllm or neuronctl. `port` is where it listens, None for neuronctl, whose child listens;
    `address` is where to ask it; `has_tls` says that it speaks HTTPS only.
    """

    process: Process
    kind: str
    port: int | None
    address: str
    has_tls: bool


def find_servers(host: Host) -> tuple[ServerProcess, ...]:
    """Every server of vLLM's and every `neuronctl serve`, by pid; not the workers that they started.

    Raises NoAnswer.
    """
    return answered(host, "/proc", lambda: _find_servers(host), limit_s=SCAN_S)


def _find_servers(host: Host) -> tuple[ServerProcess, ...]:
    found: dict[int, ServerProcess] = {}
    for name in sorted((name for name in list_folder(host, "/proc") if name.isdecimal()), key=int):
        words = read_text(host, f"/proc/{name}/cmdline", 65_536).rstrip("\0").split("\0")
        kind = _kind(words)
        process = read_process(host, int(name)) if kind else None
        if kind is None or process is None or process.state == "Z":
            continue
        found[process.pid] = ServerProcess(
            process,
            kind,
            _port(words) if kind == "vllm" else None,
            _address(words),
            any(word.startswith("--ssl-certfile") for word in words),
        )
    # A forked worker has its parent's command line.
    return tuple(
        one
        for one in found.values()
        if (parent := found.get(one.process.parent)) is None or parent.kind != one.kind
    )[:_MOST]


def _kind(words: Sequence[str]) -> str | None:
    """By the program itself: `vim vllm serve` and `sudo vllm serve` are none, and what sudo starts is."""
    program, said = _program(words)
    if any(entry == program for entry in _ENTRIES):
        return "vllm"
    name = os.path.basename(program)
    if name == "vllm" and said[:1] == ["serve"]:
        return "vllm"
    return "neuronctl" if name == "neuronctl" and said[:1] == ["serve"] else None


def _program(words: Sequence[str]) -> tuple[str, list[str]]:
    """What runs, and what it was told: of Python its script, its module, or the entry point that -c imports.

    Python's own options come before; a few of them have their value in the next word (python --help).
    """
    if not _PYTHON.fullmatch(os.path.basename(words[0])):
        return words[0], list(words[1:])
    rest = list(words[1:])
    while rest:
        word = rest.pop(0)
        if word == "-m" and rest:
            return rest[0], rest[1:]
        if word == "-c" and rest:
            return next((entry for entry in _ENTRIES if entry in rest[0]), ""), rest[1:]
        if word in _WITH_VALUE:
            rest = rest[1:]
        elif not word.startswith("-"):
            return word, rest
    return "", []


def _port(words: Sequence[str]) -> int | None:
    said = _value(words, "--port")
    if said is None:
        return _PORT
    return int(said) if re.fullmatch(r"[0-9]{1,5}", said, re.ASCII) else None


def _address(words: Sequence[str]) -> str:
    said = _value(words, "--host") or ""
    if said in ("", "0.0.0.0", "localhost") or not re.fullmatch(r"[0-9a-fA-F.:]+", said, re.ASCII):
        return "127.0.0.1"
    return "[::1]" if said == "::" else f"[{said}]" if ":" in said else said


def _value(words: Sequence[str], flag: str) -> str | None:
    for at, word in enumerate(words):
        if word == flag and at + 1 < len(words):
            return words[at + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None
