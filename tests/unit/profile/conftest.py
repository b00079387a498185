"""A small world for profiles: a working folder and a home, both empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.host import Host


class World:
    """Files by path from the working folder, and the Host that sees them."""

    def __init__(self, root: Path) -> None:
        self.cwd = root / "work"
        self.home = root / "home"
        self.cwd.mkdir()
        self.home.mkdir()
        self.environ = {"HOME": str(self.home)}

    @property
    def host(self) -> Host:
        return Host(environ=dict(self.environ), cwd=self.cwd)

    def write(self, path: str, text: str) -> Path:
        file = self.cwd / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def write_user(self, name: str, text: str) -> Path:
        return self.write(f"{self.home}/.config/neuronctl/profiles/{name}.yaml", text)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
