"""The lock: one holder at a time, who says who it is; waiting has an end."""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.artifacts.lock import Holder, lock, read_holder
from neuronctl.errors import LockTimedOut, MachineUnfit
from neuronctl.host import Host


@dataclass
class Clock:
    now_s: float = 1000.0
    slept: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class TurnedHost(Host):
    """A host whose clock moves only when somebody sleeps."""

    clock: Clock = field(default_factory=Clock)

    def monotonic(self) -> float:
        return self.clock.now_s

    def now(self) -> float:
        return self.clock.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.clock.slept.append(seconds)
        self.clock.now_s += seconds


@pytest.fixture
def host(tmp_path: Path) -> TurnedHost:
    return TurnedHost(environ={}, cwd=tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "k.lock"


def is_free(path: Path) -> bool:
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def test_it_is_held_and_let_go(path: Path, host: TurnedHost) -> None:
    with lock(path, host, what="compile", timeout_s=1) as waited_s:
        assert waited_s == 0
        assert not is_free(path)
        assert read_holder(path) == Holder(os.getpid(), os.uname().nodename, 1000.0, "compile")
    assert is_free(path)
    assert read_holder(path) == Holder()


def test_it_is_let_go_after_an_error(path: Path, host: TurnedHost) -> None:
    with pytest.raises(KeyboardInterrupt), lock(path, host, what="compile", timeout_s=1):
        raise KeyboardInterrupt
    assert is_free(path)


def test_waiting_ends_and_names_the_holder(path: Path, host: TurnedHost) -> None:
    told: list[tuple[Holder, float]] = []
    with lock(path, host, what="compile llama", timeout_s=1):
        host.clock.now_s += 60
        with (
            pytest.raises(LockTimedOut) as caught,
            lock(path, host, what="x", timeout_s=10, on_wait=lambda who, for_s: told.append((who, for_s))),
        ):
            raise AssertionError("taken twice")
        assert not is_free(path)
    assert sum(host.clock.slept) == pytest.approx(10)
    assert max(host.clock.slept) <= 0.5
    assert {who.what for who, _ in told} == {"compile llama"}
    assert told[0][1] == 0 and told[-1][1] < 10
    assert f"process {os.getpid()}" in caught.value.what
    assert "for 70 s" in caught.value.what
    assert caught.value.details["holder_what"] == "compile llama"


def test_without_patience_it_fails_at_once(path: Path, host: TurnedHost) -> None:
    with lock(path, host, what="a", timeout_s=0):
        with pytest.raises(LockTimedOut), lock(path, host, what="b", timeout_s=0):
            pass
        assert host.clock.slept == []


def test_a_lock_file_that_was_replaced_meanwhile_is_not_trusted(path: Path, host: TurnedHost) -> None:
    first = lock(path, host, what="first", timeout_s=1)
    first.__enter__()

    def replace(holder: Holder, waited_s: float) -> None:
        if path.exists() and waited_s == 0:
            path.unlink()
            path.touch()
            first.__exit__(None, None, None)

    with lock(path, host, what="second", timeout_s=5, on_wait=replace):
        assert not is_free(path)  # it holds the file that others will open
        assert read_holder(path).what == "second"


def test_an_impossible_lock_file(tmp_path: Path, host: TurnedHost) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(MachineUnfit) as caught,
        lock(tmp_path / "file" / "k.lock", host, what="x", timeout_s=1),
    ):
        pass
    assert caught.value.details["errno"] == errno.errorcode[errno.ENOTDIR]


@given(st.binary(max_size=60) | st.sampled_from([b"[]", b"1", b'{"pid": "x", "since": null, "what": 3}']))
def test_any_content_is_a_holder(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.lock"
    path.write_bytes(data)
    holder = read_holder(path)
    assert holder == Holder()
    assert str(holder) == "another process"
