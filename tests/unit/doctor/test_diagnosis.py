"""How checks are run, what is made of their findings, and the verdict."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from neuronctl.doctor import causes
from neuronctl.doctor.causes import split_consequences
from neuronctl.doctor.check import CannotTell, Check, NotHere, Outcome, Remedy, Seen, Trouble, check
from neuronctl.doctor.diagnosis import Diagnosis, diagnose
from neuronctl.doctor.facts import Facts, Once, RememberingHost
from neuronctl.doctor.mend import mend
from neuronctl.doctor.run import run_checks
from neuronctl.errors import Exit, MachineUnfit, ProfileError, ProfileErrors, StackUnfit
from neuronctl.host import Host, Response
from neuronctl.machine.detect import Machine
from neuronctl.pipeline import Request
from neuronctl.result import Finding
from neuronctl.rules import cpu
from tests.plan_sample import MINIMAL, sample_host, sample_machine, sample_stack

BAD = Trouble("test.bad", "error", "It is bad.", "test")
ODD = Trouble("test.odd", "warning", "It is odd.", "test")


def facts_of(tmp_path: Path) -> Facts:
    facts = Facts(sample_host(tmp_path))
    facts.machine = Once(sample_machine)
    facts.stack = Once(sample_stack)
    return facts


def made(look: Callable[[Facts], Seen], name: str = "one", **options: object) -> Check:
    return check(name, "A check", **options)(look)  # type: ignore[arg-type]


def raising(error: BaseException) -> Callable[[Facts], Seen]:
    def look(facts: Facts) -> Seen:
        raise error

    return look


def finding(*found: Finding) -> Callable[[Facts], Seen]:
    return lambda facts: Seen("seen", found)


def run(tmp_path: Path, *checks: Check) -> tuple[Outcome, ...]:
    return run_checks(checks, facts_of(tmp_path))


@pytest.mark.parametrize(
    ("look", "status", "says"),
    [
        (finding(), "ok", "seen"),
        (finding(ODD("odd"), BAD("bad")), "error", "seen"),
        (finding(ODD("odd")), "warning", "seen"),
        (raising(NotHere("nobody needs it")), "not-here", "nobody needs it"),
        (raising(CannotTell("it is dark")), "cannot-tell", "it is dark"),
        (
            raising(ZeroDivisionError("oo")),
            "cannot-tell",
            "a mistake of neuronctl's: ZeroDivisionError: oo",
        ),
        (raising(MachineUnfit("no cores")), "error", "no cores"),
    ],
)
def test_how_a_check_may_end(tmp_path: Path, look: Callable[[Facts], Seen], status: str, says: str) -> None:
    (outcome,) = run(tmp_path, made(look))
    assert (outcome.status, outcome.says) == (status, says)


def test_a_check_that_hangs_is_left_behind_and_holds_up_nobody(tmp_path: Path) -> None:
    release = threading.Event()

    def hang(facts: Facts) -> Seen:
        release.wait(60)
        return Seen("too late")

    begun = time.monotonic()
    try:
        hung, quick = run(tmp_path, made(hang, "hung", timeout_s=0.2), made(finding(), "quick"))
    finally:
        release.set()
    assert time.monotonic() - begun < 30
    assert (hung.status, hung.says) == ("cannot-tell", "did not come to an end in 0.2 s")
    assert quick.status == "ok"


def test_every_mistake_of_a_profile_is_a_finding(tmp_path: Path) -> None:
    wrong = ProfileErrors([ProfileError("one", code="profile.a"), ProfileError("two", code="profile.b")])
    (outcome,) = run(tmp_path, made(raising(wrong)))
    assert [(one.id, one.message) for one in outcome.findings] == [("profile.a", "one"), ("profile.b", "two")]
    assert outcome.exit_code == Exit.USAGE


def test_a_fact_is_found_out_once_and_so_is_its_error() -> None:
    made_values: list[int] = []

    def make() -> int:
        made_values.append(1)
        return 7

    once = Once(make)
    threads = [threading.Thread(target=once) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (once(), made_values) == (7, [1])
    failing: Once[int] = Once(lambda: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failing()


def test_a_question_is_asked_once() -> None:
    class Counting(Host):
        asked = 0

        def http(self, *args: object, **kwargs: object) -> Response:
            Counting.asked += 1
            return Response(200, "yes")

    host = RememberingHost({}, Path("/"), Path("/"), Counting({}, Path("/")))
    assert [host.http("GET", "http://x").body for _ in range(3)] == ["yes"] * 3
    assert Counting.asked == 1
    host.http("GET", "http://y")
    assert Counting.asked == 2


def of(name: str, severity: str) -> Finding:
    return Finding(name, severity, f"{name} is so")  # type: ignore[arg-type]


def test_a_cause_hides_what_follows_and_takes_its_weight() -> None:
    cause = of("devices.driver-not-reloaded", "warning")
    roots, follows = split_consequences(
        [of("devices.driver-too-old", "error"), cause, of("test.odd", "info")]
    )
    assert [(one.id, one.severity) for one in roots] == [
        ("devices.driver-not-reloaded", "error"),
        ("test.odd", "info"),
    ]
    assert [(hidden.id, root.id) for hidden, root in follows] == [
        ("devices.driver-too-old", "devices.driver-not-reloaded")
    ]


ORPHANS, WANTED = of("devices.orphaned-workers", "warning"), of("devices.cores-in-use", "error")


def test_orphans_are_the_cause_of_cores_in_use() -> None:
    (root,), _ = split_consequences([WANTED, ORPHANS])
    assert (root.id, root.severity) == ("devices.orphaned-workers", "error")


def test_orphans_beside_a_server_that_lives_are_not_all_of_it() -> None:
    roots, _ = split_consequences([WANTED, ORPHANS, of("devices.all-held", "warning")])
    assert [one.id for one in roots] == ["devices.cores-in-use", "devices.orphaned-workers"]


def test_without_the_cause_the_consequence_is_told() -> None:
    alone = of("devices.driver-too-old", "error")
    assert split_consequences([alone]) == ((alone,), ())


def test_patterns_never_hide_their_own_cause() -> None:
    cause = of("stack.no-python", "error")
    roots, follows = split_consequences([cause, of("stack.mixed-sdk", "warning")])
    assert roots == (cause,)
    assert len(follows) == 1


def diagnosis(tmp_path: Path, *checks: Check) -> Diagnosis:
    return diagnose(checks, facts_of(tmp_path))


def test_the_verdict_is_the_first_error_by_the_order_of_checks(tmp_path: Path) -> None:
    found = diagnosis(
        tmp_path,
        made(finding(ODD("odd")), "a"),
        made(finding(BAD("first")), "b", exit_code=Exit.STACK_UNFIT),
        made(finding(BAD("second")), "c"),
    )
    assert found.verdict == "This machine cannot serve a model with the cpu backend: first"
    assert [one.message for one in found.findings] == ["first", "second", "odd"]
    assert found.exit_code() == Exit.STACK_UNFIT


def test_an_error_that_a_check_raised_keeps_its_own_number(tmp_path: Path) -> None:
    found = diagnosis(tmp_path, made(raising(StackUnfit("no")), exit_code=Exit.MACHINE_UNFIT))
    assert found.exit_code() == Exit.STACK_UNFIT


def test_what_two_checks_found_is_told_once(tmp_path: Path) -> None:
    found = diagnosis(tmp_path, made(finding(BAD("x")), "a"), made(finding(BAD("x")), "b"))
    assert len(found.findings) == 1


def test_doubt_is_in_the_verdict_and_strict_does_not_accept_it(tmp_path: Path) -> None:
    doubtful = diagnosis(tmp_path, made(raising(CannotTell("dark"))))
    assert doubtful.verdict.endswith("as far as could be checked: 1 check could not run.")
    assert (doubtful.exit_code(), doubtful.exit_code(strict=True)) == (Exit.DONE, Exit.ANSWER_IS_NO)
    warned = diagnosis(tmp_path, made(finding(ODD("odd"))))
    assert (warned.exit_code(), warned.exit_code(strict=True)) == (Exit.DONE, Exit.ANSWER_IS_NO)
    well = diagnosis(tmp_path, made(finding()))
    assert well.exit_code(strict=True) == Exit.DONE


def test_what_follows_from_a_finding_is_no_doubt_of_its_own(tmp_path: Path) -> None:
    dark = made(raising(CannotTell("it is dark", told_by="lamp")), "eyes")
    told = diagnosis(tmp_path, made(finding(ODD("the lamp is broken")), "lamp"), dark)
    assert "as far as" not in told.verdict
    untold = diagnosis(tmp_path, made(finding(), "lamp"), dark)
    assert "as far as could be checked: 1 check could not run" in untold.verdict
    assert untold.exit_code(strict=True) == Exit.ANSWER_IS_NO


def test_mending_asks_and_one_failure_does_not_stop_the_next(tmp_path: Path) -> None:
    done: list[str] = []

    def act(host: Host) -> str:
        done.append("acted")
        return "moved aside"

    def fail(host: Host) -> str:
        raise MachineUnfit("the disk is full")

    remedies = [
        Remedy("a", "fail", act=fail),
        Remedy("b", "act", act=act),
        Remedy("c", "not wanted", act=act),
    ]
    asked: list[str] = []

    def ask(question: str) -> bool:
        asked.append(question)
        return "not wanted" not in question

    mended = mend(remedies, sample_host(tmp_path), ask)
    assert [(one.done, one.says) for one in mended] == [
        (False, "the disk is full"),
        (True, "moved aside"),
        (False, "left alone"),
    ]
    assert done == ["acted"]
    assert len(asked) == 3


def test_a_fact_that_hangs_ends_with_its_checks(tmp_path: Path) -> None:
    """As where the folder of the store lies on a server of files that is gone."""
    release = threading.Event()
    facts = facts_of(tmp_path)

    def hang() -> Machine:
        release.wait(60)
        return sample_machine()

    facts.machine = Once(hang)
    begun = time.monotonic()

    def look(facts: Facts) -> Seen:
        return Seen(facts.backend)

    try:
        found = diagnose((made(look, timeout_s=0.2),), facts)
    finally:
        release.set()
    assert time.monotonic() - begun < 30
    assert (found.backend, found.outcomes[0].status) == (None, "cannot-tell")
    assert found.verdict == (
        "Whether this machine can serve a model is not known: the check one did not come to an end in 0.2 s."
    )
    assert (found.can_serve, found.exit_code()) == (None, Exit.ANSWER_IS_NO)


def test_what_came_in_between_does_not_end_the_diagnosis(tmp_path: Path) -> None:
    facts = facts_of(tmp_path)

    def fail() -> Machine:
        raise PermissionError("somewhere")

    facts.machine = Once(fail)
    found = diagnose((made(lambda facts: Seen(facts.backend)),), facts)
    assert found.backend is None
    assert "PermissionError" in found.outcomes[0].says


def test_rules_are_asked_where_the_check_could_not_look(tmp_path: Path) -> None:
    facts = facts_of(tmp_path)
    facts.machine = Once(lambda: replace(sample_machine(), compiler=""))
    (outcome,) = run_checks((made(raising(CannotTell("dark")), rules=(cpu.no_compiler,)),), facts)
    assert (outcome.status, [one.id for one in outcome.findings]) == ("error", ["cpu.no-compiler"])


def test_rules_see_what_the_profile_says(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        f"{MINIMAL}artifacts: {{policy: never}}\nengine: {{enforce_eager: true}}\n"
    )
    facts = Facts(sample_host(tmp_path), request=Request("./p.yaml"))
    facts.machine = Once(lambda: replace(sample_machine(), compiler=""))
    facts.stack = Once(sample_stack)
    assert facts.obey((cpu.no_compiler,)) == ()


def test_a_part_of_the_checks_allows_no_verdict(tmp_path: Path) -> None:
    found = diagnose((made(finding(), "pip"),), facts_of(tmp_path), is_whole=False)
    assert (found.verdict, found.can_serve) == ("Looked at pip only, and found nothing wrong.", None)
    bad = diagnose((made(finding(BAD("x")), "pip"),), facts_of(tmp_path), is_whole=False)
    assert bad.can_serve is False


def test_packages_that_may_not_be_read_are_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(host: Host, python: str | None) -> None:
        raise PermissionError(13, "Permission denied", "/closed/lib")

    monkeypatch.setattr("neuronctl.doctor.facts.detect_stack", refuse)
    facts = Facts(sample_host(tmp_path))
    with pytest.raises(StackUnfit, match="/closed/lib: Permission denied"):
        facts.stack()
    assert facts.usable_stack is None


def test_packages_that_hang_are_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr("neuronctl.doctor.facts.detect_stack", lambda *given: never.wait())
    monkeypatch.setattr("neuronctl.doctor.facts._STACK_S", 0.01)
    with pytest.raises(StackUnfit, match="did not come to an end"):
        Facts(sample_host(tmp_path)).stack()
    never.set()


def test_a_check_asked_for_that_cannot_look_does_not_pass(tmp_path: Path) -> None:
    dark, well = made(raising(CannotTell("it is dark")), "dark"), made(finding(), "well")
    found = diagnose((dark,), facts_of(tmp_path), is_whole=False)
    assert found.verdict == "Looked at dark only, and it could not be told: it is dark."
    assert found.exit_code() == Exit.ANSWER_IS_NO
    found = diagnose((well, dark), facts_of(tmp_path), is_whole=False)
    assert found.verdict.endswith("only, and found nothing that stops it; dark could not be told.")
    assert (found.exit_code(), found.exit_code(strict=True)) == (Exit.DONE, Exit.ANSWER_IS_NO)


def test_a_profile_that_cannot_be_read_does_not_pass_a_single_check(tmp_path: Path) -> None:
    (tmp_path / "sample.yaml").write_text(MINIMAL + "engin: {}\n")
    facts = Facts(sample_host(tmp_path), request=Request(reference="./sample.yaml"))
    found = diagnose((made(finding(), "pip"),), facts, is_whole=False)
    assert [one.id for one in found.errors] == ["profile.unknown-key"]
    assert (found.can_serve, found.exit_code()) == (False, Exit.USAGE)
    (tmp_path / "sample.yaml").write_text(MINIMAL)
    facts = Facts(sample_host(tmp_path), request=Request(reference="./sample.yaml"))
    found = diagnose((made(finding(), "pip"),), facts, is_whole=False)
    assert [one.check.name for one in found.outcomes] == ["pip"]
    assert found.exit_code() == Exit.DONE


def test_what_follows_from_a_consequence_follows_from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"a": ("b",), "b": ("c",)}
    monkeypatch.setattr(causes, "CONSEQUENCES", table)
    roots, follows = split_consequences([of("a", "info"), of("b", "warning"), of("c", "error")])
    assert [(one.id, one.severity) for one in roots] == [("a", "error")]
    assert {(hidden.id, root.id) for hidden, root in follows} == {("b", "a"), ("c", "a")}


def test_a_mistake_in_a_profile_is_told_beside_a_missing_python() -> None:
    found = [of("stack.no-python", "error"), of("profile.unknown-key", "error")]
    assert split_consequences(found)[0] == tuple(found)


def test_a_profile_whose_plan_is_not_known_allows_no_verdict(tmp_path: Path) -> None:
    facts = Facts(sample_host(tmp_path), request=Request("p.yaml"))
    facts.machine, facts.stack = Once(sample_machine), Once(sample_stack)
    late = made(raising(CannotTell("did not come to an end in 60 s")), "profile")
    found = diagnose((late,), facts)
    assert found.verdict.endswith("is not known: its plan did not come to an end in 60 s.")
    assert (found.can_serve, found.exit_code()) == (None, Exit.ANSWER_IS_NO)


def test_nothing_in_a_finding_forges_a_line_or_tells_a_password(tmp_path: Path) -> None:
    nasty = "bad\n✓ forged \x1b[2J http://u:hunter22@x/"
    seen = Seen(nasty, (BAD(nasty, fix=nasty),), {"url": ["http://u:hunter22@x/"]})
    (outcome,) = run(tmp_path, made(lambda facts: seen))
    told = repr((outcome.says, outcome.findings, outcome.data))
    assert "hunter22" not in told
    assert "\\n" not in told
    assert "\\x1b" not in told
