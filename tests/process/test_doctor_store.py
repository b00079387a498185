"""What `neuronctl doctor` says of the store is what `neuronctl compile` meets: one cause, told once."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.terminal import Said, Terminal

CHECKS = ("--check", "store", "--check", "artifacts", "--check", "quarantine", "--check", "builds")


def findings(said: Said, severity: str = "error") -> list[str]:
    return [one["id"] for one in said.envelope["findings"] if one["severity"] == severity]


@pytest.mark.parametrize(
    ("target", "what", "mends"),
    [
        ("nowhere", "is a symbolic link to {}/nowhere, which is not there", "mkdir -p nowhere"),
        ("neuronctl home", "is a symbolic link that leads back to itself", "rm 'neuronctl home'"),
        (None, "a file stands where a folder should be", "mv 'neuronctl home' aside"),
    ],
)
def test_what_stands_in_the_place_of_the_home(
    terminal: Terminal, target: str | None, what: str, mends: str
) -> None:
    if target is None:
        terminal.store_home.write_text("")
    else:
        terminal.store_home.symlink_to(target)
    what = what.format(terminal.folder)
    for words in (("doctor", *CHECKS), ("compile", "p.yaml"), ("cache", "list"), ("cache", "verify")):
        terminal.run(*words).expect(30, str(terminal.store_home), what, mends.split()[0])
    subprocess.run(["sh", "-c", mends], cwd=terminal.folder, check=True)
    terminal.run("doctor", *CHECKS).expect(0)
    terminal.run("compile", "p.yaml").expect(0)


@pytest.mark.parametrize(("place", "what"), [("/dev/null", "a device"), ("pipe", "a pipe")])
def test_what_is_no_ordinary_file_is_not_to_be_moved_away(terminal: Terminal, place: str, what: str) -> None:
    """Typed by root, `mv /dev/null` breaks the machine."""
    os.mkfifo(terminal.folder / "pipe")
    home = str(terminal.folder / place)
    for words in (("doctor", *CHECKS), ("compile", "p.yaml")):
        said = terminal.run(*words, env={"NEURONCTL_HOME": home})
        said.expect(30, f"{home}: {what} stands where a folder should be", "NEURONCTL_HOME=/path/to/folder")
        assert "mv " not in said.out + said.err
        assert "ove it away" not in said.out + said.err


def test_a_pipe_in_place_of_a_manifest_holds_nobody_up(compiled: Terminal) -> None:
    manifest = compiled.tree().parent / "manifest.json"
    manifest.unlink()
    os.mkfifo(manifest)
    compiled.run("cache", "list").expect(0, "a pipe, a socket or a device, not a file")
    compiled.run("cache", "verify").expect(12, "damaged")
    compiled.run("doctor", "--check", "artifacts").expect(0, "store.damaged-artifact")
    compiled.run("compile", "p.yaml").expect(0, "went to quarantine")
    compiled.run("doctor", *CHECKS).expect(0, "quarantine  1, ")


def test_thousands_of_damaged_artifacts_are_told_in_a_few_lines(terminal: Terminal) -> None:
    for number in range(2000):
        folder = terminal.store / "artifacts" / f"key{number:04}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    said = terminal.run("doctor", "--check", "artifacts").expect(0, "2000 artifacts are damaged", "1997 more")
    assert len(said.out) < 2000
    terminal.run("doctor", "--check", "artifacts", "--fix", "--yes").expect(0)
    assert terminal.artifacts() == []
    assert len(terminal.quarantined()) == 2000


@pytest.fixture
def full_disk(terminal: Terminal) -> Iterator[Path]:
    """The home of neuronctl lies on a disk on which not a byte is free."""
    disk = terminal.store_home
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    with (disk / "fill").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount command")
def test_a_full_disk_is_one_error(terminal: Terminal, full_disk: Path) -> None:
    said = terminal.run("doctor", "p.yaml", "--offline", "--json").expect(30)
    assert findings(said) == ["disk.full"]
    assert "store.full" not in findings(said, "warning")
    follows = {one["id"]: one["from"] for one in said.envelope["data"]["follows"]}
    assert follows == {"store.full": "disk.full", "artifact.cannot-be-compiled": "disk.full"}
