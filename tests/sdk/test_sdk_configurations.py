"""The stand-in makes of vLLM's arguments what was measured with the real software."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from tests.reference import reference
from tests.sdk.user import User, make_user

MEASURED: dict[str, str] = reference("measured")["configurations"]["cases"]
# The measured configurations: how each differs from the base; None takes an argument away.
TINY_FLAGS = {"tensor-parallel-size": "2", "max-model-len": "128", "max-num-seqs": "4", "block-size": "32"}
OVERRIDE = "additional-config"
PREFIX = {"prefix": True}


def overriding(**settings: Any) -> dict[str, Any]:
    return {OVERRIDE: json.dumps({"override_neuron_config": settings})}


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "base: tp2 len128 seqs4 block32 no-prefix": {},
    "--block-size 32, prefix caching not mentioned": PREFIX,
    "prefix caching, --num-gpu-blocks-override 64": {**PREFIX, "num-gpu-blocks-override": "64"},
    "prefix caching, pa_num_blocks 64 without --num-gpu-blocks-override": {
        **PREFIX,
        **overriding(pa_num_blocks=64),
    },
    "no-prefix, --num-gpu-blocks-override 8": {"num-gpu-blocks-override": "8"},
    "no --max-num-seqs": {"max-num-seqs": None},
    "--max-num-seqs 1": {"max-num-seqs": "1"},
    "--max-num-batched-tokens 1024": {"max-num-batched-tokens": "1024"},
    "--additional-config '[]'": {OVERRIDE: "[]"},
    "override_neuron_config given directly as additional-config": {OVERRIDE: '{"tp_degree": 4}'},
    "override: tp_degree 4 against --tensor-parallel-size 2": overriding(tp_degree=4),
    "override: seq_len 256 against --max-model-len 128": overriding(seq_len=256),
    # By the code, decoding has two buckets only if its own list was given too, which the name does not say.
    "override: context_encoding_buckets [64,128]": overriding(
        context_encoding_buckets=[64, 128], token_generation_buckets=[64, 128]
    ),
    "override: on_device_sampling_config null": overriding(on_device_sampling_config=None),
    "--enable-lora --lora-modules a=/x": {"enable-lora": True, "lora-modules": "a=/x"},
    "--speculative-config eagle": {
        "speculative-config": '{"method": "eagle", "model": "DRAFT", "num_speculative_tokens": 5}'
    },
    "--swap-space 4": {"swap-space": "4"},
    "smollm2 (9 heads, 3 kv) --tensor-parallel-size 2": {"model": "smollm2"},
    "DISABLE_NEURON_CUSTOM_SCHEDULER=1": {"env": {"DISABLE_NEURON_CUSTOM_SCHEDULER": "1"}},
    "platform inf2": {"env": {"NEURON_PLATFORM_TARGET_OVERRIDE": "inf2"}},
    "model path with trailing slash": {"slash": True},
    # What it was given is not said; it does not show in what was measured, but in the digest.
    "second --additional-config wins": overriding(save_sharded_checkpoint=True),
}
LEFT_OUT = {
    "--tensor-parallel-size 8 (4 heads, 2 kv)": "vLLM refuses the swap space for the memory of the machine "
    "that was measured; the stand-in does not look at the machine's memory",
}
# Runs inside the serving Python: one line of JSON for each case on stdin.
ASK = """
import hashlib, json, os, sys
from vllm.config import set_current_vllm_config
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.openai.cli_args import make_arg_parser
from vllm.utils import FlexibleArgumentParser
from vllm.v1.executor.abstract import Executor
from vllm_neuron.worker import neuronx_distributed_model_loader as loader

def tell(self, model_path, neuronx_model_cls, config, compiled_path):
    neuron = config.neuron_config
    said["digest"] = hashlib.md5(config.to_json_string().encode()).hexdigest()
    said["final"] = {"tp": neuron.tp_degree, "batch": neuron.batch_size, "len": neuron.max_length,
        "lnc": neuron.logical_nc_config, "ods": neuron.on_device_sampling_config is not None}
    said["neuron"] = {key: str(getattr(value, "name", value)) for key, value in vars(neuron).items()}
    self.model = neuronx_model_cls(model_path, config)
    said["buckets"] = {model.tag: len(model.buckets) for model in self.model.models}
    self.model.checkpoint_loader_fn()
