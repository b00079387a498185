from __future__ import annotations

import ast
import inspect
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.model.config import model_facts
from neuronctl.neuron import checks, engine, neuron_config, override, prediction
from neuronctl.neuron.keys import known_keys
from neuronctl.neuron.prediction import Prediction, predict
from tests.reference import reference

GIB = 1024**3
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "torch_dtype": "bfloat16",
}
SCOUT = {
    "architectures": ["Llama4ForConditionalGeneration"],
    "text_config": {"attention_chunk_size": 8192, "num_attention_heads": 40, "num_key_value_heads": 8},
}
PIXTRAL = {"architectures": ["LlavaForConditionalGeneration"]}
QWEN3_VL = {"architectures": ["Qwen3VLForConditionalGeneration"]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def start(
    engine: dict[str, Any] | None = None,
    override: object = None,
    *,
    config: dict[str, Any] = LLAMA,
    plugin: str = "0.3.0",
    more: dict[str, object] | None = None,
    environment: dict[str, str] | None = None,
    hardware: str = "TRN1",
    lnc: int | None = None,
    nxdi: str | None = None,
) -> Prediction:
    base = {
        "tensor_parallel_size": 8,
        "max_model_len": 1024,
        "max_num_seqs": 4,
        "enable_prefix_caching": False,
    }
    return predict(
        engine={**base, **(engine or {})},
        additional_config={
            **({} if override is None else {"override_neuron_config": override}),
            **(more or {}),
        },
        model_facts=model_facts(config, "model"),
        config=config,
        hardware=hardware,
        lnc=lnc,
        plugin=plugin,
        vllm="0.11.0" if plugin == "0.2.0" else "0.13.0",
        nxdi=nxdi,
        environment=environment or {},
    )


def first(prediction: Prediction) -> tuple[str, str, str, str | None]:
    refusal = prediction.refusals[0]
    return refusal.stage, refusal.error, refusal.message, refusal.issue


def test_defaults_are_derived_as_by_nxd_inference() -> None:
    config = start().neuron_config
    assert config["n_positions"] == config["max_length"] == config["pa_block_size"] == 1024
    assert config["tkg_batch_size"] == config["kv_cache_batch_size"] == 4
    assert (config["ctx_batch_size"], config["world_size"], config["local_ranks_size"]) == (1, 8, 8)
    assert config["max_new_tokens"] is None
    assert config["scratchpad_page_size"] is None
    assert config["on_device_sampling_config"] == {
        "do_sample": False,
        "top_k": 1,
        "top_p": 1.0,
        "temperature": 1.0,
        "dynamic": True,
        "deterministic": False,
        "global_topk": 256,
        "on_device_sampling_config": True,
        "top_k_kernel_enabled": False,
        "sampling_dp_degree": 1,
    }


def test_a_prompt_of_32768_tokens_is_long_context() -> None:
    assert start({"max_model_len": 32768}).neuron_config["scratchpad_page_size"] == 1024


@pytest.mark.parametrize(
    ("hardware", "lnc", "settings", "expected"),
    [
        ("TRN1", None, {}, 1),
        ("TRN2", None, {}, 2),
        ("TRN3", None, {}, 2),
        ("TRN2", None, {"logical_nc_config": 1}, 1),
        ("TRN2", None, {"logical_neuron_cores": 1}, 1),
        ("TRN2", 2, {"logical_nc_config": 1}, 2),
    ],
)
def test_the_environment_wins_over_the_setting_and_that_over_the_platform(
    hardware: str, lnc: int | None, settings: dict[str, Any], expected: int
) -> None:
    config = start(override=settings, hardware=hardware, lnc=lnc).neuron_config
    assert config["logical_nc_config"] == expected
    assert config["lm_head_pad"] == (expected > 1)


def test_keys_that_an_older_release_lacks_are_left_out() -> None:
    assert "disable_argmax_kernel" in start(nxdi="0.8.16251+f3ca5575").neuron_config
    assert "disable_argmax_kernel" not in start(nxdi="0.7.14366").neuron_config


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({"max_num_batched_tokens": 1024}, "max_num_batched_tokens 1024 becomes 131072"),
        ({"block_size": 32}, "block_size 32 becomes max_model_len 1024"),
        ({"num_gpu_blocks_override": 8}, "num_gpu_blocks_override 8 becomes 9"),
        ({"distributed_executor_backend": "mp"}, "distributed_executor_backend mp becomes uni"),
        ({"enable_chunked_prefill": True}, "enable_chunked_prefill becomes false"),
        ({"speculative_config": {"method": "eagle3"}}, "eagle3 is not matched"),
    ],
)
def test_what_is_overruled_is_said(engine: dict[str, Any], said: str) -> None:
    assert any(said in line for line in start(engine).silent)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ({"tp_degree": 4}, "tp_degree 4 is compiled"),
        ({"fused_qvk": True}, "fused_qvk is not a key"),
        ({"on_device_sampling_config": {"global_topk": 64}}, "dynamic becomes false"),
        ({"draft_overrides": {}}, "draft_overrides is not read before"),
        ({"moe_ep_degree": 2}, "moe_ep_degree is for models with experts"),
        ({"lora_ckpt_json": "/a"}, "lora_ckpt_json is read with enable_lora only"),
        ({"text_neuron_config": {}}, "text_neuron_config is for models with a vision encoder"),
    ],
)
def test_what_an_override_does_is_said(override: dict[str, Any], said: str) -> None:
    assert any(said in line for line in start(override=override).silent)


