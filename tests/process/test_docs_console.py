"""What the docs show of a terminal is what a terminal shows. WRITE_DOCS=1 writes it anew."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.neuron_machine import NeuronTerminal, make_root
from tests.process.terminal import PROJECT, Said
from tests.sdk.make import make_sdk
from tests.sdk.models import make_hub_cache

PAGES = [PROJECT / "docs" / name for name in ("neuron.md", "doctor.md")]
BLOCK = re.compile(r"<!-- console: (?P<name>[a-z ]+) -->\n```console\n(?P<shown>.*?)```\n", re.DOTALL)
MODEL = "TinyLlama/TinyLlama-1.1B-Chat-v1.0"
SAMPLE = PROJECT / "tests" / "data" / "logs" / "lnc2-on-trn1.log"
CROSS = ("--target", "inf2.xlarge", "--stack", "sdk-2.28")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Each block of the page, as it comes out now."""
    folder = tmp_path_factory.mktemp("docs")
    hub = make_hub_cache(folder / "hub", [MODEL])
    sdk = make_sdk(folder / "sdk")
    builder = NeuronTerminal(folder / "b", hub, sdk, root=make_root(folder / "plain", devices=False))
    del builder.env["STAND_IN_DEV"]
    instance = NeuronTerminal(folder / "i", hub, sdk, root=make_root(folder / "root"))
    for one in (builder, instance):
        one.env |= {"HF_HUB_CACHE": str(hub), "NEURONCTL_SERVER_PORT": str(one.port)}
        (one.cwd / "model.yaml").write_text("extends: tinyllama-tp2\n")
    try:
        yield dict(scenes(builder, instance))
    finally:
        builder.stop_all()
        instance.stop_all()


def scenes(builder: NeuronTerminal, instance: NeuronTerminal) -> Iterator[tuple[str, str]]:
    yield "compile", console(builder, "compile", "model.yaml", *CROSS)
    yield "serve", served(instance, "serve", "--profile", "tinyllama-tp2")
    yield "serve again", served(instance, "serve", "--profile", "tinyllama-tp2")
    yield "why", console(instance, "compile", "model.yaml", "--set", "engine.max_num_seqs=8")
    shutil.rmtree(instance.store)
    instance.run("compile", "model.yaml").expect(0)
    (instance.tree() / "weights" / "tp1_sharded_checkpoint.safetensors").unlink()
    yield "damaged", served(instance, "serve", "--profile", "tinyllama-tp2")
    words = ("compile", "model.yaml", "--policy", "always")
    yield "failed", console(instance, *words, env={"STAND_IN_SDK": f"die-saying={SAMPLE}"})
    mine = {"NEURON_COMPILED_ARTIFACTS": "./mine"}
    instance.run("compile", "model.yaml", env=mine).expect(0)
    yield "folder", console(instance, "serve", "model.yaml", "--set", "engine.max_num_seqs=8", env=mine)
    make_driver(instance.root, loaded="2.27.4.0", on_disk="2.27.4.0", runtime="2.30.51.0")
    yield "doctor well", console(instance, "doctor", "--profile", "tinyllama-tp2", "--offline")
    make_driver(instance.root, loaded="2.24.7.0", on_disk="2.28.3.0", runtime="2.32.10.0")
    yield "doctor", console(instance, "doctor", "--offline")


def make_driver(root: Path, *, loaded: str, on_disk: str, runtime: str) -> None:
    (root / "sys" / "module" / "neuron" / "version").write_text(f"{loaded}\n")
    modinfo = root / "bin" / "modinfo"
    modinfo.write_text(f"#!/bin/sh\necho {on_disk}\n")
    modinfo.chmod(0o755)
    libraries = root / "opt" / "aws" / "neuron" / "lib"
    for old in libraries.glob("libnrt.so*"):
        old.unlink()
    (libraries / f"libnrt.so.{runtime}").touch()


def console(terminal: NeuronTerminal, *words: str, env: dict[str, str] | None = None) -> str:
    said = terminal.run(*words, env=env)
    lines = [f"export {name}={value}" for name, value in (env or {}).items() if not name.startswith("STAND")]
    return plain(terminal, said, *lines, f"neuronctl {' '.join(words)}")


def served(terminal: NeuronTerminal, *words: str) -> str:
    running = terminal.start(*words).until_told("ready after")
    running.signal(signal.SIGINT)
    return plain(terminal, running.end().expect(130), f"neuronctl {' '.join(words)}")


def plain(terminal: NeuronTerminal, said: Said, *commands: str) -> str:
    """Without what differs from run to run, and from machine to machine."""
    text = "".join(f"$ {command}\n" for command in commands) + said.err + said.out
    text = re.sub(r"^  [a-z ]+ \d+:\d\d.*\n", "", text, flags=re.MULTILINE)  # where it is just now
    for folder, name in (
        (terminal.store_home, "/home/ubuntu/.cache/neuronctl"),
        (terminal.cwd, "/home/ubuntu"),
        (terminal.model, "/home/ubuntu/.cache/huggingface/hub"),
    ):
        text = text.replace(str(folder), name)
    keys = dict.fromkeys(re.findall(r"\b[0-9a-f]{32}\b", text))
    for number, key in enumerate(keys):
        text = text.replace(
            key, "0123456789abcdef"[number:] + "0123456789abcdef" + "0123456789abcdef"[:number]
        )
    text = re.sub(r"\d{8}T\d{6}", "20260102T030405", text)
    text = re.sub(r"-\d+\.log", ".log", text).replace(f":{terminal.port}", ":8000")
    text = text.replace(str(terminal.python), "/opt/aws_neuronx_venv_pytorch_inference_vllm/bin/python")
    # What depends on the machine that the tests run on: its disk, its kernel and its limits.
    text = re.sub(r"[\d.]+ GiB free of [\d.]+ GiB", "180.2 GiB free of 193.6 GiB", text)
    text = re.sub(r"Python 3\.\d+\.\d+", "Python 3.11.7", text)
    text = text.replace(", devices.kernel-6.18", "")
    text = re.sub(r"\d+ more are well.*: neuronctl", "19 more are well, 7 do not apply: neuronctl", text)
    text = re.sub(r"\b\d+\.\d s\b", "0.4 s", text)
    text = re.sub(r"\bin \d+ s\b", "in 1 s", text)
    return text if said.code in (0, 130) else f"{text}$ echo $?\n{said.code}\n"


def test_the_pages_show_what_a_terminal_shows(shown: dict[str, str]) -> None:
    pages = {page: page.read_text(encoding="utf-8") for page in PAGES}

    def anew(block: re.Match[str]) -> str:
        return f"<!-- console: {block['name']} -->\n```console\n{shown[block['name']]}```\n"

    blocks = [block for text in pages.values() for block in BLOCK.finditer(text)]
    assert {block["name"] for block in blocks} == set(shown)
    if os.environ.get("WRITE_DOCS"):
        for page, text in pages.items():
            page.write_text(BLOCK.sub(anew, text), encoding="utf-8")
        return
    for block in blocks:
        assert block["shown"] == shown[block["name"]], block["name"]
