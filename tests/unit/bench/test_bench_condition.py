from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.bench.condition import Condition, parse_condition, parse_conditions
from neuronctl.bench.measures import MEASURES
from neuronctl.bench.schema import Load
from neuronctl.errors import UsageError

UNITS = {"s": ["s", "ms", "us"], "share": ["", "%"], "1/s": ["", "/s"], "tokens/s": ["", "tokens/s"]}
WORTH = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "%": 0.01, "": 1.0, "/s": 1.0, "tokens/s": 1.0}


def load(concurrency: int, output_tokens: int | None = 16) -> Load:
    return Load(
        concurrency=concurrency, rate_rps=None, input_tokens=128, output_tokens=output_tokens, requests=8
    )


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, Condition]:
    """A condition as text, with what it must mean."""
    name = draw(st.sampled_from(sorted(MEASURES)))
    measure = MEASURES[name]
    operator = ">" if measure.better == "lower" else "<"
    number = draw(st.decimals(0, 100_000, places=3))
    is_relative = draw(st.booleans())
    if is_relative:
        value, said = float(number) / 100, f"{'+' if operator == '>' else '-'}{number}%"
        value = value if operator == ">" else -value
    else:
        unit = draw(st.sampled_from(UNITS[measure.unit]))
        value, said = float(number) * WORTH[unit], f"{number}{unit}"
    where = draw(st.lists(st.sampled_from(["c16", "r4", "128", "→16"]), max_size=3))
    space = draw(st.sampled_from(["", " ", "  "]))
    at = f"@{' '.join(where)}" if where else ""
    text = f"{name}{space}{at}{space}{operator}{space}{said}"
    return text, Condition(text, name, tuple(where), operator, value, is_relative)  # type: ignore[arg-type]


@given(conditions())
def test_what_is_typed_is_understood(pair: tuple[str, Condition]) -> None:
    text, meant = pair
    found = parse_condition(text)
    assert (found.text, found.measure, found.where) == (text, meant.measure, meant.where)
    assert (found.operator, found.is_relative) == (meant.operator, meant.is_relative)
    assert math.isclose(found.value, meant.value)


@given(st.lists(conditions(), min_size=1, max_size=4))
def test_commas_and_repeated_options_mean_the_same(pairs: list[tuple[str, Condition]]) -> None:
    texts = [text for text, _ in pairs]
    assert parse_conditions(texts) == parse_conditions([", ".join(texts)])


@given(st.text(alphabet=st.sampled_from("ttf_p95@c16><+-10%ms. ,→e=∞٣"), max_size=24) | st.text(max_size=24))
def test_anything_else_is_refused_in_words(text: str) -> None:
    """Whatever is typed: a condition that means something, or an error that names the letter."""
    try:
        found = parse_condition(text)
    except UsageError as error:
        assert error.error_code == "bench.condition"
        assert "letter" in error.what
        assert error.fix
    else:
        assert found.measure in MEASURES
        assert math.isfinite(found.value)


@pytest.mark.parametrize(
    ("text", "letter", "what", "fix"),
    [
        ("ttft_p59>+10%", 1, "unknown measure `ttft_p59`", "ttft_p"),
        ("TTFT_P95>+10%", 1, "unknown measure", "did you mean ttft_p95?"),
        (">3", 1, "expected a measure", "error_rate"),
        ("ttft_p95", 9, "expected MEASURE > VALUE", "--fail-on"),
        ("", 1, "expected MEASURE > VALUE", "--fail-on"),
        ("ttft_p95>200", 10, "`200` has no unit", "200ms"),
        ("ttft_p95>10%", 10, "ttft_p95 is not in `%`", "+10%"),
        ("ttft_p95>+10", 10, "relative to the baseline", "+10%"),
        ("ttft_p95>-10%", 10, "fails on what did not change", "+10%"),
        ("ttft_p95<200ms", 9, "fails on what is good", "ttft_p95>200ms"),
        ("goodput>+5%", 8, "fails on what is good", "goodput<-5%"),
        ("goodput<5ms", 9, "goodput is not in `ms`", "-10%"),
        ("ttft_p95>=10ms", 10, "`=10ms` is not a value", "200ms"),
        ("ttft_p95@ >10ms", 10, "expected a point", "c16"),
        ("ttft_p95>", 10, "`` is not a value", "+10%"),
    ],
)
def test_an_error_names_the_letter_and_what_was_meant(text: str, letter: int, what: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_condition(text)
    assert what in caught.value.what
    assert f"letter {letter})" in caught.value.what
    assert caught.value.fix is not None
    assert fix in caught.value.fix


def test_a_point_is_chosen_by_words_of_its_name() -> None:
    chosen = parse_condition("ttft_p95@c16 128->16>+10%")
    assert chosen.selects(load(16))
    assert not chosen.selects(load(1))
    assert not chosen.selects(load(16, output_tokens=160))
    assert parse_condition("ttft_p95@c16 128→16>+10%").where == chosen.where
    assert parse_condition("ttft_p95>+10%").selects(load(1))
