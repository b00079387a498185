"""guidellm as a child: found, told, followed and read. A stand-in replays what guidellm wrote.

The real one is asked by tests/e2e/test_real_guidellm.py, where its environment is there.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neuronctl.bench import guidellm_engine
from neuronctl.bench.engine import Job
from neuronctl.bench.guidellm_engine import GuidellmEngine
from neuronctl.bench.record import Sent
from neuronctl.bench.schema import Load, Workload
from neuronctl.errors import NeuronctlError, StackUnfit
from neuronctl.host import Host

HERE = Path(__file__).parent


def make_python(folder: Path, path: Path = HERE / "fake_guidellm_package") -> Path:
    """A Python in an environment of its own, with what is in `path`."""
    folder.mkdir(parents=True)
    python = folder / "python"
    real = shlex.quote(os.path.realpath(sys.executable))
    python.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(path))} exec {real} -S "$@"\n')
    python.chmod(0o755)
    return python


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_python(tmp_path_factory.mktemp("guidellm") / "venv" / "bin")


def host(tmp_path: Path, **env: str) -> Host:
    return Host(environ={"PATH": os.defpath, "HOME": str(tmp_path), **env}, cwd=tmp_path)


def job(tmp_path: Path, **said: Any) -> Job:
    return Job(
        name="point-01-run-1",
        url="http://127.0.0.1:9",
        model="reference",
        tokenizer=str(tmp_path),
        workload=Workload(kind=said.pop("kind", "random"), api="chat", seed=3, ignore_eos=False),
        load=Load(concurrency=2, rate_rps=None, input_tokens=32, output_tokens=8, requests=8),
        dataset=said.pop("dataset", None),
        folder=tmp_path / "raw",
        api_key="sk-quite-secret",
        timeout_s=said.pop("timeout_s", 60),
    )


def send(
    tmp_path: Path, python: Path, on_done: Callable[[int], None] = lambda count: None, **said: Any
) -> Sent:
    world = host(tmp_path, GUIDELLM_STAND_IN=said.pop("mode", ""), GUIDELLM__SPEC__SEED="{}")
    with GuidellmEngine().open(world, python=str(python), folder=tmp_path / "raw") as session:
        return session.run(job(tmp_path, **said), on_done)


def told(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "raw" / "point-01-run-1.told").read_text())
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_run_is_told_followed_and_read(tmp_path: Path, python: Path) -> None:
    heard: list[int] = []
    sent = send(tmp_path, python, heard.append)
    assert heard == [3, 8]
    assert len(sent.records) == 8
    assert sent.raw == "point-01-run-1.json" and (tmp_path / "raw" / sent.raw).exists()
    said = told(tmp_path)
    assert said["spec"]["backend"]["extras"]["body"] == {"temperature": 0, "ignore_eos": False}
    assert said["spec"]["backend"]["request_format"] == "/v1/chat/completions"
    assert "GUIDELLM__SPEC__SEED" not in said["env"]
    assert not Path(said["cwd"]).exists()


def test_the_key_is_in_the_environment_alone(tmp_path: Path, python: Path) -> None:
    send(tmp_path, python)
    said = told(tmp_path)
    assert said["env"].pop("GUIDELLM__SPEC__BACKEND__API_KEY") == "sk-quite-secret"
    assert "sk-quite-secret" not in json.dumps(said)
    for file in (tmp_path / "raw").iterdir():
        if file.suffix != ".told":
            assert "sk-quite-secret" not in file.read_text()


def test_a_file_of_prompts_is_handed_over_in_guidellms_form(tmp_path: Path, python: Path) -> None:
    file = tmp_path / "my prompts.jsonl"
    file.write_text('{"messages": [{"role": "user", "content": "Why?"}], "max_tokens": 4}\n')
    send(tmp_path, python, kind="jsonl", dataset=file)
    said = told(tmp_path)
    columns = said["spec"]["data_column_mapper"]["column_mappings"]
    assert columns == {"text_column": "prompt", "output_tokens_count_column": "output_tokens"}
    rows = [json.loads(line) for line in said["prompts"]]
    assert rows == [{"prompt": "Why?", "output_tokens": 8}] * 8


def test_a_run_that_fails_says_its_last_words(tmp_path: Path, python: Path) -> None:
    with pytest.raises(NeuronctlError) as caught:
        send(tmp_path, python, mode="crash")
    assert "exited with code 1" in str(caught.value) and "the tokenizer is gone" in str(caught.value)
    assert caught.value.error_code == "bench.client-failed"
    assert caught.value.fix is not None and "guidellm.log" in caught.value.fix


@pytest.mark.parametrize(
    ("mode", "limit_s", "words"), [("hang", 60.0, "its start"), ("hang-sending", 0.5, "the requests of c2")]
)
def test_a_run_that_hangs_is_ended_with_its_workers(
    tmp_path: Path, python: Path, monkeypatch: pytest.MonkeyPatch, mode: str, limit_s: float, words: str
) -> None:
    if mode == "hang":
        monkeypatch.setattr(guidellm_engine, "_START_S", 1.0)
    with pytest.raises(NeuronctlError, match=f"guidellm hangs: {words}"):
        send(tmp_path, python, mode=mode, timeout_s=limit_s)
    worker = tmp_path / "raw" / "point-01-run-1.worker"
    assert not worker.exists() or not is_alive(int(worker.read_text()))


@pytest.mark.parametrize(("mode", "words"), [("half", "is not what"), ("nothing", "cannot be")])
def test_a_report_that_is_not_whole_is_refused(tmp_path: Path, python: Path, mode: str, words: str) -> None:
    send(tmp_path, python)  # leaves a whole one, which must not be taken for this run's
    with pytest.raises(NeuronctlError, match=rf"point-01-run-1\.json {words}"):
        send(tmp_path, python, mode=mode)


def find(tmp_path: Path, named: str | None, **env: str) -> tuple[str, str]:
    with GuidellmEngine().open(host(tmp_path, **env), python=named, folder=tmp_path) as session:
        return session.engine.version, session.engine.python


def test_guidellm_is_found_by_flag_variable_and_path(tmp_path: Path, python: Path) -> None:
    found = ("0.8.1", str(python))
    assert find(tmp_path, str(python)) == found
    assert find(tmp_path, str(python.parents[1])) == found
    assert find(tmp_path, None, NEURONCTL_GUIDELLM_PYTHON=str(python)) == found
    (tmp_path / "bin").mkdir()
    command = python.with_name("guidellm")
    command.write_text("#!/bin/sh\nexit 9\n")
    command.chmod(0o755)
    (tmp_path / "bin" / "guidellm").symlink_to(command)  # as pipx and uv do
    assert find(tmp_path, None, PATH=f"{tmp_path / 'bin'}:{os.defpath}") == found
    assert find(tmp_path, str(command)) == found


def test_without_guidellm_it_says_how_to_get_it(tmp_path: Path) -> None:
    for named in (None, "/nowhere/python"):
        with pytest.raises(StackUnfit) as caught:
            find(tmp_path, named, PATH=str(tmp_path))
        assert caught.value.error_code == "stack.no-guidellm"
        assert caught.value.fix is not None
        assert "-m venv" in caught.value.fix and "pip install guidellm" in caught.value.fix
        assert "--engine-python" in caught.value.fix


def test_a_python_without_guidellm_is_refused(tmp_path: Path) -> None:
    bare = make_python(tmp_path / "bare", tmp_path)
    with pytest.raises(StackUnfit, match="has no guidellm") as caught:
        find(tmp_path, str(bare))
    assert caught.value.fix == f"{bare} -m pip install guidellm"
    with pytest.raises(StackUnfit, match="does not work as a Python"):
        find(tmp_path, "/bin/false")


def test_an_old_guidellm_is_refused(tmp_path: Path) -> None:
    info = tmp_path / "site" / "guidellm-0.6.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: guidellm\nVersion: 0.6.1\n")
    old = make_python(tmp_path / "old", tmp_path / "site")
    with pytest.raises(StackUnfit, match=r"has guidellm 0\.6\.1; neuronctl needs 0\.8"):
        find(tmp_path, str(old))
