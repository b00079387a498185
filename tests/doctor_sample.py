"""A machine of doctor's made of files and of facts written by hand, and what one check says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuronctl.doctor.check import Check, Outcome
from neuronctl.doctor.facts import Facts, Once
from neuronctl.doctor.run import run_checks
from neuronctl.pipeline import Request
from neuronctl.plan.plan import Plan
from neuronctl.stack.detect import Stack
from tests.plan_sample import sample_host, sample_machine, sample_stack


def write(root: Path, path: str, text: str = "") -> None:
    """A file of the machine whose `/` is `root`."""
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def look(
    check: Check,
    root: Path,
    environ: Mapping[str, str] | None = None,
    *,
    stack: Stack | None = None,
    plan: Plan | None = None,
    request: Request | None = None,
    **machine: Any,
) -> Outcome:
    """What one check says where `root` stands for `/`; `machine` are facts that differ from the sample's."""
    facts = Facts(sample_host(root, environ), request=request)
    here = sample_machine(**machine)
    facts.machine = Once(lambda: here)
    facts.stack = Once(lambda: stack or sample_stack())
    if plan is not None:
        facts.plan = Once(lambda: plan)
    (outcome,) = run_checks((check,), facts)
    return outcome


def ids(outcome: Outcome) -> list[str]:
    """The ids of what it found."""
    return [one.id for one in outcome.findings]
