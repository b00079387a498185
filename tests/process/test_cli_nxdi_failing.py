"""Compiles that fail, are tried again or stopped: what is said, what is left, and the exit number."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from neuronctl.backends.nxdi_output import find_faults
from neuronctl.explain.pattern import Pattern, patterns
from tests.process.neuron_machine import NeuronTerminal
from tests.process.terminal import until
from tests.sdk.make import make_sdk
from tests.sdk.models import make_model

LOGS = Path(__file__).parents[1] / "data" / "logs"
# Everything that is known to show in a log, a warning aside: a warning ends nothing.
KNOWN = [pattern for pattern in patterns() if pattern.rank != "warning"]
PHASES = ["import", "config", "trace", "cc", "save", "shard"]


def nothing_left(terminal: NeuronTerminal) -> None:
    assert (terminal.artifacts(), terminal.staging()) == ([], [])
    assert not [path for path in (terminal.store / "blobs").rglob("*") if path.is_file()]
    assert not (terminal.tmp / "nxd_model").exists()
    assert terminal.logs()


def works_afterwards(terminal: NeuronTerminal) -> None:
    assert terminal.run("compile", "p.yaml", "--json").expect(0).envelope["data"]["outcome"] == "compiled"
    assert find_faults(terminal.tree()) == []
    assert terminal.staging() == []


@pytest.mark.parametrize("pattern", KNOWN, ids=lambda pattern: pattern.id)
def test_each_known_error_ends_with_its_explanation(instance: NeuronTerminal, pattern: Pattern) -> None:
    sample = LOGS / f"{pattern.id}.log"
    said = instance.run_sdk(f"die-saying={sample}", "compile", "p.yaml", "--json")
    memory = pattern.kind == "host memory" and pattern.rank == "cause"
    full = "No space left" in sample.read_text()
    (error,) = said.expect(21 if memory else 30 if full else 20).envelope["errors"]
    known = error["details"]["explained"]
    assert known["id"] == pattern.id
    assert known["why"]
    if not full:
        assert error["fix"] == known["fix"]
    assert Path(error["details"]["log"]) in instance.logs()
    nothing_left(instance)


@pytest.mark.parametrize("phase", PHASES)
def test_a_failure_in_each_phase(instance: NeuronTerminal, phase: str) -> None:
    said = instance.run_sdk(f"die-in={phase}", "compile", "p.yaml", "--json").expect(20)
    (error,) = said.envelope["errors"]
    assert f"stand-in was told to die in {phase}" in json.dumps(error["details"]["last_lines"])
    assert Path(error["details"]["log"]) in instance.logs()
    nothing_left(instance)
    works_afterwards(instance)


def test_a_person_reads_why_what_to_do_and_where_the_log_is(instance: NeuronTerminal) -> None:
    log = LOGS / "inf2-qwen-match-replace8.log"
    said = instance.run_sdk(f"die-saying={log}", "compile", "p.yaml").expect(20)
    said.expect(20, "inf2-qwen-match-replace8: ", "why: ", "try: ", str(instance.logs()[0]))


def test_a_compiler_that_is_killed_for_memory(instance: NeuronTerminal) -> None:
    said = instance.run_sdk("cc-killed", "compile", "p.yaml", "--json").expect(21)
    assert said.envelope["errors"][0]["details"]["explained"]["id"] == "compile-oom-host"
    nothing_left(instance)


def test_a_compiler_that_fails_for_no_known_cause_is_tried_again(instance: NeuronTerminal) -> None:
    said = instance.run_sdk("cc-70=2", "compile", "p.yaml", "--json").expect(0)
    assert said.envelope["data"]["retries"] == 2
    assert said.err.count("trying again") == 2
    instance.run("cache", "verify").expect(0, "whole")


def test_it_is_not_tried_for_ever(instance: NeuronTerminal) -> None:
    said = instance.run_sdk("cc-70=99", "compile", "p.yaml", "--json").expect(20)
    (error,) = said.envelope["errors"]
    assert error["details"]["tries"] == 3
    assert error["details"]["explained"]["id"] in ("compiler-failed", "compile-buckets-failed")
    log = Path(error["details"]["log"]).read_text()
    assert log.count("[neuronctl: the end of nxd/") >= 3  # the compiler's own words are kept
    nothing_left(instance)
    works_afterwards(instance)


def test_a_failure_whose_cause_is_known_is_not_tried_again(instance: NeuronTerminal, tmp_path: Path) -> None:
    log = tmp_path / "known.log"
    log.write_text(
        "[NCC_EARG001] only lnc=1 is supported\nRuntimeError: neuronx-cc compilation failed with 70.\n"
    )
    said = instance.run_sdk(f"die-saying={log}", "compile", "p.yaml").expect(20, "lnc2-on-trn1")
    assert "trying again" not in said.err


@pytest.mark.parametrize("fault", ["drop=model.pt", "drop=weights/tp1_sharded_checkpoint.safetensors"])
def test_output_that_is_missing_is_not_published(instance: NeuronTerminal, fault: str) -> None:
    said = instance.run_sdk(fault, "compile", "p.yaml").expect(20, "left no usable output", "is missing")
    assert str(instance.logs()[0]) in said.err
    nothing_left(instance)


@pytest.mark.parametrize(
    "name", ["model.pt", "neuron_config.json", "weights/tp0_sharded_checkpoint.safetensors"]
)
def test_output_that_is_cut_off_is_not_published(instance: NeuronTerminal, name: str) -> None:
    instance.run_sdk(f"truncate={name}", "compile", "p.yaml").expect(20, "left no usable output", name)
    nothing_left(instance)


def test_a_plugin_that_compiles_something_else_is_noticed(instance: NeuronTerminal) -> None:
    said = instance.run_sdk("other=batch_size:2", "compile", "p.yaml", "--json").expect(20)
    (error,) = said.envelope["errors"]
    assert "batch_size: 2 there, 4 in the plan" in error["message"]
    nothing_left(instance)
    told = instance.run_sdk("other=flash_decoding_enabled:true", "compile", "p.yaml").expect(0)
    assert "differs from the plan in flash_decoding_enabled: True there, False in the plan" in told.err


def test_a_plugin_that_nobody_knows_compiles_in_a_server(
    instance: NeuronTerminal, builder: NeuronTerminal
) -> None:
    said = instance.run_sdk("no-seam", "compile", "p.yaml").expect(
        0, "cannot compile without a server", "Paris"
    )
    assert "starting one" in said.err
    words = ("--target", "inf2.xlarge", "--stack", "sdk-2.28")
    said = builder.run_sdk("no-seam", "compile", "p.yaml", *words).expect(31, "needs a Neuron device")
    assert "_compile_and_load_model" in said.err


def test_weights_that_change_meanwhile_are_noticed(instance: NeuronTerminal, tmp_path: Path) -> None:
    shutil.copytree(instance.model, tmp_path / "own" / "model")
    instance.model = tmp_path / "own" / "model"
    instance.profile()
    running = instance.start_sdk("compile-s=1", "compile", "p.yaml").until_told("compile 0:")
    other = make_model(tmp_path / "other", seed="other") / "model.safetensors"
    os.replace(other, instance.model / "model.safetensors")
    running.end().expect(20, "changed while it was compiled")
    nothing_left(instance)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"x" * 100])
def test_damaged_weights_are_found_before_the_compile(
    instance: NeuronTerminal, tmp_path: Path, content: bytes
) -> None:
    shutil.copytree(instance.model, tmp_path / "own" / "model")
    instance.model = tmp_path / "own" / "model"
    (instance.model / "model.safetensors").write_bytes(content)
    instance.profile()
    instance.run("compile", "p.yaml").expect(41, "model.safetensors are damaged", "download the model again")
    assert not instance.logs()


def test_a_work_folder_that_is_named_is_not_emptied(instance: NeuronTerminal) -> None:
    mine = instance.folder / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    instance.run("compile", "p.yaml", env={"BASE_COMPILE_WORK_DIR": str(mine)}).expect(0)
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_the_sdk_that_is_asked_for_must_be_the_one_installed(builder: NeuronTerminal, tmp_path: Path) -> None:
    python = make_sdk(tmp_path / "odd")
    (found,) = (tmp_path / "odd" / "site").glob("neuronx_cc-*.dist-info")
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: neuronx-cc\nVersion: 9.9.9\n")
    found.rename(found.with_name("neuronx_cc-9.9.9.dist-info"))
    words = ("compile", "p.yaml", "--target", "inf2.xlarge", "--stack")
    said = builder.run(*words, "sdk-2.28", env={"NEURONCTL_PYTHON": str(python)})
    said.expect(31, "only assumed", "with neuronx-cc 9.9.9, which is none of its")
    builder.run(*words, "sdk-2.27").expect(31, "only assumed", "SDK 2.28")
    assert builder.artifacts() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("phase", PHASES)
def test_stopped_in_a_phase(instance: NeuronTerminal, phase: str, number: int) -> None:
    running = instance.start_sdk(f"hang={phase},cc-children", "compile", "p.yaml", "--json")
    until(lambda: instance.logs() and f"in phase {phase}" in instance.logs()[0].read_text(), phase)
    running.signal(number)
    if number == signal.SIGKILL:
        running.process.wait(10)
        until(lambda: not instance.left(), "the end of the compilers", 15)
        assert instance.artifacts() == []
    else:
        running.end().expect(130 if number == signal.SIGINT else 143)
        nothing_left(instance)
    works_afterwards(instance)


def test_an_interrupted_compile_is_not_taken_for_a_failed_one(instance: NeuronTerminal) -> None:
    """The compiler's cache keeps the failure, and answers with it unless it is told not to."""
    running = instance.start_sdk("hang=cc", "compile", "p.yaml")
    until(lambda: instance.logs() and "in phase cc" in instance.logs()[0].read_text(), "the compiler")
    running.signal(signal.SIGINT)
    running.end().expect(130)
    said = instance.run("compile", "p.yaml").expect(0, "compiled in")
    assert "cached failed neff" not in "".join(log.read_text() for log in instance.logs()[1:]) + said.err
