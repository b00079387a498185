"""The sizes for which each graph is compiled."""

from __future__ import annotations

from itertools import product
from math import ceil, log2
from typing import Any


def generate_buckets(least: int, most: int) -> list[int]:
    """Doubling sizes that end with `most`."""
    if least == most:
        return [most]
    return [2**power for power in range(int(log2(least)), round(log2(most)))] + [most]


def context_buckets(config: Any) -> list[Any]:
    """Buckets of the graph that reads prompts: lengths, or (length, prefix) pairs."""
    longest = config.max_context_length
    if config.chunked_prefill_config is not None:
        return _chunked(config)
    given = config.context_encoding_buckets if config.enable_bucketing else None
    if not config.is_prefix_caching:
        return given or generate_buckets(128 if config.enable_bucketing else longest, longest)
    if given is not None:
        # A sum, because that is what refuses a None.
        return _pairs(given, [0] + config.prefix_buckets)  # noqa: RUF005
    lengths = generate_buckets(512 if config.enable_bucketing else longest, longest)
    return _pairs(lengths, [0, *lengths])


def token_buckets(config: Any) -> list[Any]:
    """Buckets of the graph that makes tokens: lengths of the cache."""
    longest = config.max_length
    given = config.token_generation_buckets if config.enable_bucketing else None
    if given is None:
        least = (256 if config.is_prefix_caching else 128) if config.enable_bucketing else longest
        given = generate_buckets(least, longest)
    return _pairs([1], given) if config.is_prefix_caching else list(given)


def _chunked(config: Any) -> list[Any]:
    settings, chunk = config.chunked_prefill_config, config.max_context_length
    q_tiles = ceil(chunk / settings.kernel_q_tile_size)
    tiles = q_tiles * ceil(config.max_length * settings.max_num_seqs / settings.kernel_kv_tile_size)
    if not config.enable_bucketing:
        return [[chunk, tiles]]
    if config.context_encoding_buckets is not None:
        return list(config.context_encoding_buckets)
    last = max(q_tiles - 1, 0)
    lengths = [(step + 1) * settings.kernel_q_tile_size for step in sorted({0, last // 2, last})]
    return _pairs(lengths, [1, tiles // 2, tiles] if tiles >= 4 else [tiles])


def _pairs(first: list[int], second: list[int]) -> list[Any]:
    return [list(pair) for pair in product(first, second)]
