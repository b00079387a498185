"""The file system that neuronctl's own folder is on."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.host import Host
from neuronctl.machine.detect import detect_machine

MOUNTS = """\
overlay / overlay rw 0 0
efs:/ /shared nfs4 rw 0 0
/dev/nvme1n1 /shared/local\\040disk xfs rw 0 0
junk
"""


@pytest.mark.parametrize(
    ("home", "kind"),
    [
        ("/shared/neuronctl", "nfs4"),
        ("/shared/local disk/neuronctl", "xfs"),
        ("/sharedness", "overlay"),
        ("/", "overlay"),
    ],
)
def test_the_longest_mount_point_tells(tmp_path: Path, home: str, kind: str) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "mounts").write_text(MOUNTS)
    host = Host(environ={"HOME": "/home/x", "NEURONCTL_HOME": home}, cwd=tmp_path, root=tmp_path)
    assert detect_machine(host).filesystem == kind


def test_without_mounts_nothing_is_said(tmp_path: Path) -> None:
    assert detect_machine(Host(environ={"HOME": "/h"}, cwd=tmp_path, root=tmp_path)).filesystem is None
