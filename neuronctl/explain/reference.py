"""The page of all errors, made from what `neuronctl explain` says of them.

`python -m neuronctl.explain.reference` writes docs/errors.md anew; a test compares the two.
"""

from __future__ import annotations

from pathlib import Path

from neuronctl.explain.error_code import error_codes

_HEAD = """\
# Errors

Every failure has a code that stays the same while its words may change: `errors[].code` with `--json`. What
to type next stands under `try:`, or in `errors[].fix`. `neuronctl explain CODE` tells on the terminal what
stands here. The numbers are explained in [Exit codes](exit-codes.md); what a plan or doctor finds, in
[Rules](rules.md) and [the checks of doctor](doctor/README.md). This page is made by
`python -m neuronctl.explain.reference` from what the program says itself, and a test compares that with its
code.

| code | exit | meaning | fix |
|---|---|---|---|
"""


def errors_page() -> str:
    """docs/errors.md."""
    rows = (
        f"| `{one.code}` | {', '.join(map(str, one.exits)) or 'none'} | {one.means} | {one.fix} |\n"
        for one in error_codes().values()
    )
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    page = Path(__file__).parents[2] / "docs" / "errors.md"
    page.write_text(errors_page(), encoding="utf-8")
