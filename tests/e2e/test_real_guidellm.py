"""The real guidellm against the reference server, whose times are known.

Its environment takes 1.5 GB (torch, transformers, datasets), so it is only asked where it is named:
`NEURONCTL_GUIDELLM_PYTHON=PATH python -m pytest tests/e2e/test_real_guidellm.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import neuronctl.bench
from neuronctl.bench.engine import Job
from neuronctl.bench.guidellm_engine import GuidellmEngine
from neuronctl.bench.measures import measure
from neuronctl.bench.schema import Load, Run, Workload
from neuronctl.host import Host

KEY = "sk-of-the-test"
SERVER = Path(neuronctl.bench.__path__[0]) / "reference_server.py"

pytestmark = pytest.mark.skipif(
    "NEURONCTL_GUIDELLM_PYTHON" not in os.environ, reason="no guidellm: NEURONCTL_GUIDELLM_PYTHON"
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    argv = [sys.executable, str(SERVER), "--api-key-env=KEY", "--cut-every=5"]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "KEY": KEY}
    ) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}"
        server.terminate()


def send(tmp_path: Path, url: str, load: Load) -> Run:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "bado fige hako", "output_tokens": 20}\n')
    job = Job(
        name="p",
        url=url,
        model="reference",
        tokenizer=None,
        workload=Workload(kind="jsonl", api="chat", seed=1, ignore_eos=True),
        load=load,
        dataset=prompts,
        folder=tmp_path,
        timeout_s=120,
        api_key=KEY,
    )
    with GuidellmEngine().open(Host(cwd=tmp_path), python=None, folder=tmp_path) as session:
        return measure(session.run(job, lambda count: None))


@pytest.mark.parametrize(("concurrency", "rate_rps"), [(2, None), (None, 20.0), (None, None)])
def test_times_are_those_of_the_server(
    tmp_path: Path, url: str, concurrency: int | None, rate_rps: float | None
) -> None:
    load = Load(
        concurrency=concurrency, rate_rps=rate_rps, input_tokens=None, output_tokens=None, requests=10
    )
    run = send(tmp_path, url, load)
    assert (run.requests, run.succeeded, run.errors) == (10, 8, {"answer cut": 2})
    assert (run.input_tokens, run.output_tokens) == (8 * 3, 8 * 20)
    assert run.ttft_s is not None and run.tpot_s is not None and run.e2e_s is not None
    assert run.ttft_s.p50 == pytest.approx(0.050, abs=0.02)
    assert run.tpot_s.p50 == pytest.approx(0.010, abs=0.002)
    assert run.e2e_s.p50 == pytest.approx(0.240, abs=0.05)
