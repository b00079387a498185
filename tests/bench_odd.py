"""Results of bench that are unlike others: little in them, much, strange names, strange numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from neuronctl.bench.schema import BenchResult, Distribution, Phase, Point, Remark, Run, Startup
from tests.bench_sample import result

# What ends an element, runs as a script, takes two columns, turns the line, moves a cursor, is no letter.
EVIL = "</script><script>document.title='owned'</script>\"'& 日本語 😀 שלום \u202eabc\x1b[2J\x00\ud7ff"


def _without_times(run: Run) -> Run:
    return replace(
        run,
        succeeded=0,
        errors={"HTTP 500": run.requests - 1, f"odd {EVIL}": 1},
        output_tokens=0,
        request_rps=0.0,
        output_tokens_per_s=0.0,
        total_tokens_per_s=0.0,
        goodput_rps=0.0,
        ttft_s=None,
        itl_s=None,
        tpot_s=None,
        e2e_s=None,
        lengths=None,
        timeline=None,
    )


def _with_runs(found: BenchResult, change: Callable[[Run], Run]) -> BenchResult:
    points = (replace(point, runs=tuple(map(change, point.runs))) for point in found.points)
    return replace(found, points=tuple(points))


def _times(run: Run, factor: float) -> Run:
    """The run in a world that is this much slower."""

    def slower(found: Distribution | None) -> Distribution | None:
        if found is None:
            return None
        scaled: dict[str, Any] = {
            key: getattr(found, key) * factor for key in ("mean", "p50", "p90", "p95", "p99")
        }
        return replace(found, grid=tuple(value * factor for value in found.grid), **scaled)

    return replace(
        run,
        output_tokens_per_s=run.output_tokens_per_s / factor,
        total_tokens_per_s=run.total_tokens_per_s / factor,
        request_rps=run.request_rps / factor,
        **{f"{name}_s": slower(getattr(run, f"{name}_s")) for name in ("ttft", "itl", "tpot", "e2e")},
    )


def _evil() -> BenchResult:
    found = result(name=EVIL)
    target = replace(found.target, model=EVIL, url=EVIL, profile=EVIL)
    points = tuple(replace(point, load=replace(point.load, edge=EVIL)) for point in found.points)
    return replace(
        found,
        target=target,
        points=points,
        environment={EVIL: EVIL},
        remarks=(Remark(id="evil", severity="warning", text=EVIL),),
        startup=(Startup(kind="cold", phases=(Phase(name=EVIL, took_s=1),), ready_s=1.0),),
    )


def _many() -> BenchResult:
    """60 points: six lengths of prompts, two of answers, five concurrencies."""
    points: list[Point] = []
    for place, (into, out) in enumerate(
        (into, out) for into in (128, 129, 512, 513, 2048, 2049) for out in (16, 64)
    ):
        some = result(concurrencies=(1, 2, 4, 8, 9), seed=place, slower=1 + into / 500, repeats=2)
        points += [
            replace(point, load=replace(point.load, input_tokens=into, output_tokens=out))
            for point in some.points
        ]
    return replace(result(), points=tuple(points))


def _rates() -> BenchResult:
    found = result(concurrencies=(1, 2, 4))
    points = tuple(
        replace(point, load=replace(point.load, concurrency=None, rate_rps=rate))
        for point, rate in zip(found.points, (0.5, 2.0, None), strict=True)
    )
    return replace(found, points=points)


def odd_results() -> dict[str, BenchResult]:
    """By what is odd about them."""
    plain = result()
    nothing = replace(
        plain,
        points=(),
        startup=(),
        objective=None,
        price=None,
        client_delay=(),
        environment={},
        status="partial",
    )
    return {
        "plain": plain,
        "one point": result(concurrencies=(4,)),
        "one run": result(repeats=1),
        "errors only": _with_runs(plain, _without_times),
        "some errors": result(failing=3),
        "no startup": replace(plain, startup=()),
        "empty startup": replace(plain, startup=(Startup(kind="warm", phases=(), ready_s=0.0),)),
        "partial": replace(plain, status="partial", why_partial="^C", points=plain.points[:1]),
        "nothing": nothing,
        "no timelines": _with_runs(plain, lambda run: replace(run, timeline=None)),
        "no runs": replace(plain, points=(replace(plain.points[0], runs=()),)),
        "no first token": _with_runs(plain, lambda run: replace(run, ttft_s=None, itl_s=None, tpot_s=None)),
        "evil": _evil(),
        "many": _many(),
        "rates": _rates(),
        "huge": _with_runs(plain, lambda run: _times(run, 1e9)),
        "small": _with_runs(plain, lambda run: _times(run, 1e-9)),
        "zero": _with_runs(plain, lambda run: _times(run, 1e-300)),
        "same loads": replace(plain, points=plain.points[:1] * 3),
    }
