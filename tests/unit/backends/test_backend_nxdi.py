"""The nxdi backend: what it starts, with which variables, and what it makes of logs and of output."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from neuronctl.backends import nxdi_child
from neuronctl.backends.nxdi import NxdiBackend
from neuronctl.backends.nxdi_output import find_faults
from neuronctl.backends.nxdi_view import link_artifact
from neuronctl.model.safetensors import find_fault
from tests.plan_sample import neuron_plan, sample_host

LOGS = Path(__file__).parents[2] / "data" / "logs"


def weights(size: int = 8) -> bytes:
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"x" * size


def write_tree(tree: Path, *, ranks: int = 2, part: str = "") -> Path:
    config = {"save_sharded_checkpoint": True, "start_rank_id": 0, "local_ranks_size": ranks}
    folder = tree / part
    (folder / "weights").mkdir(parents=True)
    if not part:
        (tree / "neuron_config.json").write_text(json.dumps({"neuron_config": config}))
    with zipfile.ZipFile(folder / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", "graph")
    for rank in range(ranks):
        (folder / "weights" / f"tp{rank}_sharded_checkpoint.safetensors").write_bytes(weights())
    return tree


def test_a_compile_is_told_where_to_for_what_and_not_to_trust_old_failures(tmp_path: Path) -> None:
    plan = neuron_plan(tmp_path, target="trn2.48xlarge")
    host = sample_host(tmp_path, {"PATH": "/usr/bin", "NEURON_CC_FLAGS": "-O1", "VLLM_API_KEY": "secret"})
    job = NxdiBackend().compile_job(plan, host, tmp_path / "tree", work=tmp_path / "w", log=tmp_path / "log")
    launch = job.launch
    assert launch.argv[1].endswith("nxdi_child.py")
    assert launch.argv[launch.argv.index("--model") + 1] == str(plan.model.path)
    assert launch.env["NEURON_COMPILED_ARTIFACTS"] == str(tmp_path / "tree")
    assert launch.env["BASE_COMPILE_WORK_DIR"] == str(tmp_path / "w" / "nxd")
    assert launch.env["NEURON_PLATFORM_TARGET_OVERRIDE"] == "trn2"
    assert launch.env["NEURON_CC_FLAGS"] == "-O1 --retry_failed_compilation"
    assert "VLLM_API_KEY" not in launch.env
    assert launch.env["PATH"].endswith(":/usr/bin")
    assert launch.cwd.is_dir()
    assert launch.cwd != host.cwd


def test_a_work_folder_and_a_platform_that_somebody_named_stay(tmp_path: Path) -> None:
    plan = neuron_plan(tmp_path, "env: {NEURON_PLATFORM_TARGET_OVERRIDE: trn1, BASE_COMPILE_WORK_DIR: /mine}")
    job = NxdiBackend().compile_job(
        plan, sample_host(tmp_path), tmp_path / "tree", work=tmp_path / "w", log=tmp_path / "log"
    )
    assert job.launch.env["NEURON_PLATFORM_TARGET_OVERRIDE"] == "trn1"
    # NxD empties the folder that it is given, and somebody's files may be in this one.
    assert job.launch.env["BASE_COMPILE_WORK_DIR"] == f"/mine/neuronctl-{plan.key}"


def test_a_server_gets_links_and_a_configuration_of_its_own(tmp_path: Path) -> None:
    tree, view = write_tree(tmp_path / "tree"), tmp_path / "view"
    link_artifact(tree, view, {})
    assert (view / "neuron_config.json").read_bytes() == (tree / "neuron_config.json").read_bytes()
    assert find_faults(view) == []
    (view / "neuron_config.json").write_text("overwritten")
    assert find_faults(tree) == []
    assert (view / "model.pt").is_symlink()
    assert (view / "weights").is_dir()
    assert not (view / "weights").is_symlink()


def test_an_adapter_is_named_once_and_where_it_is_here(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    saved = {"a": "/ci/a", "mine": "/mine"}
    lora = {"lora_ckpt_json": "/ci/list.json", "lora_ckpt_paths": saved, "lora_ckpt_paths_cpu": saved}
    config = json.loads((tree / "neuron_config.json").read_text())
    config["neuron_config"]["lora_config"] = lora
    (tree / "neuron_config.json").write_text(json.dumps(config))
    link_artifact(tree, tmp_path / "view", {"a": "/here/a", "b": "/here/b"})
    found = json.loads((tmp_path / "view" / "neuron_config.json").read_text())["neuron_config"]
    paths = {"a": "/here/a", "mine": "/mine"}
    assert found["lora_config"] == {
        "lora_ckpt_json": None,
        "lora_ckpt_paths": paths,
        "lora_ckpt_paths_cpu": paths,
    }
    assert found["local_ranks_size"] == 2


def test_what_is_whole(tmp_path: Path) -> None:
    assert find_faults(write_tree(tmp_path / "tree")) == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("neuron_config.json", None, "is missing"),
        ("neuron_config.json", b"", "is not JSON"),
        ("model.pt", None, "is missing"),
        ("model.pt", b"", "is damaged"),
        ("model.pt", b"<html></html>", "is damaged"),
        ("weights/tp1_sharded_checkpoint.safetensors", None, "is missing"),
        ("weights/tp0_sharded_checkpoint.safetensors", b"", "too few for its header"),
        ("weights/tp0_sharded_checkpoint.safetensors", weights()[:-1], "its header says"),
        ("weights/tp0_sharded_checkpoint.safetensors", weights() + b"x", "its header says"),
    ],
)
def test_what_is_not(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    tree = write_tree(tmp_path / "tree")
    (tree / name).unlink() if content is None else (tree / name).write_bytes(content)
    (fault,) = find_faults(tree)
    assert Path(name).name in fault
    assert said in fault


def test_parts_of_a_model_that_takes_images(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for part in ("text_model", "vision_model"):
        write_tree(tree, part=part)
    one = {"neuron_config": {"save_sharded_checkpoint": True, "local_ranks_size": 2}}
    (tree / "neuron_config.json").write_text(json.dumps({"text_config": one, "vision_config": one}))
    assert find_faults(tree) == []
    (tree / "vision_model" / "model.pt").unlink()
    assert find_faults(tree) == ["vision_model/model.pt is missing"]


@pytest.mark.parametrize("ranks", ["two", 0, -1, 10**9, None])
def test_a_number_of_ranks_that_is_none(tmp_path: Path, ranks: object) -> None:
    tree = write_tree(tmp_path / "tree")
    config = {"save_sharded_checkpoint": True, "local_ranks_size": ranks}
    (tree / "neuron_config.json").write_text(json.dumps({"neuron_config": config}))
    assert find_faults(tree)


@pytest.mark.parametrize("header", [b"\xff" * 8, (2**40).to_bytes(8, "little"), b"\x02" + bytes(7) + b"[]"])
def test_a_header_that_is_none(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "file").write_bytes(header + bytes(100))
    assert find_fault(tmp_path / "file")


def fits(pattern: str, line: str) -> bool:
    return re.search(pattern, line) is not None


def test_the_plugins_decision_to_compile_is_fatal_to_a_server(tmp_path: Path) -> None:
    (mark,) = NxdiBackend().serving_marks()
    assert mark.is_fatal
    assert fits(mark.pattern, (LOGS / "artifacts-not-found.log").read_text())
    assert not fits(mark.pattern, (LOGS / "healthy.log").read_text())


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("RuntimeError: neuronx-cc compilation failed with 70. Check compiler logs.", True),
        ("neuronx-cc failed with 70", True),
        ("Command '['neuronx-cc']' returned non-zero exit status 70.", True),
        ("Subcommand returned with exitcode=70", True),
        ("neuronx-cc exited with code 70", True),
        ("neuronx-cc failed with -9", False),
        ("compiled 70 graphs, failed with 7", False),
        ("exit status 701", False),
    ],
)
def test_the_compilers_own_failure_is_recognised(line: str, meant: bool) -> None:
    (mark,) = NxdiBackend().compiling_marks()
    assert fits(mark.pattern, line) is meant


class Loader:
    """A loader as the plugins have it."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def _compile_and_load_model(self, model_path, neuronx_model_cls, config, compiled_path):  # type: ignore[no-untyped-def]
        model = neuronx_model_cls()
        model.compile(compiled_path, self.done)
        model.load(compiled_path)
        self.done.append("loaded")


