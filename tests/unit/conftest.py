"""Unit tests touch nothing real: a process, a connection or a look at the home folder raises."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest


class RealWorldTouched(AssertionError):
    """A unit test reached for the real world."""


@pytest.fixture(autouse=True)
def guard(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(what: str) -> object:
        def raise_it(*args: object, **kwargs: object) -> NoReturn:
            raise RealWorldTouched(f"a unit test must not {what}")

        return raise_it

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse("start a process"))
    monkeypatch.setattr(os, "posix_spawn", refuse("start a process"))
    monkeypatch.setattr(os, "fork", refuse("start a process"))
    for method in ("connect", "connect_ex", "bind"):
        monkeypatch.setattr(socket.socket, method, refuse("open a connection"), raising=False)
    monkeypatch.setattr(Path, "home", refuse("look for the real home"))
    monkeypatch.setenv("HOME", "/nonexistent/home-of-unit-tests")
    for name in list(os.environ):
        if name.startswith(("NEURONCTL_", "XDG_", "VLLM_", "HF_")):
            monkeypatch.delenv(name)
