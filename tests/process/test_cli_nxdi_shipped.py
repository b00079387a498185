"""The shipped profiles with the stand-in SDK: one CI job compiles them all, and an instance serves them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuronctl.host import Host
from neuronctl.profile.resolve import load_profile
from tests.process.neuron_machine import NeuronTerminal, make_root
from tests.process.terminal import PROJECT, free_port
from tests.sdk.make import make_sdk
from tests.sdk.models import make_hub_cache, make_model

NAMES = sorted(path.stem for path in (PROJECT / "profiles").glob("*.yaml") if path.stem != "smollm2-cpu")
# The largest of the machines, and the newest SDK that has what each of the profiles wants.
TARGET, SDK = "trn2.48xlarge", "2.29.0"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hub's cache with every model that a shipped profile names."""
    ids = set()
    for name in NAMES:
        shape = load_profile(str(PROJECT / "profiles" / f"{name}.yaml"), Host()).shape
        ids |= {shape.model.id, *filter(None, [shape.features.speculative.model])}
    return make_hub_cache(tmp_path_factory.mktemp("hub"), sorted(ids))


def open_terminal(folder: Path, hub: Path, root: Path, sdk: Path) -> NeuronTerminal:
    one = NeuronTerminal(folder / "t", hub, sdk, root=root)
    one.env["HF_HUB_CACHE"] = str(hub)
    shutil.copytree(PROJECT / "profiles", one.cwd / "profiles")
    (one.cwd / "profiles" / "smollm2-cpu.yaml").unlink()
    for name in ("sql", "support"):
        adapter = one.cwd / "profiles" / "adapters" / name
        adapter.mkdir(parents=True)
        (adapter / "adapter_config.json").write_text('{"target_modules": ["q_proj"], "r": 8}')
        weights = make_model(folder / f"adapter {name}", seed=name) / "model.safetensors"
        shutil.copy(weights, adapter / "adapter_model.safetensors")
    return one


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sdk(tmp_path_factory.mktemp("sdk") / "sdk", SDK)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, hub: Path, sdk: Path) -> Iterator[NeuronTerminal]:
    """A CI machine without a device, after the job."""
    folder = tmp_path_factory.mktemp("job")
    one = open_terminal(folder, hub, make_root(folder / "root", devices=False), sdk)
    del one.env["STAND_IN_DEV"]
    one.said = one.run(*words(one), "--junit", "out.xml", "--json")  # type: ignore[attr-defined]
    yield one
    one.stop_all()


def words(terminal: NeuronTerminal) -> list[str]:
    files = [f"profiles/{name}.yaml" for name in NAMES]
    return ["compile", *files, "--target", TARGET, "--stack", "sdk-2.29", "--jobs", "2", "--keep-going"]


def test_every_shipped_profile_is_compiled_once_for_each_key(job: NeuronTerminal) -> None:
    data = job.said.expect(0).envelope["data"]  # type: ignore[attr-defined]
    outcomes = {one["profile"]: one["outcome"] for one in data["profiles"]}
    assert outcomes == {**dict.fromkeys(NAMES, "compiled"), "llama-3.1-8b-tools": "same-key"} or outcomes == {
        **dict.fromkeys(NAMES, "compiled"),
        "llama-3.1-8b": "same-key",
    }
    assert sorted({one["key"] for one in data["profiles"]}) == job.artifacts()
    assert not (job.cwd / "local-models").exists()
    suite = ET.parse(job.cwd / "out.xml").getroot()
    assert len(list(suite.iter("testcase"))) == len(NAMES)
    assert not list(suite.iter("failure"))
    job.run("cache", "verify").expect(0, "whole")


def test_the_same_job_again_has_nothing_to_do(job: NeuronTerminal) -> None:
    logs = len(job.logs())
    data = job.run(*words(job), "--json").expect(0).envelope["data"]
    assert {one["outcome"] for one in data["profiles"]} <= {"hit", "same-key"}
    assert len([log for log in job.logs() if "-compile-" in log.name]) <= logs


@pytest.fixture
def instance(job: NeuronTerminal, hub: Path, sdk: Path, tmp_path: Path) -> Iterator[NeuronTerminal]:
    """A trn2.48xlarge with the job's store."""
    one = open_terminal(tmp_path, hub, make_root(tmp_path / "root", TARGET), sdk)
    one.env["STAND_IN_DEVICE_TARGET"] = "trn2"
    shutil.copytree(job.store, one.store)
    yield one
    one.stop_all()


