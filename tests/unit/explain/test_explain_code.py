"""Explaining codes: those of the compiler and the runtime, exit numbers, ids."""

from __future__ import annotations

import pytest

from neuronctl.explain.compiler_code import compiler_codes
from neuronctl.explain.explain import explain_code, explain_exit, known_codes
from neuronctl.explain.known_issue import known_issues
from neuronctl.explain.pattern import patterns


@pytest.mark.parametrize(
    ("code", "ids"),
    [
        ("NCC_EARG001", ["NCC_EARG001", "lnc2-on-trn1"]),
        ("EARG001", ["NCC_EARG001", "lnc2-on-trn1"]),
        ("[ncc_earg001]", ["NCC_EARG001", "lnc2-on-trn1"]),
        ("NCC_ITEN404", ["prefix-caching-trn1-compiler"]),
        ("NCC_ITRF901", ["NCC_ITRF901"]),
        ("[F137]", ["compile-oom-host"]),
        ("70", ["compiler-failed"]),
        ("-9", ["killed"]),
        ("137", ["killed"]),
        ("139", ["segmentation-fault"]),
        ("NRT_LOAD_NOT_ENOUGH_NC", ["NRT_LOAD_NOT_ENOUGH_NC"]),
        ("resource", ["NRT_RESOURCE"]),
        ("9", ["NRT_LOAD_NOT_ENOUGH_NC"]),
        ("1204", ["NRT_EXEC_SW_NQ_OVERFLOW"]),
        ("tie-word-embeddings", ["tie-word-embeddings"]),
        ("lora-0.2.0", ["lora-0.2.0"]),
        ("unsupported-topology", ["unsupported-topology"]),
    ],
)
def test_a_code_is_explained(code: str, ids: list[str]) -> None:
    found = explain_code(code)
    assert [one.id for one in found] == ids
    assert all(one.line is None and one.line_number is None for one in found)


@pytest.mark.parametrize("code", ["", "nonsense", "0", "8", "12", "-1", "NCC_", "F1", "99999999999999"])
def test_what_is_no_code_is_not_explained(code: str) -> None:
    assert explain_code(code) == ()


def test_everything_that_is_said_to_be_known_is_explained() -> None:
    known = known_codes()
    assert len(known) > 117 + 61 + 27
    for code, words in known.items():
        assert words, code
        assert explain_code(code), code


def test_a_known_issue_is_told_with_whom_it_affects() -> None:
    (found,) = explain_code("native-missing-nki")
    issue = known_issues()["native-missing-nki"]
    assert issue.affects in found.why
    assert (found.title, found.fix, found.basis) == (issue.sees, issue.fix, issue.basis)


def test_an_exit_number_that_means_nothing_by_itself() -> None:
    assert explain_exit(1) is None
    assert explain_exit(0) is None


def test_a_documented_code_is_told_with_its_page() -> None:
    (found,) = explain_code("EVRF024")
    assert found.source == compiler_codes()["NCC_EVRF024"].source
    assert found.basis == "documented"


def test_words_from_a_pattern_without_a_line_have_no_braces() -> None:
    for pattern in patterns():
        for found in explain_code(pattern.id):
            assert "{blocks}" not in found.fix
            assert "{exit}" not in found.title


def test_1_is_a_status_and_what_every_failed_program_ends_with() -> None:
    names = [one.id for one in explain_code("1")]
    assert names == ["exit-1", "NRT_FAILURE"]
    assert "Traceback" in explain_code("1")[0].fix
