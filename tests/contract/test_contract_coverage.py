"""Known issues: the page is made from the program, and what it names as a test is there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from neuronctl.explain.known_issue import known_issues
from neuronctl.rules.all import RULES
from neuronctl.rules.coverage import coverage, known_issues_page, rule_test
from tests.reference import reference

REPOSITORY = Path(__file__).parents[2]


def functions(folder: Path) -> set[str]:
    """Names of all test functions under a folder."""
    return {
        node.name
        for path in folder.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }


def test_the_page_is_made_from_the_program() -> None:
    page = (REPOSITORY / "docs" / "known-issues.md").read_text(encoding="utf-8")
    assert page.splitlines() == known_issues_page().splitlines(), "python -m neuronctl.rules.coverage"


def test_every_known_issue_of_the_reference_is_there_and_covered() -> None:
    assert set(known_issues()) == {one["id"] for one in reference("known_issues")["issues"]}
    assert [one.issue.id for one in coverage() if not one.is_covered] == []


def test_what_a_rule_covers_is_a_known_issue() -> None:
    assert {name for rule in RULES for name in rule.covers} <= set(known_issues())


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.covers], ids=lambda rule: rule.id)
def test_a_rule_that_covers_an_issue_has_a_test_of_its_name(rule: object) -> None:
    name = rule_test(rule.id)  # type: ignore[attr-defined]
    assert any(one.startswith(name) for one in functions(REPOSITORY / "tests" / "unit" / "rules")), name


def test_a_design_that_avoids_an_issue_has_its_test() -> None:
    for one in coverage():
        if one.avoided:
            path, _, name = (one.avoided_test or "").partition("::")
            assert name in functions((REPOSITORY / path).parent), one.issue.id
