"""Versions of Neuron software, compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.stack.version import at_least, fits, release, satisfies

NUMBERS = st.lists(st.integers(0, 99_999), min_size=1, max_size=6)


def text_of(numbers: list[int]) -> str:
    return ".".join(str(number) for number in numbers)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0.8.16251+f3ca5575", (0, 8, 16251)),
        ("0.2.1-lts", (0, 2, 1)),
        ("0.2.2+lts", (0, 2, 2)),
        ("0.24.0.1.1.0", (0, 24, 0, 1, 1, 0)),
        ("2.9.0.2.13.26312", (2, 9, 0, 2, 13, 26312)),
        ("0.5.0+28631259367.ga768afa6", (0, 5, 0)),
        ("0.16.0rc1", (0, 16, 0)),
        ("0.10.x", (0, 10)),
        ("1.0.post1", (1, 0)),
        ("6.18.5-100.fc43.x86_64", (6, 18, 5)),
        ("upstreaming-to-vllm 2.26.0", ()),
        ("", ()),
    ],
)
def test_the_numbers_of_a_version(text: str, numbers: tuple[int, ...]) -> None:
    assert release(text) == numbers


@pytest.mark.parametrize(
    ("has", "wanted", "answer"),
    [
        ("0.8.16251+f3ca5575", "0.8.16251", True),
        ("0.8.16251", "0.8.16251+f3ca5575", True),
        ("2.9.1", "2.9", True),
        ("2.9", "2.9.0", True),
        ("2.10.0", "2.1", False),
        ("0.5.0", "0.5.1", False),
        ("0.10.18399", "0.10.x", True),
        ("0.5.0", "upstreaming", False),
    ],
)
def test_a_version_fits_what_is_wanted(has: str, wanted: str, answer: bool) -> None:
    assert fits(has, wanted) is answer


@pytest.mark.parametrize(
    ("version", "bounds", "answer"),
    [
        ("2.33.10.0", ">=2.33", True),
        ("2.32.31.0", ">=2.33", False),
        ("2.26.10.0", ">2.26", False),
        ("2.27.4.0", ">2.26", True),
        ("1.12.4", "<=1.12", True),
        ("1.13", "<=1.12", False),
        ("1.26.4", "<2", True),
        ("2.0.1", "<2", False),
        ("4.57.1", "==4.57.*", True),
        ("4.57.1", ">=4.56,<5", True),
        ("5.15.0", ">=4.56,<5", False),
    ],
)
def test_bounds(version: str, bounds: str, answer: bool) -> None:
    assert satisfies(version, bounds) is answer


@pytest.mark.parametrize("bounds", ["", "2.33", "~=2.1", "=>2", ">=2.33,"])
def test_what_is_no_bound(bounds: str) -> None:
    with pytest.raises(ValueError, match="not a bound"):
        satisfies("2.33", bounds)


def test_an_unknown_version_is_not_new_enough() -> None:
    assert not at_least(None, "2.33")
    assert at_least("2.33", "2.33")
    assert not at_least("2.32.99", "2.33")


@given(NUMBERS, NUMBERS)
def test_one_of_two_versions_is_at_least_the_other(one: list[int], other: list[int]) -> None:
    first, second = text_of(one), text_of(other)
    assert at_least(first, second) or at_least(second, first)


@given(NUMBERS, NUMBERS)
def test_a_build_of_a_version_fits_it(version: list[int], build: list[int]) -> None:
    assert fits(text_of(version + build), text_of(version))
    assert fits(f"{text_of(version)}+{text_of(build)}", text_of(version))
