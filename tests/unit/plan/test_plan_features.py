"""Every snippet of docs/features.md is planned, and its table's features have profiles that ask for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from neuronctl.host import Host
from neuronctl.machine.detect import detect_machine
from neuronctl.model.resolve import resolve_model
from neuronctl.plan.make import make_plan
from neuronctl.plan.plan import Plan
from neuronctl.plan.reference import MADE_FOR
from neuronctl.profile.resolve import load_profile
from neuronctl.stack.assume import assume_stack

PAGE = (Path(__file__).parents[3] / "docs" / "features.md").read_text(encoding="utf-8")
SNIPPETS = [
    (section.splitlines()[0], snippet)
    for section in PAGE.split("\n## ")[1:]
    for snippet in re.findall(r"^```yaml\n(.+?)^```", section, re.MULTILINE | re.DOTALL)
]

# What each snippet must come to in the Neuron config that the plugin builds, or in vLLM's arguments.
EXPECTED = {
    "Prefix caching": {"is_prefix_caching": True, "pa_num_blocks": 4096 // 32 * 4 + 1},
    "Sampling": {"on_device_sampling_config": {"dynamic": True, "global_topk": 64}},
    "Quantisation": {"quantized": True, "quantization_dtype": "int8"},
    "Speculative decoding": {"enable_eagle_speculation": True, "speculation_length": 5},
    "LoRA": {"lora_config": {"max_loras": 1, "max_lora_rank": 16}},
    "Chunked prefill": {"is_block_kv_layout": True, "max_context_length": 256, "batch_size": 1},
    "Tool calling": {},
    "Buckets": {"context_encoding_buckets": [512, 4096], "token_generation_buckets": [1024, 4096]},
    "Any other Neuron setting": {"sequence_parallel_enabled": True},
}


def planned(text: str, folder: Path) -> Plan:
    said = re.match(r"# --target (\S+) --stack (\S+)\n", text)
    assert said, "the first line says where the snippet is planned"
    host = Host(environ={"HOME": str(folder), "HF_TOKEN": "set"}, cwd=folder)
    (folder / "model.yaml").write_text(text, encoding="utf-8")
    profile = load_profile("./model.yaml", host)
    machine, stack = detect_machine(host, said[1]), assume_stack(said[2])
    return make_plan(profile, resolve_model(profile.shape.model, host), machine, stack, host.environ)


@pytest.mark.parametrize(("name", "text"), SNIPPETS, ids=[name for name, _ in SNIPPETS])
def test_a_snippet_becomes_what_the_page_says(name: str, text: str, tmp_path: Path) -> None:
    plan = planned(text, tmp_path)
    assert [one.id for one in plan.errors] == []
    assert plan.outlook is not None
    assert plan.outlook.prediction is not None
    config = plan.outlook.prediction.neuron_config
    for key, value in EXPECTED[name].items():
        if isinstance(value, dict):
            assert value.items() <= dict(config[key]).items(), key  # type: ignore[call-overload]
        else:
            assert config[key] == value, key


def test_every_snippet_is_expected_to_become_something() -> None:
    assert {name for name, _ in SNIPPETS} == set(EXPECTED)


def test_tool_calls_and_chunked_prefill_reach_vllm(tmp_path: Path) -> None:
    snippets = dict(SNIPPETS)
    tools = planned(snippets["Tool calling"], tmp_path)
    assert tools.engine["tool_call_parser"].value == "llama3_json"
    assert tools.engine["enable_auto_tool_choice"].value is True
    chunked = planned(snippets["Chunked prefill"], tmp_path)
    assert chunked.environment["DISABLE_NEURON_CUSTOM_SCHEDULER"].value == "1"


def test_the_adapters_file_is_shown_and_named_by_its_content(tmp_path: Path) -> None:
    plan = planned(dict(SNIPPETS)["LoRA"], tmp_path)
    ((path, text),) = plan.files.items()
    assert plan.outlook is not None
    assert plan.outlook.settings["lora_ckpt_json"] == path
    assert f'"sql": "{tmp_path}/adapters/sql"' in text


def test_the_profiles_of_the_table_are_shipped() -> None:
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| ") and "`" in line]
    named = {name for row in rows for name in re.findall(r"`([a-z0-9.-]+)`", row[3])}
    assert named
    assert named <= set(MADE_FOR)
