"""What stands on the way to a folder is named, whoever asks."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuronctl.artifacts.obstacle import find_obstacle

NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may reach, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    for path in (folder / "closed", folder):
        path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def no_root() -> Iterator[None]:
    """Rights count, for root as well."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(NOBODY)
    yield
    os.seteuid(was)


@pytest.fixture
def closed(open_folder: Path) -> Path:
    path = open_folder / "closed"
    (path / "inner").mkdir(parents=True)
    (open_folder / "link").symlink_to("closed/inner/store")
    path.chmod(0)
    return path


@pytest.mark.parametrize("folder", ["closed/inner/store", "closed/missing", "link", "link/deeper"])
def test_a_folder_that_may_not_be_entered(closed: Path, no_root: None, folder: str) -> None:
    found = find_obstacle(closed.parent / folder)
    assert found is not None
    assert found.why == f"{closed} may not be entered by this user: permission is denied"
    assert found.fix == f"let its owner type: chmod a+x {closed}"


def test_a_chain_of_links_is_followed_to_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("no where")
    found = find_obstacle(tmp_path / "a" / "store")
    assert found is not None
    assert found.why == f"{tmp_path}/a is a symbolic link to {tmp_path}/no where, which is not there"
    assert (found.fix or "").startswith(f"mkdir -p '{tmp_path}/no where', or ")
    (tmp_path / "no where").mkdir()
    assert find_obstacle(tmp_path / "a" / "store") is None


@pytest.mark.parametrize("folder", ["", "missing", "missing/deeper", "link", "link/missing"])
def test_nothing_stands_on_the_way(tmp_path: Path, folder: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert find_obstacle(tmp_path / folder) is None
