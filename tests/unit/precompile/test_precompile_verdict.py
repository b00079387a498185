"""Verdicts: which ending is the worst, what is told of a failure, and what JUnit makes of it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from neuronctl.cli.junit import junit_xml
from neuronctl.errors import (
    CompileFailed,
    Exit,
    Place,
    PlanRefused,
    ProfileError,
    ProfileErrors,
)
from neuronctl.precompile.verdict import OUTCOMES, WORST_FIRST, Trouble, Verdict, worst
from neuronctl.result import Finding
from neuronctl.whole_file import write_whole

PAGE = Path(__file__).parents[3] / "docs" / "exit-codes.md"
FAILED = CompileFailed(
    "the compile failed",
    fix="look at the log /logs/a.log",
    details={
        "log": "/logs/a.log",
        "last_lines": ["boom"],
        "explained": {"id": "NCC_X", "title": "it is too big", "why": "it is"},
    },
)
REFUSED = PlanRefused(
    "rule.x: no (and 1 more)",
    findings=(
        Finding("rule.x", "error", "no", "say yes", place=Place("p.yaml", 3, "engine.x")),
        Finding("rule.y", "error", "neither"),
        Finding("rule.z", "warning", "hm"),
    ),
)


def test_every_exit_number_has_its_rank() -> None:
    assert sorted(WORST_FIRST) == sorted(Exit)
    assert len(set(WORST_FIRST)) == len(WORST_FIRST)


def test_the_page_of_exit_codes_has_the_same_order() -> None:
    (line,) = re.findall(r"^Of many profiles .*?:\n([0-9, \n]+)\.", PAGE.read_text(), re.MULTILINE)
    assert [int(number) for number in re.findall(r"\d+", line)] == [int(code) for code in WORST_FIRST[:-1]]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], Exit.DONE),
        ([Exit.DONE, Exit.DONE], Exit.DONE),
        ([Exit.CACHE_MISS, Exit.DONE], Exit.CACHE_MISS),
        ([Exit.COMPILE_FAILED, Exit.USAGE, Exit.MACHINE_UNFIT], Exit.COMPILE_FAILED),
        ([Exit.OUR_BUG, Exit.TERMINATED], Exit.TERMINATED),
    ],
)
def test_the_worst(codes: list[Exit], expected: Exit) -> None:
    assert worst(codes) is expected


def test_a_failure_is_told_with_what_is_known() -> None:
    verdict = Verdict("a.yaml", "a").with_error(FAILED, "failed")
    assert (verdict.exit_code, verdict.log, verdict.good) == (Exit.COMPILE_FAILED, "/logs/a.log", False)
    assert verdict.explanation == [
        "the compile failed",
        "| boom",
        "NCC_X: it is too big",
        "why: it is",
        "try: look at the log /logs/a.log",
    ]
    assert verdict.why == "the compile failed"


def test_a_refusal_is_told_by_its_findings() -> None:
    verdict = Verdict("a.yaml", "a").with_error(REFUSED, "refused")
    assert verdict.explanation == [
        "rule.x: no (p.yaml:3: engine.x)",
        "try: say yes",
        "rule.y: neither",
    ]
    assert len(verdict.findings) == 3


def test_each_mistake_of_a_profile_is_told() -> None:
    errors = ProfileErrors(
        [ProfileError("wrong", place=Place("p.yaml", 1, "x")), ProfileError("bad", fix="mend it")]
    )
    verdict = Verdict("a.yaml", "a").with_error(errors, "refused")
    assert verdict.explanation == ["p.yaml:1: x: wrong", "bad", "try: mend it"]


def test_an_error_survives_the_way_through_an_envelope() -> None:
    (trouble,) = Trouble.all_of(ProfileError("wrong", place=Place("p.yaml", 1, "x"), details={"a": 1}))
    assert Trouble.from_envelope(trouble.as_data()) == trouble
    assert trouble.as_data(reference="r")["details"] == {"a": 1, "reference": "r"}


def test_those_of_one_key_share_the_artifact_or_the_failure() -> None:
    other = Verdict("b.yaml", "b", key="k")
    good = Verdict("a.yaml", "a", "compiled", Exit.DONE, "k", 3.0, path="/p")
    assert other.like(good) == Verdict("b.yaml", "b", "same-key", Exit.DONE, "k", path="/p", same_as="a.yaml")
    bad = other.like(Verdict("a.yaml", "a", key="k").with_error(FAILED, "failed"))
    assert (bad.outcome, bad.exit_code, bad.same_as) == ("failed", Exit.COMPILE_FAILED, "a.yaml")


def every_outcome() -> list[Verdict]:
    codes = {"compiled": Exit.DONE, "hit": Exit.DONE, "same-key": Exit.DONE, "miss": Exit.CACHE_MISS}
    codes |= {"refused": Exit.USAGE, "failed": Exit.COMPILE_FAILED, "stopped": Exit.INTERRUPTED}
    return [Verdict(outcome, outcome, outcome, codes.get(outcome)) for outcome in OUTCOMES]


def test_junit_of_every_outcome() -> None:
    bug = Verdict("bug", "bug", "failed", Exit.OUR_BUG, troubles=(Trouble("bug", "oh"),))
    root = ET.fromstring(junit_xml([*every_outcome(), bug], 12.5))
    (suite,) = root
    assert suite.attrib == root.attrib
    assert suite.attrib == {
        "name": "neuronctl compile",
        "tests": "9",
        "failures": "3",
        "errors": "1",
        "skipped": "2",
        "time": "12.500",
    }
    tags = {case.attrib["name"]: [child.tag for child in case] for case in suite}
    assert tags == {
        **{name: [] for name in ("compiled", "hit", "same-key")},
        **{name: ["failure"] for name in ("miss", "refused", "failed")},
        **{name: ["skipped"] for name in ("stopped", "not-tried")},
        "bug": ["error"],
    }


def test_junit_holds_what_xml_cannot() -> None:
    trouble = Trouble("x", "\x1b[31mred\x00 \udce9 <&> ]]> 😀\r\nnext")
    verdict = Verdict("a\x07 \udcff.yaml", "a", "failed", Exit.COMPILE_FAILED, troubles=(trouble,))
    ((case,),) = ET.fromstring(junit_xml([verdict], 0.0))
    assert case.attrib["name"] == "a? ?.yaml"
    assert case[0].text == "?[31mred? ? <&> ]]> 😀\nnext"


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out.xml"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder", b"three")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder", "out.xml"]
