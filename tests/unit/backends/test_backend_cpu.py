"""The cpu backend: the command, the environment, the output, and how a server is started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neuronctl.backends.all import backend_named
from neuronctl.backends.cpu import CpuBackend, serve_command
from neuronctl.backends.entry_point import server_command
from neuronctl.errors import Exit, StackUnfit
from neuronctl.plan.plan import Plan
from tests.plan_sample import sample_host, sample_plan, sample_stack

OLD = "entrypoints/openai/api_server.py"
NEW = "entrypoints/launchers/api_server/entry.py"


def vllm(tmp_path: Path, *files: str) -> Path:
    for file in files:
        path = tmp_path / "vllm" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "vllm"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((OLD,), ("-m", "vllm.entrypoints.openai.api_server")),
        ((OLD, NEW), ("-m", "vllm.entrypoints.openai.api_server")),
        ((NEW,), ("-c", "from vllm.entrypoints.launchers.api_server.entry import main; main()")),
    ],
)
def test_how_each_vllm_is_started(tmp_path: Path, files: tuple[str, ...], words: tuple[str, ...]) -> None:
    stack = sample_stack(vllm_folder=vllm(tmp_path, *files))
    assert server_command(stack) == ("/venv/bin/python", *words)


@pytest.mark.parametrize("folder", [None, Path("/no/such/vllm")])
def test_a_vllm_without_a_server_that_we_know(folder: Path | None) -> None:
    with pytest.raises(StackUnfit) as caught:
        server_command(sample_stack(vllm_folder=folder))
    assert (caught.value.error_code, caught.value.exit_code) == ("stack.no-server", Exit.STACK_UNFIT)
    assert caught.value.what.startswith("vLLM 0.32.0 in /venv/bin/python has no server")


def plan_of(tmp_path: Path, text: str = "", passthrough: tuple[str, ...] = (), **environ: str) -> Plan:
    stack = sample_stack(vllm_folder=vllm(tmp_path, OLD))
    return sample_plan(tmp_path, text, stack=stack, passthrough=passthrough, environ=environ)


def test_the_command_ends_with_the_words_after_the_dashes(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "engine: {max_num_seqs: 2, seed: 0}", ("--max-logprobs", "3"))
    words = serve_command(plan, address="127.0.0.1", port=8000)
    assert words[:3] == ("/venv/bin/python", "-m", "vllm.entrypoints.openai.api_server")
    assert words[3:9] == ("--model", "/models/small", "--host", "127.0.0.1", "--port", "8000")
    assert words[-2:] == ("--max-logprobs", "3")
    assert words[words.index("--max-num-seqs") + 1] == "2"
    assert words[words.index("--seed") + 1] == "0"


def test_a_compile_is_the_server_on_loopback_with_a_key_of_its_own(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path, "server: {host: 127.0.0.9, port: 9000}\nenv: {X: y}", VLLM_API_KEY="the users own"
    )
    host = sample_host(tmp_path, {"VLLM_API_KEY": "the users own", "PATH": "/bin"})
    launch = CpuBackend().compile_launch(
        plan, host, tmp_path / "tree", work=tmp_path / "w", port=1234, api_key="fresh", log=tmp_path / "log"
    )
    assert launch.argv == serve_command(plan, address="127.0.0.1", port=1234)
    assert launch.env["VLLM_API_KEY"] == "fresh"
    assert (launch.env["X"], launch.env["PATH"], launch.env["VLLM_USE_AOT_COMPILE"]) == ("y", "/bin", "0")
    assert launch.env["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "tree" / "inductor")
    assert launch.env["VLLM_CACHE_ROOT"] == str(tmp_path / "tree" / "vllm")
    assert (launch.cwd, launch.log) == (tmp_path / "w", tmp_path / "log")
    assert "fresh" not in repr(launch)


def write_tree(tree: Path) -> None:
    for path in ("inductor/ab/model.so", "inductor/fxgraph/x/entry", "inductor/locks/one.lock"):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(path)
        (tree / path).chmod(0o444)


def test_a_server_gets_a_copy_that_it_may_change(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "server: {host: 127.0.0.9, port: 9000}")
    tree, work = tmp_path / "tree", tmp_path / "work"
    write_tree(tree)
    work.mkdir()
    host = sample_host(tmp_path)
    launch = CpuBackend().serve_launch(plan, host, tree, work=work, api_key=None, log=tmp_path / "log")
    copy = work / "cache" / "inductor" / "ab" / "model.so"
    assert copy.read_text() == "inductor/ab/model.so"
    assert copy.stat().st_mode & 0o200
    assert not os.path.samefile(copy, tree / "inductor" / "ab" / "model.so")
    assert launch.env["TORCHINDUCTOR_CACHE_DIR"] == str(work / "cache" / "inductor")
    assert launch.argv == serve_command(plan, address="127.0.0.9", port=9000)
    assert launch.cwd == host.cwd


def test_a_server_without_an_artifact_has_an_empty_cache_of_its_own(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "artifacts: {policy: never}")
    work = tmp_path / "work"
    work.mkdir()
    launch = CpuBackend().serve_launch(
        plan, sample_host(tmp_path), None, work=work, api_key="sesame", log=tmp_path / "log"
    )
    assert launch.env["VLLM_CACHE_ROOT"].startswith(str(work))
    assert launch.env["VLLM_API_KEY"] == "sesame"
    assert list(work.iterdir()) == []


def test_a_server_without_a_key_does_not_inherit_one(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, VLLM_API_KEY="not meant")
    host = sample_host(tmp_path, {"VLLM_API_KEY": "not meant"})
    launch = CpuBackend().serve_launch(plan, host, None, work=tmp_path, api_key=None, log=tmp_path / "log")
    assert "VLLM_API_KEY" not in launch.env


def faults(folder: Path, tree: Path) -> list[str]:
    return list(CpuBackend().check_output(sample_plan(folder), tree).faults)


def test_what_a_compile_must_leave(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    assert faults(tmp_path, tree) == [
        "no compiled library (*.so) under inductor/",
        "no compiled graph under inductor/fxgraph/",
    ]
    (tree / "inductor" / "fxgraph").mkdir(parents=True)
    assert len(faults(tmp_path, tree)) == 2
    write_tree(tree)
    assert faults(tmp_path, tree) == []


def test_what_nobody_needs_again_goes(tmp_path: Path) -> None:
    backend = CpuBackend()
    write_tree(tmp_path)
    backend.clean_output(tmp_path)
    assert not (tmp_path / "inductor" / "locks").exists()
    assert faults(tmp_path, tmp_path) == []
    backend.clean_output(tmp_path)  # and there is no harm in doing it twice


def test_a_new_library_means_that_it_compiled_again(tmp_path: Path) -> None:
    backend, tree, work = CpuBackend(), tmp_path / "tree", tmp_path / "work"
    write_tree(tree)
    write_tree(work / "cache")
    assert not backend.compiled_again(tree, work)
    (work / "cache" / "inductor" / "entry.lock").touch()
    assert not backend.compiled_again(tree, work)
    (work / "cache" / "inductor" / "ab" / "another.so").touch()
    assert backend.compiled_again(tree, work)


LOG = [
    "INFO api_server.py: vLLM API server version 0.32.0",
    "INFO cpu_model_runner.py: Starting to load model /models/small...",
    "INFO cpu_model_runner.py: Warming up model for the compilation...",
    "INFO cpu_model_runner.py: Warming up done.",
    "INFO: Starting vLLM API server 0 on http://127.0.0.1:8000",
]


@pytest.mark.parametrize(
    ("compiling", "names"),
    [
        (True, ["load weights", "compile", "first answer"]),
        (False, ["load weights", "load compiled code", "first answer"]),
    ],
)
def test_the_phases_of_a_start_are_read_from_its_log(compiling: bool, names: list[str]) -> None:
    import re

    phases = backend_named("cpu").phases(compiling=compiling)
    assert [phase.name for phase in phases] == names
    first_lines = [
        next(index for index, line in enumerate(LOG) if re.search(phase.pattern, line)) for phase in phases
    ]
    assert first_lines == [1, 2, 3]
    assert any(phase.reads_artifact for phase in phases) is not compiling
