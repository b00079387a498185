"""What the stand-in does on demand, and how a program uses it that compiles without a device."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.sdk.models import make_model
from tests.sdk.user import BASE, LATER_SDK, LENGTH, PRESHARDED, SDK, TP, Start, User, make_user


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    one = make_user(tmp_path_factory.mktemp("user"))
    yield one
    one.end()


SHARDS = [f"weights/tp{rank}_sharded_checkpoint.safetensors" for rank in (0, 1)]
# What is written when it dies in a phase of a first start.
DIES_IN: dict[str, set[str]] = {
    "import": set(),
    "config": set(),
    "trace": {"neuron_config.json"},
    "cc": {"neuron_config.json"},
    "save": {"neuron_config.json", "model.pt"},
    "shard": {"neuron_config.json", "model.pt", SHARDS[0]},
    "load": {"neuron_config.json", "model.pt", *SHARDS},
    "warmup": {"neuron_config.json", "model.pt", *SHARDS},
}


@dataclass
class Demand:
    """Starts of the tiny Llama with behaviours on demand; compile cache and artifacts are its own."""

    user: User
    folder: Path

    def start(self, sdk: str, **env: str) -> Start:
        where = {"STAND_IN_TMP": str(self.folder), "NEURON_COMPILED_ARTIFACTS": str(self.artifacts)}
        return self.user.start(
            self.user.folder / "tiny",
            *BASE,
            *LENGTH,
            *TP,
            override=dict(PRESHARDED),
            STAND_IN_SDK=sdk,
            **where,
            **env,
        )

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    def files(self) -> set[str]:
        files = (path for path in self.artifacts.rglob("*") if path.is_file())
        return {path.relative_to(self.artifacts).as_posix() for path in files}


@pytest.fixture
def demand(user: User, tmp_path: Path) -> Demand:
    return Demand(user, tmp_path)


@pytest.mark.parametrize("phase", DIES_IN)
def test_it_dies_in_a_phase(phase: str, demand: Demand) -> None:
    start = demand.start(f"die-in={phase}")
    assert (start.code, start.served) == (1, {})
    assert f"stand-in: in phase {phase}" in start.told
    assert demand.files() == DIES_IN[phase]


@pytest.mark.parametrize(("phase", "name"), [("save", "model.pt"), ("shard", SHARDS[0])])
def test_it_leaves_a_half_written_file(phase: str, name: str, demand: Demand) -> None:
    demand.start(f"die-in={phase}")
    half = (demand.artifacts / name).stat().st_size
    shutil.rmtree(demand.artifacts)
    demand.start("")
    assert half == (demand.artifacts / name).stat().st_size // 2


def test_it_dies_with_words_of_others(demand: Demand) -> None:
    words = demand.folder / "words"
    words.write_text("KeyError: 'layers.0'\n")
    start = demand.start(f"die-saying={words}")
    assert start.code == 1
    assert start.told.endswith(words.read_text())
    assert demand.files() == {"neuron_config.json"}
    shutil.rmtree(demand.artifacts)
    assert demand.start(f"die-saying-load={words}").told.endswith(words.read_text())
    assert demand.files() == DIES_IN["load"]


def test_the_compiler_fails_as_often_as_it_is_told(demand: Demand) -> None:
    flags = {"NEURON_CC_FLAGS": "--retry_failed_compilation"}
    codes = [demand.start("cc-70=2", **flags).code for _ in range(3)]
    assert codes == [1, 1, 0]


def test_the_compiler_is_killed(demand: Demand) -> None:
    start = demand.start("cc-killed")
    assert "[F137] neuronx-cc was forcibly killed" in start.told
    assert start.crash[1] == "neuronx-cc compilation failed with 70. Check compiler logs."


def test_the_compiler_leaves_children(demand: Demand) -> None:
    children = re.findall(
        r"stand-in: child (\d+) of the compiler", demand.start("cc-children,die-in=cc").told
    )
    assert len(children) == 2
    for child in children:
        os.kill(int(child), signal.SIGTERM)
        os.kill(int(child), 0)
        os.kill(int(child), signal.SIGKILL)


@pytest.mark.parametrize("how", ["drop", "truncate"])
def test_the_output_is_not_whole(how: str, demand: Demand) -> None:
    name = SHARDS[1]
    start = demand.start(f"{how}={name}")
    assert start.crash[0] == ("FileNotFoundError" if how == "drop" else "SafetensorError")
    assert (name in demand.files()) == (how == "truncate")


def test_something_is_gone_whenever_it_loads(demand: Demand) -> None:
    lost = demand.folder / "lost"
    lost.mkdir()
    assert demand.start(f"forget={lost}").served["how"] == "RECOMPILES"
    assert not lost.exists()


def test_a_setting_becomes_another(demand: Demand) -> None:
    assert demand.start("other=tp_degree:4").served["tp"] == "4"
    assert (
        json.loads((demand.artifacts / "neuron_config.json").read_text())["neuron_config"]["tp_degree"] == 4
    )


def test_a_behaviour_is_only_for_the_first(demand: Demand) -> None:
    wanted = f"die-in=trace,only-first={demand.folder / 'first'}"
    assert [demand.start(wanted).code for _ in range(2)] == [1, 0]


# As a program compiles that knows the model loader, on a machine without a device.
COMPILE = """
import glob, sys
real = glob.glob
glob.glob = lambda pattern, **named: ["/dev/neuron0"] if "/neuron" in pattern else real(pattern, **named)
try:
    from vllm.utils.argparse_utils import FlexibleArgumentParser