def test_the_instance_hits_what_the_job_compiled(instance: NeuronTerminal) -> None:
    files = [f"profiles/{name}.yaml" for name in NAMES]
    data = instance.run("compile", *files, "--check", "--json").expect(0).envelope["data"]
    assert {one["profile"]: one["outcome"] for one in data["profiles"]} == dict.fromkeys(NAMES, "hit")


@pytest.mark.parametrize("name", ["tinyllama-tp2", "llama-3.1-8b-eagle", "llama-3.1-8b-lora", "pixtral-12b"])
def test_the_instance_serves_what_the_job_compiled(instance: NeuronTerminal, name: str) -> None:
    port = str(free_port())
    running = instance.start(
        "serve", "--profile", f"profiles/{name}.yaml", "--port", port, "--json"
    ).until_told("ready after")
    body = {"prompt": "The capital of France?", "max_tokens": 8}
    body["model"] = json.loads(Host().http("GET", f"http://127.0.0.1:{port}/v1/models").body)["data"][0]["id"]
    answer = Host().http("POST", f"http://127.0.0.1:{port}/v1/completions", body=json.dumps(body).encode())
    assert answer.status == 200, answer.body
    running.signal(signal.SIGINT)
    data = running.end().expect(130).envelope["data"]
    assert (data["hit"], data["repaired"]) == (True, False)
    assert instance.served().startswith("LOADS")


def test_adapters_may_lie_elsewhere_on_the_instance(job: NeuronTerminal, instance: NeuronTerminal) -> None:
    adapters = job.cwd / "profiles" / "adapters"
    adapters.rename(job.cwd / "gone")
    shutil.move(job.store_home / "lora", job.cwd / "lora gone")
    try:
        port = str(free_port())
        running = instance.start("serve", "llama-3.1-8b-lora", "--port", port, "--json")
        running.until_told("ready after").signal(signal.SIGINT)
        assert running.end().expect(130).envelope["data"]["hit"] is True
    finally:
        (job.cwd / "gone").rename(adapters)
        shutil.move(job.cwd / "lora gone", job.store_home / "lora")


def test_the_first_steps_of_the_guide(instance: NeuronTerminal) -> None:
    """On an inf2.xlarge: compile a file, serve a name, serve it again."""
    shutil.rmtree(instance.store)
    instance.root = make_root(instance.folder / "inf2", "inf2.xlarge")
    instance.env |= {
        "TEST_ROOT": str(instance.root),
        "STAND_IN_DEV": str(instance.root / "dev"),
        "STAND_IN_DEVICE_TARGET": "inf2",
        "PATH": f"{instance.root / 'bin'}{os.pathsep}{instance.env['PATH']}",
    }
    (instance.cwd / "model.yaml").write_text("extends: ./profiles/tinyllama-tp2.yaml\n")
    instance.run("compile", "model.yaml").expect(0, "compiled in")
    port = str(free_port())
    for _ in range(2):
        running = instance.start("serve", "--profile", "tinyllama-tp2", "--port", port, "--json")
        running.until_told("ready after").signal(signal.SIGINT)
        assert running.end().expect(130).envelope["data"]["hit"] is True


TIED = {"tie_word_embeddings": True, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}


def test_tied_embeddings_from_the_hub_are_served_from_the_folder(
    instance: NeuronTerminal, tmp_path: Path
) -> None:
    snapshot = tmp_path / "hub" / "models--org--tied" / "snapshots" / ("a" * 40)
    snapshot.parent.mkdir(parents=True)
    make_model(snapshot, **TIED)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    instance.env["HF_HUB_CACHE"] = str(tmp_path / "hub")
    port = free_port()
    (instance.cwd / "tied.yaml").write_text(
        "model: {id: org/tied}\nengine: {tensor_parallel_size: 2, max_model_len: 128, max_num_seqs: 4}\n"
        f"neuron: {{save_sharded_checkpoint: false}}\nserver: {{port: {port}}}\n"
    )
    for hit in (False, True):
        running = instance.start("serve", "tied.yaml", "--json").until_told("ready after")
        running.signal(signal.SIGINT)
        assert running.end().expect(130).envelope["data"]["hit"] is hit
        assert f"model={snapshot}" in instance.served()
    assert not (instance.cwd / "local-models").exists()
    assert "meta tensor" not in "".join(log.read_text() for log in instance.logs())
