"""What is said of the hub's answers; the real client and a hub are in tests/process/test_doctor_hub.py."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from threading import Event

import huggingface_hub
import pytest

from neuronctl.doctor.check import CannotTell, NotHere
from neuronctl.doctor.checks import hub as checks
from neuronctl.doctor.checks.clock import clock
from neuronctl.doctor.checks.hub import access, hub, token
from neuronctl.doctor.facts import Facts
from neuronctl.model import hub_answer
from neuronctl.model.hub_answer import Answer
from neuronctl.pipeline import Request
from tests.plan_sample import sample_host

JSON = {"content-type": "application/json; charset=utf-8"}
SECRET = "hf_planted_secret_of_a_test"
CHECKS = (*checks.CHECKS, clock)
Say = Callable[[Answer | Exception], list[str]]


@pytest.fixture
def hub_says(monkeypatch: pytest.MonkeyPatch) -> Say:
    """Let the hub answer so; gives the paths it is asked for."""

    def says(answer: Answer | Exception) -> list[str]:
        asked: list[str] = []

        def ask(path: str, *args: object, **kwargs: object) -> Answer:
            asked.append(path)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(hub_answer, "ask_hub", ask)
        return asked

    return says


@pytest.fixture
def facts(tmp_path: Path) -> Facts:
    return Facts(sample_host(tmp_path))


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)


def have_token(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: text)


def answer(status: int = 200, body: str = "[]", *, at: float = 0.0, **headers: str) -> Answer:
    return Answer(status, {**JSON, **headers}, body, at)


def named(root: Path, text: str = "model: {id: org/small}") -> Facts:
    (root / "p.yaml").write_text(text)
    return Facts(sample_host(root), request=Request("./p.yaml"))


def test_every_check_asks_the_network() -> None:
    assert {check.asks for check in CHECKS} == {"network"}


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_nobody_asks_where_it_is_forbidden(tmp_path: Path, hub_says: Say, variable: str) -> None:
    asked = hub_says(answer())
    (tmp_path / "p.yaml").write_text("model: {id: org/small}")
    facts = Facts(sample_host(tmp_path, {variable: "1"}), request=Request("./p.yaml"))
    for check in CHECKS:
        with pytest.raises(NotHere, match=f"{variable}=1"):
            check.look(facts)
    assert not asked


def test_a_hub_that_answers(facts: Facts, hub_says: Say) -> None:
    hub_says(answer())
    seen = hub.look(facts)
    assert (seen.findings, seen.data["reachable"]) == ((), True)


@pytest.mark.parametrize("address", ["http://[::1", "http://hub:port", "http://[no]/"])
def test_an_address_that_cannot_be_is_no_mistake_of_neuronctl_s(tmp_path: Path, address: str) -> None:
    facts = Facts(sample_host(tmp_path, {"HF_ENDPOINT": address}))
    [finding] = hub.look(facts).findings
    assert finding.message == f"HF_ENDPOINT={address} is no address"
    for check in (token, clock):
        with pytest.raises(CannotTell, match="is no address"):
            check.look(facts)


def test_a_hub_that_wants_to_know_who_asks_is_reached(facts: Facts, hub_says: Say) -> None:
    hub_says(answer(401, "{}"))
    assert not hub.look(facts).findings


@pytest.mark.parametrize("status", [200, 403, 407])
def test_a_proxys_own_page_is_not_the_hub(facts: Facts, hub_says: Say, status: int) -> None:
    hub_says(Answer(status, {"content-type": "text/html"}, "<p>log in", 0.0))
    [finding] = hub.look(facts).findings
    assert (finding.id, finding.severity) == ("hub.unreachable", "warning")
    assert f"HTTP {status}, text/html" in finding.message


def test_what_is_missing_makes_it_an_error(tmp_path: Path, hub_says: Say) -> None:
    hub_says(TimeoutError("no answer in 4 s"))
    [finding] = hub.look(named(tmp_path)).findings
    assert (finding.id, finding.severity) == ("hub.model-unreachable", "error")
    assert "org/small is not on this machine" in finding.message
    assert "does not answer in time" in finding.message


@pytest.mark.parametrize("text", ["model: {id: ./folder}", "nonsense: ["])
def test_nothing_of_the_hub_is_missing(tmp_path: Path, hub_says: Say, text: str) -> None:
    hub_says(ConnectionRefusedError("Connection refused"))
    (tmp_path / "folder").mkdir()
    [finding] = hub.look(named(tmp_path, text)).findings
    assert (finding.id, finding.severity) == ("hub.unreachable", "warning")
    assert finding.fix


# The clock


@pytest.mark.parametrize("ahead_s", [0.0, 299.0, -299.0])
def test_a_clock_that_is_right(facts: Facts, hub_says: Say, ahead_s: float) -> None:
    now = time.time()
    hub_says(answer(at=now + ahead_s, date=formatdate(now, usegmt=True)))
    assert clock.look(facts).findings == ()


@pytest.mark.parametrize(
    ("ahead_s", "words"),
    [
        (302, "5 minutes ahead of"),
        (-3600.0, "60 minutes behind"),
        (-7300.0, "2 hours"),
        (3e6, "34 days ahead"),
    ],
)
def test_a_clock_that_is_wrong(facts: Facts, hub_says: Say, ahead_s: float, words: str) -> None:
    now = time.time()
    hub_says(answer(at=now + ahead_s, date=formatdate(now, usegmt=True)))
    seen = clock.look(facts)
    [finding] = seen.findings
    assert (finding.id, finding.severity) == ("host.clock-off", "warning")
    assert words in finding.message
    assert "timedatectl" in str(finding.fix)


def test_an_answer_out_of_a_cache_is_as_old_as_it_says(facts: Facts, hub_says: Say) -> None:
    now = time.time()
    hub_says(answer(at=now, date=formatdate(now - 5000, usegmt=True), age="5000"))
    assert not clock.look(facts).findings


@pytest.mark.parametrize("date", [{}, {"date": "yesterday"}, {"date": ""}])
def test_a_hub_that_does_not_say_the_time(facts: Facts, hub_says: Say, date: dict[str, str]) -> None:
    hub_says(answer(**date))
    with pytest.raises(CannotTell, match="what time"):
        clock.look(facts)


def test_a_certificate_of_the_future_is_a_clock_of_the_past(facts: Facts, hub_says: Say) -> None:
    late = ssl.SSLCertVerificationError(1, "certificate verify failed: certificate is not yet valid")
    outer = OSError("Connection failed")
    outer.__cause__ = late
    hub_says(outer)
    assert [one.id for one in clock.look(facts).findings] == ["host.clock-off"]


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError("refused"), ssl.SSLCertVerificationError(1, "certificate has expired")]
)
def test_without_an_answer_the_clock_is_not_known(facts: Facts, hub_says: Say, error: Exception) -> None:
    hub_says(error)
    with pytest.raises(CannotTell):
        clock.look(facts)


# The token


def test_no_token(facts: Facts, hub_says: Say) -> None:
    asked = hub_says(answer())
    seen = token.look(facts)
    assert (seen.findings, seen.data["set"], asked) == ((), False, [])


def test_a_token_that_cannot_be_sent_is_not_sent(
    facts: Facts, hub_says: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = hub_says(answer())
    for broken in (f"{SECRET} {SECRET}", f"{SECRET}…", f"{SECRET}\x07"):
        have_token(monkeypatch, broken)
        seen = token.look(facts)
        assert [one.id for one in seen.findings] == ["hub.bad-token"]
        assert SECRET not in str(seen)
    assert not asked


def test_a_token_that_the_client_cannot_get(
    facts: Facts, hub_says: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> str:
        raise RuntimeError(f"cannot exchange {SECRET}")

    hub_says(answer())
    monkeypatch.setattr(huggingface_hub, "get_token", refuse)
    with pytest.raises(CannotTell, match="RuntimeError") as said:
        token.look(facts)
    assert SECRET not in str(said.value)


@pytest.mark.parametrize("status", [200, 403, 429, 500])
def test_an_answer_that_does_not_say_whose_it_is(
    facts: Facts, hub_says: Say, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    have_token(monkeypatch, SECRET)
    hub_says(answer(status, "<p>"))
    with pytest.raises(CannotTell, match=f"HTTP {status}"):
        token.look(facts)


# Access


def test_nobody_asks_for_what_is_not_of_the_hub(tmp_path: Path, hub_says: Say) -> None:
    asked = hub_says(answer())
    with pytest.raises(NotHere, match="no profile"):
        access.look(Facts(sample_host(tmp_path)))
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotHere, match="does not come from the hub"):
        access.look(named(tmp_path, "model: {id: ./folder}"))
    with pytest.raises(CannotTell, match="profile"):
        access.look(named(tmp_path, "nonsense: ["))
    assert not asked


def test_a_hub_that_cannot_be_asked_has_not_refused(tmp_path: Path, hub_says: Say) -> None:
    hub_says(ConnectionRefusedError("refused"))
    with pytest.raises(CannotTell, match="org/small"):
        access.look(named(tmp_path))


def test_the_whole_of_a_question_has_its_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.utils

    never = Event()

    class Session:
        def get(self, url: str, **settings: object) -> None:
            never.wait()

    monkeypatch.setattr(huggingface_hub.utils, "get_session", Session)
    with pytest.raises(TimeoutError, match=r"no answer in 0\.05 s"):
        hub_answer.ask_hub("/x", sample_host(tmp_path), timeout_s=0.05)
    never.set()