def test_nothing_is_said_of_plain_arguments() -> None:
    assert start().silent == ()
    assert start(override={"on_device_sampling_config": {"dynamic": True}}).silent == ()


def test_the_dashed_spelling_has_no_effect() -> None:
    prediction = start(more={"override-neuron-config": {"tp_degree": 2}})
    assert prediction.neuron_config["tp_degree"] == 8
    assert "override-neuron-config is not read" in prediction.silent[0]


@pytest.mark.parametrize(
    ("engine", "override", "error", "text", "issue"),
    [
        (
            {"block_size": 32, "enable_prefix_caching": True, "max_model_len": 1000},
            None,
            "AssertionError",
            "At least 128 blocks are required for max_model_len 1000, but only 124 blocks",
            "blocks-rounding",
        ),
        (
            {"block_size": 32, "enable_prefix_caching": True, "num_gpu_blocks_override": 100},
            None,
            "AssertionError",
            "At least 128 blocks are required for max_model_len 1024, but only 100 blocks",
            "num-gpu-blocks-override",
        ),
        (
            {"block_size": 32, "enable_prefix_caching": True, "num_gpu_blocks_override": 200},
            {"pa_num_blocks": 199},
            "ValueError",
            "pa_num_blocks (199) must match your --num-gpu-blocks-override intent(200)",
            "pa-blocks-mismatch",
        ),
        (
            {"block_size": 32, "enable_prefix_caching": True},
            {"is_block_kv_layout": False},
            "AssertionError",
            "",
            None,
        ),
        (
            {"block_size": 32, "enable_prefix_caching": True},
            {"context_encoding_buckets": [512]},
            "TypeError",
            "can only concatenate list",
            "prefix-buckets-none",
        ),
        ({}, {"quantized": True}, "AssertionError", "quantized_checkpoints_path is", "quantized-needs-path"),
        ({}, {"quantized": True, "quantized_checkpoints_path": "/q", "quantization_dtype": "float8_e4m3"},
         "AssertionError", "float8_e4m3 is not a valid QuantizedDtype.", None),
        ({}, {"enable_fused_speculation": True}, "AssertionError", "Must pass speculative_config", None),
        ({}, {"context_encoding_buckets": [2048]}, "AssertionError", "Context bucket 2048 should", None),
        ({}, {"token_generation_buckets": [128, 2048]}, "AssertionError", "Token generation bucket", None),
        ({}, {"max_length": 512}, "AssertionError", "max_context_length cannot be more", None),
        ({}, {"cp_degree": 3}, "ValueError", "TP Degree must be evenly divisible by CP", None),
        ({}, {"attention_dp_degree": 3}, "ValueError", "TP Degree must be evenly divisible by DP", None),
        ({}, {"attn_block_cte_nki_kernel_enabled": True}, "ValueError", "Cannot set qkv_kernel_enabled=False",
         "cte-block-kernel-flag"),
        ({}, {"chunked_prefill_config": {"max_num_seqs": 4}}, "AssertionError", "is_block_kv_layout has to",
         "chunked-prefill"),
        ({}, {"torch_dtype": "int8"}, "AssertionError", "Unsupported dtype: int8", None),
        ({"dtype": "float8"}, None, "KeyError", "float8", None),
        ({"enable_lora": True}, None, "AttributeError", "'NoneType' object has no attribute 'pop'", None),
        ({}, "tp_degree=4", "AttributeError", "'str' object has no attribute 'pop'", None),
    ],
)  # fmt: skip
def test_what_is_refused_at_the_load(
    engine: dict[str, Any], override: object, error: str, text: str, issue: str | None
) -> None:
    stage, found, message, known = first(start(engine, override))
    assert (stage, found, known) == ("load_model", error, issue)
    assert message.startswith(text)
    assert bool(message) == bool(text)


