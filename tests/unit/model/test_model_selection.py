"""Which files of a repository serving needs."""

from __future__ import annotations

import pytest

from neuronctl.model.selection import BIN_INDEX, SAFETENSORS_INDEX, index_of, small_files, weight_files

SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
OLD_SHARDS = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]


def test_what_says_what_a_model_is() -> None:
    needed = [
        "added_tokens.json",
        "additional_chat_templates/tool_use.jinja",
        "chat_template.jinja",
        "config.json",
        "configuration_x.py",
        "merges.txt",
        "qwen.tiktoken",
        "tekken.json",
        "tokenizer.json",
        "tokenizer.model",
        "vocab.txt",
    ]
    others = [
        ".gitattributes",
        "LICENSE.txt",
        "README.md",
        "all_results.json",
        "checkpoint-1/config.json",
        "model.safetensors",
        SAFETENSORS_INDEX,
        BIN_INDEX,
        "onnx/config.json",
        "original/params.json",
        "trainer_state.json",
    ]
    assert small_files([*others, *needed]) == needed


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["model.safetensors"], ["model.safetensors"]),
        (["model.safetensors", "pytorch_model.bin", "model.gguf", "tf_model.h5"], ["model.safetensors"]),
        ([SAFETENSORS_INDEX, *SHARDS], [SAFETENSORS_INDEX, *SHARDS]),
        ([SAFETENSORS_INDEX, *SHARDS, "consolidated.safetensors"], [SAFETENSORS_INDEX, *SHARDS]),
        ([SAFETENSORS_INDEX, *SHARDS, "model.safetensors"], [SAFETENSORS_INDEX, *SHARDS]),
        (["model.safetensors", "consolidated.safetensors"], ["model.safetensors"]),
        (["consolidated.safetensors", "params.json"], ["consolidated.safetensors"]),
        (SHARDS, SHARDS),
        ([*SHARDS, *OLD_SHARDS, BIN_INDEX], SHARDS),
        ([BIN_INDEX, *OLD_SHARDS, "training_args.bin"], [BIN_INDEX, *OLD_SHARDS]),
        (["pytorch_model.bin", "optimizer.bin", "training_args.bin"], ["pytorch_model.bin"]),
        (["checkpoint-5/model.safetensors", "model.gguf", "model.onnx"], []),
        ([], []),
        (
            ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"],
            ["adapter_model.safetensors"],
        ),
        (["adapter_config.json", "adapter_model.bin"], ["adapter_model.bin"]),
        (["adapter_config.json", "adapter_model.bin", "model.safetensors"], ["adapter_model.bin"]),
    ],
)
def test_the_weights_are_taken_once(names: list[str], chosen: list[str]) -> None:
    assert weight_files(names) == chosen


def test_the_index_says_which_files_are_the_weights() -> None:
    names = [SAFETENSORS_INDEX, "a.safetensors", "b.safetensors", "c.safetensors"]
    assert weight_files(names, indexed={"b.safetensors", "a.safetensors"}) == [SAFETENSORS_INDEX, *names[1:3]]
    lacking = weight_files(
        [SAFETENSORS_INDEX, "a.safetensors"], indexed={"a.safetensors", "gone.safetensors"}
    )
    assert lacking == [SAFETENSORS_INDEX, "a.safetensors", "gone.safetensors"]


@pytest.mark.parametrize(
    ("names", "index"),
    [
        ([SAFETENSORS_INDEX, BIN_INDEX, *SHARDS], SAFETENSORS_INDEX),
        ([BIN_INDEX, *OLD_SHARDS], BIN_INDEX),
        ([BIN_INDEX, "model.safetensors"], None),
        (["model.safetensors"], None),
        ([SAFETENSORS_INDEX, BIN_INDEX, *OLD_SHARDS], BIN_INDEX),
        ([SAFETENSORS_INDEX, BIN_INDEX, "original/model.safetensors"], SAFETENSORS_INDEX),
        ([BIN_INDEX], BIN_INDEX),
        ([], None),
    ],
)
def test_the_index_is_that_of_the_chosen_weights(names: list[str], index: str | None) -> None:
    assert index_of(names) == index
