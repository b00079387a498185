"""SelfTest: what a client reports of the reference server, held against what that server really sent.

Of the server's answers the really sent times are known (reference_server.py), so what a client reports beyond
them is its own delay: what it needs to build and send a request, and to notice, unpack and note each token.

With `vllm bench serve` 0.32 on two cores, 128 requests at concurrency 64, medians of five runs: ITL is right
to 0.02 ms (99 of 100: 3 ms), but TTFT is 33 ms too high. Nearly all of it comes from sending, as all streams
of a wave end together and the next requests begin together: aiohttp, told to trust the environment, sends
each request through two threads, to look for a .netrc and for proxies. Without that (vllm_child.py) 7 ms are
left, with the connections open beforehand 5, of which most is building 64 requests one after another.
Neither collecting garbage nor uvloop makes a difference, nor does reading JSON (it would show in ITL). At
concurrency 16 it is 9 ms and 3 ms, at 1 it is 1.4 and 0.7 ms.

There are four waves of requests at each concurrency: with two of them the median lies on the seam between the
first, which opens the connections, and the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from neuronctl.bench.engine import Job, Session
from neuronctl.bench.measures import measure
from neuronctl.bench.reference_process import (
    MODEL,
    TOKENIZER,
    ReferenceProcess,
    Served,
    reference_process,
)
from neuronctl.bench.schema import Delay, Load, Run, Workload
from neuronctl.result import Progress, Tell

CONCURRENCIES = (1, 16, 64)
TTFT_S = 0.05
ITL_S = 0.01
WITHIN_S = 0.005
_WAVES = 4
_LEAST_REQUESTS = 8
_INPUT_TOKENS = 32
_OUTPUT_TOKENS = 16
_TIMEOUT_S = 120.0


Share = Literal["median", "99 of 100"]


@dataclass(frozen=True)
class Trial:
    """One run against the reference server: what the client reports, and what was sent."""

    concurrency: int
    run: Run
    served: Served | None


@dataclass(frozen=True)
class Difference:
    """What a client reports less what was sent, in seconds, of one measure at one concurrency."""

    concurrency: int
    measure: Literal["TTFT", "ITL"]
    share: Share
    seconds: float

    def __str__(self) -> str:
        way = "low" if self.seconds < 0 else "high"
        which = "" if self.share == "median" else " (p99)"
        return f"{self.measure} {_ms(abs(self.seconds))} ms too {way}{which}"


@dataclass(frozen=True)
class SelfTest:
    """The verdict over trials, in the order of concurrency.

    It is about medians, by which results are compared. Where p99 is beyond the bound it is told too, but one
    late request is enough for that, as the first ones are, for which connections are opened.
    """

    trials: tuple[Trial, ...]
    ttft_s: float = TTFT_S
    itl_s: float = ITL_S
    within_s: float = WITHIN_S

    @property
    def delays(self) -> tuple[Delay, ...]:
        """For the result; without the concurrencies at which nothing came."""
        found = []
        for trial in self.trials:
            of = {one.measure: one.seconds for one in differences(trial) if one.share == "median"}
            if of:
                delay = Delay(concurrency=trial.concurrency, ttft_s=of["TTFT"], itl_s=of["ITL"])
                found.append(delay)
        return tuple(found)

    @property
    def limit(self) -> int | None:
        """The highest concurrency up to which, all lower ones included, the times are reproduced."""
        reached = None
        for trial in self.trials:
            if not self._is_good(trial):
                break
            reached = trial.concurrency
        return reached

    @property
    def reproduced(self) -> bool:
        """Whether the medians are within the bound at all concurrencies, and every request was answered."""
        return all(map(self._is_good, self.trials))

    @property
    def sentences(self) -> tuple[str, ...]:
        """What to tell, whole sentences."""
        return (*self._verdict(), *self._doubts())

    @property
    def text(self) -> str:
        """All of it for a person."""
        known = f"TTFT {_ms(self.ttft_s)} ms, ITL {_ms(self.itl_s)} ms"
        lines = [f"The reference server: {known}. What the client adds to what was sent, in ms:", ""]
        lines += _table(self.trials)
        return "\n".join([*lines, "", *self.sentences])

    def as_data(self) -> dict[str, object]:
        """All of it for a program, in seconds."""
        return {
            "ttft_s": self.ttft_s,
            "itl_s": self.itl_s,
            "within_s": self.within_s,
            "reproduced": self.reproduced,
            "limit": self.limit,
            "trials": [_trial_data(trial) for trial in self.trials],
            "sentences": list(self.sentences),
        }

    def _is_good(self, trial: Trial) -> bool:
        return bool(differences(trial)) and not trial.run.errors and not self._beyond(trial, "median")

    def _beyond(self, trial: Trial, share: Share) -> list[Difference]:
        found = differences(trial)
        return [one for one in found if one.share == share and abs(one.seconds) > self.within_s]

    def _verdict(self) -> Iterator[str]:
        bound = f"{_ms(self.within_s)} ms"
        if self.reproduced:
            yield (
                f"The client reports TTFT and ITL within {bound} of what was sent (medians), "
                f"up to concurrency {self.limit}."
            )
            return
        for trial in self.trials:
            at = f"at concurrency {trial.concurrency}"
            if failed := trial.run.requests - trial.run.succeeded:
                kinds = ", ".join(f"{kind} {count}" for kind, count in trial.run.errors.items())
                yield f"{failed} of {trial.run.requests} requests got no whole answer {at} ({kinds})."
            if beyond := self._beyond(trial, "median"):
                yield f"The client reports {' and '.join(map(str, beyond))} {at}: beyond {bound}."
        where = "at every concurrency" if self.limit is None else f"above concurrency {self.limit}"
        first = next(trial for trial in self.trials if not self._is_good(trial))
        if self._beyond(first, "median"):
            yield f"The client is the limit {where}: what it reports there holds its own delay."
        else:
            yield f"Nothing is known of the client {where}: not all of its requests were answered."

    def _doubts(self) -> Iterator[str]:
        for trial in self.trials:
            if beyond := self._beyond(trial, "99 of 100"):
                told, at = " and ".join(map(str, beyond)), trial.concurrency
                yield f"It reports {told} at concurrency {at}: there p99 says little of a server."
        late = [
            f"{_ms(trial.served.late_p99_s)} ms at concurrency {trial.concurrency}"
            for trial in self.trials
            if trial.served and trial.served.late_p99_s > self.within_s
        ]
        if late:
            yield (
                f"The reference server was itself late (99 of 100 tokens by no more than {', '.join(late)}): "
                "the machine was busy; type the same again when it is not."
            )


def differences(trial: Trial) -> tuple[Difference, ...]:
    """What the client reports less what was sent; nothing where one of them knows no times.

    A client that keeps no ITL is held by its TPOT: its median is that of the ITL, its tail is another one.
    """
    ttft, itl, tpot, sent = trial.run.ttft_s, trial.run.itl_s, trial.run.tpot_s, trial.served
    between = itl or tpot
    if ttft is None or between is None or sent is None:
        return ()
    found = (
        Difference(trial.concurrency, "TTFT", "median", round(ttft.p50 - sent.ttft_p50_s, 6)),
        Difference(trial.concurrency, "TTFT", "99 of 100", round(ttft.p99 - sent.ttft_p99_s, 6)),
        Difference(trial.concurrency, "ITL", "median", round(between.p50 - sent.itl_p50_s, 6)),
    )
    if itl is None:
        return found
    return (*found, Difference(trial.concurrency, "ITL", "99 of 100", round(itl.p99 - sent.itl_p99_s, 6)))


def run_self_test(
    session: Session,
    folder: Path,
    concurrencies: Sequence[int] = CONCURRENCIES,
    *,
    tell: Tell = lambda message: None,
) -> SelfTest:
    """Hold a client against the reference server, about a second for each concurrency.

    `folder` is for raw files. Raises what the session raises, and ServerNotReady without the server.
    """
    trials = []
    with reference_process(TTFT_S, ITL_S) as server:
        # What a client does only once, as reading the tokenizer, is no delay of a request.
        session.run(_job(server, folder, 1, 2, "reference-warm-up"), lambda count: None)
        for concurrency in sorted(set(concurrencies)):
            tell(Progress(f"self-test at concurrency {concurrency}", 0.0))
            requests = max(_WAVES * concurrency, _LEAST_REQUESTS)
            job = _job(server, folder, concurrency, requests, f"reference-{concurrency}")
            run = measure(session.run(job, lambda count: None))
            trials.append(Trial(concurrency, run, server.served(requests)))
    return SelfTest(tuple(trials))


def measure_delay(
    session: Session, folder: Path, concurrencies: Sequence[int] = CONCURRENCIES
) -> tuple[Delay, ...]:
    """The client's own delay at each concurrency. Raises as run_self_test."""
    return run_self_test(session, folder, concurrencies).delays if concurrencies else ()


