"""What the shipped profiles become on the machines and stacks that they are made for: a table in the docs.

`python -m neuronctl.plan.reference` writes docs/shipped-profiles.md anew; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from neuronctl.errors import NeuronctlError
from neuronctl.host import Host
from neuronctl.machine.detect import detect_machine
from neuronctl.model.resolve import resolve_model
from neuronctl.model.size import weight_bytes
from neuronctl.plan.make import make_plan
from neuronctl.plan.plan import Plan
from neuronctl.profile.resolve import load_profile
from neuronctl.stack.assume import assume_stack, distinct_stacks

# The instance types that each shipped profile for Neuron is made for; the first is shown in the table.
MADE_FOR = {
    "tinyllama-tp2": ("inf2.xlarge", "trn1.2xlarge"),
    "llama-3.1-8b": ("inf2.48xlarge", "trn1.32xlarge", "trn2.48xlarge"),
    "llama-3.1-8b-chunked-prefill": ("trn2.48xlarge",),
    "llama-3.1-8b-cpu-sampling": ("inf2.48xlarge", "trn1.32xlarge"),
    "llama-3.1-8b-eagle": ("inf2.48xlarge", "trn1.32xlarge", "trn2.48xlarge"),
    "llama-3.1-8b-fp8": ("trn2.48xlarge",),
    "llama-3.1-8b-int8": ("inf2.48xlarge", "trn1.32xlarge", "trn2.48xlarge"),
    "llama-3.1-8b-lora": ("inf2.48xlarge", "trn1.32xlarge", "trn2.48xlarge"),
    "llama-3.1-8b-prefix-caching": ("trn2.48xlarge", "inf2.48xlarge", "trn1.32xlarge"),
    "llama-3.1-8b-tools": ("inf2.48xlarge", "trn1.32xlarge", "trn2.48xlarge"),
    "llama-3.3-70b": ("trn2.48xlarge",),
    "llama-4-scout": ("trn2.48xlarge",),
    "pixtral-12b": ("inf2.48xlarge", "trn1.32xlarge", "trn2.48xlarge"),
    "qwen2.5-7b": ("inf2.48xlarge", "trn2.48xlarge"),
    "qwen3-30b-a3b": ("trn2.48xlarge",),
    "qwen3-8b": ("trn2.48xlarge",),
}
_HOME = "/home/somebody"
_GIB = 2**30


@dataclass(frozen=True)
class Case:
    """One shipped profile on one instance type and stack: a plan, or why there is none."""

    profile: str
    instance: str
    stack: str
    plan: Plan | None
    error: NeuronctlError | None = None

    @property
    def works(self) -> bool:
        """Whether no rule refuses it."""
        return self.plan is not None and not self.plan.errors

    @property
    def warnings(self) -> tuple[str, ...]:
        """The rules that warn."""
        findings = self.plan.findings if self.plan is not None else ()
        return tuple(dict.fromkeys(one.id for one in findings if one.severity == "warning"))

    @property
    def reasons(self) -> tuple[str, ...]:
        """What stops it, else what warns: rules, or the code of an error."""
        if self.plan is None:
            return (self.error.error_code,) if self.error is not None else ()
        return tuple(dict.fromkeys(one.id for one in self.plan.errors)) or self.warnings


def shipped_cases(cwd: Path) -> Iterator[Case]:
    """Every shipped profile for Neuron on what it is made for, newest stack first. Reads package data."""
    host = Host(environ={"HOME": _HOME, "HF_TOKEN": "set"}, cwd=cwd)
    stacks = [(name, assume_stack(name)) for name in distinct_stacks()]
    for name, instances in MADE_FOR.items():
        profile = load_profile(name, host)
        model = resolve_model(profile.shape.model, host)
        model = replace(model, weights=weight_bytes(model))
        for instance in instances:
            machine = detect_machine(host, instance)
            for label, stack in stacks:
                try:
                    plan = make_plan(profile, model, machine, stack, host.environ, home=f"{_HOME}/neuronctl")
                except NeuronctlError as error:
                    yield Case(name, instance, label, None, error)
                else:
                    yield Case(name, instance, label, plan)


def shipped_page(cwd: Path) -> str:
    """docs/shipped-profiles.md."""
    lines = [
        "# Shipped profiles",
        "",
        "What each profile becomes on the instance types that it is made for. This page is made from the",
        "plans by `python -m neuronctl.plan.reference`, and a test compares. TP is the tensor parallel size;",
        "*core* is what a logical core must hold, of what it has (see [Estimates](estimates.md)). Stacks are",
        "SDK releases, as `--stack sdk-…` takes them. *Warned* and *refused* name the [rules](rules.md): a",
        "warning says why it may not go well, an error stops the plan.",
        "",
        "| profile | instance | TP | length | batch | core, GiB | works on | warned on | refused on |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    cases: dict[tuple[str, str], list[Case]] = {}
    for case in shipped_cases(cwd):
        cases.setdefault((case.profile, case.instance), []).append(case)
    for (profile, instance), group in cases.items():
        working = [case for case in group if case.works]
        warned = [case for case in working if case.warnings]
        shown = next((case.plan for case in working), None) or next(
            (case.plan for case in group if case.plan), None
        )
        cells = [
            f"`{profile}`",
            instance,
            *_numbers(shown),
            _names([case for case in working if case not in warned]),
            _by_rule(warned),
            _by_rule([case for case in group if not case.works]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _numbers(plan: Plan | None) -> list[str]:
    if plan is None or plan.outlook is None:
        return ["", "", "", ""]
    engine, estimate = plan.engine, plan.outlook.estimate
    core = ""
    if estimate is not None and estimate.core_memory_bytes:
        core = f"{estimate.core_bytes / _GIB:.1f} of {estimate.core_memory_bytes / _GIB:g}"
    shown = [str(engine[name].value) for name in ("max_model_len", "max_num_seqs")]
    return [str(plan.outlook.tensor_parallel_size), *shown, core]


def _names(cases: list[Case]) -> str:
    """The stacks, newest first; three and more in a row as the first and the last of them."""
    order = distinct_stacks()
    runs: list[list[str]] = []
    for case in cases:
        if runs and order.index(case.stack) == order.index(runs[-1][-1]) + 1:
            runs[-1].append(case.stack)
        else:
            runs.append([case.stack])
    said = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(run) for run in runs]
    return ", ".join(said).replace("sdk-", "")


def _by_rule(cases: list[Case]) -> str:
    """Stacks by the rules, or the error, that speak of them."""
    by_reason: dict[str, list[Case]] = {}
    for case in cases:
        by_reason.setdefault(", ".join(f"`{reason}`" for reason in case.reasons), []).append(case)
    return "; ".join(f"{_names(group)}: {reason}" for reason, group in by_reason.items())


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    (root / "docs" / "shipped-profiles.md").write_text(shipped_page(root), encoding="utf-8")
