"""What may never return is left behind in time, and what returns is handed on."""

from __future__ import annotations

import threading

import pytest

from neuronctl.time_limit import TimeUp, within


def test_what_comes_in_time_is_handed_on() -> None:
    assert within(60.0, lambda: 7) == 7
    with pytest.raises(KeyError):
        within(60.0, lambda: {}["x"])


def test_what_never_comes_is_left_behind_and_holds_up_nothing_else() -> None:
    never = threading.Event()
    with pytest.raises(TimeUp, match=r"did not come to an end in 0\.01 s"):
        within(0.01, never.wait)
    assert within(60.0, lambda: "the next") == "the next"
    never.set()


def test_one_thread_serves_many_questions() -> None:
    within(60.0, lambda: None)
    before = threading.active_count()
    for number in range(50):
        assert within(60.0, lambda number=number: number) == number  # type: ignore[misc]
    assert threading.active_count() <= before + 1


def test_a_question_within_a_question() -> None:
    assert within(60.0, lambda: within(60.0, lambda: 7)) == 7
