"""Models that are broken, or are none: said at once and in true words, on the cpu backend too."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.repository import Repository
from tests.hub.sample import make_model_files, make_safetensors
from tests.hub.server import Hub
from tests.process.hub_terminal import ID, cache_of, connect, fetched, small, write_profile
from tests.process.neuron_machine import NeuronTerminal
from tests.process.terminal import CONFIG, HERE, Said, Terminal

OFFLINE = {"HF_HUB_OFFLINE": "1"}
ADAPTER: dict[str, bytes | str | Path] = {
    "adapter_config.json": json.dumps({"peft_type": "LORA", "r": 8}),
    "adapter_model.safetensors": make_safetensors({"a.lora_A.weight": ("F32", (8, 4))}),
}
LORA = """
model: {{id: {id}}}
backend: cpu
server: {{port: {port}}}
features: {{lora: {{adapters: {{sql: {sql}}}}}}}
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    """An empty hub."""
    with Hub() as one:
        yield one


@pytest.fixture
def online(terminal: Terminal, hub: Hub) -> Terminal:
    """A terminal that reaches the hub, with a profile of a model on it."""
    connect(terminal, hub)
    write_profile(terminal)
    return terminal


@pytest.fixture
def folder(terminal: Terminal) -> Path:
    """A whole model in a folder of the terminal's own, with a profile of it."""
    copy = terminal.cwd / "model"
    shutil.copytree(terminal.model, copy)
    terminal.model = copy
    terminal.profile()
    return copy


def code_of(said: Said) -> str:
    (error,) = said.envelope["errors"]
    return str(error["code"])


def findings(said: Said, name: str) -> list[dict[str, str]]:
    return [one for one in said.envelope["findings"] if one["id"] == name]


# Weights


INFINITE = b'{"a":{"dtype":"F32","shape":[Infinity,2],"data_offsets":[0,8]}}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234",
        bytes(8),
        (2**63).to_bytes(8, "little") + bytes(50),
        make_safetensors({"a": ("F32", (2, 2))})[:-1],
        len(INFINITE).to_bytes(8, "little") + INFINITE + bytes(8),
    ],
    ids=["nothing", "four bytes", "no header", "an absurd header", "cut off", "without end"],
)
def test_damaged_weights_are_told_before_anything_starts(
    terminal: Terminal, folder: Path, content: bytes
) -> None:
    (folder / "model.safetensors").write_bytes(content)
    for words in (
        ("models", "show", "./model"),
        ("plan", "p.yaml"),
        ("compile", "p.yaml"),
        ("serve", "p.yaml"),
    ):
        said = terminal.run(*words, "--json").expect(41)
        assert code_of(said) == "model.damaged-weights"
    assert not (terminal.store_home / "logs").exists()


def test_damaged_weights_of_the_hub_s_cache_are_told_with_what_repairs_them(
    online: Terminal, hub: Hub
) -> None:
    repo = hub.add(small())
    online.run("models", "download", ID).expect(0)
    weights = cache_of(online) / "snapshots" / repo.sha / "model.safetensors"
    size = weights.stat().st_size
    with weights.resolve().open("r+b") as stream:
        stream.write(bytes(8))
    assert weights.stat().st_size == size
    for words in (("models", "show", ID), ("compile", "p.yaml")):
        said = online.run(*words, "--json").expect(41)
        assert code_of(said) == "model.damaged-weights"
        fix = said.envelope["errors"][0]["fix"]
        assert fix == f"neuronctl models download {ID} --revision {repo.sha}"
    online.run("models", "list").expect(0, "damaged")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "model.safetensors"])
