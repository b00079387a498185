"""What keeps pip from any package, by its variables and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.stack.pip_index import pip_obstacle
from tests.plan_sample import sample_host

PYTHON = Path("/nowhere/bin/python")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80\x81[global]\n", "is no text"),
        (b"global]\nx", "no section headers"),
        (b"[global]\nno-index = true\n", "no-index in"),
        (b"[install]\nno_index = 1\n", "no-index in"),
    ],
)
def test_a_file_that_stops_pip(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "etc" / "pip.conf"
    file.parent.mkdir()
    file.write_bytes(content)
    found = pip_obstacle(sample_host(tmp_path), PYTHON)
    assert found is not None
    assert said in found.what
    assert str(file) in found.what
    assert str(file) in found.fix
    assert pip_obstacle(sample_host(tmp_path, {"PIP_CONFIG_FILE": "/dev/null"}), PYTHON) is None


def test_the_variable_counts_more_than_a_file(tmp_path: Path) -> None:
    found = pip_obstacle(sample_host(tmp_path, {"PIP_NO_INDEX": "Yes"}), PYTHON)
    assert found is not None
    assert found.fix == "unset PIP_NO_INDEX"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "pip.conf").write_text("[global]\nno-index = true\n")
    assert pip_obstacle(sample_host(tmp_path, {"PIP_NO_INDEX": "0"}), PYTHON) is None


@pytest.mark.parametrize("text", [None, "", "[global]\nno-index = false\nindex-url = https://a/simple\n"])
def test_nothing_keeps_it(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc" / "pip.conf").write_text(text)
    assert pip_obstacle(sample_host(tmp_path), PYTHON) is None