def test_matching_blocks_count_the_null_block_once() -> None:
    engine = {"block_size": 32, "enable_prefix_caching": True, "num_gpu_blocks_override": 200}
    prediction = start(engine, {"pa_num_blocks": 200})
    assert prediction.refusals == ()
    assert prediction.neuron_config["pa_num_blocks"] == 201


def test_prefix_caching_wants_a_block_size() -> None:
    stage, error, message, issue = first(start({"enable_prefix_caching": True}))
    assert (stage, error, issue) == ("create_engine_config", "ValidationError", "prefix-caching-default")
    assert "Assertion failed, When prefix caching is enabled, block_size must be set." in message


@pytest.mark.parametrize("plugin", ["0.2.0", "0.3.0"])
def test_sampling_is_not_turned_off_by_the_environment(plugin: str) -> None:
    environment = {"NEURON_ON_DEVICE_SAMPLING_DISABLED": "1"}
    assert start(plugin="0.5.0", environment=environment).refusals == ()
    refusal = first(start(plugin=plugin, environment=environment))
    assert refusal == (
        "load_model",
        "TypeError",
        "'module' object is not callable",
        "on-device-sampling-env",
    )


def test_lora_by_plugin() -> None:
    engine = {"enable_lora": True, "max_loras": 4, "max_lora_rank": 32}
    assert first(start(engine, {}, plugin="0.2.0"))[:2] == ("worker", "NotImplementedError")
    prediction = start(engine, {"lora_ckpt_json": "/adapters.json"})
    assert prediction.refusals == ()
    lora: Any = prediction.neuron_config["lora_config"]
    assert (lora["max_loras"], lora["max_lora_rank"], lora["max_cpu_loras"]) == (4, 32, 4)
    assert (lora["lora_ckpt_json"], lora["dynamic_multi_lora"]) == ("/adapters.json", True)
    assert ".*lora.*" in str(prediction.neuron_config["weights_to_skip_layout_optimization"])


def test_max_prompt_length_is_the_context_from_0_3_on() -> None:
    more: dict[str, object] = {"max_prompt_length": 256}
    prediction = start(more=more)
    assert prediction.neuron_config["max_context_length"] == 256
    assert prediction.buckets["context_encoding_model"] == (128, 256)
    assert first(start(more=more, override={"max_context_length": 512}))[2].startswith(
        "Conflicting max_prompt"
    )
    early = start(more=more, plugin="0.2.0")
    assert early.neuron_config["max_context_length"] == 1024
    assert "max_prompt_length is not read" in early.silent[0]


def test_chunked_prefill_needs_the_other_scheduler_and_its_settings() -> None:
    environment = {"DISABLE_NEURON_CUSTOM_SCHEDULER": "1"}
    settings = {"chunked_prefill_config": {"max_num_seqs": 4, "tkg_model_enabled": False}}
    engine = {"block_size": 32, "max_num_batched_tokens": 512}
    prediction = start(engine, settings, environment=environment)
    assert prediction.refusals == ()
    assert prediction.engine["scheduler"] is None
    config = prediction.neuron_config
    assert (config["batch_size"], config["max_context_length"], config["is_block_kv_layout"]) == (
        1,
        512,
        True,
    )
    # vLLM's own 2048 tokens a step are more than this model's length.
    longer = start({"block_size": 32}, settings, environment=environment)
    assert first(longer)[2] == "max_context_length cannot be more than max_length"
    first_error = first(start({}, settings, environment=environment))
    assert first_error[3] == "chunked-prefill"
    assert "block_size must be set" in first_error[2]


def test_an_eagle_draft_is_fused() -> None:
    engine = {"speculative_config": {"method": "eagle", "num_speculative_tokens": 5}}
    prediction = start(engine)
    config = prediction.neuron_config
    assert (config["enable_eagle_speculation"], config["enable_fused_speculation"]) == (True, True)
    assert config["speculation_length"] == 5
    assert set(prediction.buckets) == {"context_encoding_model", "fused_speculation_model"}


def test_quantization_has_the_defaults_of_nxd_inference() -> None:
    settings = {"quantized": True, "quantized_checkpoints_path": "/q", "quantization_dtype": "f8e4m3"}
    config = start(override=settings).neuron_config
    assert (config["quantization_type"], config["quantization_dtype"]) == ("per_tensor_symmetric", "f8e4m3")


def test_static_quantization_loses_fused_qkv() -> None:
    settings = {"fused_qkv": True, "activation_quantization_type": "static"}
    assert start(override=settings).neuron_config["fused_qkv"] is False


