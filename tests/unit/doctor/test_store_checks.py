"""The store, healthy and in every trouble that doctor knows of."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from neuronctl.artifacts.artifact import Artifact
from neuronctl.artifacts.build import Made, build_once
from neuronctl.artifacts.lock import lock
from neuronctl.artifacts.manifest import Smoke
from neuronctl.artifacts.stage import Stage, open_stage
from neuronctl.artifacts.store import Store
from neuronctl.doctor.check import CannotTell, NotHere, Seen
from neuronctl.doctor.checks import store as checks
from neuronctl.doctor.checks.store import artifacts, builds, quarantine
from neuronctl.doctor.checks.store import store as place
from neuronctl.doctor.facts import Facts
from neuronctl.doctor.run import run_checks
from neuronctl.errors import LockTimedOut
from neuronctl.host import Host
from neuronctl.pipeline import Request
from tests.plan_sample import sample_host

FILES = {"model.pt": b"m" * 1000, "weights/tp0": b"w" * 500}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    environ = {"HOME": str(tmp_path), "NEURONCTL_HOME": str(tmp_path / "home")}
    return Host(environ=environ, cwd=tmp_path, root=tmp_path)


@pytest.fixture
def store(host: Host) -> Store:
    return Store.open(host)


@pytest.fixture
def facts(host: Host) -> Facts:
    return Facts(host)


def compiled(
    store: Store, key: str = "key", *, files: Mapping[str, bytes] = FILES, tested: bool = True
) -> Artifact:
    """An artifact in the store."""

    def build(stage: Stage) -> Made:
        for name, content in files.items():
            path = stage.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        smoke = [Smoke("What?", "That.")] if tested else []
        return Made(inputs={"key": key}, backend="cpu", model="m", profile="p", smoke=smoke)

    return build_once(store, key, build).artifact


def change(path: Path, content: bytes) -> None:
    """Write over a file of an artifact, with a time of its own."""
    path.chmod(0o644)
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))


def ids(seen: Seen) -> list[str]:
    return [finding.id for finding in seen.findings]


def listing(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


# Where it is


def test_a_store_that_is_not_made_yet_is_tried_above_and_not_made(facts: Facts, tmp_path: Path) -> None:
    seen = place.look(facts)
    assert (seen.findings, seen.data["writable"], seen.data["exists"]) == ((), True, False)
    assert "not made yet" in seen.says
    assert listing(tmp_path) == set(), "nothing is left of the trial"


def test_a_store_that_is_there_is_tried_in_itself(facts: Facts, store: Store) -> None:
    compiled(store)
    before = listing(store.root)
    seen = place.look(facts)
    assert (seen.findings, seen.data["tried_in"]) == ((), str(store.root))
    assert listing(store.root) == before


def dangle(at: Path) -> str:
    at.symlink_to("no/where")
    return f"{at} is a symbolic link to {at.parent}/no/where, which is not there"


def loop(at: Path) -> str:
    at.symlink_to(at)
    return f"{at} is a symbolic link that leads back to itself"


def occupy(at: Path) -> str:
    at.write_text("no folder")
    return f"{at}: a file stands where a folder should be"


@pytest.mark.parametrize("place_of", ["home", "home/store", "home/store/v1", "home/store/v1/artifacts"])
@pytest.mark.parametrize(
    ("put", "fix"), [(dangle, "mkdir -p {}/no/where"), (loop, "rm {}/"), (occupy, "mv {}/")]
)
def test_what_stands_in_the_place_of_the_store(
    facts: Facts, tmp_path: Path, put: Callable[[Path], str], fix: str, place_of: str
) -> None:
    at = tmp_path / place_of
    at.parent.mkdir(parents=True, exist_ok=True)
    what = put(at)
    [finding] = place.look(facts).findings
    assert (finding.id, finding.severity) == ("store.unreadable", "error")
    assert finding.message == f"The store cannot be used: {what}"
    assert fix.format(at.parent) in str(finding.fix)
    assert "NEURONCTL_HOME=" in str(finding.fix)
    with pytest.raises(CannotTell, match=r"symbolic link|stands where"):
        artifacts.look(facts)


@pytest.mark.parametrize("name", ["blobs", "locks", "quarantine", "staging"])
def test_a_link_to_nowhere_within_the_store_forbids_to_compile(facts: Facts, store: Store, name: str) -> None:
    compiled(store)
    shutil.rmtree(store.root / name)
    what = dangle(store.root / name)
    [finding] = place.look(facts).findings
    assert (finding.id, finding.severity) == ("store.not-writable", "warning")
    assert what in finding.message


def test_a_file_behind_a_link_is_named(facts: Facts, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "home").symlink_to(tmp_path / "file" / "store")
    [finding] = place.look(facts).findings
    assert f"{tmp_path / 'file'}: a file stands" in finding.message


@pytest.mark.parametrize(
    ("number", "words", "found"),
    [
        (errno.EROFS, "read-only", "store.not-writable"),
        (errno.EACCES, "permission is denied", "store.not-writable"),
        (errno.ENOSPC, "no space", "store.full"),
    ],
)
@pytest.mark.parametrize("is_empty", [False, True])
def test_a_store_that_cannot_be_written(
    facts: Facts,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    words: str,
    found: str,
    is_empty: bool,
) -> None:
    if not is_empty:
        compiled(store)

    def refuse(*args: object, **kwargs: object) -> str:
        raise OSError(number, os.strerror(number), str(store.root / ".trial-x"))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    seen = place.look(facts)
    [finding] = seen.findings
    severity = "error" if is_empty else "warning"
    assert (finding.id, finding.severity, seen.data["writable"]) == (found, severity, False)
    assert words in finding.message
    assert ".trial" not in finding.message
    assert ("Nothing is compiled" in finding.message) is is_empty
    assert ("can be served" in finding.message) is not is_empty


@pytest.mark.parametrize("own", [True, False])
def test_an_empty_store_that_is_not_needed_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    """A folder of the user's own takes its place; of a profile the check of its artifact tells."""

    def refuse(*args: object, **kwargs: object) -> str:
        raise OSError(errno.EACCES, "Permission denied", str(tmp_path))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    environ = {"NEURONCTL_HOME": str(tmp_path / "home")}
    environ |= {"NEURON_COMPILED_ARTIFACTS": "/mine"} if own else {}
    facts = Facts(sample_host(tmp_path, environ), request=None if own else Request("p.yaml"))
    [finding] = place.look(facts).findings
    assert (finding.id, finding.severity) == ("store.not-writable", "warning")
    assert finding.fix == "keep the store on another disk: NEURONCTL_HOME=/path/to/folder"


