"""A terminal for each test, and one compiled artifact for all that begin with a hit."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.neuron_machine import Machine, NeuronTerminal, add_modinfo, add_program, make_root, write
from tests.process.terminal import Terminal, make_model, make_python
from tests.sdk.make import make_sdk
from tests.sdk.models import make_model as make_small_model


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model folder and a serving Python."""
    folder = tmp_path_factory.mktemp("serving")
    return make_model(folder / "model"), make_python(folder / "bin")


@pytest.fixture(scope="session")
def compiled_home(serving: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of neuronctl with the artifact of the terminal's profile in it."""
    terminal = Terminal(tmp_path_factory.mktemp("compiled"), *serving)
    terminal.run("compile", "p.yaml").expect(0)
    shutil.rmtree(terminal.store_home / "logs")
    return terminal.store_home


@pytest.fixture
def terminal(serving: tuple[Path, Path], tmp_path: Path) -> Iterator[Terminal]:
    """A terminal with nothing compiled."""
    one = Terminal(tmp_path / "t", *serving)
    try:
        yield one
    finally:
        one.stop_all()


@pytest.fixture
def compiled(terminal: Terminal, compiled_home: Path) -> Terminal:
    """A terminal whose profile is compiled."""
    shutil.copytree(compiled_home, terminal.store_home)
    return terminal


@pytest.fixture(scope="session")
def neuron_serving(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small model and a serving Python with the stand-in SDK."""
    folder = tmp_path_factory.mktemp("neuron")
    return make_small_model(folder / "model"), make_sdk(folder / "sdk")


@pytest.fixture(scope="session")
def neuron_home(neuron_serving: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of neuronctl with the artifact of the Neuron terminal's profile in it."""
    folder = tmp_path_factory.mktemp("neuron-compiled")
    terminal = NeuronTerminal(folder / "t", *neuron_serving, root=make_root(folder / "root"))
    terminal.run("compile", "p.yaml").expect(0)
    shutil.rmtree(terminal.store_home / "logs")
    return terminal.store_home


@pytest.fixture
def instance(neuron_serving: tuple[Path, Path], tmp_path: Path) -> Iterator[NeuronTerminal]:
    """A terminal on an inf2.xlarge with nothing compiled."""
    one = NeuronTerminal(tmp_path / "t", *neuron_serving, root=make_root(tmp_path / "root"))
    try:
        yield one
    finally:
        one.stop_all()


@pytest.fixture
def warm_instance(instance: NeuronTerminal, neuron_home: Path) -> NeuronTerminal:
    """The same with its profile compiled."""
    shutil.copytree(neuron_home, instance.store_home)
    return instance


@pytest.fixture
def builder(neuron_serving: tuple[Path, Path], tmp_path: Path) -> Iterator[NeuronTerminal]:
    """A terminal on a CI machine: the SDK is installed, there is no device."""
    root = make_root(tmp_path / "plain", devices=False)
    one = NeuronTerminal(tmp_path / "b", *neuron_serving, root=root)
    del one.env["STAND_IN_DEV"]
    try:
        yield one
    finally:
        one.stop_all()


@pytest.fixture
def machine(neuron_serving: tuple[Path, Path], tmp_path: Path) -> Iterator[Machine]:
    """Makes a terminal on an instance: everything is well on it, until a test breaks something."""
    made: list[NeuronTerminal] = []

    def make(
        instance: str = "inf2.xlarge",
        *,
        sdk: str | None = None,
        plugin: str | None = None,
        driver: str = "2.27.4.0",
        runtime: str | None = "2.30.51.0",
        devices: bool = True,
    ) -> NeuronTerminal:
        model, python = neuron_serving
        root = make_root(tmp_path / "root", instance, devices=devices, runtime=runtime)
        if sdk is not None:
            python = make_sdk(tmp_path / "sdk", sdk, plugin)
        if devices:
            write(root, "/sys/module/neuron/version", f"{driver}\n")
            add_modinfo(root, driver)
        if runtime is not None and not devices:
            write(root, f"/opt/aws/neuron/lib/libnrt.so.{runtime}")
        one = NeuronTerminal(tmp_path / "t", model, python, root=root)
        made.append(one)
        return one

    yield make
    for one in made:
        one.stop_all()


@pytest.fixture
def laptop(serving: tuple[Path, Path], tmp_path: Path) -> Iterator[NeuronTerminal]:
    """A terminal on a machine without Neuron, with all that the cpu backend needs."""
    root = make_root(tmp_path / "root", devices=False)
    write(root, "/proc/cpuinfo", "model name: A CPU\nflags: avx2 avx512f asimd\n\n")
    write(root, "/lib/libnuma.so.1")
    add_program(root, "g++", "exit 0")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    write(root, f"{serving[1].parents[1]}/include/{version}/Python.h")
    one = NeuronTerminal(tmp_path / "t", *serving, root=root)
    Terminal.profile(one)  # for the processor, not for two cores
    yield one
    one.stop_all()
