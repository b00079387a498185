"""Rules about compiled artifacts and the variables that decide where they are made and kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.backends.command import serve_command, shown_command
from neuronctl.errors import UsageError
from neuronctl.plan.plan import Plan
from neuronctl.result import Finding
from tests.plan_sample import WIDTH, found, neuron_plan, sample_model


def only(plan: Plan, rule: str, severity: str) -> Finding:
    (finding,) = found(plan, rule)
    assert (finding.severity, bool(finding.source)) == (severity, True)
    return finding


def test_artifacts_own_folder(tmp_path: Path) -> None:
    finding = only(neuron_plan(tmp_path, "artifacts: {path: /data/llama}\n"), "artifacts.own-folder", "info")
    assert finding.message.startswith("artifacts.path /data/llama takes the place of the store")
    assert str(finding.fix).startswith("leave artifacts.path out")
    assert str(finding.place) == "sample.yaml:2: artifacts.path"
    assert found(neuron_plan(tmp_path), "artifacts.own-folder") == []


@pytest.mark.parametrize("said_in", ["shell", "profile"])
def test_artifacts_folder_from_environment(tmp_path: Path, said_in: str) -> None:
    name = "NEURON_COMPILED_ARTIFACTS"
    plan = (
        neuron_plan(tmp_path, environ={name: "/data/old"})
        if said_in == "shell"
        else neuron_plan(tmp_path, f"env: {{{name}: /data/old}}\n")
    )
    finding = only(plan, "artifacts.folder-from-environment", "warning")
    assert "NEURON_COMPILED_ARTIFACTS is /data/old" in finding.message
    assert "takes the place of the store" in finding.message
    if said_in == "shell":
        assert str(finding.fix).startswith("unset NEURON_COMPILED_ARTIFACTS: ")
        assert finding.place is None
    else:
        assert str(finding.fix).startswith("remove env.NEURON_COMPILED_ARTIFACTS from sample.yaml:2: ")
        assert str(finding.place) == "sample.yaml:2: env.NEURON_COMPILED_ARTIFACTS"


def test_artifacts_folder_from_environment_where_it_is_not_set(tmp_path: Path) -> None:
    rule = "artifacts.folder-from-environment"
    assert found(neuron_plan(tmp_path), rule) == []
    assert found(neuron_plan(tmp_path, environ={"NEURON_COMPILED_ARTIFACTS": ""}), rule) == []


LEFT_OUT = "neuron: {save_sharded_checkpoint: false}\n"


def test_artifacts_no_weights(tmp_path: Path) -> None:
    finding = only(neuron_plan(tmp_path, LEFT_OUT), "artifacts.no-weights", "warning")
    assert "(not run) each start cuts them again from /models/small" in finding.message
    assert "leave save_sharded_checkpoint out" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:2: neuron.save_sharded_checkpoint"


@pytest.mark.parametrize("text", ["", "neuron: {save_sharded_checkpoint: true}\n"])
def test_artifacts_no_weights_where_they_are_kept(tmp_path: Path, text: str) -> None:
    assert found(neuron_plan(tmp_path, text), "artifacts.no-weights") == []


def test_artifacts_no_weights_where_nothing_can_be_predicted(tmp_path: Path) -> None:
    plan = neuron_plan(tmp_path, LEFT_OUT, passthrough=("--max-model-len", "auto"))
    assert plan.outlook is not None
    assert plan.outlook.prediction is not None
    assert not plan.outlook.prediction.neuron_config
    assert found(plan, "artifacts.no-weights") == []


def test_artifacts_no_weights_where_words_after_the_dashes_replace_all(tmp_path: Path) -> None:
    words = ("--additional-config", '{"override_neuron_config": {"fused_qkv": true}}')
    finding = only(neuron_plan(tmp_path, passthrough=words), "artifacts.no-weights", "warning")
    assert str(finding.fix).startswith("set save_sharded_checkpoint: true in the override_neuron_config")


@pytest.mark.parametrize("words", ["[]", '{"tp_degree": 2}'])
def test_artifacts_no_weights_where_the_additional_config_is_not_read(tmp_path: Path, words: str) -> None:
    plan = neuron_plan(tmp_path, "engine: {max_num_seqs: 32}\n", passthrough=("--additional-config", words))
    assert len(found(plan, "nxdi.additional-config")) == 1
    assert found(plan, "artifacts.no-weights") == found(plan, "artifacts.shard-on-load-slow") == []


@pytest.mark.parametrize("part", ["text_neuron_config", "vision_neuron_config"])
def test_artifacts_no_weights_of_a_model_with_images(tmp_path: Path, part: str) -> None:
    config = {"architectures": ["LlavaForConditionalGeneration"], "vision_config": {"hidden_size": 64}}
    text = f"neuron:\n  {part}:\n    save_sharded_checkpoint: false\n"
    finding = only(neuron_plan(tmp_path, text, config=config), "artifacts.no-weights", "warning")
    assert str(finding.place) == f"sample.yaml:4: neuron.{part}.save_sharded_checkpoint"
    assert found(neuron_plan(tmp_path, config=config), "artifacts.no-weights") == []


def test_artifacts_no_weights_where_the_plugin_refuses_the_model(tmp_path: Path) -> None:
    """Plugin 0.2.0 takes Pixtral for a text model, reads none of its settings, and refuses it."""
    config = {"architectures": ["LlavaForConditionalGeneration"], "vision_config": {"hidden_size": 64}}
    plan = neuron_plan(tmp_path, config=config, stack="sdk-2.26")
    assert len(found(plan, "model.pixtral-limits")) == 1
    assert found(plan, "artifacts.no-weights") == []


def test_artifacts_shard_on_load_slow(tmp_path: Path) -> None:
    text = "engine: {max_num_seqs: 32}\n" + LEFT_OUT
    finding = only(neuron_plan(tmp_path, text), "artifacts.shard-on-load-slow", "warning")
    assert "the batch size is 32: from 32 on" in finding.message
    assert "leave save_sharded_checkpoint out" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:3: neuron.save_sharded_checkpoint"


@pytest.mark.parametrize("text", ["engine: {max_num_seqs: 31}\n" + LEFT_OUT, "engine: {max_num_seqs: 32}\n"])
def test_artifacts_shard_on_load_slow_for_small_batches_or_kept_weights(tmp_path: Path, text: str) -> None:
    assert found(neuron_plan(tmp_path, text), "artifacts.shard-on-load-slow") == []


def test_artifacts_work_folder(tmp_path: Path) -> None:
    plan = neuron_plan(tmp_path, "env: {BASE_COMPILE_WORK_DIR: /data/work}\n")
    finding = only(plan, "artifacts.work-folder", "info")
    assert "BASE_COMPILE_WORK_DIR is /data/work" in finding.message
    assert "remove env.BASE_COMPILE_WORK_DIR from sample.yaml:2" in str(finding.fix)
    assert str(finding.place) == "sample.yaml:2: env.BASE_COMPILE_WORK_DIR"
    assert found(neuron_plan(tmp_path), "artifacts.work-folder") == []


def test_artifacts_compiler_cache(tmp_path: Path) -> None:
    both = {
        "NEURON_CC_FLAGS": "--cache_dir=/data/a --log_level=INFO",
        "NEURON_COMPILE_CACHE_URL": "s3://bucket/b",
    }
    finding = only(neuron_plan(tmp_path, environ=both), "artifacts.compiler-cache", "info")
    assert finding.message == (
        "NEURON_COMPILE_CACHE_URL s3://bucket/b is not used: --cache_dir in NEURON_CC_FLAGS "
        "(--cache_dir=/data/a --log_level=INFO) wins"
    )
    assert finding.fix == "set one of the two"


def test_artifacts_compiler_cache_without_its_password(tmp_path: Path) -> None:
    both = {
        "NEURON_CC_FLAGS": "--cache_dir=s3://user:swordfish@bucket/a",
        "NEURON_COMPILE_CACHE_URL": "s3://user:swordfish@bucket/b",
    }
    finding = only(neuron_plan(tmp_path, environ=both), "artifacts.compiler-cache", "info")
    assert finding.message.count("s3://user:(hidden)@bucket/") == 2
    assert "swordfish" not in finding.message


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NEURON_CC_FLAGS": "--cache_dir=/data/a"},
        {"NEURON_COMPILE_CACHE_URL": "s3://bucket/b"},
        {"NEURON_CC_FLAGS": "--log_level=INFO", "NEURON_COMPILE_CACHE_URL": "s3://bucket/b"},
    ],
)
def test_artifacts_compiler_cache_that_is_named_once(tmp_path: Path, environ: dict[str, str]) -> None:
    assert found(neuron_plan(tmp_path, environ=environ), "artifacts.compiler-cache") == []


LONG = {"max_position_embeddings": 65536}


def test_nxdi_long_context_mode(tmp_path: Path) -> None:
    plan = neuron_plan(
        tmp_path,
        "engine: {max_model_len: 32768}\n",
        config=LONG,
        machine={"assumed": False},
        environ={"NEURON_RT_EXEC_TIMEOUT": "30"},
    )
    finding = only(plan, "nxdi.long-context-mode", "info")
    assert finding.message == (
        "prompts of 32768 tokens turn on NxD Inference's long-context mode, which sets "
        "NEURON_RT_DBG_SCRATCHPAD_ON_SINGLE_CORE=1, sets NEURON_SCRATCHPAD_PAGE_SIZE=1024, leaves "
        "NEURON_RT_EXEC_TIMEOUT=30 as it is"
    )
    shorter = neuron_plan(tmp_path, "engine: {max_model_len: 32767}\n", config=LONG)
    assert found(shorter, "nxdi.long-context-mode") == []


def test_nxdi_long_context_mode_with_pages_of_another_size(tmp_path: Path) -> None:
    text = "engine: {max_model_len: 32768}\nneuron: {scratchpad_page_size: 2048}\n"
    finding = only(neuron_plan(tmp_path, text, config=LONG), "nxdi.long-context-mode", "info")
    assert "sets NEURON_RT_EXEC_TIMEOUT=600" in finding.message
    assert "sets NEURON_SCRATCHPAD_PAGE_SIZE=2048" in finding.message


def test_the_plugin_sees_a_local_folder_and_never_a_hub_id(tmp_path: Path) -> None:
    """What tied embeddings, float32 copies and artifacts of hub ids suffer from cannot happen."""
    model = sample_model(WIDTH, here=False, commit="c" * 40, path=Path("/hub/snapshots/c"))
    plan = neuron_plan(tmp_path, model=model)
    words = serve_command(plan, address="127.0.0.1", port=8000)
    assert words[words.index("--model") + 1] == "/hub/snapshots/c"
    assert "org/small" not in words[: words.index("--served-model-name")]
    with pytest.raises(UsageError, match="--model cannot be passed through"):
        neuron_plan(tmp_path, passthrough=("--model", "org/small"))


def test_the_plugin_is_always_told_where_artifacts_and_work_go(tmp_path: Path) -> None:
    """Unset, it deletes its own folder at each start, and compiles share a work folder."""
    _, variables = shown_command(neuron_plan(tmp_path))
    assert {"NEURON_COMPILED_ARTIFACTS", "BASE_COMPILE_WORK_DIR"} <= variables.keys()


def test_artifacts_network_filesystem(tmp_path: Path) -> None:
    text = "backend: native\n"
    on_nfs = neuron_plan(
        tmp_path, text, target="trn2.48xlarge", stack="sdk-2.32", machine={"filesystem": "nfs4"}
    )
    (finding,) = found(on_nfs, "artifacts.network-filesystem")
    assert "nfs4" in finding.message
    assert "NEURONCTL_HOME=" in (finding.fix or "")
    local = neuron_plan(
        tmp_path, text, target="trn2.48xlarge", stack="sdk-2.32", machine={"filesystem": "ext4"}
    )
    assert not found(local, "artifacts.network-filesystem")