def _job(server: ReferenceProcess, folder: Path, concurrency: int, requests: int, name: str) -> Job:
    return Job(
        name=name,
        url=server.url,
        model=MODEL,
        tokenizer=str(TOKENIZER),
        workload=Workload(kind="random", api="completions", seed=0, ignore_eos=True),
        load=Load(
            concurrency=concurrency,
            rate_rps=None,
            input_tokens=_INPUT_TOKENS,
            output_tokens=_OUTPUT_TOKENS,
            requests=requests,
        ),
        dataset=None,
        folder=folder,
        timeout_s=_TIMEOUT_S,
    )


def _trial_data(trial: Trial) -> dict[str, object]:
    names = {"median": "p50", "99 of 100": "p99"}
    return {
        "concurrency": trial.concurrency,
        "requests": trial.run.requests,
        "errors": trial.run.errors,
        "client_cpu": trial.run.client_cpu,
        "added_s": {f"{one.measure.lower()}_{names[one.share]}": one.seconds for one in differences(trial)}
        or None,
        "sent_s": None if trial.served is None else asdict(trial.served),
    }


def _table(trials: Sequence[Trial]) -> Iterator[str]:
    head = ("concurrency", "TTFT p50", "TTFT p99", "ITL p50", "ITL p99", "server late p99", "client's core")
    yield "  ".join(head)
    for trial in trials:
        added = [f"{one.seconds * 1000:+.1f}" for one in differences(trial)]
        added += ["-"] * (4 - len(added))
        late = _ms(trial.served.late_p99_s) if trial.served else "-"
        core = "-" if trial.run.client_cpu is None else f"{trial.run.client_cpu:.0%}"
        cells = (str(trial.concurrency), *added, late, core)
        yield "  ".join(cell.rjust(len(name)) for cell, name in zip(cells, head, strict=True))


def _ms(seconds: float) -> str:
    """Milliseconds, without the tenths of a whole number."""
    return f"{seconds * 1000:.1f}".removesuffix(".0")
