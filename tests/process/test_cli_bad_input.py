"""Bad input: every mistake ends with the number and the words that are meant for it, and starts nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.terminal import PROJECT, Said, Terminal, make_model, make_python

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def both_ways(terminal: Terminal, *words: str, code: int, says: tuple[str, ...]) -> Said:
    """For a person and as JSON: the same number, and the words."""
    told = terminal.run(*words)
    told.expect(code, *says)
    assert not told.out
    asked = terminal.run(*words, "--json").expect(code)
    assert not asked.err or "error" not in asked.err
    texts = json.dumps([asked.envelope["errors"], asked.envelope["findings"]])
    assert asked.envelope["errors"], asked
    for word in says:
        assert word.removesuffix(":") in texts.replace('\\"', '"'), (word, texts)
    return asked


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("", ("the file is empty",), id="empty"),
        pytest.param("model: {id: [\n", ("list or mapping",), id="not-yaml"),
        pytest.param("model:\n\tid: x\n", ("a tab at the beginning",), id="tab"),
        pytest.param(BOMB, ("p.yaml",), id="anchor-bomb"),
        pytest.param("model: {id: ./m}\nengin: {dtype: float32}\n", ("engin", "engine"), id="unknown-key"),
        pytest.param(
            "model: {id: ./m}\nengine:\n  max_model_len: lots\n", ("max_model_len", "whole number"), id="type"
        ),
        pytest.param("extends: ./p.yaml\nmodel: {id: ./m}\n", ("extends",), id="extends-itself"),
        pytest.param("extends: ./gone.yaml\nmodel: {id: ./m}\n", ("gone.yaml",), id="extends-missing"),
        pytest.param("engine: {dtype: float32}\n", ("no model is named",), id="no-model"),
        pytest.param("model: {id: !!python/object:os.system x}\n", ("!!python",), id="tag"),
    ],
)
def test_profile_that_is_wrong(terminal: Terminal, content: str, says: tuple[str, ...]) -> None:
    (terminal.cwd / "p.yaml").write_text(content)
    asked = both_ways(terminal, "serve", "p.yaml", code=2, says=says)
    assert any((error["file"] or "").endswith("p.yaml") for error in asked.envelope["errors"])


def test_profile_that_is_not_there(terminal: Terminal) -> None:
    both_ways(terminal, "compile", "q.yaml", code=2, says=("there is no profile q.yaml", "p.yaml"))
    both_ways(terminal, "compile", "smollm2-cpuu", code=2, says=("smollm2-cpu",))


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        pytest.param(lambda m: (m / "config.json").unlink(), 41, "has no config.json", id="no-config"),
        pytest.param(lambda m: (m / "config.json").write_text('{"a": 1,'), 41, "is not JSON", id="broken"),
        pytest.param(lambda m: (m / "config.json").write_text("[]"), 41, "holds a list", id="no-object"),
        pytest.param(lambda m: (m / "model.safetensors").unlink(), 41, "no weights", id="no-weights"),
    ],
)
def test_model_folder_that_is_wrong(
    terminal: Terminal, tmp_path: Path, change: object, code: int, says: str
) -> None:
    terminal.model = make_model(tmp_path / "model")
    assert callable(change)
    change(terminal.model)
    terminal.profile()
    both_ways(terminal, "compile", "p.yaml", code=code, says=(says,))
    assert not terminal.logs()


def test_serving_python_that_is_not_there_broken_or_without_vllm(terminal: Terminal, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    broken.chmod(0o755)
    bare = make_python(tmp_path / "bare", with_vllm=False)
    for python, says in (
        ("/nowhere/python", "which is not there"),
        (str(broken), "saying: out of order"),
        (str(bare), "has no vLLM"),
        (str(terminal.profile()), "does not work as a Python interpreter"),
    ):
        both_ways(terminal, "plan", "p.yaml", "--python", python, code=31, says=(says,))


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("frobnicate",), id="command"),
        pytest.param(("plan", "p.yaml", "--nope"), id="option"),
        pytest.param(("plan", "p.yaml", "q.yaml"), id="too-many"),
        pytest.param(("plan",), id="no-profile"),
        pytest.param(("serve", "p.yaml", "--port", "99999"), id="port"),
        pytest.param(("serve", "p.yaml", "--port", "many"), id="port-word"),
        pytest.param(("compile", "p.yaml", "--policy", "sometimes"), id="policy"),
        pytest.param(("compile", "p.yaml", "--policy", "never"), id="never"),
        pytest.param(("compile", "p.yaml", "--set", "engine.dtyp=x"), id="set"),
        pytest.param(("cache", "show", "ffff"), id="no-such-key"),
        pytest.param(("profiles", "validate"), id="nothing-to-validate"),
    ],
)
def test_words_that_mean_nothing(terminal: Terminal, words: tuple[str, ...]) -> None:
    asked = both_ways(terminal, *words, code=2, says=())
    assert all(error["message"] for error in asked.envelope["errors"])


def test_no_words_at_all_show_the_help(terminal: Terminal) -> None:
    said = terminal.run().expect(2, "Commands:", "serve")
    assert "error:" not in said.err
    assert not said.out


@pytest.mark.parametrize("word", ["--port", "--api-key", "--api_key=x", "--host=0.0.0.0", "--hos", "--model"])
def test_arguments_that_neuronctl_owns_are_not_passed_through(terminal: Terminal, word: str) -> None:
    terminal.run("serve", "p.yaml", "--", word, "5").expect(2, "cannot be passed through", "use ")
    assert not terminal.logs()


def test_words_after_the_dashes_only_where_vllm_runs(terminal: Terminal) -> None:
    terminal.run("cache", "list", "--", "--seed", "1").expect(2, "takes nothing after --")


def test_port_in_use_is_said_before_anything_is_compiled(terminal: Terminal) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        both_ways(terminal, "serve", "p.yaml", "--port", port, code=40, says=("in use", "--port"))
    assert not terminal.logs()


def test_public_address_wants_a_key_or_insistence(terminal: Terminal) -> None:
    words = ("serve", "p.yaml", "--host", "0.0.0.0", "--dry-run")
    both_ways(terminal, *words, code=1, says=("no API key is set",))
    terminal.run(*words, "--allow-public-without-key").expect(0, "--host 0.0.0.0")
    terminal.run(*words, env={"VLLM_API_KEY": "sesame-sesame"}).expect(0)


def test_variable_of_the_key_must_be_set(terminal: Terminal) -> None:
    terminal.profile("server: {api_key_env: MY_KEY}")
    both_ways(terminal, "serve", "p.yaml", "--dry-run", code=1, says=("MY_KEY, which is not set",))


def test_working_folder_that_is_gone(terminal: Terminal) -> None:
    line = "mkdir gone && cd gone && rmdir ../gone && neuronctl plan p.yaml"
    terminal.shell(line).expect(2, "folder does not exist any more", "cd ~")
    assert terminal.shell(f"{line} --json").expect(2).envelope["errors"]


def test_user_without_a_home(terminal: Terminal) -> None:
    code = (
        "import os, sys; os.environ.pop('HOME'); os.environ.pop('NEURONCTL_HOME'); import pwd\n"
        "def nobody(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = nobody\n"
        "from neuronctl.__main__ import run; sys.exit(run(['cache', 'list']))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=terminal.env, cwd=PROJECT, capture_output=True)
    Said(done.returncode, "", done.stderr.decode()).expect(2, "no home folder", "export HOME=")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        pytest.param("neuronctl plan p.yaml | head -0", 0, id="nobody-reads"),
        pytest.param("neuronctl plan p.yaml >&-", 0, id="no-stdout"),
        pytest.param("neuronctl plan p.yaml 2>&- >/dev/null", 0, id="no-stderr"),
        pytest.param("neuronctl plan q.yaml <&- >&- 2>&-", 2, id="no-streams"),
        pytest.param("neuronctl plan q.yaml 2>/dev/full", 2, id="full-stderr"),
        pytest.param("neuronctl plan p.yaml >/dev/full", 30, id="full-stdout"),
        pytest.param("neuronctl plan p.yaml --json >/dev/full", 30, id="full-json"),
        pytest.param("PYTHONIOENCODING=ascii neuronctl plan p.yaml --set description=é", 0, id="ascii"),
    ],
)
def test_streams_that_take_nothing(terminal: Terminal, line: str, code: int) -> None:
    said = terminal.shell(line).expect(code)
    assert "Traceback" not in said.err
    assert "Exception ignored" not in said.err


def test_a_number_for_whoever_asks_when_nobody_reads(terminal: Terminal) -> None:
    """The pipe is closed before neuronctl writes, and the answer is no."""
    line = "(neuronctl plan p.yaml --host 0.0.0.0; echo code $? >&2) | true"
    terminal.shell(line).expect(0, "code 1")


def test_json_in_another_encoding_is_json(terminal: Terminal) -> None:
    said = terminal.run(
        "plan",
        "p.yaml",
        "--json",
        "--set",
        "engine.served_model_name=größe",
        env={"PYTHONIOENCODING": "ascii"},
    )
    assert said.envelope["data"]["engine"]["served_model_name"]["value"] == "größe"


def test_unexpected_error_leaves_a_report_without_secrets(terminal: Terminal) -> None:
    code = (
        "import sys, neuronctl.profile.resolve as r\n"
        "def broken(*a, **k): raise ZeroDivisionError('it holds ' + __import__('os').environ['HF_TOKEN'])\n"
        "import neuronctl.pipeline; neuronctl.pipeline.load_profile = broken\n"
        "from neuronctl.__main__ import run; sys.exit(run(sys.argv[1:]))"
    )
    words = [
        "plan",
        "p.yaml",
        "--json",
        "--set",
        "env.MY_PASSWORD=open-sesame",
        "--",
        "--api-token",
        "third-one",
    ]
    env = {**terminal.env, "HF_TOKEN": "token-of-mine"}
    done = subprocess.run([sys.executable, "-c", code, *words], env=env, cwd=PROJECT, capture_output=True)
    said = Said(done.returncode, done.stdout.decode(), done.stderr.decode()).expect(70)
    (report,) = (terminal.store_home / "reports").iterdir()
    assert str(report) in said.envelope["errors"][0]["fix"]
    text = report.read_text()
    assert "ZeroDivisionError" in text
    for secret in ("token-of-mine", "open-sesame", "third-one"):
        assert secret not in text + said.out + said.err
