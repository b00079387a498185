"""`neuronctl plan`: the same plan as text, as JSON and as a command, and no secret in any of them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from neuronctl.cli.plan import describe_plan, plan_text
from neuronctl.plan.plan import Plan
from tests.plan_sample import sample_plan, sample_stack


def plan_of(tmp_path: Path, text: str = "", **facts: Any) -> Plan:
    entry = tmp_path / "vllm" / "entrypoints" / "openai" / "api_server.py"
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.touch()
    return sample_plan(tmp_path, text, stack=sample_stack(vllm_folder=tmp_path / "vllm"), **facts)


def test_text_and_data_say_the_same(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path, "engine: {max_num_seqs: 2, dtype: bfloat16}", passthrough=("--max-logprobs", "3")
    )
    data = describe_plan(plan, compiled=True)
    json.dumps(data)
    assert data["key"] == plan.key
    assert data["engine"]["max_num_seqs"] == {"value": 2, "origin": "sample.yaml:2"}  # type: ignore[index]
    text = plan_text(plan, compiled=True)
    assert f"{plan.key}: compiled\n" in text
    assert "warning cpu.compiled-bfloat16" in text
    assert "not compiled yet" in plan_text(plan, compiled=False)
    shown = text.split("command\n")[1].split("\n\nfindings")[0]
    words = shlex.split(shown.replace("\\\n", " "))
    variables = [f"{name}={value}" for name, value in data["command_environment"].items()]  # type: ignore[attr-defined]
    assert words == [*variables, *data["command"]]  # type: ignore[misc]


def test_a_plan_that_compiles_nothing_says_so(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "artifacts: {policy: never}")
    assert "not used (policy never)" in plan_text(plan, compiled=False)
    assert "VLLM_CACHE_ROOT" not in str(describe_plan(plan, compiled=False)["command_environment"])


SECRET = "swordfish-5e4d3c"


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"passthrough": ("--hf-token", SECRET)}, id="after --"),
        pytest.param({"passthrough": (f"--hf-token={SECRET}",)}, id="after -- with ="),
        pytest.param({"environ": {"VLLM_API_KEY": SECRET}}, id="API key"),
        pytest.param({"environ": {"HF_TOKEN": SECRET}}, id="hub token"),
        pytest.param({"text": f"env: {{MY_PASSWORD: {SECRET}}}"}, id="env"),
        pytest.param({"text": f"engine: {{extra: {{hf_token: {SECRET}}}}}"}, id="extra"),
        pytest.param({"text": f"engine: {{extra: {{store: {{password: {SECRET}}}}}}}"}, id="nested"),
        pytest.param({"text": f"engine: {{tokenizer: sk-{SECRET}}}"}, id="by its look"),
    ],
)
def test_no_secret_is_shown(tmp_path: Path, facts: dict[str, Any]) -> None:
    plan = plan_of(tmp_path, **facts)
    assert SECRET not in plan_text(plan, compiled=False)
    assert SECRET not in json.dumps(describe_plan(plan, compiled=False))
