"""vLLM's arguments: spelling, what features mean, and what neuronctl keeps for itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.errors import Exit, UsageError
from neuronctl.plan.arguments import (
    OWNED,
    argv,
    check_passthrough,
    feature_arguments,
    passthrough_engine,
    stated_engine,
)
from tests.plan_sample import sample_plan, sample_profile


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, ("--some-name",)),
        (False, ("--no-some-name",)),
        (None, ()),
        (3, ("--some-name", "3")),
        (0, ("--some-name", "0")),
        (0.9, ("--some-name", "0.9")),
        ("float32", ("--some-name", "float32")),
        ("two words; $HOME", ("--some-name", "two words; $HOME")),
        ("", ("--some-name", "")),
        ("-dash", ("--some-name=-dash",)),
        (-1, ("--some-name=-1",)),
        ({}, ("--some-name", "{}")),
        ({"a": {"b": [1, True, None]}}, ("--some-name", '{"a":{"b":[1,true,null]}}')),
        (["one", "two"], ("--some-name", "one", "two")),
        (("one",), ("--some-name", "one")),
        ([{"name": "sql", "path": "/x"}], ("--some-name", '{"name":"sql","path":"/x"}')),
        ([1, True], ("--some-name", "1", "true")),
    ],
)
def test_spelling(value: object, words: tuple[str, ...]) -> None:
    assert argv({"some_name": value}) == words


def test_arguments_keep_their_order() -> None:
    assert argv({"b": 1, "a": True}) == ("--b", "1", "--a")


FEATURES = {
    "features: {prefix_caching: true}": {"enable_prefix_caching": True},
    "features: {prefix_caching: false}": {"enable_prefix_caching": False},
    "features: {chunked_prefill: false}": {"enable_chunked_prefill": False},
    "features: {tools: {parser: hermes}}": {"enable_auto_tool_choice": True, "tool_call_parser": "hermes"},
    "features: {lora: {adapters: {sql: org/sql, chat: /a}, max_rank: 16}}": {
        "enable_lora": True,
        "lora_modules": ["sql=org/sql", "chat=/a"],
        "max_loras": 2,
        "max_lora_rank": 16,
    },
    "features: {lora: {adapters: {sql: org/sql}, max_adapters: 5}}": {
        "enable_lora": True,
        "lora_modules": ["sql=org/sql"],
        "max_loras": 5,
    },
    "description: nothing asked\n": {},
}


@pytest.mark.parametrize(("text", "expected"), FEATURES.items())
def test_features_become_arguments(tmp_path: Path, text: str, expected: dict[str, object]) -> None:
    implied = feature_arguments(sample_profile(tmp_path, text))
    assert {name: setting.value for name, setting in implied.items()} == expected


def test_an_implied_argument_remembers_the_feature_and_its_line(tmp_path: Path) -> None:
    implied = feature_arguments(sample_profile(tmp_path, "features:\n  prefix_caching: true\n"))
    assert implied["enable_prefix_caching"].origin == "features.prefix_caching, sample.yaml:3"


def test_what_is_stated_wins_over_what_is_implied_and_over_defaults(tmp_path: Path) -> None:
    plan = sample_plan(
        tmp_path,
        "engine: {enable_prefix_caching: false, dtype: float16}\nfeatures: {prefix_caching: true}\n",
    )
    assert plan.engine["enable_prefix_caching"].value is False
    assert plan.engine["enable_prefix_caching"].origin == "sample.yaml:2"
    assert plan.engine["dtype"].value == "float16"


def test_stated_arguments_are_only_those_that_somebody_said(tmp_path: Path) -> None:
    profile = sample_profile(tmp_path, "engine: {max_num_seqs: 2, extra: {stream-interval: 4}}")
    assert {name: setting.value for name, setting in stated_engine(profile).items()} == {
        "max_num_seqs": 2,
        "stream_interval": 4,
    }


@pytest.mark.parametrize("name", [*OWNED, "api_key", "hos", "ssl-key"])
def test_what_neuronctl_sets_itself_cannot_be_passed_through(name: str) -> None:
    for words in ((f"--{name}", "x"), (f"--{name}=x",), ("--enforce-eager", f"--{name}")):
        with pytest.raises(UsageError) as caught:
            check_passthrough(words)
        assert caught.value.error_code == "usage.owned-argument"
        assert caught.value.exit_code is Exit.USAGE
        assert f"--{name}" in caught.value.what
        assert caught.value.fix is not None
        assert caught.value.fix.startswith("use ")


@pytest.mark.parametrize(
    "words", [("--model-impl", "auto"), ("--hosted",), ("--dtype", "host"), ("-O3",), ("--",), ()]
)
def test_everything_else_can(words: tuple[str, ...]) -> None:
    check_passthrough(words)


def test_they_cannot_come_through_the_profile_s_extra_either(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        sample_plan(tmp_path, "engine:\n  extra: {host: 0.0.0.0}\n")
    assert str(caught.value).startswith("sample.yaml:3: engine.extra.host: ")
    assert caught.value.error_code == "usage.owned-argument"


def test_a_mapping_s_origin_is_that_of_its_first_entry(tmp_path: Path) -> None:
    text = (
        "engine:\n  hf_overrides:\n    a: 1\n    b: 2\n  extra:\n    some.name: 3\n    other: {x: {y: 4}}\n"
    )
    stated = stated_engine(sample_profile(tmp_path, text))
    assert {name: setting.origin for name, setting in stated.items()} == {
        "hf_overrides": "sample.yaml:4",
        "some.name": "sample.yaml:7",
        "other": "sample.yaml:8",
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), {}),
        (("--max-num-seqs", "2"), {"max_num_seqs": 2}),
        (("--max-num-seqs=2",), {"max_num_seqs": 2}),
        (("--max_num_seqs", "2"), {"max_num_seqs": 2}),
        (("--dty", "half"), {"dtype": "half"}),
        (("--max-m", "9"), {"max_model_len": 9}),
        (("--max", "9"), {"max": 9}),
        (("--enforce-eager", "--seed", "1"), {"enforce_eager": True, "seed": 1}),
        (("--no-enable-prefix-caching",), {"enable_prefix_caching": False}),
        (("--lora-modules", "a=b", "c=d"), {"lora_modules": ["a=b", "c=d"]}),
        (("stray",), {}),
    ],
)
def test_what_words_after_the_dashes_say(words: tuple[str, ...], said: dict[str, object]) -> None:
    assert passthrough_engine(words) == said


def test_words_that_are_no_arguments() -> None:
    with pytest.raises(UsageError, match="'host' after -- is not an argument of vLLM"):
        check_passthrough(("host",))
