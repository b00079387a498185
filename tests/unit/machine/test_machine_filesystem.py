"""The file system that neuronctl's own folder is on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neuronctl.host import Host
from neuronctl.machine.detect import detect_machine

MOUNTS = """\
overlay / overlay rw 0 0
efs:/ /shared nfs4 rw 0 0
/dev/nvme1n1 /shared/local\\040disk xfs rw 0 0
/dev/nvme2n1 /shared/tab\\011here ext4 rw 0 0
junk
"""


@pytest.mark.parametrize(
    ("home", "kind"),
    [
        ("/shared/neuronctl", "nfs4"),
        ("/shared/local disk/neuronctl", "xfs"),
        ("/shared/tab\there/neuronctl", "ext4"),
        ("/sharedness", "overlay"),
        ("/", "overlay"),
    ],
)
def test_the_longest_mount_point_tells(tmp_path: Path, home: str, kind: str) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "mounts").write_text(MOUNTS)
    host = Host(environ={"HOME": "/home/x", "NEURONCTL_HOME": home}, cwd=tmp_path, root=tmp_path)
    assert detect_machine(host).filesystem == kind


def test_a_file_system_that_reports_no_blocks_is_not_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: nothing)
    host = Host(environ={"HOME": str(tmp_path)}, cwd=tmp_path, root=tmp_path)
    assert detect_machine(host).disk_free_bytes is None


def test_without_mounts_nothing_is_said(tmp_path: Path) -> None:
    assert detect_machine(Host(environ={"HOME": "/h"}, cwd=tmp_path, root=tmp_path)).filesystem is None
