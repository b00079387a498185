"""A result of bench, made from records with known times: what tests compare, draw and advise on."""

from __future__ import annotations

import random
from collections.abc import Sequence

from neuronctl.bench.measures import measure
from neuronctl.bench.record import Record, Sent
from neuronctl.bench.schema import (
    BenchResult,
    Delay,
    Engine,
    Load,
    Objective,
    Phase,
    Point,
    Price,
    Startup,
    Target,
    Workload,
)


def records(
    load: Load,
    *,
    ttft_s: float = 0.05,
    itl_s: float = 0.01,
    noise: float = 0.05,
    seed: int = 0,
    failing: int = 0,
) -> list[Record]:
    """What `load.concurrency` clients, each sending one request after the other, would record."""
    chance = random.Random(f"{seed} {load.name}")
    clients = [0.0] * (load.concurrency or 1)
    made = []
    for number in range(load.requests):
        who = number % len(clients)
        tokens = load.output_tokens or 8
        first = ttft_s * (1 + noise * chance.random())
        itls = tuple(itl_s * (1 + noise * chance.random()) for _ in range(tokens - 1))
        e2e = first + sum(itls)
        error = "HTTP 500" if number < failing else None
        made.append(Record(clients[who], first, itls, e2e, load.input_tokens or 100, tokens, error))
        clients[who] += e2e
    return made


def result(
    *,
    slower: float = 1.0,
    seed: int = 0,
    repeats: int = 3,
    concurrencies: Sequence[int] = (1, 4, 8),
    noise: float = 0.05,
    failing: int = 0,
    name: str = "tinyllama-tp2",
) -> BenchResult:
    """A result whose times are `slower` times those of another."""
    objective = Objective(ttft_s=0.2, tpot_s=0.05)
    points = []
    for concurrency in concurrencies:
        load = Load(
            concurrency=concurrency,
            rate_rps=None,
            input_tokens=128,
            output_tokens=16,
            requests=8 * concurrency,
        )
        runs = []
        for repeat in range(repeats):
            made = records(
                load,
                ttft_s=0.05 * slower * concurrency**0.5,
                itl_s=0.01 * slower * concurrency**0.2,
                noise=noise,
                seed=seed * 1000 + repeat,
                failing=failing,
            )
            took = max((one.start_s or 0) + (one.e2e_s or 0) for one in made)
            runs.append(measure(Sent(tuple(made), took, cpu_s=0.1 * took), objective))
        points.append(Point(load=load, runs=tuple(runs), usd_per_million_tokens=1.25))
    return BenchResult(
        name=name,
        status="complete",
        started_at="2026-01-02T03:04:05Z",
        took_s=12.5,
        neuronctl="0.0.0",
        target=Target(
            model="TinyLlama/TinyLlama-1.1B-Chat-v1.0",
            url="http://127.0.0.1:8000",
            profile=name,
            key="0" * 32,
            backend="nxdi",
            instance="inf2.xlarge",
            cores=2,
            batch=4,
            max_model_len=2048,
            input_buckets=(128, 512, 2048),
            started_here=True,
        ),
        engine=Engine(name="vllm", version="0.32.0", python="/opt/vllm/bin/python"),
        workload=Workload(kind="random", api="completions", seed=0, ignore_eos=True),
        objective=objective,
        price=Price(usd_per_hour=0.7582, source="--price-per-hour"),
        environment={"vllm": "0.32.0", "python": "3.11.7"},
        startup=(
            Startup(
                kind="cold",
                phases=(
                    Phase(name="compile", took_s=900),
                    Phase(name="load", took_s=30),
                    Phase(name="first answer", took_s=0.9),
                ),
                ready_s=930.9,
            ),
            Startup(kind="warm", phases=(Phase(name="load", took_s=30),), ready_s=30),
        ),
        client_delay=(Delay(concurrency=1, ttft_s=0.001, itl_s=0.0001),),
        points=tuple(points),
    )
