from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.neuron.buckets import graph_buckets, powers_of_two
from neuronctl.neuron.neuron_config import complete


def buckets(**settings: Any) -> dict[str, tuple[object, ...]]:
    settings.setdefault("enable_bucketing", True)
    return graph_buckets(complete(settings, hardware="TRN1", lnc=None))


@pytest.mark.parametrize(
    ("least", "most", "expected"),
    [
        (128, 128, [128]),
        (128, 1024, [128, 256, 512, 1024]),
        # Sizes near the last one are left out.
        (128, 513, [128, 256, 513]),
        (128, 510, [128, 256, 510]),
        (512, 128, [128]),
    ],
)
def test_powers_of_two(least: int, most: int, expected: list[int]) -> None:
    assert powers_of_two(least, most) == expected


def test_prompts_and_decoding_have_their_own_lengths() -> None:
    found = buckets(seq_len=512, max_context_length=256)
    assert found["context_encoding_model"] == (128, 256)
    assert found["token_generation_model"] == (128, 256, 512)


def test_lists_that_are_given_are_sorted_and_used() -> None:
    found = buckets(seq_len=512, context_encoding_buckets=[512, 64], token_generation_buckets=[512])
    assert found["context_encoding_model"] == (64, 512)
    assert found["token_generation_model"] == (512,)


def test_without_bucketing_there_is_one_of_each() -> None:
    found = buckets(seq_len=512, enable_bucketing=False, context_encoding_buckets=[64])
    assert found == {"context_encoding_model": (512,), "token_generation_model": (512,)}


def test_prefix_caching_pairs_lengths_with_prefixes() -> None:
    found = buckets(seq_len=1024, is_prefix_caching=True, is_block_kv_layout=True)
    assert found["context_encoding_model"] == (
        (512, 0),
        (512, 512),
        (512, 1024),
        (1024, 0),
        (1024, 512),
        (1024, 1024),
    )
    assert found["token_generation_model"] == ((1, 256), (1, 512), (1, 1024))


def test_prefix_caching_with_lists() -> None:
    settings = {"context_encoding_buckets": [512], "prefix_buckets": [256, 512], "is_prefix_caching": True}
    found = buckets(seq_len=512, **settings, token_generation_buckets=[512])
    assert found["context_encoding_model"] == ((512, 0), (512, 256), (512, 512))
    assert found["token_generation_model"] == ((1, 512),)


def test_decoding_may_have_buckets_of_batches() -> None:
    found = buckets(seq_len=256, batch_size=8, token_generation_batches=[1, 4])
    assert found["token_generation_model"] == ((8, 128), (8, 256), (4, 128), (4, 256), (1, 128), (1, 256))


def test_chunked_prefill_pairs_chunks_with_tiles() -> None:
    settings = {"max_num_seqs": 8, "kernel_q_tile_size": 128, "kernel_kv_tile_size": 512}
    found = buckets(seq_len=1024, max_context_length=256, chunked_prefill_config=settings)
    assert found["context_encoding_model"] == tuple(
        (size, tiles) for size in (128, 256) for tiles in (1, 16, 32)
    )
    assert "token_generation_model" in found
    alone = {**settings, "tkg_model_enabled": False}
    found = buckets(seq_len=1024, chunked_prefill_config=alone)
    assert set(found) == {"context_encoding_model"}
    assert [size for size, tiles in found["context_encoding_model"] if tiles == 1] == [128, 512, 1024]  # type: ignore[misc]


def test_speculation_that_is_not_fused_has_a_graph_of_its_own() -> None:
    found = buckets(seq_len=256, speculation_length=4)
    assert found["speculation_model"] == found["token_generation_model"] == (128, 256)


@given(st.integers(1, 2**20), st.integers(1, 2**20))
def test_the_largest_bucket_is_the_length_itself(least: int, most: int) -> None:
    sizes = powers_of_two(least, most)
    assert sizes[-1] == most
    # What comes before is shorter than the last, except where the least is beyond it.
    assert all(size < most for size in sizes[:-1]) or least > most
