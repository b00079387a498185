"""The guard of the unit tests works."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest


def test_a_process_is_refused() -> None:
    with pytest.raises(AssertionError, match="start a process"):
        subprocess.run(["true"], check=False)


def test_a_fork_is_refused() -> None:
    with pytest.raises(AssertionError, match="start a process"):
        os.fork()


def test_a_connection_is_refused() -> None:
    with socket.socket() as one, pytest.raises(AssertionError, match="open a connection"):
        one.connect(("127.0.0.1", 9))


def test_the_real_home_is_out_of_reach() -> None:
    with pytest.raises(AssertionError, match="the real home"):
        Path.home()
    assert not Path(os.environ["HOME"]).exists()
