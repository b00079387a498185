"""Whatever stands in a file, a variable or a flag: a profile comes out, or ProfileErrors, and no secret."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronctl.errors import ProfileError
from neuronctl.host import Host
from neuronctl.profile.find import packaged_folder
from neuronctl.profile.kind import fields_of
from neuronctl.profile.resolve import load_profile, validate_profile
from neuronctl.profile.schema import ProfileShape
from neuronctl.profile.show import profile_as_yaml
from neuronctl.profile.spoken import variables

SHIPPED = (packaged_folder() / "smollm2-cpu.yaml").read_bytes()
PATHS = [".".join(field.path) for field in fields_of(ProfileShape)]
BITS = st.sampled_from(
    [b"", b"\t", b": ", b"\n", b"- ", b"*x ", b"&x ", b"!!int ", b"{", b"]", b"'", b"|\n", b"\xff"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def load_any(host: Host, **said: object) -> None:
    """Load `any.yaml`; where that fails, validating must tell why, each error with words of its own."""
    try:
        profile = load_profile("any.yaml", host, **said)  # type: ignore[arg-type]
    except ProfileError:
        errors = validate_profile("any.yaml", host, **said)  # type: ignore[arg-type]
        assert errors and all(error.what for error in errors)
        return
    assert profile.shape.model.id
    assert profile_as_yaml(profile, origins=True)


@settings(deadline=None)
@given(at=st.integers(0, len(SHIPPED)), cut=st.integers(0, 30), bit=BITS | st.binary(max_size=3))
def test_a_damaged_profile(at: int, cut: int, bit: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    (base / "any.yaml").write_bytes(SHIPPED[:at] + bit + SHIPPED[at + cut :])
    load_any(Host(environ={"HOME": str(base)}, cwd=base))


@settings(deadline=None)
@given(said=st.dictionaries(st.sampled_from(PATHS) | st.text(max_size=8), JSON, max_size=4))
def test_any_data_under_known_keys(said: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    data: dict[str, object] = {"model": {"id": "org/name"}}
    for path, value in said.items():
        below = data
        *sections, key = path.split(".")
        for section in sections:
            inner = below.setdefault(section, {})
            if not isinstance(inner, dict):
                break
            below = inner
        else:
            below[key] = value
    (base / "any.yaml").write_text(json.dumps(data), encoding="utf-8")
    load_any(Host(environ={"HOME": str(base)}, cwd=base))


@settings(deadline=None)
@given(
    name=st.sampled_from(sorted(variables())),
    key=st.sampled_from(PATHS) | st.text(max_size=8),
    text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
    value=JSON,
)
def test_any_variable_set_and_flag(
    name: str, key: str, text: str, value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.getbasetemp()
    (base / "any.yaml").write_bytes(SHIPPED)
    load_any(Host(environ={"HOME": str(base), name: text}, cwd=base), sets=[f"{key}={text}", text])
    load_any(Host(environ={"HOME": str(base)}, cwd=base), flags={key: (value, "--flag")})
