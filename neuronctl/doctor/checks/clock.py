"""Checks of the clock: against neuronctl's own files, and against the hub's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from neuronctl.doctor.check import CannotTell, Seen, Trouble, check
from neuronctl.doctor.facts import Facts
from neuronctl.doctor.hub_question import (
    ONE_QUESTION_S,
    SMALL_QUESTION,
    ask,
    demand_online,
    why_no_answer,
)
from neuronctl.machine.amount import say_duration
from neuronctl.model.hub_place import shown_endpoint

CLOCK_WRONG = Trouble(
    "host.clock-wrong",
    "warning",
    "The clock is before neuronctl's own files, or more than ten years after them: AWS refuses what is "
    "signed with a wrong time, and certificates seem not valid.",
    "AWS, developer blog: clock-skew correction (about 15 minutes); the ten years: neuronctl",
)


@check("local clock", "Whether this machine's time can be right", finds=(CLOCK_WRONG,), timeout_s=2.0)
def local_clock(facts: Facts) -> Seen:
    """The machine's time against the times of neuronctl's own files, without asking anybody.

    It finds a clock that was never set. Smaller faults the check `clock` finds, which asks the hub. Whether a
    server keeps the clock right is told where systemd-timesyncd says so.
    """
    from neuronctl.machine.clock import clock_fault, is_synchronized, newest_own_file_s, say_day

    now_s = facts.host.now()
    synchronized = is_synchronized(facts.host)
    says = f"{say_day(now_s)}, {'kept right by a server' if synchronized else 'plausible'}"
    data: dict[str, object] = {"now_s": int(now_s), "synchronized": synchronized}
    try:
        fault = clock_fault(now_s, newest_own_file_s())
    except OSError as error:
        raise CannotTell(f"neuronctl's own files cannot be looked at: {error.strerror}") from None
    if fault is None:
        return Seen(says, data=data)
    finding = CLOCK_WRONG(
        f"the clock says {say_day(now_s)}, which {fault}",
        fix="sudo timedatectl set-ntp true; or sudo systemctl restart chronyd",
    )
    return Seen(say_day(now_s), (finding,), data=data)


CLOCK = Trouble(
    "host.clock-off",
    "warning",
    "The clock of this machine differs from the hub's by more than five minutes: certificates and tokens "
    "seem too old or too new, and AWS refuses what is signed more than some minutes ago.",
    "https://aws.amazon.com/blogs/developer/clock-skew-correction/ (15 minutes); "
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_aws-signing.html (five, as it is quoted)",
)
_CLOCK_LIMIT_S = 300.0
_CLOCK_FIX = (
    "see whether the time is synchronized: timedatectl; then sudo chronyc makestep, or sudo timedatectl "
    "set-ntp true (a container has the clock of its host)"
)


@check(
    "clock", "Whether this machine's clock is right", finds=(CLOCK,), asks="network", timeout_s=ONE_QUESTION_S
)
def clock(facts: Facts) -> Seen:
    """This machine's time against the Date of an answer of the hub.

    A cache between here and the hub says by Age how old its answer is, which is added (RFC 9111). Where no
    answer comes because the hub's certificate is not valid yet, the clock is the likely reason.
    """
    host = facts.host
    demand_online(host)
    try:
        answer = ask(SMALL_QUESTION, host)
    except Exception as error:
        if "certificate is not yet valid" in _all_words(error):
            now = time.strftime("%Y-%m-%d %H:%M", time.gmtime(host.now()))
            what = f"at {now} UTC, its time here, the certificate of {shown_endpoint(host)} is not valid yet"
            return Seen(f"{now} UTC, likely wrong", (CLOCK(what, fix=_CLOCK_FIX),))
        raise CannotTell(why_no_answer(error, host).what, told_by="hub") from None
    theirs = _time_of(answer.headers)
    if theirs is None:
        raise CannotTell(f"{shown_endpoint(host)} does not say what time it is")
    return _compare(answer.received_at - theirs)


def _compare(ahead_s: float) -> Seen:
    """What to say of a clock that is so many seconds ahead of the hub's."""
    data: dict[str, object] = {"ahead_s": round(ahead_s)}
    if abs(ahead_s) <= _CLOCK_LIMIT_S:
        return Seen(f"within {max(1, round(abs(ahead_s)))} s of the hub's", data=data)
    which = "ahead of" if ahead_s > 0 else "behind"
    says = f"{say_duration(abs(ahead_s))} {which} the hub's"
    return Seen(says, (CLOCK(f"this machine's clock is {says}", fix=_CLOCK_FIX),), data=data)


def _time_of(headers: Mapping[str, str]) -> float | None:
    """When an answer came, by whoever sent it, in seconds since the epoch."""
    try:
        date = parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    age = headers.get("age", "").strip()
    return date + (int(age) if age.isascii() and age.isdecimal() else 0)


def _all_words(error: BaseException) -> str:
    """The words of an error and of what led to it."""
    words, seen = [], set[int]()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        words.append(str(one))
        one = one.__cause__ or one.__context__
    return " ".join(words)


CHECKS = (local_clock, clock)
