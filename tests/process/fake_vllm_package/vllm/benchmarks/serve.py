"""`vllm bench serve` in small: the same options, the same file, a thread for each request at once.

It starts in a tenth of a second instead of ten, and is late by a few milliseconds where the real one is not.
Made-up prompts only.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

OPTIONS = (
    *("backend", "endpoint", "base-url", "model", "served-model-name", "tokenizer", "seed", "num-prompts"),
    *("request-rate", "temperature", "ready-check-timeout-sec", "percentile-metrics", "result-dir"),
    *("result-filename", "dataset-name", "random-input-len", "random-output-len", "random-prefix-len"),
    *("random-range-ratio", "max-concurrency"),
)


class tqdm:  # noqa: N801 - its name
    """The bar, which is replaced by one that tells its numbers in lines."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def update(self, count: int = 1) -> None:
        """One more."""


def get_tokenizer(name: str, **kwargs: Any) -> str:
    """As it is."""
    return name


def add_cli_args(parser: argparse.ArgumentParser) -> None:
    """The options that neuronctl says."""
    for name in OPTIONS:
        parser.add_argument(f"--{name}")
    for name in ("save-result", "save-detailed", "ignore-eos"):
        parser.add_argument(f"--{name}", action="store_true")


def ask(said: argparse.Namespace) -> dict[str, Any]:
    """One request: when each token came, or the reason of its failure."""
    url = urlsplit(said.base_url)
    body = {
        "model": said.model,
        "prompt": " ".join(["w"] * int(said.random_input_len)),
        "max_tokens": int(said.random_output_len),
        "ignore_eos": said.ignore_eos,
        "stream": True,
    }
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("OPENAI_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    found: dict[str, Any] = {"start": time.perf_counter(), "error": "", "came": []}
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
    try:
        connection.request("POST", said.endpoint, json.dumps(body), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            found["error"] = answer.reason
        for line in answer:
            if line.startswith(b"data: {") and b'"text"' in line:
                found["came"].append(time.perf_counter())
    except (OSError, http.client.HTTPException) as error:
        kind = "ServerDisconnectedError" if not found["came"] else "ClientPayloadError"
        found["error"] = f"Traceback (most recent call last):\naiohttp.client_exceptions.{kind}: {error}"
    finally:
        connection.close()
    return found


async def benchmark(said: argparse.Namespace) -> dict[str, Any]:
    """All requests, so many at once; the raw numbers."""
    bar, count = tqdm(total=said.num_prompts), int(said.num_prompts)
    begun = time.perf_counter()
    loop = asyncio.get_running_loop()

    async def one() -> dict[str, Any]:
        found = await loop.run_in_executor(pool, ask, said)
        bar.update()
        return found

    with ThreadPoolExecutor(int(said.max_concurrency or count)) as pool:
        answers = await asyncio.gather(*(one() for _ in range(count)))
    took = time.perf_counter() - begun
    times = [[one["start"], *one["came"]] for one in answers]
    good = [not one["error"] for one in answers]
    return {
        "duration": took,
        "input_lens": [int(said.random_input_len)] * count,
        "output_lens": [len(one["came"]) if fine else 0 for one, fine in zip(answers, good, strict=True)],
        "ttfts": [t[1] - t[0] if len(t) > 1 else 0.0 for t in times],
        "itls": [[b - a for a, b in pairwise(t[1:])] for t in times],
        "errors": [one["error"] for one in answers],
        "start_times": [t[0] for t in times],
        "latencies": [t[-1] - t[0] for t in times],
    }


def main(said: argparse.Namespace) -> None:
    """Send and save."""
    raw = asyncio.run(benchmark(said))
    (Path(said.result_dir) / said.result_filename).write_text(json.dumps(raw))
