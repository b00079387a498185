"""Blobs where hard links fail, and the exchange of folders where names cannot be swapped."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from neuronctl.artifacts.blobs import Blobs
from neuronctl.artifacts.exchange import replace
from neuronctl.artifacts.layout import Layout
from neuronctl.digest import digest, digests


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    layout = Layout(tmp_path / "store")
    layout.prepare()
    (tmp_path / "scratch").mkdir()
    return Blobs(layout)


def staged(folder: Path, name: str, content: bytes = b"content") -> tuple[Path, str]:
    path = folder / name
    path.write_bytes(content)
    return path, digest(path)


def test_digests_are_blake3_in_order(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "abc").write_bytes(b"abc")
    found = digests([(tmp_path / "abc", 3), (tmp_path / "missing", 9), (tmp_path / "empty", 0)], durable=True)
    # The values of the BLAKE3 specification's reference implementation.
    assert found[0] == "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
    assert isinstance(found[1], FileNotFoundError)
    assert found[2] == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


def test_a_digest_follows_no_link_and_waits_for_no_pipe(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError):
        digest(tmp_path / "link")
    assert digest(tmp_path / "pipe") == digest(Path(os.devnull))


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
@pytest.mark.parametrize("there", ["nothing", "whole", "damaged"])
def test_without_hard_links_it_copies(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, there: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    path, name = staged(tmp_path, "file")
    blob = blobs.layout.blob(name)
    if there != "nothing":
        blob.parent.mkdir()
        blob.write_bytes(b"content" if there == "whole" else b"CONTENT")
    monkeypatch.setattr(os, "link", refuse)
    blobs.put(path, name, tmp_path / "scratch")
    assert path.read_bytes() == blob.read_bytes() == b"content"
    assert not path.samefile(blob)
    assert [file.name for file in blob.parent.iterdir()] == [name]


def test_other_refusals_come_through(blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    path, name = staged(tmp_path, "file")
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="full"):
        blobs.put(path, name, tmp_path / "scratch")
    assert not blobs.layout.blob(name).exists()
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize("damage", [b"CONTENT", b"cut", b""])
def test_a_damaged_blob_is_replaced(blobs: Blobs, tmp_path: Path, damage: bytes) -> None:
    path, name = staged(tmp_path, "file")
    blob = blobs.layout.blob(name)
    blob.parent.mkdir()
    blob.write_bytes(damage)
    (tmp_path / "scratch" / "link").touch()  # left by a build that was interrupted here
    blobs.put(path, name, tmp_path / "scratch")
    assert blob.read_bytes() == b"content"
    assert path.samefile(blob)
    assert not any((tmp_path / "scratch").iterdir())


def test_discard_removes_only_what_nobody_shares(blobs: Blobs, tmp_path: Path) -> None:
    kept, kept_name = staged(tmp_path, "kept", b"kept")
    gone, gone_name = staged(tmp_path, "gone", b"gone")
    blobs.put(kept, kept_name, tmp_path / "scratch")
    blobs.put(gone, gone_name, tmp_path / "scratch")
    gone.unlink()
    blobs.discard([kept_name, gone_name, "0" * 64])
    assert blobs.layout.blob(kept_name).exists()
    assert not blobs.layout.blob(gone_name).exists()


def folder(path: Path, word: str) -> Path:
    path.mkdir()
    (path / "word").write_text(word)
    return path


@pytest.mark.parametrize("swaps", [True, False])
def test_replace(tmp_path: Path, swaps: bool) -> None:
    new, old = folder(tmp_path / "new", "new"), folder(tmp_path / "old", "old")
    if swaps:
        left = replace(new, old, tmp_path / "aside")
    else:
        left = replace(new, old, tmp_path / "aside", swap=lambda one, other: False)
        assert left == tmp_path / "aside"
    assert (old / "word").read_text() == "new"
    assert (left / "word").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_replace_puts_the_old_one_back(tmp_path: Path) -> None:
    old = folder(tmp_path / "old", "old")
    with pytest.raises(FileNotFoundError):
        replace(tmp_path / "never", old, tmp_path / "aside", swap=lambda one, other: False)
    assert (old / "word").read_text() == "old"
