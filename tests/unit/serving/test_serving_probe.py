"""A probe is reported exactly once, in time, whatever it does."""

from __future__ import annotations

import queue
import threading

from neuronctl.serving.probe import MAX_ABANDONED, ProbeAnswer, Prober

Reports = queue.Queue[tuple[int, ProbeAnswer]]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def made() -> tuple[Prober, Reports, Clock]:
    reports: Reports = queue.Queue()
    clock = Clock()
    return Prober(lambda child, answer: reports.put((child, answer)), clock), reports, clock


def test_an_answer_is_passed_on_with_the_child_it_is_about() -> None:
    prober, reports, _ = made()
    prober.ask(3, lambda: ProbeAnswer(True), 5.0)
    assert reports.get(timeout=5) == (3, ProbeAnswer(True))


def test_an_exception_is_a_failed_probe() -> None:
    prober, reports, _ = made()

    def broken() -> ProbeAnswer:
        raise KeyError("choices")

    prober.ask(1, broken, 5.0)
    answer = reports.get(timeout=5)[1]
    assert not answer.ok
    assert "KeyError" in answer.why


def test_a_late_probe_fails_in_time_and_its_answer_is_ignored() -> None:
    prober, reports, clock = made()
    go, gone = threading.Event(), threading.Event()

    def slow() -> ProbeAnswer:
        go.wait(10)
        gone.set()
        return ProbeAnswer(True)

    prober.ask(1, slow, 5.0)
    clock.now = 4.9
    prober.check()
    assert reports.empty()
    clock.now = 5.1
    prober.check()
    prober.check()
    assert not reports.get(timeout=5)[1].ok
    go.set()
    assert gone.wait(5)
    prober.ask(1, lambda: ProbeAnswer(False, "second"), 5.0)
    assert reports.get(timeout=5)[1].why == "second"
    assert reports.empty()


def test_stuck_probes_do_not_pile_up() -> None:
    prober, reports, clock = made()
    go = threading.Event()
    begun: queue.Queue[int] = queue.Queue()

    def stuck() -> ProbeAnswer:
        begun.put(1)
        go.wait(10)
        return ProbeAnswer(True)

    for _ in range(MAX_ABANDONED):
        prober.ask(1, stuck, 1.0)
        begun.get(timeout=5)
        clock.now += 2
        prober.check()
        reports.get(timeout=5)
    prober.ask(1, stuck, 1.0)
    assert "unanswered" in reports.get(timeout=5)[1].why
    assert begun.empty()
    go.set()
