"""What guidellm is told: a job as the scenario file of `guidellm run`, as guidellm 0.8 reads it."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from neuronctl.bench.engine import Job
from neuronctl.bench.prompts import Prompts, check_sharegpt, read_prompts
from neuronctl.errors import UsageError
from neuronctl.host import Host

# guidellm fills its arguments from variables of this beginning; only ours shall count.
_PREFIX = "GUIDELLM__"
_API_KEY = "GUIDELLM__SPEC__BACKEND__API_KEY"


def order(job: Job, host: Host, *, prompts: Path, report: Path) -> dict[str, Any]:
    """The scenario. Without the API key, which goes by the environment.

    `prompts` is where the file of prompts is, where the workload has one; guidellm writes `report`.
    """
    load, workload = job.load, job.workload
    spec: dict[str, Any] = {
        "backend": {
            "kind": "openai_http",
            "target": job.url,
            "model": job.model,
            "request_format": "/v1/chat/completions" if workload.api == "chat" else "/v1/completions",
            # Whether it answers is asked before, with words for a person; not every server has /health.
            "validate_backend": False,
            "verify": True,
            # guidellm says ignore_eos by itself where an answer's length is asked for.
            "extras": {"body": {"temperature": 0, "ignore_eos": workload.ignore_eos}},
        },
        "profile": _profile(job),
        "constraints": [{"kind": "max_requests", "count": load.requests}],
        # All prompts are made before the first is sent.
        "data_loader": {"kind": "pytorch", "samples": load.requests},
        "seed": {"kind": "static", "value": workload.seed},
        "outputs": [{"kind": "json", "path": str(report)}],
        # Neither prompts nor answers are kept.
        "metrics": {"kind": "generative", "sample_size": 0},
    }
    return {"spec": spec | _data(job, host, prompts)}


def _profile(job: Job) -> dict[str, Any]:
    """When requests are sent. At a rate they come by chance (Poisson), as of `vllm bench serve`."""
    load = job.load
    if load.rate_rps is not None:
        return {"kind": "poisson", "rate": [load.rate_rps], "max_concurrency": load.concurrency}
    if load.concurrency is not None:
        return {"kind": "concurrent", "streams": [load.concurrency]}
    return {"kind": "throughput", "max_concurrency": load.requests}


def _data(job: Job, host: Host, prompts: Path) -> dict[str, Any]:
    if job.workload.kind in ("jsonl", "sharegpt"):
        columns = {"text_column": "prompt", "output_tokens_count_column": "output_tokens"}
        return {
            "data": [{"kind": "json_file", "path": str(prompts)}],
            "data_column_mapper": {"kind": "generative_column_mapper", "column_mappings": columns},
        }
    load = job.load
    text: dict[str, Any] = {
        "kind": "synthetic_text",
        "prompt_tokens": load.input_tokens,
        "output_tokens": load.output_tokens,
    }
    if load.prefix_tokens:
        text["prefix_tokens"] = load.prefix_tokens
    name, folder = _tokenizer(job, host)
    return {"data": [text], "tokenizer": {"kind": "huggingface_auto", "model": str(folder or name)}}


def prompts_of(job: Job) -> Prompts | None:
    """As many prompts as there are requests, from the workload's file; None where guidellm makes them.

    A file that has fewer is begun again, as `vllm bench serve` does it. Of ShareGPT's conversations the first
    turn is sent, in an order by the seed. Raises UsageError where the file is none of these, and where an
    answer's length would have to be counted in tokens, which needs the model's tokenizer.
    """
    workload, load = job.workload, job.load
    if workload.kind not in ("jsonl", "sharegpt"):
        return None
    assert job.dataset is not None
    if workload.kind == "jsonl":
        texts = list(read_prompts(job.dataset, load.output_tokens).texts)
    else:
        if load.output_tokens is None:
            raise UsageError(
                "with guidellm the answers to ShareGPT's prompts need a length",
                fix="say it with --output-len N, or use --engine vllm",
                code="bench.engine-cannot",
            )
        texts = [(text, load.output_tokens) for text in _first_turns(job.dataset)]
        random.Random(workload.seed).shuffle(texts)
    return Prompts(tuple(islice(cycle(texts), load.requests)))


def _first_turns(path: Path) -> list[str]:
    check_sharegpt(path)
    conversations = json.loads(path.read_text(encoding="utf-8-sig"))
    talks = (one["conversations"] for one in conversations)
    return [text for talk in talks if len(talk) >= 2 if (text := str(talk[0]["value"])).strip()]


def _tokenizer(job: Job, host: Host) -> tuple[str, Path | None]:
    """The tokenizer's name, and its folder where it is one here."""
    name = job.tokenizer or job.model
    folder = host.expand(name)
    return name, folder if folder.is_dir() else None


def environment(job: Job, host: Host, work: Path) -> Mapping[str, str]:
    """The child's variables: the user's without guidellm's own, the key, and what keeps it off the network.

    The hub is asked only for a tokenizer that is not a folder here. What `datasets` makes of a file goes into
    `work`. The server is asked without proxies, as everywhere in neuronctl.
    """
    env = {name: value for name, value in host.environ.items() if not name.upper().startswith(_PREFIX)}
    env |= {
        "PYTHONUNBUFFERED": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_DATASETS_CACHE": str(work / "datasets"),
    }
    if job.workload.kind in ("jsonl", "sharegpt") or _tokenizer(job, host)[1] is not None:
        env["HF_HUB_OFFLINE"] = "1"
    spared = [env.get("NO_PROXY") or env.get("no_proxy") or "", urlsplit(job.url).hostname or ""]
    env["NO_PROXY"] = env["no_proxy"] = ",".join(filter(None, spared))
    if job.api_key:
        env[_API_KEY] = job.api_key
    return env
