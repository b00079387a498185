"""The command line as a program: help, exit numbers, one envelope with --json, and what is not imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from neuronctl.cli.app import app
from neuronctl.errors import Exit
from tests.gguf_sample import Sample

REPOSITORY = Path(__file__).parents[2]
FAKE_VLLM = REPOSITORY / "tests" / "process" / "fake_vllm_package"
KEYS = ["schema", "command", "status", "exit_code", "data", "findings", "errors"]
# What a fast start cannot afford.
HEAVY = {
    "asyncio",
    "http.client",
    "huggingface_hub",
    "multiprocessing",
    "numpy",
    "pydantic",
    "rich",
    "torch",
    "vllm",
}


class World:
    """A folder to stand in, a home, a Python with a vLLM (that does nothing here) and a model in a wheel."""

    def __init__(self, root: Path) -> None:
        self.cwd = root / "work"
        self.home = root / "home"
        site = root / "site"
        for folder in (self.cwd, self.home, site / "llm_tiny", site / "llm_tiny-0.1.dist-info"):
            folder.mkdir(parents=True)
        (site / "llm_tiny-0.1.dist-info" / "RECORD").write_text("llm_tiny/m.gguf,,\n")
        Sample().write(site / "llm_tiny" / "m.gguf")
        (self.cwd / "tiny.yaml").write_text('model: {id: "wheel:llm-tiny", revision: "0.1"}\n')
        (self.cwd / "wrong.yaml").write_text("model: {id: x}\nengin: {}\n")
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PYTHONPATH": os.pathsep.join(map(str, (FAKE_VLLM, site, REPOSITORY))),
        }

    def run(self, *words: str, code: str = "") -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", code] if code else [sys.executable, "-m", "neuronctl"]
        return subprocess.run(
            [*argv, *words],
            cwd=self.cwd,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("contract"))


def all_commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that lead to it, groups too."""
    command = command or typer.main.get_command(app)
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from all_commands(inner, (*path, name))


