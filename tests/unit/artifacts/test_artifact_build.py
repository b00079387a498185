"""Build once: publish whole, leave nothing after a failure, replace what is damaged."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronctl.artifacts.build import Made, build_once
from neuronctl.artifacts.lock import lock
from neuronctl.artifacts.stage import Stage, aside
from neuronctl.artifacts.store import Store
from neuronctl.artifacts.verify import verify_full, verify_quick
from neuronctl.errors import CompileFailed, Interrupted, MachineUnfit, UsageError
from neuronctl.host import Host

Making = Callable[..., Callable[[Stage], Made]]
FILES = {"a.py": b"print(1)\n", "deep/er/weights.bin": bytes(range(256)) * 40, "empty": b""}


def content(tree: Path) -> dict[str, bytes]:
    return {str(p.relative_to(tree)): p.read_bytes() for p in tree.rglob("*") if p.is_file()}


def is_clean(store: Store) -> bool:
    return not any(store.layout.staging.iterdir())


def never(stage: Stage) -> Made:
    raise AssertionError("built again")


def test_it_builds_once(store: Store, making: Making) -> None:
    first = build_once(store, "k", making(FILES, {"tp": 8}))
    second = build_once(store, "k", never)
    assert (first.built, second.built) == (True, False)
    assert second.artifact == first.artifact
    assert content(second.artifact.tree) == FILES
    assert second.artifact.manifest.inputs == {"tp": 8}
    assert verify_full(second.artifact) == []
    assert is_clean(store)


def test_files_are_read_only_and_shared_with_blobs(store: Store, making: Making) -> None:
    artifact = build_once(store, "k", making(FILES)).artifact
    for entry in artifact.manifest.files:
        facts = (artifact.tree / entry.path).stat()
        assert stat.S_IMODE(facts.st_mode) == 0o444
        assert os.path.samestat(facts, store.layout.blob(entry.blake3).stat())


def test_equal_content_is_kept_once_across_artifacts(store: Store, making: Making) -> None:
    one = build_once(store, "one", making({"x": b"same", "y": b"same"})).artifact
    two = build_once(store, "two", making({"z": b"same"})).artifact
    inodes = {p.stat().st_ino for p in (one.tree / "x", one.tree / "y", two.tree / "z")}
    assert len(inodes) == 1
    assert verify_quick(two) == []


def test_the_store_is_tagged_as_a_cache(store: Store, making: Making) -> None:
    build_once(store, "k", making(FILES))
    tag = (store.root / "CACHEDIR.TAG").read_bytes()
    assert tag.startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted("stop"), ValueError("x"), SystemExit(3)])
def test_a_failing_build_leaves_nothing(store: Store, making: Making, error: BaseException) -> None:
    def build(stage: Stage) -> Made:
        making(FILES)(stage)
        raise error

    with pytest.raises(type(error)):
        build_once(store, "k", build)
    assert store.find("k") is None
    assert is_clean(store)
    assert build_once(store, "k", making(FILES)).built


def test_a_failing_publication_leaves_no_blobs(store: Store, making: Making) -> None:
    def build(stage: Stage) -> Made:
        made = making(FILES)(stage)
        (stage.folder / "manifest.json").write_text("in the way")
        return made

    build_once(store, "other", making({"a.py": FILES["a.py"]}))
    with pytest.raises(MachineUnfit):
        build_once(store, "k", build)
    assert is_clean(store)
    assert [p.read_bytes() for p in store.layout.blobs.rglob("*") if p.is_file()] == [FILES["a.py"]]


def test_a_build_without_files_fails(store: Store) -> None:
    def build(stage: Stage) -> Made:
        (stage.path / "folder").mkdir()
        return Made({}, "cpu", "m", "p")

    with pytest.raises(CompileFailed) as caught:
        build_once(store, "k", build)
    assert caught.value.error_code == "compile.no-output"


def test_the_work_folder_is_not_kept(store: Store, making: Making) -> None:
    def build(stage: Stage) -> Made:
        (stage.work / "work").write_bytes(b"x")
        return making({"a": b"1"})(stage)

    artifact = build_once(store, "k", build).artifact
    assert sorted(p.name for p in artifact.path.iterdir()) == ["manifest.json", "tree"]
    assert is_clean(store)


def test_dead_stages_of_the_key_go_and_others_stay(store: Store, making: Making) -> None:
    store.layout.prepare()
    dead, alive = store.layout.staging / "k.0123", store.layout.staging / "k2.0123"
    for folder in (dead, alive):
        (folder / "artifact" / "tree").mkdir(parents=True)
    (dead / "artifact").chmod(0o500)
    with lock(store.layout.lock("k2"), store.host, what="build", timeout_s=0):
        build_once(store, "k", making(FILES))
    assert not dead.exists()
    assert alive.exists()
    build_once(store, "k3", making(FILES))
    assert not alive.exists()  # its builder is dead by now


def test_an_artifact_that_was_set_aside_comes_back(store: Store, making: Making) -> None:
    artifact = build_once(store, "k", making(FILES)).artifact
    artifact.path.rename(aside(store.layout, "k"))
    assert store.find("k") is None
    outcome = build_once(store, "k", never)
    assert content(outcome.artifact.tree) == FILES
    assert is_clean(store)


def test_a_damaged_artifact_is_quarantined_and_built_again(store: Store, making: Making) -> None:
    artifact = build_once(store, "k", making(FILES)).artifact
    file = artifact.tree / "a.py"
    file.chmod(0o600)
    file.write_bytes(b"print(2)")
    outcome = build_once(store, "k", making(FILES))
    assert outcome.built and outcome.quarantined is not None
    assert (outcome.quarantined / "tree" / "a.py").read_bytes() == b"print(2)"
    assert content(outcome.artifact.tree) == FILES
    assert verify_full(outcome.artifact) == []
    assert [q.path for q in store.quarantined()] == [outcome.quarantined]


@pytest.mark.parametrize("damage", ["no manifest", "broken manifest", "a file in its place"])
def test_a_broken_folder_is_quarantined(store: Store, making: Making, damage: str) -> None:
    artifact = build_once(store, "k", making(FILES)).artifact
    manifest = artifact.path / "manifest.json"
    if damage == "no manifest":
        manifest.unlink()
    elif damage == "broken manifest":
        manifest.write_text(manifest.read_text().replace('"cpu"', '"gpu"'))
    else:
        artifact.path.rename(artifact.path.with_name("elsewhere"))
        artifact.path.write_text("")
    outcome = build_once(store, "k", making(FILES))
    assert outcome.built and outcome.quarantined is not None
    assert verify_full(outcome.artifact) == []


def test_a_manifest_under_another_key_is_not_used(store: Store, making: Making) -> None:
    build_once(store, "k", making(FILES)).artifact.path.rename(store.layout.artifact("k2"))
    moved = store.find("k2")
    assert moved is not None
    assert [problem.kind for problem in verify_quick(moved)] == ["manifest"]
    assert build_once(store, "k2", making(FILES)).built


def test_a_rebuild_replaces(store: Store, making: Making) -> None:
    build_once(store, "k", making(FILES))
    outcome = build_once(store, "k", making({"new": b"1"}), rebuild=True)
    assert outcome.built and outcome.quarantined is None
    assert content(outcome.artifact.tree) == {"new": b"1"}
    assert store.find("k") == outcome.artifact
    assert is_clean(store)


def test_a_failed_rebuild_keeps_the_old_one(store: Store, making: Making) -> None:
    old = build_once(store, "k", making(FILES)).artifact

    def build(stage: Stage) -> Made:
        assert store.find("k") == old  # in use while the new one is made
        making({"new": b"1"})(stage)
        raise CompileFailed("no")

    with pytest.raises(CompileFailed):
        build_once(store, "k", build, rebuild=True)
    assert store.find("k") == old
    assert verify_full(old) == []


def test_a_damaged_blob_is_not_shared(store: Store, making: Making) -> None:
    one = build_once(store, "one", making({"x": b"same"})).artifact
    before = (one.tree / "x").stat()
    (one.tree / "x").chmod(0o600)
    (one.tree / "x").write_bytes(b"evil")
    os.utime(one.tree / "x", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert verify_quick(one) == []  # damage that only hashing can find
    two = build_once(store, "two", making({"x": b"same"})).artifact
    assert (two.tree / "x").read_bytes() == b"same"
    assert verify_full(two) == []
    assert [p.kind for p in verify_quick(one)] == ["content"]  # and who shared it notices now


def test_programs_stay_executable_and_libraries_need_not(store: Store, making: Making) -> None:
    def build(stage: Stage) -> Made:
        made = making({"tool": b"#!", "lib.so": b"elf", "lib.so.1": b"elf1", "plain": b"#!"})(stage)
        for name in ("tool", "lib.so", "lib.so.1"):
            (stage.path / name).chmod(0o755)
        return made

    artifact = build_once(store, "k", build).artifact
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in artifact.tree.iterdir()}
    assert modes == {"tool": 0o555, "lib.so": 0o444, "lib.so.1": 0o444, "plain": 0o444}
    assert {e.path for e in artifact.manifest.files if e.executable} == {"tool"}
    assert verify_full(artifact) == []


def test_links_inside_become_files_and_sockets_go(store: Store, making: Making) -> None:
    def build(stage: Stage) -> Made:
        made = making({"d/real": b"1"})(stage)
        (stage.path / "link").symlink_to("d/real")
        os.mkfifo(stage.path / "pipe")
        os.mknod(stage.path / "socket", stat.S_IFSOCK | 0o600)
        return made

    artifact = build_once(store, "k", build).artifact
    assert content(artifact.tree) == {"d/real": b"1", "link": b"1"}
    assert not (artifact.tree / "link").is_symlink()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "nowhere", "folder", "loop"])
def test_links_that_cannot_be_kept(store: Store, making: Making, target: str) -> None:
    def build(stage: Stage) -> Made:
        (stage.root / "outside").write_text("x")
        made = making({"folder/x": b"1"})(stage)
        (stage.path / "loop").symlink_to(target)
        return made

    with pytest.raises(CompileFailed, match="loop"):
        build_once(store, "k", build)
    assert is_clean(store)


def test_a_file_with_a_name_elsewhere_is_copied(store: Store, making: Making, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"1")

    def build(stage: Stage) -> Made:
        (stage.path / "file").hardlink_to(mine)
        return making({})(stage)

    artifact = build_once(store, "k", build).artifact
    mine.write_bytes(b"2")
    assert verify_full(artifact) == []
    assert stat.S_IMODE(mine.stat().st_mode) != 0o444


def test_a_name_that_is_not_text_fails_in_words(store: Store, making: Making) -> None:
    def build(stage: Stage) -> Made:
        (stage.path / os.fsdecode(b"bad\xff")).write_bytes(b"1")
        return making({})(stage)

    with pytest.raises(CompileFailed, match="UTF-8"):
        build_once(store, "k", build)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_while_building_is_told(store: Store, code: int) -> None:
    def build(stage: Stage) -> Made:
        raise OSError(code, os.strerror(code))

    with pytest.raises(MachineUnfit) as caught:
        build_once(store, "k", build)
    assert caught.value.error_code == "store.full"
    assert "NEURONCTL_HOME=" in (caught.value.fix or "")
    assert str(store.root) in caught.value.what
    assert is_clean(store)


def test_trouble_elsewhere_is_not_the_stores(store: Store, tmp_path: Path) -> None:
    def build(stage: Stage) -> Made:
        raise PermissionError(errno.EACCES, "no", str(tmp_path / "model"))

    with pytest.raises(PermissionError):
        build_once(store, "k", build)


def test_a_file_where_the_store_should_be(tmp_path: Path, making: Making) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(MachineUnfit):
        build_once(Store(tmp_path / "store", Host(environ={})), "k", making(FILES))


@pytest.mark.parametrize("key", ["", "../x", "a/b", "a.b", "-a", "x" * 201, "é"])
def test_what_cannot_be_a_key_is_refused(store: Store, making: Making, key: str) -> None:
    with pytest.raises(UsageError):
        build_once(store, key, making(FILES))
    assert not store.root.exists()


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20)
trees = st.dictionaries(
    st.lists(names.filter(lambda name: name not in (".", "..")), min_size=1, max_size=3).map("/".join),
    st.binary(max_size=300),
    min_size=1,
    max_size=6,
).filter(lambda tree: not any(b.startswith(f"{a}/") for a in tree for b in tree))


@settings(max_examples=60, deadline=None)
@given(trees, st.data())
def test_any_tree_is_kept_and_any_damage_is_found(tree: dict[str, bytes], data: st.DataObject) -> None:
    def build(stage: Stage) -> Made:
        for name, inside in tree.items():
            path = stage.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(inside)
        return Made({}, "cpu", "m", "p")

    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store", Host(environ={}))
        artifact = build_once(store, "k", build).artifact
        assert content(artifact.tree) == tree
        assert verify_full(artifact) == [] == verify_quick(artifact)

        name = data.draw(st.sampled_from(sorted(tree)))
        file = artifact.tree / name
        file.chmod(0o600)
        if not tree[name]:
            file.write_bytes(b"x")
            assert "size" in {problem.kind for problem in verify_quick(artifact)}
        elif data.draw(st.booleans()):
            os.truncate(file, data.draw(st.integers(0, len(tree[name]) - 1)))
            assert "size" in {problem.kind for problem in verify_quick(artifact)}
        else:
            facts = file.stat()
            bad = bytearray(tree[name])
            bad[data.draw(st.integers(0, len(bad) - 1))] ^= data.draw(st.integers(1, 255))
            file.write_bytes(bad)
            os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
            assert f"tree/{name}" in {p.path for p in verify_full(artifact) if p.kind == "content"}
        assert build_once(store, "k", build, rebuild=True).built
        again = store.find("k")
        assert again is not None
        assert content(again.tree) == tree


@dataclass(frozen=True)
class BusyHost(Host):
    """A host on which something happens whenever somebody looks at the clock."""

    happens: list[Callable[[], object]] = field(default_factory=list)

    def now(self) -> float:
        for one in self.happens:
            one()
        return super().now()


@pytest.mark.parametrize("late", ["write", "new file", "removal"])
def test_a_process_that_still_writes_is_noticed(tmp_path: Path, making: Making, late: str) -> None:
    host = BusyHost(environ={})
    store = Store(tmp_path / "store", host)

    def build(stage: Stage) -> Made:
        made = making(FILES)(stage)
        file = (stage.path / "a.py").open("r+b", buffering=0)
        stack.push(file)
        # The clock is looked at for the manifest, after all files are hashed.
        host.happens.append(
            {
                "write": lambda: file.write(b"P"),
                "new file": (stage.path / "new").touch,
                "removal": lambda: (stage.path / "empty").unlink(missing_ok=True),
            }[late]
        )
        return made

    with ExitStack() as stack:
        with pytest.raises(CompileFailed) as caught:
            build_once(store, "k", build)
        assert caught.value.error_code == "compile.output-unstable"
    host.happens.clear()
    assert store.find("k") is None
    assert is_clean(store)


def test_all_is_on_the_disk_before_it_can_be_seen(
    store: Store, making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    fsync = os.fsync

    def watch(fd: int) -> None:
        if not store.layout.artifact("k").exists():
            synced.add(os.fstat(fd).st_ino)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watch)
    artifact = build_once(store, "k", making(FILES)).artifact
    needed = [artifact.path, *artifact.path.rglob("*")]
    needed += [store.layout.blob(entry.blake3).parent for entry in artifact.manifest.files]
    assert [path for path in needed if path.stat().st_ino not in synced] == []
