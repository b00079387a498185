"""What doctor says of the disks under the store, the hub's cache and temporary files."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neuronctl.doctor.checks import disks as checks
from neuronctl.doctor.checks import network_folders as network
from neuronctl.doctor.checks.network_folders import network_folders
from neuronctl.doctor.facts import Facts, Once
from neuronctl.doctor.place import HUB, STORE, TEMPORARY
from neuronctl.doctor.run import run_checks
from neuronctl.machine.mounts import find_mount, read_mounts
from neuronctl.machine.room import Room, Silence, measure_room, measure_rooms
from neuronctl.stack.assume import assume_stack
from tests.doctor_sample import ids, look
from tests.plan_sample import only, sample_host

GIB = 1 << 30
PLENTY = Room(Path("/x"), Path("/x"), 1, 100 * GIB, 50 * GIB, 1000, 900, None)


@pytest.fixture
def rooms(monkeypatch: pytest.MonkeyPatch) -> dict[str, Room | Silence]:
    """What the places have; a test changes it."""
    told: dict[str, Room | Silence] = {
        STORE: PLENTY,
        HUB: replace(PLENTY, device=2),
        TEMPORARY: replace(PLENTY, device=3),
    }
    monkeypatch.setattr(
        checks, "measure_rooms", lambda places, timeout_s: {name: told[name] for name in places}
    )
    return told


Rooms = dict[str, Room | Silence]


def test_three_places_on_one_file_system_are_told_once(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()  # that of the host; the others are not there yet
    outcome = look(checks.disks, tmp_path)
    assert outcome.says.count("free of") == 1
    assert outcome.says.startswith("store, hub's cache and temporary files: ")
    assert set(outcome.data) == {"store", "hub_cache", "temporary_files"}


def test_healthy_disks_are_told_each(tmp_path: Path, rooms: Rooms) -> None:
    outcome = look(checks.disks, tmp_path)
    assert outcome.status == "ok"
    assert outcome.says.count("50.0 GiB free of 100.0 GiB") == 3


@pytest.mark.parametrize(
    ("name", "free_bytes", "found"),
    [
        (STORE, 5 * GIB - 1, ["disk.nearly-full"]),
        (STORE, 5 * GIB, []),
        (HUB, 4 * GIB, ["disk.nearly-full"]),
        (TEMPORARY, 4 * GIB, []),
        (TEMPORARY, GIB - 1, ["disk.nearly-full"]),
        (STORE, 0, ["disk.full"]),
        (TEMPORARY, 0, ["disk.full"]),
        (HUB, 0, ["disk.nearly-full"]),  # what is there can be served
    ],
)
def test_disk_nearly_full(tmp_path: Path, rooms: Rooms, name: str, free_bytes: int, found: list[str]) -> None:
    rooms[name] = replace(PLENTY, device=9, free_bytes=free_bytes)
    outcome = look(checks.disks, tmp_path)
    assert ids(outcome) == found
    if found:
        variable = {STORE: "NEURONCTL_HOME", HUB: "HF_HOME", TEMPORARY: "TMPDIR"}[name]
        assert variable in (outcome.findings[0].fix or "")


def test_several_places_on_a_full_disk_are_one_finding(tmp_path: Path, rooms: Rooms) -> None:
    full = replace(PLENTY, free_bytes=0)
    rooms.update({STORE: full, HUB: full, TEMPORARY: full})
    finding = only(list(look(checks.disks, tmp_path).findings))
    assert (finding.id, finding.severity) == ("disk.full", "error")
    assert "store, hub's cache and folder of temporary files live (" in finding.message


@pytest.mark.parametrize("name", [STORE, HUB, TEMPORARY])
def test_a_file_system_that_tells_no_size_is_not_full(tmp_path: Path, rooms: Rooms, name: str) -> None:
    """ramfs, tmpfs with size=0, file systems in user space without statfs."""
    rooms[name] = replace(PLENTY, device=9, size_bytes=0, free_bytes=0, files=0, free_files=0)
    outcome = look(checks.disks, tmp_path)
    assert (outcome.status, ids(outcome)) == ("ok", [])
    assert f"{name}: no limit known" in outcome.says
    told = outcome.data[{STORE: "store", HUB: "hub_cache", TEMPORARY: "temporary_files"}[name]]
    assert isinstance(told, dict)
    assert (told["size_bytes"], told["free_bytes"]) == (None, None)


def test_inodes_may_be_counted_where_bytes_are_not(tmp_path: Path, rooms: Rooms) -> None:
    """tmpfs with size=0 and nr_inodes."""
    rooms[STORE] = replace(PLENTY, size_bytes=0, free_bytes=0, files=1000, free_files=0)
    finding = only(list(look(checks.disks, tmp_path).findings))
    assert (finding.id, finding.message[:29]) == ("disk.full", "not a single inode is free wh")


@pytest.mark.parametrize(
    ("files", "free_files", "found"),
    [(1000, 49, ["disk.few-inodes"]), (1000, 50, []), (1000, 0, ["disk.full"]), (0, 0, [])],
)
def test_disk_few_inodes(tmp_path: Path, rooms: Rooms, files: int, free_files: int, found: list[str]) -> None:
    rooms[STORE] = replace(PLENTY, files=files, free_files=free_files)
    outcome = look(checks.disks, tmp_path)
    assert ids(outcome) == found
    assert outcome.data["store"]["inodes"] == (files or None)  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (HUB, ["disk.not-writable"]),
        (TEMPORARY, ["disk.not-writable"]),
        (STORE, []),
    ],  # the store's own check tries
)
def test_disk_not_writable(tmp_path: Path, rooms: Rooms, name: str, found: list[str]) -> None:
    closed = "the file system is mounted read-only"
    rooms[name] = replace(PLENTY, device=9, closed=closed, free_bytes=0)
    outcome = look(checks.disks, tmp_path)
    assert ids(outcome) == found
    assert all(closed in one.message for one in outcome.findings)


def test_disk_no_answer(tmp_path: Path, rooms: Rooms) -> None:
    mounts = "server:/x /data nfs4 rw,hard 0 0\n"
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "mounts").write_text(mounts)
    rooms[STORE] = Silence("gave no answer in 2 s", hangs=True)
    outcome = look(checks.disks, tmp_path, {"NEURONCTL_HOME": "/data/neuronctl"})
    finding = only(list(outcome.findings))
    assert (finding.id, finding.severity) == ("disk.no-answer", "error")
    assert finding.message == "the store /data/neuronctl (nfs4, mounted at /data) gave no answer in 2 s"
    assert "umount -f -l /data" in (finding.fix or "")
    assert "hub's cache: 50.0 GiB" in outcome.says


def test_disk_cannot_be_looked_at(tmp_path: Path, rooms: Rooms) -> None:
    rooms[HUB] = Silence("cannot be looked at: Input/output error")
    assert ids(look(checks.disks, tmp_path)) == ["disk.cannot-be-looked-at"]


def test_a_user_without_a_home_is_told_so(tmp_path: Path, rooms: Rooms) -> None:
    outcome = look(checks.disks, tmp_path, {"HOME": "not/absolute"})
    assert ids(outcome) == ["disk.cannot-be-looked-at"] * 2
    assert "HOME" in outcome.findings[0].message
    assert "temporary files" in outcome.says


def test_the_check_does_not_wait_for_the_facts_of_the_machine(tmp_path: Path, rooms: Rooms) -> None:
    """They hang as well where a server of files does."""
    facts = Facts(sample_host(tmp_path))

    def refuse() -> Any:
        raise AssertionError("asked for the machine")

    facts.machine = Once(refuse)
    facts.stack = Once(refuse)
    (outcome,) = run_checks((checks.disks,), facts)
    assert outcome.status == "ok"


# The room itself


def test_a_room_that_hangs_does_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over, real = threading.Event(), os.statvfs

    def statvfs(path: Path) -> os.statvfs_result:
        if path.name == "hangs":
            over.wait(30)
        return real(path)

    (tmp_path / "hangs").mkdir()
    monkeypatch.setattr(os, "statvfs", statvfs)
    begun = time.monotonic()
    found = measure_rooms({"a": tmp_path / "hangs", "b": tmp_path}, 0.2)
    took_s = time.monotonic() - begun
    over.set()
    assert took_s < 10
    assert found["a"] == Silence("gave no answer in 0.2 s", hangs=True)
    assert isinstance(found["b"], Room)


def test_an_error_of_the_disk_is_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def statvfs(path: Path) -> os.statvfs_result:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert measure_rooms({"a": tmp_path}, 5) == {"a": Silence("cannot be looked at: Input/output error")}


def test_what_does_not_exist_yet_is_measured_above(tmp_path: Path) -> None:
    room = measure_room(tmp_path / "not" / "yet")
    assert (room.folder, room.closed) == (tmp_path, None)
    assert room.size_bytes >= room.free_bytes > 0
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "too")
    assert measure_room(tmp_path / "link").path == tmp_path / "elsewhere" / "too"


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert measure_room(tmp_path / "file" / "below").closed == f"{tmp_path / 'file'} is no folder"


def test_what_this_user_may_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    assert "may not write" in str(measure_room(tmp_path).closed)


# Network file systems

MOUNTS = """\
overlay / overlay rw,relatime 0 0
/dev/nvme1n1 /home ext4 rw 0 0
old:/ /data nfs rw 0 0
fs-1.efs.eu-west-1.amazonaws.com:/ /data nfs4 rw,hard 0 0
10.0.0.2@tcp:/abc /fsx lustre rw,flock 0 0
10.0.0.2@tcp:/abc /fsx-without lustre rw 0 0
server:/ /local\\040locks nfs rw,local_lock=all 0 0
bucket /bucket fuse.mount-s3 rw 0 0
mountpoint-s3 /s3 fuse rw 0 0
user@host:/ /ssh fuse.sshfs rw 0 0
fuse-overlayfs /rootless fuse.fuse-overlayfs rw 0 0
https://me:secret@host/ /dav fuse.davfs rw 0 0
junk
"""


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which MOUNTS are; none of the places is really asked."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(
        network,
        "measure_rooms",
        lambda places, timeout_s: {name: replace(PLENTY, path=path) for name, path in places.items()},
    )
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "kind", "is_network"),
    [
        ("/home/me", "ext4", False),
        ("/homeless", "overlay", False),
        ("/data", "nfs4", True),
        ("/fsx/a/b", "lustre", True),
        ("/local locks/x", "nfs", True),
        ("/bucket", "fuse.mount-s3", True),
        ("/s3/x", "fuse", True),
        ("/ssh", "fuse.sshfs", True),
        ("/rootless", "fuse.fuse-overlayfs", False),
        ("/", "overlay", False),
    ],
)
def test_what_a_folder_lies_on(mounted: Path, folder: str, kind: str, is_network: bool) -> None:
    mount = find_mount(folder, read_mounts(sample_host(mounted)))
    assert mount is not None
    assert (mount.kind, mount.is_network) == (kind, is_network)


def test_a_password_in_the_list_of_mounts_is_not_kept(mounted: Path) -> None:
    assert "secret" not in repr(read_mounts(sample_host(mounted)))


@pytest.mark.parametrize(
    ("home", "hub", "found"),
    [
        ("/home/n", "/home/h", []),
        ("/data/n", "/home/h", ["disk.network"]),
        ("/home/n", "/fsx/h", ["disk.network"]),
        ("/data/n", "/data/h", ["disk.network"]),
        ("/data/n", "/fsx/h", ["disk.network", "disk.network"]),
        ("/home/n", "/fsx-without/h", ["disk.network", "disk.no-locks"]),
        ("/fsx-without/n", "/home/h", ["disk.network"]),  # the store's own check tries its locks
        ("/local locks/n", "/home/h", ["disk.network", "disk.local-locks"]),
        ("/home/n", "/s3/h", ["disk.bucket"]),
    ],
)
def test_disk_network(mounted: Path, home: str, hub: str, found: list[str]) -> None:
    outcome = look(network_folders, mounted, {"NEURONCTL_HOME": home, "HF_HUB_CACHE": hub})
    assert ids(outcome) == found
    assert all(one.source for one in outcome.findings)


def test_a_network_file_system_is_named_as_people_know_it(mounted: Path) -> None:
    environ = {"NEURONCTL_HOME": "/data/n", "HF_HUB_CACHE": "/data/h"}
    outcome = look(network_folders, mounted, environ)
    assert outcome.says == "store and hub's cache on nfs4"
    assert (
        outcome.findings[0].message
        == "the store and hub's cache lie on a network file system (EFS, nfs4, mounted at /data)"
    )
    assert outcome.data == {"file_systems": {"store": "nfs4", "hub_cache": "nfs4"}}
    assert "FSx" in look(network_folders, mounted, {**environ, "NEURONCTL_HOME": "/fsx"}).findings[0].message


def test_the_native_plugin_has_a_rule_of_its_own(mounted: Path) -> None:
    environ = {"NEURONCTL_HOME": "/data/n", "HF_HUB_CACHE": "/home/h"}
    outcome = look(network_folders, mounted, environ, stack=assume_stack("sdk-2.32"), filesystem="nfs4")
    assert ids(outcome) == ["disk.network", "artifacts.network-filesystem"]


def test_without_the_list_of_mounts_nothing_is_claimed(tmp_path: Path) -> None:
    assert look(network_folders, tmp_path).status == "cannot-tell"