def test_an_unknown_architecture_is_refused() -> None:
    config = {**LLAMA, "architectures": ["GptOssForCausalLM"]}
    assert first(start(config=config))[3] == "unsupported-arch"
    assert start(config=config, plugin="0.5.0").refusals == ()


def test_only_a_model_with_experts_has_their_settings() -> None:
    config = {**LLAMA, "architectures": ["Qwen3MoeForCausalLM"]}
    prediction = start(override={"moe_ep_degree": 2}, config=config)
    assert prediction.silent == ()
    assert prediction.neuron_config["moe_ep_degree"] == 2
    assert prediction.neuron_config["glu_mlp"] is True
    assert "moe_ep_degree" not in start(override={"moe_ep_degree": 2}).neuron_config


def test_pixtral_by_plugin() -> None:
    assert first(start(config=PIXTRAL, plugin="0.2.0"))[1:] == (
        "NotImplementedError",
        "Pixtral is not yet supported on the Neuron plugin",
        "pixtral-limits",
    )
    assert start(config=PIXTRAL).refusals == ()
    assert "batch size > 4" in first(start({"max_num_seqs": 8}, config=PIXTRAL))[2]
    assert start({"max_num_seqs": 8}, config=PIXTRAL, plugin="0.5.0").refusals == ()


def test_a_model_with_a_vision_encoder_takes_two_configurations() -> None:
    settings = {"text_neuron_config": {"fused_qkv": True}, "vision_neuron_config": {"skip_vision": True}}
    prediction = start(override=settings, config=SCOUT)
    assert prediction.refusals == ()
    assert prediction.neuron_config["fused_qkv"] is True
    vision = prediction.vision_config
    assert vision is not None
    assert (vision["fused_qkv"], vision["skip_vision"]) == (False, True)
    assert start().vision_config is None
    assert "can only contain keys" in first(start(override={"fused_qkv": True}, config=SCOUT))[2]
    assert "can only contain keys" in first(start(config=SCOUT, more={"max_prompt_length": 64}))[2]
    assert first(start(config=SCOUT, plugin="0.2.0"))[1] == "TypeError"


def test_chunked_attention_refuses_prefix_caching_beyond_a_chunk() -> None:
    engine = {"block_size": 32, "enable_prefix_caching": True, "max_model_len": 16384}
    text = "The Neuron config is_prefix_caching: True is not yet supported with chunked attention."
    (refusal,) = start(engine, config=SCOUT).refusals
    assert refusal.message.startswith(text)
    within = start({**engine, "max_model_len": 8192}, config=SCOUT)
    assert [one.message for one in within.refusals] == ["Llama4 does not yet support block_kv_layout."]


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (16384, None),
        (8200, "The last chunk must be divisible by cp_degree: 16"),
        (8192, None),  # one chunk
    ],
)
def test_context_parallelism_divides_the_chunks_of_attention(length: int, text: str | None) -> None:
    settings = {"text_neuron_config": {"tp_degree": 16, "cp_degree": 16}}
    refusals = start({"max_model_len": length}, settings, config=SCOUT).refusals
    assert [one.message for one in refusals] == ([text] if text else [])
    odd = {**SCOUT, "text_config": {**SCOUT["text_config"], "attention_chunk_size": 1000}}
    refusals = start({"max_model_len": 8192}, settings, config=odd).refusals
    said = "attention_chunk_size: 1000 must be divisible by cp_degree: 16"
    assert [one.message for one in refusals] == [said]


@pytest.mark.parametrize(
    ("config", "plugin", "name"),
    [(SCOUT, "0.3.0", "Llama4"), (PIXTRAL, "0.3.0", "Pixtral"), (QWEN3_VL, "0.4.1", "Qwen3VL")],
)
def test_a_model_with_a_vision_encoder_refuses_what_it_has_not(
    config: dict[str, Any], plugin: str, name: str
) -> None:
    blocks = {"block_size": 32, "enable_prefix_caching": True}
    draft = {"speculative_config": {"method": "eagle", "model": "draft", "num_speculative_tokens": 3}}
    said = [one.message for one in start({**blocks, **draft}, config=config, plugin=plugin).refusals]
    assert said == [
        f"{name} does not yet support block_kv_layout.",
        f"{name} does not yet support fused speculation.",
    ]
    assert start(config=config, plugin=plugin).refusals == ()
    assert start({**blocks, **draft}).refusals == (), "a model of text alone has both"


def test_qwen3_vl_shares_no_attention() -> None:
    for setting, said in (
        ("cp_degree", "context parallel"),
        ("attention_dp_degree", "attention data parallel"),
    ):
        settings = {"text_neuron_config": {setting: 2}}
        prediction = start(override=settings, config=QWEN3_VL, plugin="0.4.1")
        assert first(prediction)[2] == f"Qwen3VL does not yet support {said}"