def test_a_pipe_is_not_waited_for(terminal: Terminal, folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    code = 0 if name == "tokenizer_config.json" else 41
    terminal.run("models", "show", "./model").expect(code)
    terminal.run("plan", "p.yaml").expect(code)


def test_a_configuration_without_end_is_not_read(terminal: Terminal, folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")
    terminal.run("models", "show", "./model").expect(41, "not a file")
    (folder / "config.json").unlink()
    (folder / "config.json").touch()
    os.truncate(folder / "config.json", 20 * 2**30)
    terminal.run("models", "show", "./model").expect(41, "more than 100 MB")


def test_what_the_hub_itself_lacks_is_no_model(online: Terminal, hub: Hub) -> None:
    files = make_model_files(400_000, shards=3)
    del files["model-00002-of-00003.safetensors"]
    hub.add(Repository(ID, files))
    for _ in range(2):  # when it is asked, and when it is remembered
        for words in (("models", "show", ID), ("plan", "p.yaml"), ("models", "download", ID)):
            said = online.run(*words, "--json").expect(41)
            assert code_of(said) == "model.no-weights"
            assert "model-00002-of-00003.safetensors" in said.envelope["errors"][0]["message"]


def test_offline_the_missing_files_are_named(online: Terminal, hub: Hub) -> None:
    repo = hub.add(small(shards=3))
    online.run("models", "download", ID).expect(0)
    shard = "model-00002-of-00003.safetensors"
    whole = online.run("models", "download", ID, env=OFFLINE).expect(41)
    assert f"commit {repo.sha} is here, and whole" in whole.err
    (cache_of(online) / "snapshots" / repo.sha / shard).unlink()
    for words in (("models", "download", ID), ("compile", "p.yaml")):
        online.run(*words, env=OFFLINE).expect(41, shard)
    shutil.rmtree(online.store_home)  # the weights' own index tells it too
    for words in (("models", "download", ID), ("compile", "p.yaml")):
        online.run(*words, env=OFFLINE).expect(41, shard)
    said = online.run("models", "show", ID, env=OFFLINE).expect(0, shard)
    assert "!" not in said.err


# Configurations


def test_a_configuration_that_the_hub_itself_has_wrong(online: Terminal, hub: Hub) -> None:
    hub.add(Repository(ID, make_model_files() | {"config.json": b"[1,2]"}))
    said = online.run("models", "show", ID).expect(41, "holds a list", "so on the hub")
    assert "download" not in said.err


def test_words_of_json_are_used(terminal: Terminal, folder: Path) -> None:
    (folder / "config.json").write_text("null")
    terminal.run("models", "show", "./model").expect(41, "holds null, not an object")
    (folder / "config.json").write_bytes(b'{"a": "\xff"}')
    said = terminal.run("models", "show", "./model").expect(41, "not UTF-8")
    assert "permission" not in said.err


# Names


def test_a_name_that_is_empty_is_no_folder(terminal: Terminal, folder: Path) -> None:
    shutil.copytree(folder, terminal.cwd, dirs_exist_ok=True)
    terminal.run("models", "show", "").expect(41, "name is empty")


def test_a_folder_needs_no_download(online: Terminal, hub: Hub) -> None:
    hub.add(small())
    said = online.run("models", "download", str(online.model), "--json").expect(0)
    assert said.envelope["data"] == {"models": []}
    online.run("models", "download", str(online.model)).expect(0, "nothing to download")
    online.run("models", "download", "./none").expect(41, "there is no folder")
    online.run("models", "download", "wheel:x").expect(0, "nothing to download")
    shutil.copytree(online.model, online.cwd / ID)
    online.run("models", "show", ID).expect(0, "a folder")
    online.run("models", "download", ID).expect(0, f"the folder {online.cwd / ID}")
    assert hub.requests() == []


def test_the_version_of_a_wheel_can_be_given_by_a_flag(terminal: Terminal) -> None:
    terminal.run("models", "show", "wheel:some-model").expect(41, "--revision")


@pytest.mark.parametrize(
    "revision",
    ["", ".", "..", "../../x", "main\nx", "a b", "a..b", "a/.b", "x.lock", "/a", "a/", "a^", "@{1}"],
)
def test_what_git_allows_no_branch_to_be_called_is_no_revision(
    online: Terminal, hub: Hub, revision: str
) -> None:
    hub.add(small())
    for command in ("show", "download"):
        said = online.run("models", command, ID, "--revision", revision, "--json").expect(41)
        assert code_of(said) == "model.bad-revision"
    assert hub.requests() == []


# What cannot be kept


def test_what_the_hub_told_is_used_where_it_cannot_be_kept(online: Terminal, hub: Hub) -> None:
    repo = hub.add(small())
    (online.folder / "file").touch()
    env = {"NEURONCTL_HOME": str(online.folder / "file")}
    said = online.run("models", "show", ID, env=env, clean=False).expect(0, repo.sha, "cannot be kept")
    assert "tensors" in said.out
    planned = online.run("plan", "p.yaml", "--json", env=env).expect(0)
    (finding,) = findings(planned, "model.not-remembered")
    assert "NEURONCTL_HOME" in finding["fix"]
    assert not findings(online.run("plan", "p.yaml", "--json").expect(0), "model.not-remembered")


# Adapters on a processor


def with_adapter(terminal: Terminal, said: str) -> None:
    (terminal.cwd / "p.yaml").write_text(LORA.format(id=terminal.model, port=terminal.port, sql=said))


def test_an_adapter_is_fetched_kept_to_its_commit_and_served_from_its_folder(
    online: Terminal, hub: Hub
) -> None:
    repo = hub.add(Repository("org/sql", ADAPTER))
    with_adapter(online, "org/sql")
    before = online.run("plan", "p.yaml", "--json").expect(0)
    (finding,) = findings(before, "model.companion-not-here")
    assert finding["fix"] == "neuronctl models download org/sql"
    online.run("compile", "p.yaml").expect(0)
    snapshot = cache_of(online, "org/sql") / "snapshots" / repo.sha
    assert (snapshot / "adapter_model.safetensors").is_file()
    after = online.run("plan", "p.yaml", "--json", env=OFFLINE).expect(0)
    assert f"sql={snapshot}" in json.dumps(after.envelope["data"])
    assert after.envelope["data"]["key"] == before.envelope["data"]["key"]
    assert not findings(after, "model.companion-not-here")
    # Another tool brings the news.
    second = repo.commit(ADAPTER | {"README.md": "news"})
    (cache_of(online, "org/sql") / "refs" / "main").write_text(second)
    shutil.copytree(snapshot, snapshot.with_name(second), symlinks=True)
    (finding,) = findings(online.run("plan", "p.yaml", "--json").expect(0), "model.branch-moved")
    assert repo.sha in finding["message"]
    assert second in finding["message"]


def test_an_adapter_that_is_nowhere_is_an_error_that_names_its_key(online: Terminal, hub: Hub) -> None:
    with_adapter(online, "org/none")
    said = online.run("compile", "p.yaml", "--json").expect(41)
    assert said.envelope["errors"][0]["code"] == "model.unknown"
    assert "features.lora.adapters.sql" in json.dumps(said.envelope["errors"])
    online.run("compile", "p.yaml", env=OFFLINE).expect(41, "org/none", "HF_HUB_OFFLINE")
    with_adapter(online, "./none")
    planned = online.run("plan", "p.yaml", "--json").expect(0)
    (finding,) = findings(planned, "model.companion-folder")
    assert "none" in finding["message"]
    online.run("compile", "p.yaml").expect(41, "there is no folder")


def test_an_adapter_of_a_neuron_plan_that_is_not_here_yet_is_fetched(
    instance: NeuronTerminal, hub: Hub
) -> None:
    hub.add(Repository("org/sql", ADAPTER))
    connect(instance, hub)
    profile = instance.cwd / "p.yaml"
    profile.write_text(profile.read_text() + "features: {lora: {adapters: {sql: org/sql}}}\n")
    said = instance.run("plan", "p.yaml", "--json").expect(0)
    assert "hf download" not in said.out
    assert findings(said, "model.companion-not-here")


# Architectures


REGISTRY = """
_TEXT_GENERATION_MODELS = {
    "LlamaForCausalLM": ("llama", "LlamaForCausalLM"),
}
_PREVIOUSLY_SUPPORTED_MODELS = {
    "OldForCausalLM": "0.25.0",
}
"""


@pytest.fixture
def registry(terminal: Terminal) -> Path:
    """The terminal's vLLM with a registry of models: its file."""
    packages = terminal.folder / "packages"
    shutil.copytree(HERE / "fake_vllm_package", packages)
    (terminal.folder / "stand_in_vllm.py").symlink_to(HERE / "stand_in_vllm.py")
    file = packages / "vllm" / "model_executor" / "models" / "registry.py"
    file.parent.mkdir(parents=True)
    file.write_text(REGISTRY)
    python = terminal.folder / "python"
    real = shlex.quote(os.path.realpath(sys.executable))
    python.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(packages))} exec {real} -S "$@"\n')
    python.chmod(0o755)
    terminal.env["NEURONCTL_PYTHON"] = str(python)
    return file


