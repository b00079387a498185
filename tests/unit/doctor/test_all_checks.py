"""What holds for every check."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from neuronctl.doctor.all import CHECKS
from neuronctl.doctor.check import Check
from neuronctl.doctor.facts import FACTS_S, Facts, Once
from neuronctl.machine.detect import Machine
from neuronctl.stack.detect import Stack
from tests.plan_sample import sample_host, sample_machine, sample_stack


@pytest.mark.parametrize(
    "check", [one for one in CHECKS if one.asks == "machine"], ids=lambda one: one.option
)
def test_a_check_waits_longer_than_what_it_asks_for(tmp_path: Path, check: Check) -> None:
    """Else a neuron-ls that hangs is told as a check that hangs."""
    asked = []

    def machine() -> Machine:
        asked.append("machine")
        return sample_machine()

    def stack() -> Stack:
        asked.append("stack")
        return sample_stack()

    facts = Facts(sample_host(tmp_path))
    facts.machine, facts.stack = Once(machine), Once(stack)
    with suppress(Exception):  # what it finds is not asked here
        check.look(facts)
    facts.obey(check.rules)
    assert not asked or check.timeout_s >= FACTS_S