except ImportError:
    from vllm.utils import FlexibleArgumentParser
from vllm.config import set_current_vllm_config
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.openai.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.usage.usage_lib import UsageContext
args = make_arg_parser(FlexibleArgumentParser()).parse_args()
validate_parsed_serve_args(args)
context = UsageContext.OPENAI_API_SERVER
config = AsyncEngineArgs.from_cli_args(args).create_engine_config(usage_context=context)
glob.glob = real
from vllm.v1.executor.abstract import Executor
from vllm_neuron.worker.neuronx_distributed_model_loader import NeuronModelBase
seam = getattr(NeuronModelBase, "_compile_and_load_model", None)
if seam is None:
    sys.exit("there is no seam")
class Done(Exception):
    pass
def only_compile(self, model_path, neuronx_model_cls, config, compiled_path):
    def load(*given, **named):
        raise Done
    neuronx_model_cls.load = load
    return seam(self, model_path, neuronx_model_cls, config, compiled_path)
if "to-load" not in __file__:
    NeuronModelBase._compile_and_load_model = only_compile
try:
    with set_current_vllm_config(config):
        Executor.get_class(config)(config)
except Done:
    print("compiled only")
"""


@pytest.mark.parametrize("sdk", [SDK, "2.27.1", LATER_SDK, "2.29.0"])
def test_a_program_can_compile_without_a_device(sdk: str, tmp_path: Path) -> None:
    one = User(tmp_path, sdk)
    shutil.rmtree(tmp_path / "dev")
    make_model(tmp_path / "model")
    (tmp_path / "compile.py").write_text(COMPILE)
    words = ["--model", "../model", *BASE, *LENGTH, *TP]
    command = [str(one.python), str(tmp_path / "compile.py"), *words]
    env = {**one.env, "NEURON_COMPILED_ARTIFACTS": str(tmp_path / "artifacts")}
    done = subprocess.run(command, cwd=one.cwd, env=env, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "compiled only\n"), done.stderr
    assert {path.name for path in (tmp_path / "artifacts").iterdir()} == {"neuron_config.json", "model.pt"}
    assert list(one.cwd.iterdir()) == []
    unknown = subprocess.run(
        command,
        cwd=one.cwd,
        env={**env, "STAND_IN_SDK": "no-seam"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert unknown.returncode == 1
    assert unknown.stderr.endswith("there is no seam\n")


def test_loading_needs_a_device(tmp_path: Path) -> None:
    one = User(tmp_path)
    shutil.rmtree(tmp_path / "dev")
    make_model(tmp_path / "model")
    (tmp_path / "to-load.py").write_text(COMPILE)
    command = [str(one.python), str(tmp_path / "to-load.py"), "--model", "../model", *BASE, *LENGTH, *TP]
    done = subprocess.run(command, cwd=one.cwd, env=one.env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "No neuron device available" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == "RuntimeError: The Neuron runtime could not be initialized: nrt_init() failed"


def test_a_version_that_nobody_knows_compiles_all_the_same(demand: Demand) -> None:
    assert [demand.start("no-seam").served["how"] for _ in range(2)] == ["RECOMPILES", "LOADS"]


def test_compiled_graphs_are_found_again_in_the_cache(demand: Demand) -> None:
    demand.start("")
    shutil.rmtree(demand.artifacts)
    again = demand.start("")
    assert (again.served["how"], again.told.count("Using a cached neff at")) == ("RECOMPILES", 2)
    shutil.rmtree(demand.artifacts)
    # The place of the compiler's log is one of the flags, and those are part of the key.
    elsewhere = demand.start("", BASE_COMPILE_WORK_DIR=str(demand.folder / "other"))
    assert elsewhere.told.count("Using a cached neff at") == 0
