from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.bench.lengths import lengths, read_lengths
from neuronctl.bench.padding import STEP, best_buckets, padded_tokens
from neuronctl.errors import UsageError

prompts = st.dictionaries(st.integers(0, 8 * STEP), st.integers(1, 50), min_size=1, max_size=12)


@given(prompts, st.integers(1, 4), st.integers(8, 9))
def test_no_other_set_of_as_many_buckets_pads_less(counted: dict[int, int], most: int, steps: int) -> None:
    top = steps * STEP
    found = best_buckets(counted, most, top)
    assert len(found) <= most
    assert list(found) == sorted(set(found))
    assert found[-1] == top
    sizes = range(STEP, top, STEP)
    least = min(
        padded_tokens(counted, (*others, top))
        for count in range(min(most, len(sizes) + 1))
        for others in combinations(sizes, count)
    )
    assert padded_tokens(counted, found) == least


@given(prompts)
def test_a_bucket_that_saves_nothing_is_not_there(counted: dict[int, int]) -> None:
    found = best_buckets(counted, 12, 9 * STEP)
    wanted = {max(-(-length // STEP), 1) * STEP for length in counted}
    assert set(found) == wanted | {9 * STEP}


def test_a_top_that_is_no_multiple_stays() -> None:
    assert best_buckets({1000: 5, 90: 5}, 2, 1001) == (128, 1001)
    assert best_buckets({1000: 5, 90: 5}, 1, 1001) == (1001,)


def test_very_many_lengths_take_no_time() -> None:
    began = monotonic()
    found = best_buckets(dict.fromkeys(range(1, 131_073), 1), 8, 131_072)
    assert len(found) == 8
    assert padded_tokens(dict.fromkeys(range(1, 131_073, 64), 1), found) > 0
    assert monotonic() - began < 60


def test_a_prompt_takes_the_smallest_bucket_that_holds_it() -> None:
    assert padded_tokens({128: 2, 129: 1, 1: 1}, (512, 128)) == 2 * 128 + 512 + 128
    with pytest.raises(ValueError, match="513 tokens fits no bucket"):
        padded_tokens({513: 1}, (128, 512))


@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 2_000)), min_size=1, max_size=200))
def test_lengths_are_kept_in_few_numbers(requests: list[tuple[int, int]]) -> None:
    kept = lengths(requests)
    assert kept is not None
    assert len(kept.upto) == len(kept.count) <= 24
    assert sum(kept.count) == len(requests)
    assert list(kept.upto) == sorted(set(kept.upto))
    assert kept.longest == max(into + out for into, out in requests)
    plain = Counter(into for into, _ in requests)
    if len(plain) <= 24:
        assert dict(zip(kept.upto, kept.count, strict=True)) == plain
    # Each group ends at its longest prompt or above, never below.
    longer = [sum(into > upto for into, _ in requests) for upto in kept.upto]
    assert longer == [sum(kept.count[place + 1 :]) for place in range(len(kept.upto))]


def test_no_requests_have_no_lengths() -> None:
    assert lengths([]) is None


def test_a_file_of_lengths(tmp_path: Path) -> None:
    path = tmp_path / "lengths.txt"
    path.write_text("# in out\n120 30\n\n4000,12  # long\n7\t8\n")
    assert read_lengths(path) == ((120, 30), (4000, 12), (7, 8))


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("1 2\n3\n", 2, "not two numbers"),
        ("1 -2\n", 1, "not two numbers"),
        ("1 2 3\n", 1, "not two numbers"),
        ("9999999999 1", 1, "not two numbers"),
        ("# nothing\n", None, "holds no lengths"),
        ("\udcff", None, "UTF-8"),
    ],
)
def test_a_file_of_lengths_that_is_wrong(tmp_path: Path, content: str, line: int | None, what: str) -> None:
    path = tmp_path / "lengths.txt"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UsageError) as caught:
        read_lengths(path)
    assert what in caught.value.what
    assert caught.value.place is not None
    assert caught.value.place.line == line


def test_a_file_of_lengths_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_lengths(tmp_path / "none")