def test_sequence_parallelism_divides_each_prefill_bucket() -> None:
    """The plugin's own test: 6024 tokens at TP 32 end with this text."""
    engine = {"tensor_parallel_size": 32, "max_model_len": 6024}
    (refusal,) = start(engine, {"sequence_parallel_enabled": True}).refusals
    assert (refusal.stage, refusal.error) == ("compile", "AssertionError")
    assert refusal.message == (
        "When sequence parallel is enabled, context length (6024) must be divisible by TP group size (32)"
    )
    assert start(engine).refusals == ()
    assert start({**engine, "max_model_len": 6016}, {"sequence_parallel_enabled": True}).refusals == ()
    pairs = {"block_size": 8, "enable_prefix_caching": True}
    (refusal,) = start(engine | pairs, {"sequence_parallel_enabled": True}).refusals
    assert "context length (6024)" in refusal.message


def test_without_a_length_only_the_engine_is_told() -> None:
    prediction = start({"max_model_len": None})
    assert prediction.neuron_config == {}
    assert prediction.buckets == {}
    assert "max_model_len is not set" in prediction.silent[-1]


@pytest.mark.parametrize(
    ("stated", "checkpoint", "expected"),
    [
        ("auto", "float32", "bfloat16"),
        (None, "float16", "float16"),
        (None, None, "bfloat16"),
        ("half", "bfloat16", "float16"),
        ("float", "bfloat16", "float32"),
    ],
)
def test_the_data_type(stated: object, checkpoint: str | None, expected: str) -> None:
    prediction = start({"dtype": stated}, config={**LLAMA, "torch_dtype": checkpoint})
    assert prediction.neuron_config["torch_dtype"] == expected


def test_every_issue_that_is_named_is_a_known_one() -> None:
    known = {issue["id"] for issue in reference("known_issues")["issues"]}
    named = {
        node.value
        for module in (checks, engine, neuron_config, override, prediction)
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Constant) and re.fullmatch(r"[a-z]+(-[a-z0-9.]+)+", str(node.value))
    }
    assert len(named - {"as-declared"}) >= 13
    assert named - known == {"as-declared"}


ENGINE_NAMES = [
    "tensor_parallel_size", "max_model_len", "max_num_seqs", "block_size", "enable_prefix_caching", "dtype",
    "num_gpu_blocks_override", "speculative_config", "enable_lora", "swap_space", "max_num_batched_tokens",
    "distributed_executor_backend", "enable_chunked_prefill", "max_loras",
]  # fmt: skip


@given(
    engine=st.dictionaries(st.sampled_from(ENGINE_NAMES), JSON, max_size=4),
    override=JSON
    | st.dictionaries(
        st.sampled_from(sorted(known_keys("nxdi", "override_neuron_config"))), JSON, max_size=4
    ),
    additional=JSON,
    plugin=st.sampled_from(["0.2.0", "0.3.0", "0.5.1", "what"]),
    config=st.sampled_from([LLAMA, SCOUT, PIXTRAL]),
    flag=st.sampled_from(["0", "1", "yes"]),
)
def test_no_json_can_make_a_prediction_fail(
    engine: Any, override: Any, additional: Any, plugin: str, config: dict[str, Any], flag: str
) -> None:
    for given_config in (additional, {"override_neuron_config": override}):
        prediction = predict(
            engine={"max_model_len": 256, **engine},
            additional_config=given_config,
            model_facts=model_facts(config, "model"),
            config=config,
            hardware="TRN2",
            lnc=None,
            plugin=plugin,
            vllm="0.13.0",
            nxdi="0.8.1",
            environment={"DISABLE_NEURON_CUSTOM_SCHEDULER": flag, "NEURON_ON_DEVICE_SAMPLING_DISABLED": flag},
            host_memory_bytes=64 * GIB,
        )
        assert len(set(prediction.refusals)) == len(prediction.refusals)


@given(st.data())
def test_no_key_of_a_wrong_type_can_make_a_prediction_fail(data: st.DataObject) -> None:
    """Key by key, so that each is tried alone and in company."""
    names = data.draw(st.lists(st.sampled_from(sorted(known_keys("nxdi"))), min_size=1, max_size=30))
    settings = {name: data.draw(JSON) for name in names}
    prediction = start(override=settings)
    assert set(prediction.buckets) <= {
        "context_encoding_model",
        "token_generation_model",
        "speculation_model",
        "fused_speculation_model",
    }
