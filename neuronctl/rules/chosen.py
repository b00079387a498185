"""The rules that are run for a plan."""

from __future__ import annotations

from functools import cache

from neuronctl.rules.rule import Rule


@cache
def rules_for(backend: str) -> tuple[Rule, ...]:
    """The rules that are about a backend; those of Neuron are imported only for Neuron."""
    if backend == "cpu":
        from neuronctl.rules import cpu, cpu_stack, hub, serving

        rules: tuple[Rule, ...] = (*serving.RULES, *hub.RULES, *cpu.RULES, *cpu_stack.RULES)
    else:
        from neuronctl.rules.all import RULES as rules  # noqa: N811
    return tuple(rule for rule in rules if backend in rule.backends)
