"""The program that compiles for Neuron without a server, on the real vLLM.

The plugin is a stand-in (plugin/): it registers itself, changes the configuration and loads as the real one
does, and its compile writes down what it was given. Parser, configuration, executor and process group are
vLLM's own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from neuronctl.backends.nxdi import NxdiBackend
from neuronctl.stack.assume import assume_stack
from tests.plan_sample import neuron_plan, sample_host, sample_model
from tests.sdk.models import LLAMA, make_model

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

PLUGIN = Path(__file__).parent / "plugin"
PROFILE = """
engine: {tensor_parallel_size: 2, max_model_len: 128, max_num_seqs: 4, block_size: 32}
features: {prefix_caching: true}
"""


@dataclass
class Compile:
    """A compile that has ended."""

    code: int
    told: str
    argv: tuple[str, ...]
    tree: Path

    def word_after(self, flag: str) -> str:
        """The value that `flag` had on the command line."""
        return self.argv[self.argv.index(flag) + 1]

    def written(self) -> dict[str, Any]:
        """What the plugin was given to compile."""
        config: dict[str, Any] = json.loads((self.tree / "neuron_config.json").read_text())
        return config

    def files(self) -> list[str]:
        return [path.name for path in self.tree.rglob("*")]


def compile_with(plugin: Path | None, folder: Path) -> Compile:
    """Run the very job that neuronctl starts for a small Llama, in our own Python and this plugin."""
    # vLLM writes a cache into the home, and a file for its process group into the folder for such files.
    environ = {"PATH": "/usr/bin:/bin", "TMPDIR": str(folder)}
    if plugin is not None:
        environ["PYTHONPATH"] = str(plugin)
    stack = replace(assume_stack("sdk-2.28"), python=Path(sys.executable))
    model = sample_model(LLAMA, path=make_model(folder / "model"))
    plan = neuron_plan(folder, PROFILE, target="inf2.xlarge", stack=stack, model=model)
    tree = folder / "tree"
    tree.mkdir()
    launch = (
        NxdiBackend()
        .compile_job(plan, sample_host(folder, environ), tree, work=folder / "work", log=folder / "log")
        .launch
    )
    ended = subprocess.run(
        launch.argv,
        env=dict(launch.env),
        cwd=launch.cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    return Compile(ended.returncode, ended.stdout, launch.argv, tree)


def test_it_compiles_what_the_plan_says_and_loads_nothing(tmp_path: Path) -> None:
    done = compile_with(PLUGIN, tmp_path)
    assert done.code == 0, done.told
    steps = ["making the configuration", f"compiling into {done.tree}", "compiled"]
    assert [line[11:] for line in done.told.splitlines() if line.startswith("neuronctl: ")] == steps
    assert done.files() == ["neuron_config.json"]
    additional = json.loads(done.word_after("--additional-config"))
    assert additional["override_neuron_config"]["save_sharded_checkpoint"] is True
    assert done.written() == {
        "architecture": "LlamaForCausalLM",
        "dtype": "torch.bfloat16",
        "tp_degree": 2,
        "seq_len": 128,
        "batch_size": 4,
        "max_num_batched_tokens": 131072,
        "pa_block_size": 32,
        "pa_num_blocks": int(done.word_after("--num-gpu-blocks-override")) + 1,
        "is_prefix_caching": True,
        "additional_config": additional,
    }


@pytest.mark.parametrize("missing", ["the plugin", "the loader's function"])
def test_it_does_nothing_where_the_installed_software_has_no_seam(missing: str, tmp_path: Path) -> None:
    plugin = None
    if missing != "the plugin":
        plugin = shutil.copytree(PLUGIN, tmp_path / "plugin")
        loader = plugin / "vllm_neuron" / "worker" / "neuronx_distributed_model_loader.py"
        loader.write_text(loader.read_text().replace("_compile_and_load_model", "_load_model"))
    done = compile_with(plugin, tmp_path)
    assert done.code == 96, done.told
    reason = "vLLM runs on vllm.platforms." if plugin is None else "has no _compile_and_load_model"
    assert reason in done.told.splitlines()[-1]
    assert done.files() == []
