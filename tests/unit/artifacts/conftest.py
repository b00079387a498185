"""A store in a temporary folder, and builds that write given files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from neuronctl.artifacts.build import Made
from neuronctl.artifacts.stage import Stage
from neuronctl.artifacts.store import Store
from neuronctl.host import Host

Build = Callable[[Stage], Made]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", Host(environ={}, cwd=tmp_path))


@pytest.fixture
def making() -> Callable[..., Build]:
    """A build that writes `files` (path to content), and says that `inputs` made them."""

    def making(files: Mapping[str, bytes], inputs: Mapping[str, object] | None = None) -> Build:
        def build(stage: Stage) -> Made:
            for name, content in files.items():
                path = stage.path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            return Made(inputs=inputs or {}, backend="cpu", model="m", profile="p")

        return build

    return making
