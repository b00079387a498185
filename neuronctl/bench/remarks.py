"""Remarks: what whoever reads a result must know before its numbers. Pure rules over the numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from neuronctl.bench.measures import samples_needed
from neuronctl.bench.schema import Delay, Point, Remark, Run, Workload

# A client that used more of its one core than this had no time left to be punctual.
CLIENT_IS_FULL = 0.8
# A delay of the client that is more than this share of what was measured makes another number of it.
_DELAY_SHARE = 0.1
_SHORT = 0.98
_KEPT_UP = 0.9
# Repeats of a point whose paces lie further apart than this share of their median were not of the same thing.
_STEADY = 0.3


def remarks(
    points: Sequence[Point],
    delays: Sequence[Delay],
    workload: Workload,
    why_partial: str | None,
    *,
    no_delays: str | None = None,
) -> tuple[Remark, ...]:
    """All remarks, the worst first. `no_delays`: why the client's own delay is not known."""
    found = [
        *_partial(why_partial),
        *_errors(points),
        *_saturated(points),
        *_delayed(points, delays),
        *_not_delayed(no_delays),
        *_short_answers(points),
        *_other_prompts(points, workload),
        *_behind(points),
        *_unsteady(points),
        *_not_so_many(points),
        *_few(points),
        *_no_itl(points),
        *_same_prompts(points, workload),
        *_once(points),
    ]
    order = ("error", "warning", "info")
    return tuple(sorted(found, key=lambda remark: order.index(remark.severity)))


def _partial(why: str | None) -> Iterator[Remark]:
    if why is not None:
        yield Remark(id="partial", severity="error", text=f"this is not all that was asked for: {why}")


def _errors(points: Sequence[Point]) -> Iterator[Remark]:
    for point in points:
        kinds: Counter[str] = Counter()
        for run in point.runs:
            kinds.update(run.errors)
        if kinds:
            sent = sum(run.requests for run in point.runs)
            named = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common(4))
            yield Remark(
                id="errors",
                severity="error",
                text=f"{point.load.name}: {kinds.total()} of {sent} requests got no whole answer ({named}); "
                "times are those of the others",
            )


def _saturated(points: Sequence[Point]) -> Iterator[Remark]:
    full = [
        f"{point.load.name} ({worst:.0%} of a core)"
        for point in points
        if (worst := max((run.client_cpu or 0 for run in point.runs), default=0)) > CLIENT_IS_FULL
    ]
    if full:
        yield Remark(
            id="client-saturated",
            severity="error",
            text=f"the client was the limit, not the server: {', '.join(full)}. Measure from another "
            "machine, or with fewer requests at once",
        )


def _delayed(points: Sequence[Point], delays: Sequence[Delay]) -> Iterator[Remark]:
    by = {delay.concurrency: delay for delay in delays}
    late = []
    for point in points:
        delay = by.get(point.load.concurrency or 0)
        if delay is None or not (times := [run.ttft_s.p50 for run in point.runs if run.ttft_s]):
            continue
        if delay.ttft_s > _DELAY_SHARE * min(times):
            late.append(f"{point.load.name}: {delay.ttft_s * 1000:.1f} of {min(times) * 1000:.0f} ms")
    if late:
        yield Remark(
            id="client-delay",
            severity="warning",
            text="more than a tenth of the time to first token is the client's own, by the reference server: "
            + "; ".join(late),
        )


def _not_delayed(why: str | None) -> Iterator[Remark]:
    if why is not None:
        yield Remark(
            id="no-client-delay",
            severity="warning",
            text=f"the client's own delay is not known: {why}",
        )


def _short_answers(points: Sequence[Point]) -> Iterator[Remark]:
    for point in points:
        asked = point.load.output_tokens
        had = sum(run.output_tokens for run in point.runs)
        answers = sum(run.succeeded for run in point.runs)
        if asked and answers and had < _SHORT * asked * answers:
            yield Remark(
                id="short-answers",
                severity="warning",
                text=f"{point.load.name}: answers had {had / answers:.1f} tokens of {asked}: the server ends "
                "them earlier, so runs differ in work (ignore_eos is off, or not known to it)",
            )


