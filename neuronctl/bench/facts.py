"""Facts: what was measured, with what and where, in words. What is not known is left out."""

from __future__ import annotations

from neuronctl.bench.schema import BenchResult
from neuronctl.bench.shown import duration, milliseconds, whole
from neuronctl.machine.amount import say_bytes


def facts(result: BenchResult) -> dict[str, dict[str, str]]:
    """By title, then by name."""
    known: dict[str, dict[str, str | int | None]] = {
        "Target": _target(result),
        "Workload": _workload(result),
        "Measurement": _measurement(result),
        "Environment": {**result.environment},
    }
    return {
        title: {name: str(said) for name, said in facts.items() if said is not None}
        for title, facts in known.items()
    }


def _target(result: BenchResult) -> dict[str, str | int | None]:
    target, memory = result.target, result.server_memory_bytes
    return {
        "model": target.model,
        "url": target.url,
        "profile": target.profile,
        "artifact": target.key,
        "backend": target.backend,
        "instance": target.instance,
        "cores": target.cores,
        "batch": target.batch,
        "longest context": target.max_model_len,
        "compiled prompt buckets": ", ".join(map(whole, target.input_buckets)) or None,
        "started by": "neuronctl" if target.started_here else "somebody else",
        "server's version": target.server_version,
        "server's memory": None if memory is None else say_bytes(memory),
    }


def _workload(result: BenchResult) -> dict[str, str | int | None]:
    work = result.workload
    return {
        "prompts": work.kind,
        "API": work.api,
        "seed": work.seed,
        "end of text": "ignored" if work.ignore_eos else "obeyed",
        "file": work.dataset,
        "file's digest": work.digest,
        "objective": _objective(result),
    }


def _objective(result: BenchResult) -> str | None:
    wanted = result.objective
    if wanted is None:
        return None
    limits = {"TTFT": wanted.ttft_s, "TPOT": wanted.tpot_s, "E2E": wanted.e2e_s}
    said = [f"{name} within {milliseconds(limit)} ms" for name, limit in limits.items() if limit is not None]
    return ", ".join(said) or None


def _measurement(result: BenchResult) -> dict[str, str | int | None]:
    price = result.price
    known: dict[str, str | int | None] = {
        "neuronctl": result.neuronctl,
        "requests sent by": f"{result.engine.name} {result.engine.version}",
        "its Python": result.engine.python,
        "started": result.started_at,
        "took": duration(result.took_s),
        "price": None if price is None else f"${price.usd_per_hour:g} an hour ({price.source})",
        "status": result.status if result.why_partial is None else f"{result.status}: {result.why_partial}",
    }
    for delay in result.client_delay:
        said = f"TTFT {milliseconds(delay.ttft_s)} ms, ITL {milliseconds(delay.itl_s)} ms"
        known[f"client's own delay at c{delay.concurrency}"] = said
    return known
