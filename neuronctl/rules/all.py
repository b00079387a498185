"""Every rule there is, in the order in which they are run."""

from __future__ import annotations

from neuronctl.rules import cpu, serving
from neuronctl.rules.rule import Rule

RULES: tuple[Rule, ...] = (*serving.RULES, *cpu.RULES)
