"""Which known issues neuronctl catches, and how: a rule before launch, a pattern in a log, or by its design.

`python -m neuronctl.rules.coverage` prints the count and writes docs/known-issues.md anew; a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from neuronctl.explain.known_issue import KnownIssue, known_issues
from neuronctl.explain.pattern import patterns
from neuronctl.rules.all import RULES
from neuronctl.yaml_data import read_yaml

_SAMPLES = "../tests/data/logs"
_HEAD = """\
# Known issues

What is known to go wrong with vLLM on Neuron, and what neuronctl does about each: a [rule](rules.md) that
finds it before anything is compiled, a pattern by which [`neuronctl explain`](explain.md) and a failed
server's report recognise it in a log, or a design in which it cannot happen. The last column names a test: of
a rule the function, of a pattern the sample of a log. `neuronctl explain ISSUE` tells cause, fix and source
of each one. This page is made by `python -m neuronctl.rules.coverage`, and a test compares.

"""


@dataclass(frozen=True)
class Cover:
    """What covers a known issue: rules and patterns by id, or how the design avoids it, with its test."""

    issue: KnownIssue
    rules: tuple[str, ...]
    patterns: tuple[str, ...]
    avoided: str | None
    avoided_test: str | None

    @property
    def is_covered(self) -> bool:
        """Whether anything but an explanation on demand is done about it."""
        return bool(self.rules or self.patterns or self.avoided)


@cache
def coverage() -> tuple[Cover, ...]:
    """Every known issue with what covers it."""
    avoided = _avoided()
    return tuple(
        Cover(
            issue=issue,
            rules=tuple(rule.id for rule in RULES if name in rule.covers),
            patterns=tuple(one.id for one in patterns() if name in (one.issue, *one.also)),
            avoided=avoided.get(name, {}).get("how"),
            avoided_test=avoided.get(name, {}).get("test"),
        )
        for name, issue in known_issues().items()
    )


def coverage_count() -> str:
    """The count, in words."""
    covers = coverage()
    covered = [one for one in covers if one.is_covered]
    left = [one.issue.id for one in covers if not one.is_covered]
    ways = {
        "a rule": sum(bool(one.rules) for one in covers),
        "a pattern": sum(bool(one.patterns) for one in covers),
        "design": sum(bool(one.avoided) for one in covers),
    }
    told = ", ".join(f"{count} by {way}" for way, count in ways.items())
    only = f"; only explained: {', '.join(left)}" if left else ""
    return f"{len(covered)} of {len(covers)} known issues are covered: {told}{only}"


def known_issues_page() -> str:
    """docs/known-issues.md."""
    lines = [
        f"{coverage_count()}.",
        "",
        "| known issue | area | rule | pattern | by design | test |",
        "|---|---|---|---|---|---|",
    ]
    for one in coverage():
        cells = [
            f"`{one.issue.id}`",
            one.issue.area,
            ", ".join(f"[{rule}](rules.md#{rule.replace('.', '')})" for rule in one.rules),
            ", ".join(f"`{pattern}`" for pattern in one.patterns),
            one.avoided or "",
            ", ".join(_tests(one)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return _HEAD + "\n".join(lines) + "\n"


def rule_test(rule: str) -> str:
    """The name that the tests of a rule begin with."""
    return "test_" + rule.replace(".", "_").replace("-", "_")


def _tests(one: Cover) -> list[str]:
    tests = [f"`{rule_test(rule)}`" for rule in one.rules]
    tests += [f"[{pattern}.log]({_SAMPLES}/{pattern}.log)" for pattern in one.patterns]
    if one.avoided_test:
        path, _, name = one.avoided_test.partition("::")
        tests.append(f"[{name}](../{path})")
    return tests


def _avoided() -> Mapping[str, Mapping[str, str]]:
    found: Mapping[str, Mapping[str, str]] = read_yaml(Path(__file__).with_name("avoided.yaml"))
    return found


if __name__ == "__main__":
    import sys

    page = Path(__file__).parents[2] / "docs" / "known-issues.md"
    page.write_text(known_issues_page(), encoding="utf-8")
    sys.stderr.write(coverage_count() + "\n")