def test_an_architecture_that_vllm_does_not_have_is_found_before_the_download(
    online: Terminal, hub: Hub, registry: Path
) -> None:
    hub.add(small(config={"architectures": ["FooBarForCausalLM"]}))
    said = online.run("compile", "p.yaml", "--json").expect(1)
    (finding,) = findings(said, "cpu.architecture-unsupported")
    assert finding["message"].startswith("vLLM 0.32.0 has no code for FooBarForCausalLM")
    assert fetched(hub) < 100_000, "headers alone"
    online.run("plan", "p.yaml", "--force").expect(0)
    registry.write_text("written in another way")
    online.run("plan", "p.yaml").expect(0)


def test_an_architecture_that_vllm_has_or_had(terminal: Terminal, folder: Path, registry: Path) -> None:
    terminal.run("compile", "p.yaml").expect(0)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"architectures": ["OldForCausalLM"]}))
    terminal.run("plan", "p.yaml").expect(1, "vLLM 0.25.0 was the last that had it")
    terminal.run("plan", "p.yaml", "--", "--model-impl", "transformers").expect(0)


# Secrets


def test_a_password_in_the_hub_s_address_is_shown_nowhere(online: Terminal, hub: Hub) -> None:
    hub.add(small())
    with_password = hub.endpoint.replace("://", "://somebody:pa55word@")
    nobody = "http://somebody:pa55word@127.0.0.1:9"
    for endpoint in (with_password, nobody):
        for words in (("models", "show", ID), ("models", "download", ID), ("plan", "p.yaml")):
            for more in ((), ("--json",)):
                said = online.run(*words, *more, env={"HF_ENDPOINT": endpoint})
                assert said.code in (0, 41)
                assert "pa55word" not in said.out + said.err
                assert "the token that is set" not in said.out + said.err
    for file in online.store_home.rglob("*"):
        assert not file.is_file() or b"pa55word" not in file.read_bytes(), file
