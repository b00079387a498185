"""The pages of all checks, made from the checks themselves.

`python -m neuronctl.doctor.reference` writes docs/doctor/ anew; a test compares the two.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path

from neuronctl.doctor.all import CHECKS
from neuronctl.doctor.causes import CONSEQUENCES
from neuronctl.doctor.check import Check
from neuronctl.doctor.diagnosis import PROFILE

_INDEX = """\
# The checks of doctor

[`neuronctl doctor`](../doctor.md) runs these side by side, in the order of what matters: the first error is
the verdict. These pages are made from the checks by `python -m neuronctl.doctor.reference`, and a test
compares.

| check | looks at | limit |
|---|---|---|
"""


def pages() -> Mapping[str, str]:
    """The pages of docs/doctor by their file names."""
    rows = [
        f"| [{one.name}]({file_name(one)}) | {one.title} | {one.timeout_s:g} s"
        f"{', asks the network' if one.asks == 'network' else ''} |\n"
        for one in CHECKS
    ]
    return {"README.md": _INDEX + "".join(rows), **{file_name(one): _page(one) for one in CHECKS}}


def file_name(check: Check) -> str:
    """The file of a check's page."""
    return check.option + ".md"


def _page(check: Check) -> str:
    parts = [f"# {check.name}: {check.subject}"]
    parts.append(inspect.cleandoc(check.look.__doc__ or ""))
    asks = " It asks the network; `--offline` leaves it out." if check.asks == "network" else ""
    ends = f"; doctor ends with {int(check.exit_code)} where its error is the first" if _ends(check) else ""
    profile = " --profile NAME" if check.needs_profile else ""
    parts.append(
        f"Alone: `neuronctl doctor --check {check.option}{profile}`. "
        f"It may take {check.timeout_s:g} s{ends}.{asks}"
    )
    if check.finds:
        parts.append("## What it may find")
        parts += [
            f"**{one.id}** ({one.severity}). {one.what} *Source:* {one.source}." + _hides(one.id)
            for one in check.finds
        ]
    if check.rules:
        parts.append("## Rules of a plan that it runs")
        parts += [
            f"[{one.id}](../rules.md#{one.id.replace('.', '')}) ({one.severity}).{_hides(one.id)}"
            for one in check.rules
        ]
    return "\n\n".join(parts) + "\n"


def _ends(check: Check) -> bool:
    """Whether it may find an error, or what becomes one by what follows from it; the plan may hold any."""
    found = {one.id: one.severity for one in check.finds} | {one.id: one.severity for one in check.rules}
    return check.name == PROFILE or any(how == "error" or name in CONSEQUENCES for name, how in found.items())


def _hides(cause: str) -> str:
    hidden = CONSEQUENCES.get(cause)
    return f" Hides what follows from it: {', '.join(f'`{one}`' for one in hidden)}." if hidden else ""


if __name__ == "__main__":
    folder = Path(__file__).parents[2] / "docs" / "doctor"
    folder.mkdir(exist_ok=True)
    wanted = pages()
    for old in folder.glob("*.md"):
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text, encoding="utf-8")
