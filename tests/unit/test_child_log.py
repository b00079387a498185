"""The log of a child is limited in size and never a reason to stop."""

from __future__ import annotations

import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from neuronctl.child_log import ChildLog


def kept(path: Path) -> bytes:
    files = sorted(path.parent.glob(path.name + ".*"), reverse=True)
    return b"".join(file.read_bytes() for file in [*files, path])


def test_what_is_written_is_in_the_file_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "server.log"
    log = ChildLog(path)
    log.write(b"one\n")
    log.write(b"two\n")
    log.close()
    assert path.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert log.problem is None


def test_a_later_log_continues_an_earlier_one(tmp_path: Path) -> None:
    for text in (b"first\n", b"second\n"):
        log = ChildLog(tmp_path / "l")
        log.write(text)
        log.close()
    assert (tmp_path / "l").read_bytes() == b"first\nsecond\n"


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=60))
def test_rotation_keeps_the_end_in_order_and_stays_small(
    tmp_path_factory: object, blocks: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("log") / "l"  # type: ignore[attr-defined]
    log = ChildLog(path, max_bytes=500, files=3)
    for block in blocks:
        log.write(block)
    log.close()
    files = list(path.parent.iterdir())
    assert len(files) <= 3
    assert all(file.stat().st_size <= 500 for file in files)
    everything = b"".join(blocks)
    assert everything.endswith(kept(path))
    if len(everything) <= 500:
        assert kept(path) == everything


def test_a_full_disk_is_survived_and_told(tmp_path: Path) -> None:
    path = tmp_path / "l"
    path.symlink_to("/dev/full")
    log = ChildLog(path)
    log.write(b"x" * 1000)
    log.write(b"y" * 500)
    assert log.problem is not None
    assert "No space left" in log.problem
    assert log.lost_bytes == 1500
    log.close()
    path.unlink()
    log.write(b"there is space again\n")
    log.close()
    assert log.problem is None
    text = path.read_text()
    assert "1500 bytes" in text
    assert text.endswith("there is space again\n")


def test_a_log_that_cannot_be_opened_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = ChildLog(tmp_path / "file" / "l")
    log.write(b"text\n")
    assert log.problem is not None
    assert log.lost_bytes == 5
