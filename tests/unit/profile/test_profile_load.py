"""Text of a profile → nodes with lines: what is read, what is refused, and in which words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.errors import Place, ProfileError
from neuronctl.profile.load import MAX_SIZE_BYTES, Node, parse, read_profile


def refusal(text: str) -> ProfileError:
    with pytest.raises(ProfileError) as caught:
        parse(text, "p.yaml")
    return caught.value


def mistakes(text: str) -> list[str]:
    return [str(error) for error in parse(text, "p.yaml")[1]]


def refused_file(path: Path) -> ProfileError:
    with pytest.raises(ProfileError) as caught:
        read_profile(path, "p.yaml")
    return caught.value


def test_values_keep_their_lines() -> None:
    root, errors = parse(
        "# a comment\nmodel:\n  id: org/name\nneuron: {a: [1,\n 2.5, null], b: 'x'}\n", "p.yaml"
    )
    assert not errors
    assert root.data() == {"model": {"id": "org/name"}, "neuron": {"a": [1, 2.5, None], "b": "x"}}
    assert isinstance(root.value, dict)
    assert root.key_lines == {"model": 2, "neuron": 4}
    model, neuron = root.value["model"].value, root.value["neuron"].value
    assert isinstance(model, dict) and isinstance(neuron, dict)
    assert model["id"].line == 3
    items = neuron["a"].value
    assert isinstance(items, list) and [item.line for item in items] == [4, 5, 5]


def test_quotes_and_block_texts_are_texts() -> None:
    root, errors = parse("a: '1'\nb: \"on\"\nc: |\n  1\nd: !!str 5\ne: ! 6\n", "p.yaml")
    assert not errors
    assert root.data() == {"a": "1", "b": "on", "c": "1\n", "d": "5", "e": "6"}


def test_an_alias_is_its_anchor_again() -> None:
    root, errors = parse("a: &x {b: 1}\nc: *x\nd: &y 5\ne: *y\n", "p.yaml")
    assert not errors
    assert root.data() == {"a": {"b": 1}, "c": {"b": 1}, "d": 5, "e": 5}


def test_a_key_said_twice_names_both_lines() -> None:
    assert mistakes("engine:\n  seed: 1\n  dtype: auto\n  seed: 2\n") == [
        "p.yaml:4: engine.seed: said twice, in line 2 and in line 4"
    ]
    root, _ = parse("a: 1\na: 2\n", "p.yaml")
    assert root.data() == {"a": 1}


def test_single_mistakes_are_collected_with_their_keys() -> None:
    said = mistakes("a: on\nb: !!python/object:os.system {c: 010}\n1: x\n~: y\nd: '\\0'\ne: \"\\0\"\n")
    assert [text.split(": ")[0] + ": " + text.split(": ")[1] for text in said[:3]] == [
        "p.yaml:1: a",
        "p.yaml:2: b",
        "p.yaml:2: b.c",
    ]
    assert "!!python/object:os.system` is not read" in said[1]
    assert "the key `1` is not a word" in said[3]
    assert "the key `~` is not a word" in said[4]
    assert said[5:] == ["p.yaml:6: e: a NUL character in a text"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "the file is empty"),
        ("# only a comment\n", 1, "the file is empty"),
        ("a: 1\n\tb: 2\n", 2, "a tab at the beginning of the line"),
        ("a:\n\t- 1\n", 2, "a tab at the beginning of the line"),
        ("a: b: c\n", 1, "a second `: ` on one line"),
        ("a: 1\nword\nb: 2\n", 2, "a key without `: `"),
        ("a:\n    b: 1\n  c: 2\n", 3, "the indentation does not fit"),
        ("a: [1, 2\n", 1, "does not end"),
        ("a: 'x\n\n\n", 1, "quotes that are opened here"),
        ("a: @x\n", 1, "a value cannot begin like this"),
        ("a: 1\n---\nb: 2\n", 2, "a second document begins"),
        ("a: *x\n", 1, "refers to no `&x` before it"),
        ("a: &x [*x]\n", 1, "refers to itself"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", 3, "merge keys"),
        ("{a: 1}: 2\n", 1, "a key must be a word"),
        ("? [a]\n: 2\n", 1, "a key must be a word"),
        ("&x a: 1\n*x : 2\n", 2, "an alias cannot be a key"),
        ("a: !t!x 1\n", 1, "not YAML"),
    ],
)
def test_what_is_no_profile_is_refused_in_words(text: str, line: int, words: str) -> None:
    error = refusal(text)
    assert words in error.what
    assert error.place is not None and (error.place.file, error.place.line) == ("p.yaml", line)


def test_anchors_cannot_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    assert "aliases followed" in refusal("\n".join(lines)).what


def test_depth_is_limited_with_and_without_aliases() -> None:
    assert "nested deeper than 50" in refusal("a: " + "[" * 100_000).what
    assert "nested deeper than 50" in refusal("- " * 60 + "x").what
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 60)]
    assert "nested deeper than 50" in refusal("\n".join(lines)).what
    assert not parse("a: " + "[" * 45 + "]" * 45, "p.yaml")[1]


def test_many_values_are_refused() -> None:
    assert "more than 10000 values" in refusal("a: [" + "1," * 20_000 + "]").what


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"a: 1\nb: \xff\n", 2, "this line is not UTF-8"),
        (b"a: 1\n\0", 2, "a NUL byte"),
        (b"a: \x1b[0m\n", 1, "control character 0x1b"),
        ("a: 1\n".encode("utf-16"), 1, "the file is UTF-16"),
        (b"x" * (MAX_SIZE_BYTES + 1), None, "larger than 1 MiB"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, line: int | None, words: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_bytes(content)
    error = refused_file(file)
    assert words in error.what
    assert error.place == Place("p.yaml", line)
    assert error.fix, "what to do next"


def test_a_byte_order_mark_means_nothing(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read_profile(file, "p.yaml")[0].data() == {"a": 1, "b": 2}


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refused_file(tmp_path / "none.yaml").what
    assert "a folder" in refused_file(tmp_path).what
    os.mkfifo(tmp_path / "pipe.yaml")
    pipe = refused_file(tmp_path / "pipe.yaml")
    assert "not an ordinary file" in pipe.what
    assert pipe.fix == "save the profile to a file, and name that"
    assert "cannot be read" in refused_file(tmp_path / ("x" * 5000)).what
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    assert "cannot be read" in refused_file(tmp_path / "loop.yaml").what


YAML_LIKE = st.text(alphabet="ab:-?[]{}&*!|>'\"%@`,#~<= \n\t019._\\/x", max_size=60) | st.text(max_size=40)


@given(YAML_LIKE)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        root, errors = parse(text, "p.yaml")
    except ProfileError as error:
        assert error.what
        return
    assert isinstance(root, Node)
    assert all(error.place is not None and error.place.line is not None for error in errors)


@given(content=st.binary(max_size=80) | YAML_LIKE.map(str.encode))
def test_any_file_is_read_or_refused(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(content)
    try:
        read_profile(file, "any.yaml")
    except ProfileError as error:
        assert str(error).startswith("any.yaml")
