"""Estimates: the formulas, what AWS runs and what failed in the field, and suggestions that really fit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from neuronctl.neuron.estimate import (
    GIB,
    MIB,
    Amount,
    Estimate,
    Load,
    Room,
    estimate,
    fitting_degrees,
    kv_heads_per_core,
    smallest_that_fits,
)
from tests.reference import reference

DOCS = Path(__file__).parents[3] / "docs" / "estimates.md"

LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_70B = "meta-llama/Llama-3.3-70B-Instruct"
LLAMA_405B = "meta-llama/Llama-3.1-405B-Instruct"
TINYLLAMA = "TinyLlama/TinyLlama-1.1B-Chat-v1.0"


def load(model: str, tp_degree: int, **others: Any) -> Load:
    """A model of the reference in bfloat16, batch 1, 2048 tokens, one bucket each, contiguous KV layout."""
    entry = reference("models")["models"][model]
    config, heads = entry["config"], entry["config"]["num_attention_heads"]
    length = others.pop("length", 2048)
    settled = {
        "parameters": entry["params"]["total"],
        "weight_bytes": entry["weights"]["tensor_bytes"],
        "layers": config["num_hidden_layers"],
        "kv_heads": config["num_key_value_heads"],
        "attention_heads": heads,
        "head_dim": entry["effective"]["head_dim"],
        "hidden_size": config["hidden_size"],
        "vocabulary": config["vocab_size"],
        "tp_degree": tp_degree,
        "kv_heads_per_core": kv_heads_per_core(config["num_key_value_heads"], heads, tp_degree),
        "dtype_bytes": 2,
        "quantized": None,
        "kv_bytes_per_value": 2,
        "batch": 1,
        "length": length,
        "context_length": length,
        "kv_blocks": None,
        "block_size": None,
        "context_buckets": 1,
        "decode_buckets": 1,
    }
    return Load(**{**settled, **others})


def room(instance: str, disk_free_bytes: int | None = None) -> Room:
    """An instance of the reference, with its own LNC."""
    entry = next(one for one in reference("instances")["instances"] if one["name"] == instance)
    lnc = entry["lnc_default"]
    core_gib = reference("instances")["chips"][entry["chip"]]["memory_gib_per_logical_core"][lnc]
    degrees = entry["tp_degrees_valid"]
    return Room(
        core_memory_bytes=core_gib * GIB,
        cores=entry["logical_cores"][lnc],
        host_memory_bytes=entry["host_memory_gib"] * GIB,
        disk_free_bytes=disk_free_bytes,
        tp_degrees=tuple(degrees) if degrees else None,
    )


def amount(amounts: tuple[Amount, ...], name: str) -> int:
    return next(one.bytes for one in amounts if one.name == name)


def fitting(found: Estimate) -> bool:
    return False not in (found.fits_core, found.fits_host, found.fits_disk)


@pytest.mark.parametrize(
    ("kv_heads", "heads", "tp_degree", "expected"),
    [
        (8, 32, 1, 8),  # divided, whatever the log line about CONVERT_TO_MHA says at TP 1
        (8, 32, 2, 4),
        (8, 32, 8, 1),
        (8, 32, 24, 1),  # three copies of each, the attention heads padded to 48
        (8, 56, 32, 1),
        (4, 28, 8, 1),
        (8, 32, 12, 3),  # neither divides the other: 36 heads
        (3, 12, 2, 6),
        (32, 32, 24, 2),  # without grouping: 48 heads
    ],
)
def test_kv_heads_are_divided_replicated_or_padded(
    kv_heads: int, heads: int, tp_degree: int, expected: int
) -> None:
    assert kv_heads_per_core(kv_heads, heads, tp_degree) == expected


def test_a_core_holds_its_part_of_weights_and_cache() -> None:
    found = estimate(load(LLAMA_8B, 8), room("trn1.32xlarge"))
    assert amount(found.per_core, "weights") == 16_060_522_496 // 8
    assert amount(found.per_core, "KV cache") == 2048 * 131_072 // 8  # kv_bytes_per_token_bf16 / TP
    assert found.core_memory_bytes == 16 * GIB


def test_replicated_kv_heads_cost_cache_and_weights() -> None:
    once = estimate(load(LLAMA_8B, 8), room("trn1.32xlarge"))
    four_times = estimate(load(LLAMA_8B, 32), room("trn1.32xlarge"))
    assert amount(four_times.per_core, "KV cache") == amount(once.per_core, "KV cache")
    copied = 32 * 4096 * 128 * 2 * (32 - 8) * 2
    assert amount(four_times.per_core, "weights") == (16_060_522_496 + copied) // 32


def test_padded_attention_heads_cost_weights() -> None:
    padded = estimate(load(LLAMA_8B, 24), room("inf2.48xlarge"))
    copied = 32 * 4096 * 128 * 2 * ((24 - 8) + (48 - 32)) * 2
    assert amount(padded.per_core, "weights") == -(-(16_060_522_496 + copied) // 24)


def test_block_layout_counts_blocks_and_the_reserved_one() -> None:
    blocks = load(LLAMA_8B, 8, kv_blocks=257, block_size=32)
    found = estimate(blocks, room("trn1.32xlarge"))
    assert amount(found.per_core, "KV cache") == 258 * 32 * 131_072 // 8


def test_float32_doubles_the_weights_and_int8_spares_the_embeddings() -> None:
    where = room("trn1.32xlarge")
    embeddings = 2 * 128_256 * 4096
    wide = estimate(load(LLAMA_8B, 8, dtype_bytes=4), where)
    assert amount(wide.per_core, "weights") == 4 * 8_030_261_248 // 8
    for kind in ("int8", "fp8"):
        narrow = estimate(load(LLAMA_8B, 8, quantized=kind), where)
        assert amount(narrow.disk, "quantized checkpoint") == 8_030_261_248 + embeddings
        assert amount(narrow.per_core, "weights") == (8_030_261_248 + embeddings) // 8


def test_tied_embeddings_are_two_tensors_on_the_device() -> None:
    where = room("inf2.xlarge")
    apart = estimate(load(TINYLLAMA, 2), where)
    tied = estimate(load(TINYLLAMA, 2, is_tied=True), where)
    assert amount(tied.per_core, "weights") - amount(apart.per_core, "weights") == 32_000 * 2048 * 2 // 2


def test_a_draft_and_adapters_are_added() -> None:
    where = room("trn1.32xlarge")
    plain = estimate(load(LLAMA_8B, 8), where)
    both = load(LLAMA_8B, 8, draft_parameters=1_302_335_488, draft_layers=1, lora_bytes=100 * MIB)
    found = estimate(both, where)
    draft = 1_302_335_488 * 2 // 8 + 2048 * 4096 // 8
    assert amount(found.per_core, "draft") == draft
    assert found.core_bytes - plain.core_bytes == draft + 100 * MIB


def test_disk_holds_download_shards_and_graphs() -> None:
    where = room("trn1.32xlarge", disk_free_bytes=30 * GIB)
    saved = load(LLAMA_8B, 8, save_sharded=True)
    found = estimate(saved, where)
    names = [one.name for one in found.disk]
    assert names == ["download", "sharded weights", "compiled graphs"]
    assert amount(found.disk, "sharded weights") == 16_060_522_496
    assert found.fits_disk is False
    assert found.doubtful == ("disk",)  # what is sure has 29.9 GiB
    assert estimate(replace(saved, is_downloaded=True), where).fits_disk is True


def test_what_is_not_known_refuses_nothing() -> None:
    nothing = Room(None, 2, None, None, None)
    found = estimate(load(LLAMA_405B, 2), nothing)
    assert (found.fits_core, found.fits_host, found.fits_disk) == (None, None, None)
    assert found.refused == found.doubtful == ()
    assert smallest_that_fits(load(LLAMA_405B, 2), nothing, ()) == ()


@pytest.mark.parametrize(
    ("model", "instance", "tp_degree", "others"),
    [
        (TINYLLAMA, "inf2.xlarge", 2, {"batch": 4, "context_buckets": 5, "decode_buckets": 5}),
        (LLAMA_8B, "inf2.48xlarge", 8, {"batch": 4, "length": 8192}),
        (LLAMA_8B, "trn1.32xlarge", 8, {"batch": 16, "length": 8192}),
        (LLAMA_8B, "trn1.32xlarge", 32, {"batch": 16, "length": 16_384}),
        (LLAMA_8B, "inf2.8xlarge", 2, {"batch": 4, "length": 4096}),
        (LLAMA_70B, "trn1.32xlarge", 16, {"length": 4096}),  # the guide's own example
        (LLAMA_70B, "trn1.32xlarge", 32, {"batch": 4, "length": 16_384}),
        (LLAMA_70B, "trn2.48xlarge", 32, {"length": 131_072}),
        (LLAMA_70B, "trn2.48xlarge", 64, {"length": 131_072}),
        (LLAMA_405B, "trn2.48xlarge", 64, {"length": 16_384}),
    ],
)
def test_what_aws_runs_fits(model: str, instance: str, tp_degree: int, others: dict[str, Any]) -> None:
    found = estimate(load(model, tp_degree, **others), room(instance))
    assert found.fits_core
    assert found.fits_host
    assert found.refused == found.doubtful == ()


@pytest.mark.parametrize(
    ("model", "instance", "tp_degree", "refused", "doubtful"),
    [
        (LLAMA_70B, "inf2.xlarge", 2, ("core", "host"), ()),
        (LLAMA_70B, "inf2.24xlarge", 8, ("core",), ()),
        (LLAMA_405B, "trn1.32xlarge", 32, ("core", "host"), ()),
        (LLAMA_8B, "inf2.xlarge", 2, ("host",), ()),
        # Killed while compiling: gh:aws-neuron/neuronx-distributed#53.
        (LLAMA_8B, "trn1.2xlarge", 1, (), ("host",)),
        (LLAMA_8B, "trn1.2xlarge", 2, (), ("host",)),
    ],
)
def test_what_cannot_fit_is_refused(
    model: str, instance: str, tp_degree: int, refused: tuple[str, ...], doubtful: tuple[str, ...]
) -> None:
    found = estimate(load(model, tp_degree), room(instance))
    assert (found.refused, found.doubtful) == (refused, doubtful)
    assert not fitting(found)


@pytest.mark.parametrize(
    ("model", "graphs", "others", "expected"),
    [
        (TINYLLAMA, 5, {}, "minutes"),
        (LLAMA_8B, 7, {}, "tens of minutes"),
        (LLAMA_8B, 7, {"is_moe": True}, "tens of minutes"),
        (LLAMA_70B, 7, {}, "an hour or more"),
        (LLAMA_70B, 4, {}, "tens of minutes"),
        (LLAMA_70B, 4, {"is_moe": True}, "an hour or more"),
        (LLAMA_70B, 4, {"is_multimodal": True}, "an hour or more"),
    ],
)
def test_the_class_of_a_compile(model: str, graphs: int, others: dict[str, Any], expected: str) -> None:
    found = estimate(
        load(model, 2, context_buckets=graphs, decode_buckets=graphs, **others), room("trn1.2xlarge")
    )
    assert found.compile_class == expected
    assert "not a measurement" in found.compile_why
    assert f"in {graphs * (4 if 'is_multimodal' in others else 2)} graphs" in found.compile_why


def test_a_larger_tp_is_suggested_first() -> None:
    words = smallest_that_fits(load(LLAMA_70B, 8), room("trn1.32xlarge"), [("other", room("trn2.48xlarge"))])
    assert words == ("engine.tensor_parallel_size: 16",)


def test_only_a_tp_that_divides_the_heads_is_suggested() -> None:
    # 28 heads: 8 and 24 do not divide them, so of Inf2's degrees only 1, 2 and 4 may be named.
    too_long = load("Qwen/Qwen2.5-7B-Instruct", 1, batch=64, length=32_768)
    words = smallest_that_fits(too_long, room("inf2.48xlarge"), ())
    assert words
    assert not any("tensor_parallel_size" in word for word in words)


def test_length_batch_and_instance_where_no_tp_helps() -> None:
    long = load(LLAMA_8B, 2, batch=8, length=131_072)
    words = smallest_that_fits(
        long, room("inf2.8xlarge"), [("inf2.xlarge", room("inf2.xlarge")), ("trn2", room("trn2.48xlarge"))]
    )
    fields = dict(word.split(": ") for word in words)
    assert list(fields) == ["engine.max_model_len", "trn2 with engine.tensor_parallel_size"]
    length = int(fields["engine.max_model_len"])
    assert fitting(estimate(replace(long, length=length, context_length=length), room("inf2.8xlarge")))
    longer = length + 128
    assert not fitting(estimate(replace(long, length=longer, context_length=longer), room("inf2.8xlarge")))


def test_the_largest_batch_is_named() -> None:
    many = load(LLAMA_8B, 2, batch=64, length=4096)
    words = smallest_that_fits(many, room("inf2.8xlarge"), ())
    batch = int(words[-1].removeprefix("engine.max_num_seqs: "))
    assert fitting(estimate(replace(many, batch=batch), room("inf2.8xlarge")))
    assert not fitting(estimate(replace(many, batch=batch + 1), room("inf2.8xlarge")))


def test_host_memory_that_is_too_small_leaves_only_another_instance() -> None:
    others = [("inf2.xlarge", room("inf2.xlarge")), ("inf2.8xlarge", room("inf2.8xlarge"))]
    assert smallest_that_fits(load(LLAMA_8B, 2), room("trn1.2xlarge"), others) == ("inf2.8xlarge",)


def test_a_host_of_unknown_memory_is_no_answer_to_a_host_that_is_too_small() -> None:
    unknown = replace(room("trn2.48xlarge"), host_memory_bytes=None)
    others = [("unknown", unknown), ("trn2.48xlarge", room("trn2.48xlarge"))]
    short = replace(room("trn2.48xlarge"), host_memory_bytes=16 * GIB)
    assert smallest_that_fits(load(LLAMA_8B, 8), short, others) == ("trn2.48xlarge",)
    # Where the cores are too small, it is one.
    large = load(LLAMA_70B, 8)
    small = room("inf2.48xlarge")
    assert smallest_that_fits(large, replace(small, cores=8), others)[-1] == "unknown"


def test_a_tp_must_divide_what_sequence_parallelism_shares() -> None:
    even = load(LLAMA_70B, 32, attention_heads=48, kv_heads=24)
    assert 24 in fitting_degrees(even, room("inf2.48xlarge"))
    assert 24 not in fitting_degrees(replace(even, shared_lengths=(128, 2048)), room("inf2.48xlarge"))


def test_more_cores_than_there_are_never_fit() -> None:
    words = smallest_that_fits(load(TINYLLAMA, 32), room("inf2.48xlarge"), ())
    assert words == ("engine.tensor_parallel_size: 1",)


def test_fewer_sequences_take_fewer_blocks() -> None:
    blocks = 64 * 4096 // 32 + 1
    many = load(LLAMA_8B, 2, batch=64, length=4096, kv_blocks=blocks, block_size=32)
    words = smallest_that_fits(many, room("inf2.8xlarge"), ())
    assert [word.partition(":")[0] for word in words] == ["engine.max_model_len", "engine.max_num_seqs"]


POWERS = (1, 2, 4, 8, 16, 32, 64)


@st.composite
def loads(draw: st.DrawFn) -> Load:
    heads = draw(st.sampled_from((64, 128)))
    kv_heads = draw(st.sampled_from((1, 2, 4, 8, 16, 64)))
    tp_degree = draw(st.sampled_from(POWERS))
    length = draw(st.integers(1, 200_000))
    block_size = draw(st.sampled_from((None, 16, 32)))
    batch = draw(st.integers(1, 128))
    layers = draw(st.integers(1, 130))
    head_dim = draw(st.sampled_from((64, 128)))
    hidden_size = draw(st.sampled_from((2048, 4096, 8192)))
    attention = layers * hidden_size * head_dim * 2 * (heads + kv_heads)
    parameters = attention + draw(st.integers(10**8, 4 * 10**11))
    return Load(
        parameters=parameters,
        weight_bytes=2 * parameters,
        layers=layers,
        kv_heads=kv_heads,
        attention_heads=heads,
        head_dim=head_dim,
        hidden_size=hidden_size,
        vocabulary=32_000,
        tp_degree=tp_degree,
        kv_heads_per_core=kv_heads_per_core(kv_heads, heads, tp_degree),
        dtype_bytes=draw(st.sampled_from((2, 4))),
        quantized=draw(st.sampled_from((None, "int8", "fp8"))),
        kv_bytes_per_value=draw(st.sampled_from((1, 2, 4))),
        batch=batch,
        length=length,
        context_length=draw(st.integers(1, length)),
        kv_blocks=None if block_size is None else -(-length // block_size) * batch + 1,
        block_size=block_size,
        context_buckets=draw(st.integers(1, 10)),
        decode_buckets=draw(st.integers(1, 10)),
        draft_parameters=draw(st.sampled_from((0, 10**9))),
        draft_layers=1,
        lora_bytes=draw(st.sampled_from((0, 10**8))),
        is_tied=draw(st.booleans()),
        is_multimodal=draw(st.booleans()),
        save_sharded=draw(st.booleans()),
    )


ROOMS = st.sampled_from(
    ("inf2.xlarge", "inf2.48xlarge", "trn1.2xlarge", "trn1.32xlarge", "trn2.3xlarge", "trn2.48xlarge")
)


@given(loads(), ROOMS)
def test_sums_and_verdicts_agree(one: Load, instance: str) -> None:
    where = room(instance, disk_free_bytes=500 * GIB)
    found = estimate(one, where)
    for amounts, total in (
        (found.per_core, found.core_bytes),
        (found.host, found.host_bytes),
        (found.disk, found.disk_bytes),
    ):
        assert sum(part.bytes for part in amounts) == total
        assert all(part.bytes > 0 and part.formula and part.source for part in amounts)
        assert len({part.name for part in amounts}) == len(amounts)
    against = {"core": found.fits_core, "host": found.fits_host, "disk": found.fits_disk}
    assert {*found.refused, *found.doubtful} == {name for name, fits in against.items() if fits is False}
    assert not set(found.refused) & set(found.doubtful)


@given(loads(), st.sampled_from(("length", "batch", "context_buckets", "lora_bytes", "draft_layers")))
def test_more_never_takes_less(one: Load, field: str) -> None:
    assume(one.kv_blocks is None)
    where = room("trn2.48xlarge")
    more = replace(one, **{field: getattr(one, field) + 1})
    assert estimate(more, where).core_bytes >= estimate(one, where).core_bytes


@given(loads())
def test_a_larger_tp_never_takes_more_of_a_core(one: Load) -> None:
    where = room("trn2.48xlarge")
    sizes = []
    for tp_degree in POWERS:
        heads = kv_heads_per_core(one.kv_heads, one.attention_heads, tp_degree)
        resized = replace(one, tp_degree=tp_degree, kv_heads_per_core=heads)
        sizes.append(estimate(resized, where).core_bytes)
    assert sizes == sorted(sizes, reverse=True)


@given(st.integers(1, 64), st.integers(1, 16), st.integers(1, 64))
def test_no_kv_head_is_lost(kv_heads: int, group: int, tp_degree: int) -> None:
    per_core = kv_heads_per_core(kv_heads, kv_heads * group, tp_degree)
    assert per_core >= 1
    assert per_core * tp_degree >= kv_heads


@given(loads(), ROOMS)
def test_suggestions_really_fit(one: Load, instance: str) -> None:
    where, name, other = room(instance), "trn2.48xlarge", room("trn2.48xlarge")
    words = smallest_that_fits(one, where, [(name, other)])
    supported = one.tp_degree in (where.tp_degrees or ()) and one.tp_degree <= where.cores
    if supported and fitting(estimate(one, where)):
        assert words == ()
    for word in words:
        assert fitting(estimate(*as_suggested(one, word, where, name, other)))


def as_suggested(one: Load, word: str, where: Room, name: str, other: Room) -> tuple[Load, Room]:
    """What a suggestion asks for, worked out independently of the code that made it."""
    if word.startswith(name):
        where = other
        word = word.removeprefix(name).removeprefix(" with ")
    setting, _, value = word.partition(": ")
    if setting == "engine.tensor_parallel_size":
        tp_degree = int(value)
        heads = kv_heads_per_core(one.kv_heads, one.attention_heads, tp_degree)
        one = replace(one, tp_degree=tp_degree, kv_heads_per_core=heads)
    elif setting == "engine.max_model_len":
        assert int(value) < one.length
        one = replace(one, length=int(value), context_length=min(one.context_length, int(value)))
    elif setting == "engine.max_num_seqs":
        assert int(value) < one.batch
        one = replace(one, batch=int(value))
    else:
        assert setting == ""
    if one.block_size is not None:
        one = replace(one, kv_blocks=-(-one.length // one.block_size) * one.batch)
    return one, where


def test_the_example_in_the_docs() -> None:
    example = load(LLAMA_8B, 8, batch=4, length=8192, context_buckets=7, decode_buckets=7, save_sharded=True)
    found = estimate(example, room("trn1.32xlarge"))
    text = DOCS.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (core|host|disk) \| ([^|]+) \| [^|]+ \| ([\d,]+) \|$", text, re.MULTILINE)
    told = [(place, name, int(number.replace(",", ""))) for place, name, number in rows]
    places = (("core", found.per_core), ("host", found.host), ("disk", found.disk))
    assert told == [
        line
        for place, amounts in places
        for line in (
            *((place, part.name, part.bytes) for part in amounts),
            (place, "**sum**", sum(part.bytes for part in amounts)),
        )
    ]
    assert f"**{found.compile_class}**" in text


def test_the_docs_give_each_formula_and_its_basis() -> None:
    everything = load(LLAMA_8B, 8, draft_parameters=1, lora_bytes=9, lora_least_bytes=1, save_sharded=True)
    found = estimate(everything, room("trn1.32xlarge"))
    blocks = estimate(replace(everything, kv_blocks=1, block_size=1), room("trn1.32xlarge"))
    text = DOCS.read_text(encoding="utf-8")
    quantized = estimate(replace(everything, quantized="int8"), room("trn1.32xlarge"))
    for one in (*found.per_core, *blocks.per_core, *found.host, *found.disk, *quantized.disk):
        assert f"| {one.name} | {one.formula} | {one.basis} |" in text
