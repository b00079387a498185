"""Every configuration that was measured with the real plugin 0.2.0, vLLM 0.11.0 and NxD Inference 0.9.0."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from neuronctl.model.config import model_facts
from neuronctl.neuron.prediction import Prediction, predict
from tests.reference import reference

CASES: dict[str, str] = reference("measured")["configurations"]["cases"]
GIB = 1024**3

# The measured models: a Llama with 4 heads and 2 KV heads, and SmolLM2 135M.
TINY = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "num_hidden_layers": 2,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
}
SMOLLM2 = {**TINY, "hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64}
BASE = {
    "tensor_parallel_size": 2,
    "max_model_len": 128,
    "max_num_seqs": 4,
    "block_size": 32,
    "enable_prefix_caching": False,
    "dtype": "bfloat16",
}


@dataclass(frozen=True)
class Start:
    """How one case differs from the base; None takes an argument away."""

    engine: Mapping[str, object] = field(default_factory=dict)
    additional_config: object = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=lambda: TINY)
    environment: Mapping[str, str] = field(default_factory=dict)


def override(**settings: object) -> Start:
    return Start(additional_config={"override_neuron_config": settings})


PREFIX = {"enable_prefix_caching": None}
STARTS = {
    "base: tp2 len128 seqs4 block32 no-prefix": Start(),
    "--block-size 32, prefix caching not mentioned": Start(PREFIX),
    "prefix caching, --num-gpu-blocks-override 64": Start({**PREFIX, "num_gpu_blocks_override": 64}),
    "prefix caching, pa_num_blocks 64 without --num-gpu-blocks-override": Start(
        PREFIX, {"override_neuron_config": {"pa_num_blocks": 64}}
    ),
    "no-prefix, --num-gpu-blocks-override 8": Start({"num_gpu_blocks_override": 8}),
    "no --max-num-seqs": Start({"max_num_seqs": None}),
    "--max-num-seqs 1": Start({"max_num_seqs": 1}),
    "--max-num-batched-tokens 1024": Start({"max_num_batched_tokens": 1024}),
    "--additional-config '[]'": Start(additional_config="[]"),
    "override_neuron_config given directly as additional-config": Start(additional_config={"tp_degree": 4}),
    "override: tp_degree 4 against --tensor-parallel-size 2": override(tp_degree=4),
    "override: seq_len 256 against --max-model-len 128": override(seq_len=256),
    # By the code, decoding has two buckets only if its own list was given too, which the name does not say.
    "override: context_encoding_buckets [64,128]": override(
        context_encoding_buckets=[64, 128], token_generation_buckets=[64, 128]
    ),
    "override: on_device_sampling_config null": override(on_device_sampling_config=None),
    "--enable-lora --lora-modules a=/x": Start({"enable_lora": True, "lora_modules": ["a=/x"]}),
    "--speculative-config eagle": Start(
        {"speculative_config": {"method": "eagle", "model": "/draft", "num_speculative_tokens": 5}}
    ),
    "--swap-space 4": Start({"swap_space": 4}),
    "smollm2 (9 heads, 3 kv) --tensor-parallel-size 2": Start(config=SMOLLM2),
    "--tensor-parallel-size 8 (4 heads, 2 kv)": Start({"tensor_parallel_size": 8}),
    "DISABLE_NEURON_CUSTOM_SCHEDULER=1": Start(environment={"DISABLE_NEURON_CUSTOM_SCHEDULER": "1"}),
    "platform inf2": Start(),
    "model path with trailing slash": Start(),
    # What it was given is not said; it does not show in what was measured.
    "second --additional-config wins": override(save_sharded_checkpoint=True),
}


def predict_case(name: str) -> Prediction:
    start = STARTS[name]
    engine = {key: value for key, value in {**BASE, **start.engine}.items() if value is not None}
    return predict(
        engine=engine,
        additional_config=start.additional_config,
        model_facts=model_facts(dict(start.config), "tiny"),
        config=start.config,
        hardware="TRN1",
        lnc=None,
        plugin="0.2.0",
        vllm="0.11.0",
        nxdi="0.9.0",
        environment=start.environment,
        host_memory_bytes=int(23.54 * GIB),
    )


def test_every_measured_case_has_its_arguments() -> None:
    assert set(STARTS) == set(CASES)


def _fields(text: str) -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", text))


def _parts(measured: str) -> dict[str, str]:
    """The string's parts by their first word: rc, neuron, vllm, final, buckets."""
    return {part.split()[0].rstrip(":"): part for part in measured.split(" | ")}


@pytest.mark.parametrize("name", CASES)
def test_a_start_ends_as_measured(name: str) -> None:
    crash = re.match(r"rc (\d+)(?: CRASH at (\w+): (\w+): (.*?))?\s*(?:\| |$)", CASES[name], re.DOTALL)
    assert crash
    code, stage, error, said = crash.groups()
    refusals = predict_case(name).refusals
    if code == "0":
        assert refusals == ()
        return
    first = refusals[0]
    text = ast.literal_eval(said)
    assert (first.stage, first.error) == (stage, error)
    assert text.startswith(first.message)
    assert bool(first.message) == bool(text)


@pytest.mark.parametrize("name", CASES)
def test_the_configuration_is_the_measured_one(name: str) -> None:
    predicted = predict_case(name)
    parts = _parts(CASES[name])
    for key, value in _fields(parts.get("neuron", "")).items():
        assert f"{key}={predicted.neuron_config[key]}" == f"{key}={value}"
    spelt = {
        "block": "block_size",
        "seqs": "max_num_seqs",
        "mbt": "max_num_batched_tokens",
        "len": "max_model_len",
        "pc": "enable_prefix_caching",
        "blocks": "num_gpu_blocks_override",
    }
    for key, value in _fields(parts.get("vllm", "")).items():
        assert f"{key}={predicted.engine[spelt[key]]}" == f"{key}={value}"
    config = predicted.neuron_config
    final = _fields(parts.get("final", ""))
    final.pop("md5", None)
    assert not final or final == {
        "tp": str(config["tp_degree"]),
        "batch": str(config["batch_size"]),
        "len": str(config["seq_len"]),
        "lnc": str(config["logical_nc_config"]),
        "ods": str(config["on_device_sampling_config"] is not None),
    }
    if "buckets" in parts:
        counts = ast.literal_eval(parts["buckets"].removeprefix("buckets").strip())
        assert {graph: len(sizes) for graph, sizes in predicted.buckets.items()} == counts


def test_what_was_measured_was_compared() -> None:
    """The parser above must not pass by finding nothing."""
    with_config = [name for name, text in CASES.items() if _fields(_parts(text).get("neuron", ""))]
    assert len(with_config) == 18
    assert all(len(_fields(_parts(CASES[name])["vllm"])) == 6 for name in with_config)
    assert all("buckets" in _parts(CASES[name]) for name in with_config)