COMMANDS = dict(all_commands())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_says_everything_there_is(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    context = command.make_context(" ".join(["neuronctl", *path]), ["--help"], resilient_parsing=True)
    text = command.get_help(context)
    assert text.startswith(f"Usage: neuronctl {' '.join(path)}".rstrip())
    assert command.help.splitlines()[0].split(";")[0][:40] in " ".join(text.split())
    for parameter in command.params:
        if parameter.param_type_name == "option":
            for name in (*parameter.opts, *parameter.secondary_opts):
                assert name in text, name
            assert parameter.help
    for name, inner in getattr(command, "commands", {}).items():
        assert f"  {name} " in text
        assert inner.get_short_help_str(), name


@pytest.mark.parametrize(
    "words", [("--help",), ("serve", "--help"), ("cache", "--help"), ("--version",)], ids=" ".join
)
def test_help_goes_to_stdout_and_is_a_success(world: World, words: tuple[str, ...]) -> None:
    done = world.run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "neuronctl" in done.stdout


@pytest.mark.parametrize(
    "words", [(), ("profiles",), ("cache",)], ids=lambda words: " ".join(words) or "nothing"
)
def test_no_command_is_a_usage_error_that_shows_the_help(world: World, words: tuple[str, ...]) -> None:
    done = world.run(*words)
    assert done.returncode == Exit.USAGE
    assert "Usage: neuronctl" in done.stderr
    assert done.stdout == ""


ANSWERS: list[tuple[tuple[str, ...], str, Exit, str | None]] = [
    (("plan", "tiny.yaml"), "plan", Exit.DONE, None),
    (("plan", "tiny.yaml", "--host", "0.0.0.0"), "plan", Exit.ANSWER_IS_NO, None),
    (("serve", "tiny.yaml", "--dry-run"), "serve", Exit.DONE, None),
    (("serve", "tiny.yaml", "--dry-run", "--host", "0.0.0.0"), "serve", Exit.ANSWER_IS_NO, "plan.refused"),
    (("compile", "tiny.yaml", "--check"), "compile", Exit.CACHE_MISS, "artifact.miss"),
    (("compile", "tiny.yaml", "--policy", "never"), "compile", Exit.USAGE, "usage"),
    (("compile", "tiny.yaml", "--policy", "cached-only"), "compile", Exit.CACHE_MISS, "artifact.miss"),
    (("profiles", "list"), "profiles list", Exit.DONE, None),
    (("profiles", "show", "tiny.yaml"), "profiles show", Exit.DONE, None),
    (("profiles", "validate", "tiny.yaml"), "profiles validate", Exit.DONE, None),
    (("profiles", "validate", "wrong.yaml"), "profiles validate", Exit.USAGE, "profile.unknown-key"),
    (("profiles", "schema"), "profiles schema", Exit.DONE, None),
    (("cache", "list"), "cache list", Exit.DONE, None),
    (("cache", "verify"), "cache verify", Exit.DONE, None),
    (("cache", "path"), "cache path", Exit.DONE, None),
    (("cache", "show", "abc"), "cache show", Exit.USAGE, "cache.no-such-key"),
    (("plan", "no-such-profile"), "plan", Exit.USAGE, "profile.missing"),
    (("plan",), "plan", Exit.USAGE, "usage"),
    (("plan", "tiny.yaml", "--no-such-option"), "plan", Exit.USAGE, "usage"),
    (("plan", "tiny.yaml", "--python", "/no/python"), "plan", Exit.STACK_UNFIT, "stack.no-python"),
    (("plan", "tiny.yaml", "--set", "backend=nxdi"), "plan", Exit.STACK_UNFIT, "stack.other-generation"),
    (("plan", "tiny.yaml", "--set", "model.id=./none"), "plan", Exit.MODEL_NOT_RESOLVED, "model.no-folder"),
    (("plan", "tiny.yaml", "--", "--host=0.0.0.0"), "plan", Exit.USAGE, "usage.owned-argument"),
    (("cache", "list", "--", "x"), "cache list", Exit.USAGE, "usage"),
]


@pytest.mark.parametrize(("words", "command", "code", "error"), ANSWERS, ids=lambda value: str(value)[:60])
def test_one_envelope_and_nothing_else(
    world: World, words: tuple[str, ...], command: str, code: Exit, error: str | None
) -> None:
    at = words.index("--") if "--" in words else len(words)
    done = world.run(*words[:at], "--json", *words[at:])
    assert done.returncode == code, done.stderr + done.stdout
    told = json.loads(done.stdout)
    assert list(told) == KEYS
    assert told["schema"] == "neuronctl/1"
    # A word that cannot be understood is noticed before it is known which command takes it.
    assert told["command"] == command or "--no-such-option" in words
    assert told["exit_code"] == code
    assert told["status"] == ("ok" if code is Exit.DONE else code.name.lower().replace("_", "-"))
    assert [one["code"] for one in told["errors"]] == ([error] if error else [])
    if code is not Exit.DONE:
        assert all(one["fix"] for one in (*told["errors"], *told["findings"]) if one["message"])
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words", [("plan", "wrong.yaml"), ("plan", "--bad"), ("compile", "tiny.yaml", "--check")], ids=" ".join
)
def test_without_json_a_failure_is_on_stderr_with_what_to_try(world: World, words: tuple[str, ...]) -> None:
    done = world.run(*words)
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "\n  try: " in done.stderr
    assert "\x1b" not in done.stderr


LOADED = """
import json, sys
opened = []
sys.addaudithook(lambda event, said: opened.append(str(said[0])) if event == "open" else None)
from neuronctl.__main__ import run
code = run(sys.argv[1:])
data = [path for path in opened if "/neuronctl/" in path and path.endswith(".yaml")]
sys.stderr.write("\\n" + json.dumps([code, sorted(sys.modules), data]))
"""


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("plan", "tiny.yaml"),
        ("plan", "tiny.yaml", "--json"),
        ("serve", "tiny.yaml", "--dry-run"),
    ],
    ids=" ".join,
)
def test_what_costs_time_is_not_imported(world: World, words: tuple[str, ...]) -> None:
    done = world.run(*words, code=LOADED)
    code, modules, data = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr
    assert data == [], "facts about Neuron are read for a plan that has no use for them"
    assert "neuronctl.cli.app" in modules
    assert ("neuronctl.plan.make" in modules) is (words[0] != "--help")
    assert HEAVY & set(modules) == set()
    assert not [name for name in modules if name.startswith("neuronctl.neuron")]


def test_plan_writes_nothing(world: World) -> None:
    before = sorted(world.home.rglob("*"))
    assert world.run("plan", "tiny.yaml").returncode == 0
    assert sorted(world.home.rglob("*")) == before