class Model:
    def compile(self, path: str, done: list[str]) -> None:
        done.append(f"compiled into {path}")

    def load(self, path: str) -> None:
        raise AssertionError("nothing is to be loaded")


def test_the_child_ends_where_the_plugin_would_load(capsys: pytest.CaptureFixture[str]) -> None:
    loader = type("Loader", (Loader,), {"_compile_and_load_model": Loader._compile_and_load_model})
    nxdi_child.stop_after_compile(loader)
    one = loader()
    with pytest.raises(nxdi_child._Compiled):
        one._compile_and_load_model("/model", type("M", (Model,), {}), None, "/tree")
    assert one.done == ["compiled into /tree"]
    assert "compiling into /tree" in capsys.readouterr().err


@pytest.mark.parametrize(
    "loader", [SimpleNamespace(__name__="L"), type("L", (), {"_compile_and_load_model": lambda self: None})]
)
def test_a_loader_that_nobody_knows_is_left_alone(loader: object) -> None:
    with pytest.raises(nxdi_child._NoSeam, match="_compile_and_load_model"):
        nxdi_child.stop_after_compile(loader)  # type: ignore[arg-type]


def test_only_the_question_for_devices_is_answered_otherwise(tmp_path: Path) -> None:
    import glob

    (tmp_path / "file").touch()
    really = glob.glob
    with nxdi_child._devices_listed():
        assert glob.glob("/dev/neuron*")
        assert glob.glob(f"{tmp_path}/*") == [f"{tmp_path}/file"]
        assert glob.glob(f"{tmp_path}/none*") == []
    assert glob.glob is really
