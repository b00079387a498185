from __future__ import annotations

import re
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from neuronctl.bench.bars import bar, places, spark
from neuronctl.bench.grid import cut, wide
from neuronctl.bench.remarks import remarks
from neuronctl.bench.schema import Remark
from neuronctl.bench.shown import clean, dollars, duration, milliseconds, number, share, whole
from neuronctl.bench.terminal import terminal_text
from tests.bench_odd import EVIL, odd_results
from tests.bench_sample import result

ODD = odd_results()


@pytest.mark.parametrize("width", [20, 40, 61, 80, 120, 250])
@pytest.mark.parametrize("name", ODD)
def test_no_line_is_wider_than_the_terminal_and_none_obeys_a_name(name: str, width: int) -> None:
    text = terminal_text(ODD[name], width)
    assert max(map(wide, text.splitlines())) <= max(width, 40)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    for wrong in ("nan", "None", "inf ", "null"):
        assert wrong not in text


def test_the_table_has_medians_and_their_spread() -> None:
    found = result(noise=0.5)
    text = terminal_text(found, 120)
    for point in found.points:
        (line,) = (line for line in table(text) if line.startswith(point.load.name))
        paces = [run.output_tokens_per_s for run in point.runs]
        ttfts = [run.ttft_s.p50 for run in point.runs if run.ttft_s]
        cells = line.removeprefix(point.load.name).split()
        assert cells[:2] == [number(statistics.median(paces)), f"{number(min(paces))}–{number(max(paces))}"]
        assert milliseconds(statistics.median(ttfts)) in cells


def table(text: str) -> list[str]:
    """The lines of the table, which ends with a line about runs."""
    return text.partition("medians of the runs")[0].splitlines()


def test_a_wide_terminal_shows_more_and_a_narrow_one_the_most_asked_for() -> None:
    narrow, wider, widest = (terminal_text(result(), width) for width in (60, 80, 140))
    assert "TTFT, ms" in narrow and "E2E, ms" not in narrow
    assert "E2E, ms" in wider and "ITL, ms" not in wider
    assert "ITL, ms" in widest and "tokens/s over time" in widest


def test_remarks_come_first_and_in_colour() -> None:
    remark = Remark(id="once", severity="error", text="one run says nothing of spread")
    text = terminal_text(
        replace(result(), remarks=(remark,)), 80, paint=lambda text, colour: f"<{colour}>{text}</>"
    )
    assert text.index("<red>error</> once: one run") < text.index("TTFT, ms")


def test_what_failed_is_told_by_kind_and_once() -> None:
    made = ODD["some errors"]
    text = terminal_text(
        replace(made, remarks=remarks(made.points, made.client_delay, made.workload, None)), 80
    )
    assert text.count("HTTP 500") == len(made.points)
    assert text.index("HTTP 500") < text.index("TTFT, ms")


def test_a_start_is_drawn_as_phases_after_each_other() -> None:
    lines = terminal_text(result(), 80).splitlines()
    (compiled, loaded, answered) = lines[lines.index("cold start: ready after 15 min 31 s") + 1 :][:3]
    assert compiled.split()[:3] == ["compile", "15", "min"]
    assert compiled.rindex("█") <= loaded.index("█") <= answered.index("▏")


def test_many_points_have_no_bars_but_a_table() -> None:
    text = terminal_text(ODD["many"], 120)
    assert len([line for line in text.splitlines() if line.startswith("c")]) == 61  # and the cold start
    assert "TTFT p50, ms" not in text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (0.00512, "0.00512"),
        (0.0512, "0.0512"),
        (5.12, "5.12"),
        (9.996, "10.0"),
        (51.23, "51.2"),
        (99.96, "100"),
        (512.3, "512"),
        (5120.4, "5,120"),
        (-0.5, "-0.500"),
        (1.5e9, "1.5e+09"),
        (1e-7, "1e-07"),
    ],
)
def test_numbers_have_three_digits_that_count(value: float, said: str) -> None:
    assert number(value) == said


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300))
def test_a_number_is_what_it_says_within_half_a_percent(value: float) -> None:
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=6e-3)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0512, "51.2 ms"),
        (0.9999, "1.0 s"),
        (4.2, "4.2 s"),
        (9.97, "10 s"),
        (59.7, "1 min"),
        (930, "15 min 30 s"),
        (3599.8, "1 h"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_other_amounts() -> None:
    assert [whole(16), whole(2048), whole(0.5)] == ["16", "2,048", "0.500"]
    assert [dollars(1.25), dollars(0.03123), dollars(1250)] == ["$1.25", "$0.0312", "$1,250"]
    assert [share(0), share(0.004), share(0.125)] == ["0 %", "0.4 %", "12 %"]


def test_letters_that_are_orders_become_one_that_is_none() -> None:
    assert clean(EVIL).count("\ufffd") == 3
    assert clean("日本語 😀 שלום") == "日本語 😀 שלום"


@given(st.text(), st.integers(1, 30))
def test_a_text_is_cut_to_its_width(text: str, width: int) -> None:
    assert wide(cut(clean(text), width)) <= width


def test_a_letter_takes_its_room() -> None:
    assert [wide("ab"), wide("日本"), wide("e\u0301"), wide("\x1b[1mab\x1b[0m")] == [2, 4, 1, 2]
    assert cut("日本語", 4) == "日…"


def test_bars() -> None:
    assert [bar(0, 4), bar(0.5, 4), bar(1, 4), bar(1e-9, 4), bar(0.53, 4)] == ["", "██", "████", "▏", "██▏"]
    assert spark([0, 1, 2, 4], 4) == "▁▃▅█"
    assert spark([1, 1, 3, 3], 2) == "▃█"
    assert spark([0, 0], 2) == ""
    assert places([3, 1], 4) == ["███", "   █"]
    assert places([1000, 1], 4) == ["████", "   ▏"]
    assert places([0, 0], 4) == ["", ""]