def test_a_disk_that_fills_up_within_the_trial(
    facts: Facts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.EDQUOT, "quota", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert ids(place.look(facts)) == ["store.full"]
    assert listing(tmp_path) == set()


def test_an_error_that_nobody_has_heard_of_is_told(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(*args: object, **kwargs: object) -> str:
        raise OSError(errno.EPROTO, "Protocol error")

    monkeypatch.setattr(tempfile, "mkdtemp", odd)
    with pytest.raises(CannotTell, match="Protocol error"):
        place.look(facts)


def test_a_file_system_without_hard_links(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    seen = place.look(facts)
    assert [(one.id, one.severity) for one in seen.findings] == [("store.no-hard-links", "info")]
    assert seen.data["hard_links"] is False


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks(facts: Facts, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(fd: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    seen = place.look(facts)
    assert [(one.id, one.severity) for one in seen.findings] == [("store.no-locks", "error")]
    assert os.strerror(number) in seen.findings[0].message


def test_locks_that_keep_nobody_out(facts: Facts, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled(store)
    monkeypatch.setattr(fcntl, "flock", lambda fd, how: None)
    seen = place.look(facts)
    assert [(one.id, one.severity) for one in seen.findings] == [("store.no-locks", "warning")]


# What is in it


def test_nothing_compiled(facts: Facts) -> None:
    with pytest.raises(NotHere):
        artifacts.look(facts)


def test_whole_artifacts(facts: Facts, store: Store) -> None:
    compiled(store)
    compiled(store, "other")
    seen = artifacts.look(facts)
    assert (seen.findings, seen.remedies) == ((), ())
    assert (seen.data["artifacts"], seen.data["damaged"], seen.data["size_bytes"]) == (2, 0, 3000)


@pytest.mark.parametrize("damage", ["content", "missing", "manifest", "no manifest"])
def test_a_damaged_artifact_is_found_and_put_aside(
    facts: Facts, host: Host, store: Store, damage: str
) -> None:
    artifact = compiled(store)
    compiled(store, "other", files={"x": b"1"})
    if damage == "content":
        change(artifact.tree / "model.pt", b"M" * 1000)
    elif damage == "missing":
        (artifact.tree / "model.pt").unlink()
    elif damage == "manifest":
        (artifact.path / "manifest.json").write_text("{}")
    else:
        (artifact.path / "manifest.json").unlink()
    seen = artifacts.look(facts)
    [finding] = seen.findings
    assert (finding.id, finding.severity) == ("store.damaged-artifact", "warning")
    assert "key" in finding.message
    assert "neuronctl cache verify key" in str(finding.fix)
    [remedy] = seen.remedies
    assert remedy.finding == finding.id
    assert remedy.act is not None
    assert "quarantine" in remedy.act(host)
    assert [one.key for one in store.quarantined()] == ["key"]
    assert [one.key for one in store.artifacts()] == ["other"]
    assert not artifacts.look(facts).findings


@pytest.mark.parametrize("damage", ["content", "manifest"])
def test_what_was_compiled_anew_meanwhile_stays(facts: Facts, host: Host, store: Store, damage: str) -> None:
    artifact = compiled(store)
    if damage == "content":
        change(artifact.tree / "model.pt", b"M" * 1000)
    else:
        (artifact.path / "manifest.json").write_text("{}")
    [remedy] = artifacts.look(facts).remedies
    compiled(store)
    before = len(store.quarantined())
    assert remedy.act is not None
    assert "no longer damaged" in remedy.act(host)
    assert store.find("key") is not None
    assert len(store.quarantined()) == before


def test_what_somebody_compiles_now_is_not_put_aside(facts: Facts, host: Host, store: Store) -> None:
    artifact = compiled(store)
    change(artifact.tree / "model.pt", b"M" * 1000)
    [remedy] = artifacts.look(facts).remedies
    assert remedy.act is not None
    with lock(store.layout.lock("key"), host, what="compile", timeout_s=0), pytest.raises(LockTimedOut):
        remedy.act(host)


def test_a_folder_that_is_no_artifact_has_no_remedy(facts: Facts, store: Store) -> None:
    compiled(store)
    (store.layout.artifacts / "not a key").mkdir()
    seen = artifacts.look(facts)
    assert (ids(seen), seen.remedies) == (["store.damaged-artifact"], ())
    assert str(store.layout.artifacts / "not a key") in str(seen.findings[0].fix)


def test_a_copied_store_is_not_read_in_full(
    facts: Facts, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = compiled(store)
    os.utime(artifact.tree / "model.pt", ns=(1, 1))
    assert not artifacts.look(facts).findings, "a little is read"
    monkeypatch.setattr(checks, "_READ_AT_MOST_BYTES", 999)
    [finding] = artifacts.look(facts).findings
    assert (finding.id, finding.severity) == ("store.other-times", "info")
    assert "1000 bytes" in finding.message


def test_files_of_another_user(facts: Facts, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled(store)

    def refuse(artifact: Artifact) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(artifact.tree / "model.pt"))

    monkeypatch.setattr(checks, "verify_quick", refuse)
    seen = artifacts.look(facts)
    assert [(one.id, one.severity) for one in seen.findings] == [("store.unreadable-artifact", "warning")]
    assert "model.pt" in seen.findings[0].message


def damage(store: Store, count: int) -> list[str]:
    """So many artifacts whose manifests are none; their keys."""
    keys = [f"key{number:05}" for number in range(count)]
    for key in keys:
        (store.layout.artifacts / key).mkdir(parents=True)
        (store.layout.artifacts / key / "manifest.json").write_text("{}")
    return keys


def test_many_damaged_artifacts_are_one_finding_and_one_remedy(
    facts: Facts, host: Host, store: Store
) -> None:
    keys = damage(store, 200)
    seen = artifacts.look(facts)
    [finding] = seen.findings
    assert finding.message.startswith("200 artifacts are damaged: key00000 (")
    assert finding.message.endswith(") and 197 more")
    assert "key00003" not in finding.message
    assert "neuronctl doctor --fix" in str(finding.fix)
    assert [one["key"] for one in seen.data["damage"]] == keys  # type: ignore[attr-defined]
    [remedy] = seen.remedies
    assert remedy.act is not None
    assert remedy.act(host).endswith("and 197 more")
    assert store.artifacts() == []
    assert len(store.quarantined()) == 200


def test_one_that_is_in_use_does_not_keep_the_others_from_being_put_aside(
    facts: Facts, host: Host, store: Store
) -> None:
    damage(store, 3)
    compiled(store)
    [remedy] = artifacts.look(facts).remedies
    assert remedy.act is not None
    with lock(store.layout.lock("key00001"), host, what="compile", timeout_s=0):
        assert "key00001.lock, held by" in remedy.act(host)
    assert [one.key for one in store.artifacts()] == ["key", "key00001"]


def test_many_copied_artifacts_are_one_finding(
    facts: Facts, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_READ_AT_MOST_BYTES", 0)
    for number in range(5):
        artifact = compiled(store, f"key{number}", files={"x": b"%d" % number * 2048})
        os.utime(artifact.tree / "x", ns=(1, 1))
    [finding] = artifacts.look(facts).findings
    assert finding.id == "store.other-times"
    assert "10 KiB of artifacts key0, key1, key2 and 2 more have other times" in finding.message
    assert finding.fix == "neuronctl cache verify"


def no_file(at: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(at)
    elif kind == "folder":
        at.mkdir()
    elif kind == "link to itself":
        at.symlink_to(at.name)
    elif kind == "link to a device":
        at.symlink_to("/dev/zero")
    else:
        os.mknod(at, stat.S_IFSOCK | 0o600)


KINDS = ("pipe", "folder", "link to itself", "link to a device", "socket")


@pytest.mark.parametrize("kind", KINDS)
def test_a_manifest_that_is_no_file_is_damage_and_is_not_waited_for(
    facts: Facts, store: Store, kind: str
) -> None:
    compiled(store, "fine")
    manifest = compiled(store).path / "manifest.json"
    manifest.unlink()
    no_file(manifest, kind)
    [finding] = artifacts.look(facts).findings
    assert finding.id == "store.damaged-artifact"
    assert "artifact key is damaged" in finding.message
    compiled(store)
    assert [one.key for one in store.quarantined()] == ["key"]
    assert not artifacts.look(facts).findings


@pytest.mark.parametrize("kind", KINDS)
def test_a_reason_that_is_no_file_is_not_waited_for(facts: Facts, store: Store, kind: str) -> None:
    compiled(store)
    moved = store.quarantine("key", "It did not load.")
    assert moved is not None
    (moved / "reason.json").unlink()
    no_file(moved / "reason.json", kind)
    [finding] = quarantine.look(facts).findings
    assert "not recorded" in finding.message


@pytest.mark.parametrize("name", ["locks/key.lock", "CACHEDIR.TAG"])
def test_a_pipe_in_place_of_the_store_s_own_files_is_not_waited_for(
    facts: Facts, store: Store, name: str
) -> None:
    compiled(store)
    (store.root / name).unlink()
    os.mkfifo(store.root / name)
    assert builds.look(facts).findings == ()
    compiled(store, "another")


def test_a_store_that_cannot_be_listed(facts: Facts, store: Store) -> None:
    store.root.mkdir(parents=True)
    store.layout.artifacts.write_text("no folder")
    assert ids(place.look(facts)) == ["store.unreadable"]
    with pytest.raises(CannotTell, match="a file stands"):
        artifacts.look(facts)


def test_one_artifact_that_cannot_be_read(
    facts: Facts, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = str(compiled(store).path / "manifest.json")
    real = os.open

    def refuse(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path) == manifest:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    assert ids(artifacts.look(facts)) == ["store.unreadable-artifact"]
    assert ids(place.look(facts)) == []


@pytest.fixture
def locked_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store in a folder that this user may not look into; as root one may."""
    compiled(store)
    home = store.host.neuronctl_home

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(path: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(path, (str, Path)) and Path(path).is_relative_to(home) and Path(path) != home:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return real(path, *args, **kwargs)

        return refuse

    for name in ("stat", "lstat", "scandir", "listdir", "open", "mkdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    monkeypatch.setattr(os, "access", lambda path, *args, **kwargs: not Path(path).is_relative_to(home))


def test_a_store_of_somebody_else_is_found_by_one_check(facts: Facts, locked_out: None) -> None:
    outcomes = run_checks(checks.CHECKS, facts)
    assert {one.check.name: one.status for one in outcomes} == {
        "store": "error",
        "artifacts": "cannot-tell",
        "quarantine": "cannot-tell",
        "builds": "cannot-tell",
    }
    [finding] = outcomes[0].findings
    assert finding.id == "store.unreadable"
    assert "permission is denied" in finding.message
    assert not any("mistake" in one.says for one in outcomes)


@pytest.mark.parametrize("name", ["artifacts", "blobs", "locks", "quarantine", "staging"])
def test_a_folder_of_the_store_that_is_another_users(
    facts: Facts, store: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    compiled(store)
    theirs = store.root / name
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != theirs)
    [finding] = place.look(facts).findings
    assert finding.id == "store.not-writable"
    assert f"{theirs}: permission is denied" in finding.message


def test_artifacts_without_a_smoke_test(facts: Facts, store: Store) -> None:
    compiled(store)
    compiled(store, "untested", tested=False)
    seen = artifacts.look(facts)
    assert [(one.id, one.severity) for one in seen.findings] == [("store.untested-artifact", "info")]
    assert seen.data["untested"] == ["untested"]


def test_quarantine(facts: Facts, store: Store) -> None:
    assert quarantine.look(facts).findings == ()
    compiled(store)
    store.quarantine("key", "It did not load.")
    seen = quarantine.look(facts)
    [finding] = seen.findings
    assert (finding.id, finding.severity) == ("store.quarantined", "info")
    assert "It did not load" in finding.message
    assert seen.data["size_bytes"] > 1500  # type: ignore[operator]


# What is under way


@pytest.fixture
def dead(store: Store) -> Iterator[Stage]:
    """What a builder of `gone` left that was killed."""
    compiled(store)
    stage = open_stage(store.layout, "gone")
    (stage.path / "half").write_bytes(b"h" * 2000)
    yield stage


def test_a_quiet_store(facts: Facts, store: Store) -> None:
    assert builds.look(facts).says == "none under way"
    compiled(store)
    before = listing(store.root)
    seen = builds.look(facts)
    assert (seen.says, seen.findings, seen.remedies) == ("none under way", (), ())
    assert listing(store.root) == before


def test_dead_stages_are_found_and_removed(facts: Facts, host: Host, store: Store, dead: Stage) -> None:
    seen = builds.look(facts)
    assert [(one.id, one.severity) for one in seen.findings] == [("store.left-over", "info")]
    assert "gone" in seen.findings[0].message
    assert seen.data["left_over_bytes"] == 2000
    [remedy] = seen.remedies
    assert remedy.finding == "store.left-over"
    assert remedy.act is not None
    assert remedy.act(host) == "2 folders, 1 KiB"
    assert list(store.layout.staging.iterdir()) == []
    assert store.find("key") is not None


def test_a_stage_whose_builder_lives_is_not_left_over(
    facts: Facts, host: Host, store: Store, dead: Stage
) -> None:
    with lock(store.layout.lock("gone"), host, what="compile", timeout_s=0):
        seen = builds.look(facts)
    [finding] = seen.findings
    assert (finding.id, finding.severity) == ("store.busy", "info")
    assert f"process {os.getpid()}" in finding.message
    assert "(compile)" in finding.message
    assert seen.remedies == ()
    assert ids(builds.look(facts)) == ["store.left-over"], "afterwards it is"


def test_a_remedy_spares_a_builder_that_came_meanwhile(
    facts: Facts, host: Host, store: Store, dead: Stage
) -> None:
    [remedy] = builds.look(facts).remedies
    assert remedy.act is not None
    with lock(store.layout.lock("gone"), host, what="compile", timeout_s=0):
        assert remedy.act(host).startswith("0 folders")
        assert dead.path.exists()


def test_a_store_whose_locks_cannot_be_looked_at(
    facts: Facts, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled(store)

    def refuse(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(CannotTell, match="No locks available"):
        builds.look(facts)
