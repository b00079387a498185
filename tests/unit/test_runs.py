"""Runs: names of logs, how many are kept, and whose folders are swept away."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from neuronctl.host import Host
from neuronctl.runs import LOGS_KEPT, open_run


class Noon(Host):
    """A Host at whose clock it is always 2024-05-06 12:00:00 UTC."""

    def now(self) -> float:
        return 1714996800.0


@pytest.fixture
def host(tmp_path: Path) -> Noon:
    return Noon(environ={"NEURONCTL_HOME": str(tmp_path / "home")}, cwd=tmp_path)


def test_a_log_is_named_by_time_purpose_and_profile_and_stays(tmp_path: Path, host: Noon) -> None:
    with open_run(host, "smollm2-cpu", "compile") as run:
        assert run.log == tmp_path / "home" / "logs" / "20240506T120000-compile-smollm2-cpu.log"
        assert run.work.parent == tmp_path / "home" / "run"
        assert list(run.work.iterdir()) == []
        (run.work / "file").touch()
    assert run.log.exists()
    assert not run.work.exists()


def test_the_work_goes_when_the_run_fails_too(host: Noon) -> None:
    with pytest.raises(KeyError), open_run(host, "p", "serve") as run:
        raise KeyError
    assert not run.work.exists()


def test_two_logs_of_one_second_have_two_names(host: Noon) -> None:
    with open_run(host, "p", "serve") as one, open_run(host, "p", "serve") as two:
        assert one.log.name == "20240506T120000-serve-p.log"
        assert two.log.name == "20240506T120000-serve-p-1.log"
        assert one.work != two.work


@pytest.mark.parametrize(
    ("name", "written"),
    [("../../etc/passwd", "..-..-etc-passwd"), ("a b\nc", "a-b-c"), ("", "profile"), ("x" * 300, "x" * 60)],
)
def test_no_name_leads_out_of_the_folder(host: Noon, name: str, written: str) -> None:
    with open_run(host, name, "serve") as run:
        assert run.log.name == f"20240506T120000-serve-{written}.log"
        assert run.log.parent.name == "logs"


def test_the_newest_logs_are_kept(tmp_path: Path, host: Noon) -> None:
    logs = tmp_path / "home" / "logs"
    logs.mkdir(parents=True)
    for number in range(LOGS_KEPT + 7):
        log = logs / f"20230101T0000{number:02d}-serve-p.log"
        log.touch()
        os.utime(log, (1_700_000_000 + number,) * 2)
    (logs / "20230101T000003-serve-p.log.1").touch()
    # Begun long ago and still written: a server that has run for weeks.
    (logs / "20220101T000000-serve-p.log").touch()
    (logs / "notes.txt").touch()
    with open_run(host, "p", "serve"):
        names = sorted(path.name for path in logs.glob("*.log"))
    assert len(names) == LOGS_KEPT + 1
    assert names[:2] == ["20220101T000000-serve-p.log", "20230101T000008-serve-p.log"]
    assert not list(logs.glob("*.log.1"))
    assert names[-1] == "20240506T120000-serve-p.log"
    assert (logs / "notes.txt").exists()


def test_only_what_killed_runs_left_is_swept(tmp_path: Path, host: Noon) -> None:
    runs = tmp_path / "home" / "run"
    (runs / "killed" / "deep").mkdir(parents=True)
    (runs / "killed.lock").touch()
    (runs / "plain").mkdir()
    with open_run(host, "p", "serve") as running, open_run(host, "q", "serve"):
        assert running.work.is_dir()
        assert not (runs / "killed").exists()
        assert (runs / "plain").exists()
    assert [path.name for path in runs.iterdir()] == ["plain"]


def test_a_log_is_for_its_owner_only(host: Noon) -> None:
    with open_run(host, "p", "serve") as run:
        assert run.log.stat().st_mode & 0o077 == 0


def test_a_home_that_cannot_be_written_falls_back(
    tmp_path: Path, host: Noon, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "home").write_text("a file where the folder should be")
    with open_run(host, "p", "serve") as run:
        assert run.log.is_relative_to(tmp_path / "temporary")
        assert run.log.exists()
        assert run.work.is_dir()
    assert run.log.exists()
    assert not run.work.exists()