def _other_prompts(points: Sequence[Point], workload: Workload) -> Iterator[Remark]:
    for point in points:
        load = point.load
        answers = sum(run.succeeded for run in point.runs)
        if load.input_tokens is None or not answers:
            continue
        asked = load.input_tokens + load.prefix_tokens
        had = sum(run.input_tokens for run in point.runs) / answers
        if abs(had - asked) > max(1.0, (1 - _SHORT) * asked):
            yield Remark(
                id="other-prompts",
                severity="warning",
                text=f"{load.name}: prompts had {had:.1f} tokens instead of {asked}: "
                + (
                    "with --api chat the server's template adds to them"
                    if workload.api == "chat"
                    else "is --tokenizer the served model's?"
                ),
            )


def _behind(points: Sequence[Point]) -> Iterator[Remark]:
    for point in points:
        rate = point.load.rate_rps
        late = [_late_s(run, rate) for run in point.runs] if rate is not None else []
        if rate is not None and late and min(late) > 0:
            had = max(run.request_rps for run in point.runs)
            yield Remark(
                id="rate-not-reached",
                severity="warning",
                text=f"{point.load.name}: the server does not keep up with {rate:g} requests a second: it "
                f"answered {had:.3g}",
            )


def _late_s(run: Run, rate_rps: float) -> float:
    """How much later than the last request explains its last answer came, beyond what chance may do.

    Requests arrive at random, so that the last of n comes late by its n-th root's share. Waiting is part of
    the time to first token: the rest of an answer's time is what the last one takes by itself.
    """
    if run.ttft_s is None or run.e2e_s is None:
        return 0.0
    sent_s = run.requests / rate_rps
    alone_s = max(run.e2e_s.p50 - run.ttft_s.p50, 0.0)
    return run.took_s - alone_s - sent_s * (2 - _KEPT_UP + 1 / math.sqrt(run.requests))


def _unsteady(points: Sequence[Point]) -> Iterator[Remark]:
    apart = []
    for point in points:
        paces = sorted(run.output_tokens_per_s for run in point.runs)
        if len(paces) > 1 and paces[-1] - paces[0] > _STEADY * median(paces):
            apart.append(f"{point.load.name} from {paces[0]:.3g} to {paces[-1]:.3g} tokens/s")
    if apart:
        yield Remark(
            id="unsteady",
            severity="warning",
            text=f"repeats of the same load differ: {'; '.join(apart)}. Something else used the machine, or "
            "the server is not steady; medians hide it",
        )


def _not_so_many(points: Sequence[Point]) -> Iterator[Remark]:
    few = [
        f"{point.load.name} has {point.load.requests}"
        for point in points
        if point.load.concurrency and point.load.requests < point.load.concurrency
    ]
    if few:
        yield Remark(
            id="fewer-at-once",
            severity="warning",
            text=f"there were never as many requests at once as asked for: a run of {'; '.join(few)} in all",
        )


def _few(points: Sequence[Point]) -> Iterator[Remark]:
    least = min((_samples(run) for point in points for run in point.runs), default=0)
    if not least:
        return
    wants = [(key, samples_needed(share)) for key, share in (("p90", 0.9), ("p95", 0.95), ("p99", 0.99))]
    weak = [f"{key} wants {needed}" for key, needed in wants if least < needed]
    if weak:
        yield Remark(
            id="few-samples",
            severity="info",
            text=f"the smallest run has {least} answers: {', '.join(weak)}, or one slow request more or less "
            "moves it",
        )


def _no_itl(points: Sequence[Point]) -> Iterator[Remark]:
    if any(run.tpot_s and not run.itl_s for point in points for run in point.runs):
        yield Remark(
            id="no-itl",
            severity="info",
            text="the engine does not say when each token came: ITL is not known, TPOT is",
        )


def _same_prompts(points: Sequence[Point], workload: Workload) -> Iterator[Remark]:
    if workload.kind in ("jsonl", "sharegpt") and sum(len(point.runs) for point in points) > 1:
        yield Remark(
            id="same-prompts",
            severity="info",
            text="every run sends the prompts of one file: a server with a prefix cache knows them from the "
            "first run on, and its times to first token are shorter than for prompts that are new",
        )


def _samples(run: Run) -> int:
    return run.ttft_s.count if run.ttft_s else 0


def _once(points: Sequence[Point]) -> Iterator[Remark]:
    if points and min(len(point.runs) for point in points) < 2:
        yield Remark(
            id="one-run",
            severity="info",
            text="some points have one run only: nothing is known of their noise, and a comparison cannot "
            "tell it from a change",
        )
