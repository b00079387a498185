"""config.json: what is read from it, and what is said of a bad one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from neuronctl.errors import Exit, ModelNotResolved
from neuronctl.model.config import model_facts, read_config
from neuronctl.model.known import known_ids, known_model
from tests.reference import reference

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "num_hidden_layers": 30,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": True,
}


def test_all_facts() -> None:
    facts = model_facts(LLAMA, "x")
    assert facts.architecture == "LlamaForCausalLM"
    assert facts.model_type == "llama"
    assert (facts.layers, facts.hidden_size, facts.attention_heads, facts.kv_heads) == (30, 576, 9, 3)
    assert facts.head_dim == 64
    assert (facts.vocabulary, facts.context_length) == (49152, 8192)
    assert (facts.dtype, facts.tied) == ("bfloat16", True)


def test_a_head_s_size_that_is_said_is_not_derived() -> None:
    assert model_facts({**LLAMA, "head_dim": 128}, "x").head_dim == 128


def test_without_kv_heads_there_are_as_many_as_heads() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}
    assert model_facts(config, "x").kv_heads == 9


@pytest.mark.parametrize(("said", "tied"), [(True, True), (False, False), (None, None), ("yes", None)])
def test_tied_absent_is_not_false(said: object, tied: bool | None) -> None:
    assert model_facts({**LLAMA, "tie_word_embeddings": said}, "x").tied is tied
    config = {key: value for key, value in LLAMA.items() if key != "tie_word_embeddings"}
    assert model_facts(config, "x").tied is None


def test_a_nested_text_configuration_is_looked_into_first() -> None:
    config = {
        "architectures": ["Llama4ForConditionalGeneration"],
        "model_type": "llama4",
        "tie_word_embeddings": False,
        "max_position_embeddings": 1,
        "text_config": {**LLAMA, "dtype": "float16"},
        "vision_config": {"hidden_size": 1408},
    }
    facts = model_facts(config, "x")
    assert (facts.hidden_size, facts.context_length, facts.tied) == (576, 8192, True)
    assert (facts.architecture, facts.model_type) == ("Llama4ForConditionalGeneration", "llama4")
    assert facts.dtype == "float16"


def test_the_newer_name_of_the_number_format_is_understood() -> None:
    assert model_facts({"architectures": ["X"], "dtype": "float32"}, "x").dtype == "float32"


def test_facts_of_the_wrong_type_are_as_if_absent() -> None:
    facts = model_facts(
        {"architectures": ["X"], "num_hidden_layers": [30], "vocab_size": True, "model_type": 7}, "x"
    )
    assert (facts.layers, facts.vocabulary, facts.model_type, facts.head_dim) == (None, None, None, None)


@pytest.mark.parametrize("said", ["32", 0, -1, 2.5, float("inf"), float("nan"), 2**41])
@pytest.mark.parametrize("key", ["num_hidden_layers", "max_position_embeddings"])
def test_a_size_that_no_model_has(key: str, said: object) -> None:
    with pytest.raises(ModelNotResolved, match=f"^org/x: config.json gives {key} as ") as caught:
        model_facts({**LLAMA, "architectures": ["X"], key: said}, "org/x")
    assert caught.value.error_code == "model.broken-config"


def test_no_experts_is_no_mixture() -> None:
    facts = model_facts({**LLAMA, "architectures": ["X"], "num_experts": 0}, "x")
    assert (facts.experts, facts.moe_intermediate_size) == (None, None)


DEFAULTS = reference("models")["class_defaults_when_absent"]
CLASSES = {
    "llama": "LlamaConfig",
    "mistral": "MistralConfig",
    "qwen2": "Qwen2Config",
    "qwen3": "Qwen3Config",
    "qwen3_moe": "Qwen3MoeConfig",
    "gpt_oss": "GptOssConfig",
    "llama4": "Llama4Config",
    "llama4_text": "Llama4TextConfig",
}


@pytest.mark.parametrize("model_type", CLASSES)
def test_tied_by_default_is_the_class_s(model_type: str) -> None:
    facts = model_facts({"architectures": ["X"], "model_type": model_type}, "x")
    assert facts.tied is None
    assert facts.is_tied is facts.tied_by_default is DEFAULTS["tie_word_embeddings"][CLASSES[model_type]]
    said = model_facts({"architectures": ["X"], "model_type": model_type, "tie_word_embeddings": True}, "x")
    assert said.is_tied is True


@pytest.mark.parametrize("model_type", ["llava", "bert", None, 7])
def test_of_other_model_types_the_default_is_not_known(model_type: object) -> None:
    facts = model_facts({"architectures": ["X"], "model_type": model_type}, "x")
    assert (facts.tied, facts.tied_by_default, facts.is_tied) == (None, None, None)


def test_heads_by_default_where_the_file_leaves_them_out() -> None:
    for model_type in ("mistral", "llama4_text"):
        text = {"model_type": model_type, "hidden_size": 5120, "head_dim": 128}
        facts = model_facts({"architectures": ["X"], "model_type": "outer", "text_config": text}, "x")
        assert facts.attention_heads == DEFAULTS["num_attention_heads"][CLASSES[model_type]]
        assert facts.head_dim == 128
    assert model_facts({"architectures": ["X"], "model_type": "llama"}, "x").attention_heads is None


KNOWN = [name for name in known_ids() if (known := known_model(name, None)) and known.config]


@pytest.mark.parametrize("model_id", KNOWN)
def test_facts_of_every_known_model(model_id: str) -> None:
    known, expected = known_model(model_id, None), reference("models")["models"][model_id]
    assert known is not None
    assert known.config is not None
    facts = model_facts(dict(known.config), model_id)
    effective = expected["effective"]
    vision = "vision_config" in expected["config"]
    head_dim = 128 if vision else effective["head_dim"]
    assert facts.head_dim == head_dim
    assert facts.is_multimodal is vision
    assert facts.is_tied is known.tied
    assert facts.layers is not None
    assert facts.kv_heads is not None
    # Keys and values of every layer, two bytes a number.
    assert 2 * 2 * facts.layers * facts.kv_heads * head_dim == expected["derived"]["kv_bytes_per_token_bf16"]


def test_a_mixture_of_experts() -> None:
    found = [known_model(name, None) for name in KNOWN]
    facts = {one.id: model_facts(dict(one.config), one.id) for one in found if one and one.config}
    mixtures = {
        name: (one.experts, one.moe_intermediate_size, one.intermediate_size)
        for name, one in facts.items()
        if one.experts or one.moe_intermediate_size
    }
    assert mixtures == {
        "Qwen/Qwen3-30B-A3B": (128, 768, 6144),
        "meta-llama/Llama-4-Scout-17B-16E-Instruct": (16, 8192, 8192),
        "openai/gpt-oss-20b": (32, 2880, 2880),
    }


@pytest.mark.parametrize("said", [None, [], "LlamaForCausalLM", [7], {}])
def test_no_architecture(said: object) -> None:
    with pytest.raises(ModelNotResolved, match=r"^org/x: config.json names no architecture$") as caught:
        model_facts({"architectures": said}, "org/x")
    assert caught.value.error_code == "model.no-architecture"
    assert "LlamaForCausalLM" in str(caught.value.fix)


BROKEN = {
    "comma": ('{\n  "a": 1,\n}', 3, "not JSON"),
    "cut short": ('{"a":\n', 2, "not JSON"),
    "empty": ("", 1, "not JSON"),
    "a mark before it": ('\ufeff{"a": 1}', 1, "not JSON"),
    "a list": ("[1]", None, "holds a list"),
    "a text": ('"x"', None, "holds a text"),
    "nothing": ("null", None, "holds null"),
    "deep": ("[" * 100_000, None, "nested too deeply"),
    "a huge number": ('{"a": ' + "1" * 6000 + "}", None, "not sound"),
}


@pytest.mark.parametrize(("text", "line", "said"), BROKEN.values(), ids=BROKEN)
def test_broken_with_the_line(tmp_path: Path, text: str, line: int | None, said: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ModelNotResolved) as caught:
        read_config(path)
    error = caught.value
    assert error.error_code == "model.broken-config"
    assert error.exit_code is Exit.MODEL_NOT_RESOLVED
    assert said in error.what
    assert error.place is not None
    assert (error.place.file, error.place.line) == (str(path), line)
    assert str(error).startswith(f"{path}:{line}: " if line else f"{path}: ")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelNotResolved) as caught:
        read_config(tmp_path / "config.json")
    assert caught.value.error_code == "model.no-config"
    assert str(tmp_path) in caught.value.what


def test_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(ModelNotResolved) as caught:
        read_config(path)
    assert caught.value.error_code == "model.broken-config"
    assert caught.value.what == "config.json is not UTF-8 text: byte 7"
    assert "damaged" in str(caught.value.fix)


def test_the_fix_of_a_file_in_the_hub_s_cache(tmp_path: Path) -> None:
    """It is repaired by a download, unless the hub itself has it so."""
    commit = "c" * 40
    folder = tmp_path / "models--org--a-b" / "snapshots" / commit
    folder.mkdir(parents=True)
    (tmp_path / "blob").write_bytes(b"[1,2]")
    (folder / "config.json").symlink_to(tmp_path / "blob")
    with pytest.raises(ModelNotResolved) as caught:
        read_config(folder / "config.json")
    assert caught.value.fix == f"neuronctl models download org/a-b --revision {commit}"
    name = hashlib.sha1(b"blob 5\0[1,2]", usedforsecurity=False).hexdigest()
    (tmp_path / "blob").rename(tmp_path / name)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(tmp_path / name)
    with pytest.raises(ModelNotResolved) as caught:
        read_config(folder / "config.json")
    assert "so on the hub" in str(caught.value.fix)


def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.mkdir()
    with pytest.raises(ModelNotResolved) as caught:
        read_config(path)
    assert caught.value.error_code == "model.unreadable-config"
    assert str(path) in caught.value.what
