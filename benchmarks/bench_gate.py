"""How well the gate of bench tells a regression of 20 % from noise: real client, server of known times.

    python benchmarks/bench_gate.py [--repetitions 20] [--repeats 3] [--slower 1.2]

A server is measured again and again, and one that is slower. Printed is how many pairs of the same server
fail (none should), and how many of the pairs with the slower one do (all should).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from neuronctl.bench.condition import parse_condition
from neuronctl.bench.engine import Job, Session
from neuronctl.bench.gate import judge
from neuronctl.bench.measures import measure
from neuronctl.bench.reference_process import TOKENIZER
from neuronctl.bench.schema import BenchResult, Load, Point, Target, Workload
from neuronctl.bench.vllm_engine import VllmEngine
from neuronctl.host import Host

LOAD = Load(concurrency=4, rate_rps=None, input_tokens=16, output_tokens=16, requests=16)
WORKLOAD = Workload(kind="random", api="completions", seed=0, ignore_eos=True)
CONDITIONS = (parse_condition("ttft_p50>+10%"), parse_condition("itl_p50>+10%"))


@contextmanager
def served(slower: float) -> Iterator[str]:
    """The URL of a reference server."""
    words = [
        sys.executable,
        "-m",
        "neuronctl.bench.reference_server",
        "--jitter",
        "0.05",
        "--slower",
        str(slower),
    ]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}"
        finally:
            server.terminate()


def measured(session: Session, url: str, repeats: int, folder: Path, name: str) -> BenchResult:
    """A result of one point."""
    runs = []
    for number in range(repeats):
        job = Job(f"{name}-{number}", url, "reference", str(TOKENIZER), WORKLOAD, LOAD, None, folder, 120)
        runs.append(measure(session.run(job, lambda count: None)))
    return BenchResult(
        name="reference", status="complete", started_at="", took_s=0, neuronctl="", environment={},
        target=Target(model="reference", url=url), engine=session.engine, workload=WORKLOAD,
        points=(Point(load=LOAD, runs=tuple(runs)),),
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--slower", type=float, default=1.2)
    said = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as made,
        VllmEngine().open(
            Host(dict(os.environ), Path.cwd()), python=sys.executable, folder=Path(made)
        ) as session,
        served(1.0) as url,
        served(said.slower) as slow,
    ):
        folder = Path(made)
        measured(session, url, 1, folder, "warm-up")
        before = measured(session, url, said.repeats, folder, "first")
        alarms = caught = 0
        for number in range(said.repetitions):
            same = measured(session, url, said.repeats, folder, f"same-{number}")
            worse = measured(session, slow, said.repeats, folder, f"worse-{number}")
            alarms += bool(judge(same, CONDITIONS, before).breaches)
            caught += bool(judge(worse, CONDITIONS, same).breaches)
            before = same
    print(f"the same server fails:     {alarms} of {said.repetitions}")
    print(f"{said.slower:g} times slower fails: {caught} of {said.repetitions}")


if __name__ == "__main__":
    main()
