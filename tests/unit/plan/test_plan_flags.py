"""Every flag that a plan emits is one that its vLLM is known to take."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.backends.command import serve_command
from neuronctl.plan.arguments import argv
from neuronctl.plan.plan import Plan
from neuronctl.plan.reference import shipped_cases
from neuronctl.secret import split_flags
from neuronctl.stack.flags import check_flag
from tests.plan_sample import sample_plan

REPOSITORY = Path(__file__).parents[3]
CASES = [case for case in shipped_cases(REPOSITORY) if case.works]


def emitted(plan: Plan) -> list[tuple[str, str | None]]:
    """The flags of the command that would serve, each with its first value."""
    words = serve_command(plan, address="127.0.0.1", port=8000)
    begin = next(number for number, word in enumerate(words) if word == "--model")
    return [
        (group[0].partition("=")[0], group[1] if len(group) > 1 else None)
        for _, group in split_flags(words[begin:])
    ]


@pytest.mark.parametrize("stack", sorted({case.stack for case in CASES}))
def test_a_shipped_profile_emits_only_what_its_vllm_takes(stack: str) -> None:
    refused = {}
    for case in (one for one in CASES if one.stack == stack):
        assert case.plan is not None
        version = case.plan.stack.vllm_version
        assert version is not None
        for flag, value in emitted(case.plan):
            answer = check_flag(version, flag, value)
            if answer.accepted is not True:
                refused[flag, value] = answer.reason
    assert refused == {}


def test_the_cpu_backend_emits_only_what_its_vllm_takes(tmp_path: Path) -> None:
    plan = sample_plan(tmp_path, "engine: {max_num_seqs: 2, max_model_len: 100}")
    flags = [words[0] for name, one in plan.engine.items() for words in [argv({name: one.value})]]
    assert [flag for flag in flags if check_flag("0.32.0", flag).accepted is not True] == []
