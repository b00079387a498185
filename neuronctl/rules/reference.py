"""The page of all rules, made from the rules themselves.

`python -m neuronctl.rules.reference` writes docs/rules.md anew; a test compares the two.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from neuronctl.rules.all import RULES
from neuronctl.rules.rule import ALL_BACKENDS, Rule

_HEAD = """\
# Rules

A rule looks at a plan before anything runs. What it finds stands at the end of `neuronctl plan`, with the
numbers of your plan and what to type: an error stops `compile` and `serve` (exit 1), a warning and an info do
not. Where a rule rests on an estimate, or on advice that no code enforces, `--force` makes a warning of its
error. `neuronctl explain RULE` tells about a rule on the terminal. This page is made from the rules by
`python -m neuronctl.rules.reference`, and a test compares.
"""


def rules_page() -> str:
    """docs/rules.md."""
    return _HEAD + "".join(_section(rule) for rule in RULES)


def _section(rule: Rule) -> str:
    what, _, more = inspect.cleandoc(rule.look.__doc__ or "").partition("\n\n")
    about = [f"*Source:* {rule.source}" + ("" if rule.source.endswith(".") else ".")]
    if rule.backends != ALL_BACKENDS:
        about.append(f"*Backends:* {', '.join(rule.backends)}.")
    if rule.covers:
        about.append(f"*Known issues:* {', '.join(f'`{issue}`' for issue in rule.covers)}.")
    if rule.forcible:
        about.append("*With* `--force` *a warning.*")
    parts = [f"## {rule.id}", f"**{rule.severity}.** {what}", more, " ".join(about)]
    return "\n" + "\n\n".join(part for part in parts if part) + "\n"


if __name__ == "__main__":
    page = Path(__file__).parents[2] / "docs" / "rules.md"
    page.write_text(rules_page(), encoding="utf-8")
