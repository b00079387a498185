"""What doctor says of a profile's artifact, by what the store has and what it allows."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from neuronctl.artifacts.build import Made, build_once
from neuronctl.artifacts.stage import Stage
from neuronctl.artifacts.store import Store
from neuronctl.doctor.check import Outcome
from neuronctl.doctor.checks.profile import artifact
from neuronctl.errors import Exit
from neuronctl.plan.plan import Plan
from tests.doctor_sample import look
from tests.plan_sample import only, sample_host, sample_plan


def look_up(tmp_path: Path, policy: str = "auto") -> Outcome:
    return look(artifact, tmp_path, plan=planned(tmp_path, policy))


def planned(tmp_path: Path, policy: str) -> Plan:
    return sample_plan(tmp_path, f"artifacts: {{policy: {policy}}}\n")


def compiled(tmp_path: Path) -> None:
    """What the plan asks for is in the store."""
    plan = planned(tmp_path, "auto")

    def build(stage: Stage) -> Made:
        (stage.path / "model.pt").write_bytes(b"m" * 100)
        return Made(inputs=dict(plan.key_inputs), backend="cpu", model="m", profile="p", smoke=[])

    build_once(Store.open(sample_host(tmp_path)), plan.key, build)


@pytest.fixture(params=["read-only", "without locks"])
def ruin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the disk one on which nothing can be compiled."""

    def refuse(number: int) -> None:
        raise OSError(number, os.strerror(number))

    def change() -> None:
        if request.param == "read-only":
            monkeypatch.setattr(tempfile, "mkdtemp", lambda **options: refuse(errno.EROFS))
        else:
            monkeypatch.setattr(fcntl, "flock", lambda fd, how: refuse(errno.ENOLCK))

    return change


def test_a_miss_is_no_fault(tmp_path: Path) -> None:
    outcome = look_up(tmp_path)
    finding = only(list(outcome.findings))
    assert (finding.id, finding.severity) == ("artifact.not-compiled", "info")


def test_a_miss_that_nobody_can_compile_is_an_error(tmp_path: Path, ruin: Callable[[], None]) -> None:
    ruin()
    outcome = look_up(tmp_path)
    finding = only(list(outcome.findings))
    assert (finding.id, finding.severity) == ("artifact.cannot-be-compiled", "error")
    assert outcome.exit_code == Exit.MACHINE_UNFIT
    assert "no artifact answers the key" in finding.message
    assert "NEURONCTL_HOME" in (finding.fix or "")


@pytest.mark.parametrize(("policy", "status"), [("auto", "ok"), ("cached-only", "ok"), ("always", "error")])
def test_what_is_compiled_needs_no_store_to_write_to(
    tmp_path: Path, ruin: Callable[[], None], policy: str, status: str
) -> None:
    compiled(tmp_path)
    ruin()
    assert look_up(tmp_path, policy).status == status


def test_damage_that_nobody_can_mend_is_an_error(tmp_path: Path, ruin: Callable[[], None]) -> None:
    compiled(tmp_path)
    (file,) = (tmp_path / "home").rglob("tree/model.pt")
    file.unlink()
    assert [one.id for one in look_up(tmp_path).findings] == ["artifact.not-usable"]
    ruin()
    outcome = look_up(tmp_path)
    assert [one.id for one in outcome.findings] == ["artifact.cannot-be-compiled"]
    assert "is damaged" in outcome.findings[0].message


def test_a_policy_that_forbids_to_compile_asks_no_disk(tmp_path: Path, ruin: Callable[[], None]) -> None:
    ruin()
    outcome = look_up(tmp_path, "cached-only")
    assert [one.id for one in outcome.findings] == ["artifact.may-not-compile"]
    assert outcome.exit_code == Exit.CACHE_MISS