loader.NeuronModelBase._compile_and_load_model = tell

for line in sys.stdin:
    words, env = json.loads(line)
    said, stage = {}, "create_engine_config"
    os.environ.update(env)
    try:
        args = make_arg_parser(FlexibleArgumentParser()).parse_args(words)
        config = AsyncEngineArgs.from_cli_args(args).create_engine_config()
        said["vllm"] = {"block": config.cache_config.block_size, "seqs": config.scheduler_config.max_num_seqs,
            "mbt": config.scheduler_config.max_num_batched_tokens, "len": config.model_config.max_model_len,
            "pc": config.cache_config.enable_prefix_caching,
            "blocks": config.cache_config.num_gpu_blocks_override}
        with set_current_vllm_config(config):
            stage = "worker"
            Executor.get_class(config).__init__
            from vllm_neuron.worker.neuron_worker import NeuronWorker
            worker = NeuronWorker(config, 0, 0, "")
            stage = "load_model"
            worker.load_model()
    except Exception as error:
        said["crash"] = [stage, type(error).__name__, str(error)]
    for name in env:
        del os.environ[name]
    print(json.dumps(said), flush=True)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the stand-in makes of every measured configuration; one process for all."""
    user = make_user(tmp_path_factory.mktemp("user"))
    (user.folder / "asked.py").write_text(ASK)
    lines = [json.dumps(asked(user, case)) for case in CONFIGURATIONS.values()]
    done = subprocess.run(
        [str(user.python), str(user.folder / "asked.py")],
        cwd=user.cwd,
        env=user.env,
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) == len(CONFIGURATIONS), done.stderr
    return dict(zip(CONFIGURATIONS, said, strict=True))


def asked(user: User, case: dict[str, Any]) -> tuple[Sequence[str], dict[str, str]]:
    """The words of the command line of a case, and its environment."""
    flags: dict[str, Any] = {**TINY_FLAGS, "dtype": "bfloat16", **case}
    env = flags.pop("env", {})
    model = str(user.folder / flags.pop("model", "tiny")) + ("/" if flags.pop("slash", False) else "")
    words = ["--model", model] + ([] if flags.pop("prefix", False) else ["--no-enable-prefix-caching"])
    for name, value in flags.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not None:
            words += [f"--{name}", value.replace("DRAFT", str(user.folder / "tiny2"))]
    return words, env


def test_every_measured_configuration_is_asked_for() -> None:
    assert MEASURED.keys() == CONFIGURATIONS.keys() | LEFT_OUT.keys()


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_is_the_measured_one(name: str, answers: dict[str, dict[str, Any]]) -> None:
    said = answers[name]
    parts = {part.split()[0].rstrip(":"): part for part in MEASURED[name].split(" | ")}
    for kind in ("neuron", "final", "vllm"):
        for key, value in re.findall(r"(\w+)=(\S+)", parts.get(kind, "")):
            if key != "md5":
                assert f"{kind} {key}={said[kind][key]}" == f"{kind} {key}={value}"
    if "buckets" in parts:
        assert said["buckets"] == json.loads(parts["buckets"].removeprefix("buckets ").replace("'", '"'))
    crash = re.match(r"rc \d+ CRASH at (\w+): (\w+): (['\"])(.*?)\3(?: |$)", MEASURED[name], re.DOTALL)
    assert bool(crash) == ("crash" in said), said
    if crash:
        assert said["crash"][:2] == [crash[1], crash[2]]
        assert said["crash"][2][:60].replace("\n", "\\n").startswith(crash[4][:60].partition("\\n")[0])


def test_configurations_have_the_same_digest_where_measured(answers: dict[str, dict[str, Any]]) -> None:
    """The digest names the folder: what does not show in it is overwritten by another start."""
    ours: dict[str, set[str]] = {}
    for name, said in answers.items():
        if found := re.search(r"md5=(\w+)", MEASURED[name]):
            ours.setdefault(found[1], set()).add(said["digest"])
    assert all(len(digests) == 1 for digests in ours.values())
    assert len(set.union(*ours.values())) == len(ours)
