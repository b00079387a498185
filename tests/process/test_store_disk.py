"""A disk that is full, limited or read-only: said in words, and nothing half-made stays."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import neuronctl
from neuronctl.artifacts.build import Made, build_once
from neuronctl.artifacts.stage import Stage
from neuronctl.artifacts.store import Store
from neuronctl.artifacts.verify import verify_full, verify_quick
from neuronctl.errors import MachineUnfit
from neuronctl.host import Host

ENV = os.environ | {"PYTHONPATH": str(Path(neuronctl.__file__).parents[1])}


def build_small(stage: Stage) -> Made:
    (stage.path / "small").write_bytes(b"small")
    return Made({}, "cpu", "m", "p")


def build_big(stage: Stage) -> Made:
    (stage.path / "big").write_bytes(os.urandom(8 << 20))
    return Made({}, "cpu", "m", "p")


def build_to_the_brim(stage: Stage) -> Made:
    """Leave no room for the manifest."""
    with (stage.path / "brim").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(os.urandom(4096))
        except OSError:
            return Made({"why": "x" * 100_000}, "cpu", "m", "p")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here; the limit on file sizes is tested everywhere")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount command")
@pytest.mark.parametrize("build", [build_big, build_to_the_brim])
def test_full_disk(small_disk: Path, build: Callable[[Stage], Made]) -> None:
    store = Store(small_disk / "store", Host(environ={}))
    build_once(store, "k", build_small)
    before = {str(path) for path in small_disk.rglob("*") if path.is_file()}
    with pytest.raises(MachineUnfit) as caught:
        build_once(store, "k2", build)
    assert caught.value.error_code == "store.full"
    assert "NEURONCTL_HOME=" in str(caught.value.fix)
    assert isinstance(caught.value.details["free_bytes"], int)
    after = {str(path) for path in small_disk.rglob("*") if path.is_file()}
    assert after - before == {str(store.layout.lock("k2"))}
    assert not any(store.layout.staging.iterdir())
    kept = store.find("k")
    assert kept is not None and verify_full(kept) == []
    assert build_once(store, "k2", build_small).built


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount command")
def test_read_only_disk(small_disk: Path) -> None:
    store = Store(small_disk / "store", Host(environ={}))
    artifact = build_once(store, "k", build_small).artifact
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert build_once(store, "k", build_big).artifact == artifact
    assert verify_full(artifact) == [] == verify_quick(artifact)
    for attempt in (
        lambda: build_once(store, "k2", build_small),
        lambda: build_once(store, "k", build_small, rebuild=True),
        lambda: store.quarantine("k", "test"),
    ):
        with pytest.raises(MachineUnfit) as caught:
            attempt()
        assert caught.value.error_code == "store.unusable"
        assert "read-only" in caught.value.what


LIMITED = """
import json, resource, sys
from pathlib import Path
from neuronctl.artifacts.build import Made, build_once
from neuronctl.artifacts.store import Store
from neuronctl.errors import MachineUnfit
from neuronctl.host import Host

resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))

def build(stage):
    (stage.path / "a").write_bytes(b"a")
    if sys.argv[2] == "stage":
        (stage.path / "big").write_bytes(bytes(1 << 20))
    return Made({"x": "x" * 100_000 if sys.argv[2] == "manifest" else ""}, "cpu", "m", "p")

try:
    build_once(Store(Path(sys.argv[1]), Host(environ={})), "k", build)
except MachineUnfit as error:
    print(json.dumps([error.error_code, error.what, error.fix]))
"""


@pytest.mark.parametrize("where", ["stage", "manifest"])
def test_a_write_that_the_system_refuses(tmp_path: Path, where: str) -> None:
    store = Store(tmp_path / "store", Host(environ={}))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(store.root), where],
        env=ENV,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    code, what, fix = json.loads(done.stdout)
    assert code == "store.full" and str(store.root) in what and "NEURONCTL_HOME=" in fix
    assert store.find("k") is None
    assert not any(store.layout.staging.iterdir())
    assert not [path for path in store.layout.blobs.rglob("*") if path.is_file()]


# Root may write anywhere, so the child becomes somebody else; everything is imported and warm by then,
# because that user may not be able to read the interpreter's own folders.
UNPRIVILEGED = """
import json, os, sys
from pathlib import Path
from neuronctl.artifacts.build import Made, build_once
from neuronctl.artifacts.store import Store
from neuronctl.artifacts.verify import verify_full
from neuronctl.errors import MachineUnfit
from neuronctl.host import Host

def build(stage):
    (stage.path / "a").write_bytes(b"a")
    return Made({}, "cpu", "m", "p")

base = Path(sys.argv[1])
store = Store(base / "store", Host(environ={}))
build_once(store, "k", build)
for folder, _, files in os.walk(base):
    os.chmod(folder, 0o555)
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)

said = []
hit = build_once(store, "k", build)
said.append([hit.built, [str(problem) for problem in verify_full(hit.artifact)]])
said.append(len(store.artifacts()))
for attempt in (
    lambda: build_once(store, "k2", build),
    lambda: build_once(store, "k", build, rebuild=True),
    lambda: store.quarantine("k", "test"),
    lambda: build_once(Store(base / "new", Host(environ={})), "k", build),
):
    try:
        attempt()
    except MachineUnfit as error:
        said.append(error.error_code)
print(json.dumps(said))
"""


def test_a_store_of_somebody_else(tmp_path: Path) -> None:
    # Not below tmp_path, whose parents only their owner may enter.
    base = Path(tempfile.mkdtemp())
    try:
        done = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, str(base)],
            env=ENV,
            capture_output=True,
            text=True,
            timeout=60,
            cwd="/",
        )
        assert done.returncode == 0, done.stderr
        hit, count, *refused = json.loads(done.stdout)
        assert hit == [False, []]
        assert count == 1
        assert refused == ["store.unusable"] * 4
    finally:
        for folder, _, _ in os.walk(base):
            Path(folder).chmod(0o755)
        shutil.rmtree(base)
