"""The sweep: which loads are measured. What the user says, else what tells most of the model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from neuronctl.bench.schema import Load
from neuronctl.errors import UsageError
from neuronctl.profile.schema import BenchSection

# A run of fewer requests says little of anything but the median, and a shorter one of a rate nothing at all.
_LEAST = 32
_EACH = 4
_RATE_S = 30.0
_OUTPUT = 128
_INPUT = 512
# Where nothing is compiled for one batch or another.
_CONCURRENCIES = (1, 2, 4, 8, 16)
_MOST_POINTS = 100


@dataclass(frozen=True)
class Shape:
    """What is known of the served model's sizes: None or empty where nothing is.

    `batch` is how many sequences the compiled model takes at once, `input_buckets` the lengths of prompts
    that it is compiled for: shorter ones are padded. `max_model_len` is prompt and answer together.
    """

    batch: int | None = None
    input_buckets: tuple[int, ...] = ()
    max_model_len: int | None = None


def sweep(said: BenchSection, shape: Shape, prompts: int | None = None) -> tuple[Load, ...]:
    """The loads, in the order in which they are measured. `prompts`: how many the user's file has.

    Raises UsageError for more than a hundred, for lengths that the model cannot take, and for a prefix
    without prompts that share one.
    """
    _check_prefix(said)
    loads = tuple(dict.fromkeys(_loads(said, shape, prompts)))
    if len(loads) > _MOST_POINTS:
        raise UsageError(
            f"that is {len(loads)} points, and each is measured {said.repeats} times",
            fix=f"fewer lengths, concurrencies or rates; {_MOST_POINTS} points at most",
            code="bench.too-many-points",
        )
    for load in loads:
        _check(load, shape)
    return loads


def _loads(said: BenchSection, shape: Shape, prompts: int | None) -> Iterator[Load]:
    lengths = _lengths(said, shape)
    rates = _each(said.request_rate)
    concurrencies: tuple[int | None, ...] = _each(said.max_concurrency)
    if not concurrencies:
        concurrencies = (None,) if rates else _concurrencies(shape)
    for into, out, edge in lengths:
        # Edges of lengths say what they have to say at one request at a time.
        is_further_edge = (
            edge is not None and into != lengths[0][0] and not said.max_concurrency and not rates
        )
        for concurrency in (1,) if is_further_edge else concurrencies:
            for rate in rates or (None,):
                yield Load(
                    concurrency=concurrency,
                    rate_rps=rate,
                    input_tokens=into,
                    output_tokens=out,
                    prefix_tokens=said.prefix_len if said.dataset_name == "shared-prefix" else 0,
                    requests=said.num_prompts or _requests(concurrency, rate, prompts),
                    edge=edge if is_further_edge else _batch_edge(concurrency, shape) or edge,
                )


def _check_prefix(said: BenchSection) -> None:
    shared = said.dataset_name == "shared-prefix"
    if shared and not said.prefix_len:
        raise UsageError("shared-prefix wants a prefix", fix="--prefix-len 256", code="bench.prefix")
    if said.prefix_len and not shared:
        raise UsageError(
            f"{said.dataset_name} prompts share no prefix of {said.prefix_len} tokens",
            fix="--dataset-name shared-prefix, or no --prefix-len",
            code="bench.prefix",
        )


def _lengths(said: BenchSection, shape: Shape) -> list[tuple[int | None, int | None, str | None]]:
    """Lengths of prompt and answer, and which compiled size they lie at."""
    if said.dataset_name == "jsonl":
        return [(None, None, None)]
    outputs: tuple[int | None, ...] = _each(said.output_len)
    if said.dataset_name == "sharegpt":
        return [(None, out, None) for out in outputs or (None,)]
    most = shape.max_model_len
    inputs = _each(said.input_len)
    room = said.prefix_len if said.dataset_name == "shared-prefix" else 0
    edges: list[tuple[int, str | None]] = [(into, None) for into in inputs] or _input_edges(
        shape, room, max((out for out in outputs if out), default=1)
    )
    if not inputs and edges and said.api == "chat":
        raise UsageError(
            "with --api chat the server's template makes prompts longer, so none can fill a compiled bucket",
            fix="--input-len N, or --api completions, which follows the buckets",
            code="bench.chat-buckets",
        )
    if not edges:
        edges = [(_fitting(_INPUT, most), None)]
    found: list[tuple[int | None, int | None, str | None]] = []
    for into, edge in edges:
        fitting = _OUTPUT if most is None else max(1, min(_OUTPUT, most - into - room))
        found += [(into, out, edge) for out in outputs or (fitting,)]
    return found


def _input_edges(shape: Shape, prefix: int, output: int) -> list[tuple[int, str | None]]:
    """Each bucket full, and one token more, which pads to the next: what that costs is what padding costs.

    A bucket that leaves no room for an answer of `output` tokens is filled as far as it does.
    """
    edges: list[tuple[int, str | None]] = []
    limit = math.inf if shape.max_model_len is None else shape.max_model_len - output - prefix
    filled = 0
    for bucket in sorted(shape.input_buckets):
        if filled and filled < limit:
            edges.append((filled + 1, f"above input bucket {filled + prefix}"))
        room = int(min(bucket - prefix, limit))
        if room > filled:
            edges.append((room, f"input bucket {bucket}"))
            filled = room
    return edges


def _concurrencies(shape: Shape) -> tuple[int, ...]:
    """Doubling up to the compiled batch, and one more than that."""
    if shape.batch is None:
        return _CONCURRENCIES
    below = [2**power for power in range(shape.batch.bit_length()) if 2**power < shape.batch]
    return (*below, shape.batch, shape.batch + 1)


def _batch_edge(concurrency: int | None, shape: Shape) -> str | None:
    if shape.batch is None or concurrency is None or concurrency < shape.batch:
        return None
    return f"batch {shape.batch}" if concurrency == shape.batch else f"above batch {shape.batch}"


def _requests(concurrency: int | None, rate_rps: float | None, prompts: int | None) -> int:
    wanted = max(_LEAST, _EACH * (concurrency or 0), math.ceil(_RATE_S * (rate_rps or 0)))
    return wanted if prompts is None else max(min(prompts, 10 * wanted), concurrency or 1)


def _fitting(tokens: int, most: int | None) -> int:
    return tokens if most is None else max(1, min(tokens, most // 2))


def _check(load: Load, shape: Shape) -> None:
    if shape.max_model_len is None or load.input_tokens is None:
        return
    whole = load.prefix_tokens + load.input_tokens + (load.output_tokens or 1)
    if whole > shape.max_model_len:
        parts = (
            f"{load.prefix_tokens + load.input_tokens} tokens of prompt and {load.output_tokens} of answer"
        )
        raise UsageError(
            f"{parts} are more than the model's max_model_len of {shape.max_model_len}",
            fix="a smaller --input-len or --output-len, or a profile with a larger engine.max_model_len",
            code="bench.too-long",
        )


def _each(value: object) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else () if value is None else (value,)  # type: ignore[return-value]
