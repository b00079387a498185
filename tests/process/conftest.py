"""A terminal for each test, and one compiled artifact for all that begin with a hit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.terminal import Terminal, make_model, make_python


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model folder and a serving Python."""
    folder = tmp_path_factory.mktemp("serving")
    return make_model(folder / "model"), make_python(folder / "bin")


@pytest.fixture(scope="session")
def compiled_home(serving: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of neuronctl with the artifact of the terminal's profile in it."""
    terminal = Terminal(tmp_path_factory.mktemp("compiled"), *serving)
    terminal.run("compile", "p.yaml").expect(0)
    shutil.rmtree(terminal.store_home / "logs")
    return terminal.store_home


@pytest.fixture
def terminal(serving: tuple[Path, Path], tmp_path: Path) -> Iterator[Terminal]:
    """A terminal with nothing compiled."""
    one = Terminal(tmp_path / "t", *serving)
    try:
        yield one
    finally:
        one.stop_all()


@pytest.fixture
def compiled(terminal: Terminal, compiled_home: Path) -> Terminal:
    """A terminal whose profile is compiled."""
    shutil.copytree(compiled_home, terminal.store_home)
    return terminal
