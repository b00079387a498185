"""What looks secret, and that it does not survive being shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.secret import (
    HIDDEN,
    hide_in_words,
    hide_passwords,
    is_secret,
    redact,
    secret_values,
    split_flags,
)

SECRET_NAMES = [
    "HF_TOKEN",
    "OPENAI_API_KEY",
    "api_key",
    "apikey",
    "OpenAIApiKey",
    "db-password",
    "aws.secret",
    "AWS_SECRET_ACCESS_KEY",
    "credentials",
    "GITHUBTOKEN",
    "auth",
]
PLAIN_NAMES = [
    "num_key_value_heads",
    "eos_token_id",
    "tokenizer",
    "max_num_batched_tokens",
    "monkey",
    "author",
    "keyboard",
    "PATH",
    "secretary",
    "",
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_names_that_look_secret(name: str) -> None:
    assert is_secret((name,))
    assert is_secret(("env", name))


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_names_that_do_not(name: str) -> None:
    assert not is_secret((name,), "something")


@pytest.mark.parametrize("value", ["hf_abc", "sk-abc", "ghp_x", "AKIA123", "Bearer abc", "github_pat_1"])
def test_values_that_look_secret_wherever_they_stand(value: str) -> None:
    assert is_secret(("description",), value)
    assert is_secret((), value)


def test_a_variable_s_name_is_shown_and_a_key_in_its_place_is_not() -> None:
    assert not is_secret(("server", "api_key_env"), "OPENAI_API_KEY")
    assert is_secret(("server", "api_key_env"), "swordfish")


secrets = st.text(
    alphabet=st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=12, max_size=30
).map(lambda text: "SwOrDfIsH" + text)
flags = st.sampled_from(
    ["--hf-token", "--some-api-key", "--x.password", "--S3_SECRET", "--kv-config.auth-token"]
)
ordinary = st.lists(
    st.sampled_from(
        ["--dtype", "half", "--max-num-seqs=2", "word", "--enforce-eager", '{"a":1}', "--", "-x"]
    ),
    max_size=5,
)


@given(
    ordinary,
    flags,
    secrets,
    ordinary,
    st.sampled_from(["next word", "equals", "json", "dotted json", "list"]),
)
def test_a_planted_secret_never_survives(
    before: list[str], flag: str, secret: str, after: list[str], how: str
) -> None:
    planted = {
        "next word": [flag, secret],
        "equals": [f"{flag}={secret}"],
        "json": ["--some-config", json.dumps({"inner": {"password": secret}})],
        "dotted json": [f"--some-config={json.dumps([{'api_key': secret}])}"],
        "list": [flag, "first", secret],
    }[how]
    shown = hide_in_words([*before, *planted, *after])
    assert "SwOrDfIsH" not in " ".join(shown)
    assert HIDDEN in " ".join(shown)
    assert len(shown) == len([*before, *planted, *after])


@given(
    st.lists(
        st.sampled_from(["--dtype", "half", "--a=b", "x", '{"a": [1, {"b": null}]}', "[", "{", "", "--"])
    )
)
def test_what_is_not_secret_is_left_as_it_is(words: list[str]) -> None:
    assert hide_in_words(words) == words


def test_a_value_that_looks_secret_is_hidden_behind_any_flag() -> None:
    assert hide_in_words(["--tokenizer", "hf_abcdef", "--revision=sk-abc", "ghp_x"]) == [
        "--tokenizer",
        HIDDEN,
        f"--revision={HIDDEN}",
        HIDDEN,
    ]


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(trees, secrets, st.sampled_from(SECRET_NAMES), st.sampled_from(["text", "list", "mapping", "deep"]))
def test_a_secret_planted_in_data_never_survives(tree: Any, secret: str, name: str, how: str) -> None:
    planted: Any = {
        "text": secret,
        "list": ["x", secret],
        "mapping": {"inner": secret},
        "deep": [{"inner": [{"more": secret}]}],
    }[how]
    shown = redact((), {"before": tree, name: planted, "in": [{name: planted}]})
    assert "SwOrDfIsH" not in repr(shown)
    assert HIDDEN in repr(shown)


def test_redaction_copies_and_keeps_what_is_not_secret() -> None:
    data = {"a": [1, {"b": None}], "token": None, "api_key": True, "x": ("y",)}
    shown = redact((), data)
    assert shown == {"a": [1, {"b": None}], "token": None, "api_key": True, "x": ["y"]}
    assert isinstance(shown, dict)
    assert shown["a"] is not data["a"]


def test_values_of_secret_variables_the_longest_first() -> None:
    environ = {"A_TOKEN": "abcdef", "B_TOKEN": "abcdefgh", "C_TOKEN": "short", "PATH": "/bin/directory"}
    assert secret_values(environ) == ("abcdefgh", "abcdef")


def test_passwords_of_addresses_in_other_variables_are_values_too() -> None:
    environ = {"NEURON_CC_FLAGS": "--x=a://b/c --cache_dir=s3://user:swordfish@bucket/y", "A_TOKEN": "abcdef"}
    assert secret_values(environ) == ("swordfish", "abcdef")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "see s3://user:sword@fish@bucket/a and http://h:80/",
            "see s3://user:(hidden)@bucket/a and http://h:80/",
        ),
        ("redis://:pw@host, s3://u:pw@b", "redis://:(hidden)@host, s3://u:(hidden)@b"),
        ("https://user@host/x:y@z", "https://user@host/x:y@z"),
    ],
)
def test_only_the_password_of_an_address_is_hidden(text: str, shown: str) -> None:
    assert hide_passwords(text) == shown


def test_flags_with_their_values() -> None:
    assert split_flags(["a", "--b-c", "1", "2", "--d=3", "--", "-e"]) == [
        (None, ["a"]),
        ("b_c", ["--b-c", "1", "2"]),
        ("d", ["--d=3"]),
        ("", ["--", "-e"]),
    ]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("https://user:pw@host/x", True),
        ("redis://:pw@host", True),
        ("https://user@host/x", False),
        ("https://host:80/a@b:c", False),
        ("a:b@c", False),
        ("--log_level=x://y --cache_dir=s3://user:pw@bucket/x", True),
    ],
)
def test_an_address_with_a_password_in_it(text: str, secret: bool) -> None:
    assert is_secret(("FOO",), text) is secret
