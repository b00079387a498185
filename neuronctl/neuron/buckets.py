"""The sizes a model is compiled for: one graph for each bucket of each model part.

Facts: nxdi:M/modules/autobucketing.py, of the release labelled 0.9.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, log2
from typing import Any

Buckets = tuple[object, ...]


def graph_buckets(neuron_config: Mapping[str, Any]) -> dict[str, Buckets]:
    """Each graph's buckets, from a complete NeuronConfig; with prefix caching a bucket is (active, prefix).

    Raises TypeError as the real code does where prefix caching has context buckets without prefix buckets.
    """
    found = {"context_encoding_model": _context(neuron_config)}
    chunked = neuron_config.get("chunked_prefill_config")
    if neuron_config["enable_fused_speculation"]:
        found["fused_speculation_model"] = _decode(neuron_config)
        return found
    if not (isinstance(chunked, Mapping) and chunked.get("tkg_model_enabled") is False):
        found["token_generation_model"] = _with_batches(neuron_config, _decode(neuron_config))
    if neuron_config["speculation_length"] > 0:
        found["speculation_model"] = _decode(neuron_config)
    return found


def powers_of_two(least: int, most: int) -> list[int]:
    """Doubling sizes from `least` (rounded down to a power of two), ending with `most` itself.

    A power of two that is close to `most` is left out: 128 to 513 gives 128, 256, 513.
    """
    if least == most:
        return [most]
    return [2**power for power in range(int(log2(least)), round(log2(most)))] + [most]


def _context(config: Mapping[str, Any]) -> Buckets:
    longest = config["max_context_length"]
    if isinstance(config["chunked_prefill_config"], Mapping):
        return _chunked_context(config)
    given = config["context_encoding_buckets"] if config["enable_bucketing"] else None
    if not config["is_prefix_caching"]:
        if given is not None:
            return tuple(given)
        return tuple(powers_of_two(128 if config["enable_bucketing"] else longest, longest))
    if given is not None:
        if config["prefix_buckets"] is None:
            raise TypeError('can only concatenate list (not "NoneType") to list')
        return _pairs(given, [0, *config["prefix_buckets"]])
    least = 512 if config["enable_bucketing"] else longest  # 512: what the flash attention kernel needs
    sizes = powers_of_two(least, longest)
    return _pairs(sizes, [0, *sizes])


def _chunked_context(config: Mapping[str, Any]) -> Buckets:
    """Buckets of (chunk length, tiles): at most three lengths by three counts of tiles."""
    settings = config["chunked_prefill_config"]
    chunk, q_tile, kv_tile = (
        config["max_context_length"],
        settings["kernel_q_tile_size"],
        settings["kernel_kv_tile_size"],
    )
    tiles = ceil(chunk / q_tile) * ceil(config["max_length"] * settings["max_num_seqs"] / kv_tile)
    if not config["enable_bucketing"]:
        return ((chunk, tiles),)
    if config["context_encoding_buckets"] is not None:
        return tuple(config["context_encoding_buckets"])
    last = max(ceil(chunk / q_tile) - 1, 0)
    steps = sorted({0, last // 2, last})
    return _pairs([(step + 1) * q_tile for step in steps], [1, tiles // 2, tiles] if tiles >= 4 else [tiles])


def _decode(config: Mapping[str, Any]) -> Buckets:
    longest = config["max_length"]
    given = config["token_generation_buckets"] if config["enable_bucketing"] else None
    if given is None:
        # 256: what the block attention kernel needs.
        least = (256 if config["is_prefix_caching"] else 128) if config["enable_bucketing"] else longest
        given = powers_of_two(least, longest)
    return _pairs([1], given) if config["is_prefix_caching"] else tuple(given)


def _with_batches(config: Mapping[str, Any], lengths: Buckets) -> Buckets:
    """(batch, length) pairs, largest batch first, where decoding has buckets of batches too."""
    batches = config["token_generation_batches"]
    if batches is None:
        return lengths
    sizes = set(batches if isinstance(batches, list) else [batches]) | {config["tkg_batch_size"]}
    return _pairs(sorted(sizes, reverse=True), lengths)


def _pairs(first: Sequence[object], second: Sequence[object]) -> Buckets:
    return tuple((one, other) for one in first for other in second)
