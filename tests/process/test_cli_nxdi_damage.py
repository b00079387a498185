"""Each damage that was measured with the real plugin, done to an artifact in the store.

Here is what neuronctl makes of it; what a user of plain vLLM meets in the same case is in test_sdk_plain.py.
"""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.process.neuron_machine import NeuronTerminal, make_root
from tests.process.terminal import Running
from tests.reference import reference
from tests.sdk.damage import DAMAGE, FLAG_CASES, drop_section, halve, set_in_config, shard

CASES = {one["case"].split()[0]: one for one in reference("measured")["artifact_damage"]["cases"]}
# The folder these begin with holds no weights of its own.
UNSHARDED = {"61", "63"}
PROFILE = {True: "neuron: {save_sharded_checkpoint: false}", False: ""}


@dataclass(frozen=True)
class Sound:
    """A home of neuronctl with a whole artifact, and what the server says that it serves."""

    home: Path
    served: str


def damaged(instance: NeuronTerminal, case: str) -> None:
    """As a broken disk or a person does it: in place, so that the blob is damaged too."""
    make_writable(instance.tree())
    DAMAGE[case](instance.tree())


def make_writable(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)


def end(running: Running) -> dict[str, object]:
    running.signal(signal.SIGINT)
    data: dict[str, object] = running.end().expect(130).envelope["data"]
    return data


def test_every_measured_case_is_here_or_below() -> None:
    assert set(CASES) == set(DAMAGE) | set(FLAG_CASES)


@pytest.fixture(scope="module")
def sound(neuron_serving: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Sound]:
    """A compiled home with and without weights in the artifact, and what is served from it."""
    found = {}
    for unsharded in (False, True):
        folder = tmp_path_factory.mktemp("sound")
        one = NeuronTerminal(folder / "t", *neuron_serving, root=make_root(folder / "root"))
        one.profile(PROFILE[unsharded])
        end(one.serve("--json"))
        found[unsharded] = Sound(one.store_home, one.served())
        assert found[unsharded].served.startswith("LOADS")
    return found


@pytest.mark.parametrize("case", [case for case in DAMAGE if case != "00"])
def test_damage_is_found_before_launch_repaired_and_served(
    instance: NeuronTerminal, sound: dict[bool, Sound], case: str
) -> None:
    expected = sound[case in UNSHARDED]
    shutil.copytree(expected.home, instance.store_home)
    instance.profile(PROFILE[case in UNSHARDED])
    damaged(instance, case)
    instance.run("compile", "p.yaml", "--check").expect(12, "is damaged")
    running = instance.serve("--json")
    assert "it went to quarantine" in running.told
    assert (end(running)["hit"], instance.served()) == (False, expected.served)
    assert len(instance.quarantined()) == 1
    instance.run("compile", "p.yaml", "--check").expect(0, "hit")


# Further rows of the reference's table (vllm_defaults, outcome_by_damage): with each the plugin crashes.
ROWS = {
    "a value that fails an assert": lambda tree: set_in_config(tree, torch_dtype="float8"),
    "a ValueError of NeuronConfig": lambda tree: set_in_config(tree, cast_type="nothing known"),
    "a key missing for the class": lambda tree: drop_section(tree),
    "a shard cut off": lambda tree: halve(shard(tree, 1)),
}


@pytest.mark.parametrize("row", ROWS)
def test_further_damage_of_the_table_is_found_too(warm_instance: NeuronTerminal, row: str) -> None:
    make_writable(warm_instance.tree())
    ROWS[row](warm_instance.tree())
    running = warm_instance.serve("--json")
    assert "it went to quarantine" in running.told
    assert end(running)["hit"] is False


def test_what_was_compiled_for_another_platform_is_a_miss(
    builder: NeuronTerminal, instance: NeuronTerminal
) -> None:
    builder.run("compile", "p.yaml", "--target", "trn1.2xlarge").expect(0)
    builder.store_home.rename(instance.store_home)
    said = instance.run("compile", "p.yaml", "--check", "--json").expect(10)
    assert "machine.target" in [one["field"] for one in said.envelope["data"]["differs"]]


def test_what_is_not_damaged_is_served_as_it_is(warm_instance: NeuronTerminal) -> None:
    assert end(warm_instance.serve("--json"))["hit"] is True
    assert warm_instance.quarantined() == []


OTHER_FLAGS = {
    "50": ("engine: {tensor_parallel_size: 1, max_model_len: 128, max_num_seqs: 4}", "tp=1 batch=4 len=128"),
    "52": ("engine: {tensor_parallel_size: 2, max_model_len: 256, max_num_seqs: 4}", "tp=2 batch=4 len=256"),
    "54": ("features: {prefix_caching: true}", "tp=2 batch=4 len=128"),
}


@pytest.mark.parametrize("case", OTHER_FLAGS)
def test_other_flags_are_another_artifact(warm_instance: NeuronTerminal, case: str) -> None:
    text, shown = OTHER_FLAGS[case]
    warm_instance.profile(text)
    running = warm_instance.serve("--json")
    assert "the nearest" in running.told
    assert end(running)["hit"] is False
    assert shown in warm_instance.served()
    assert len(warm_instance.artifacts()) == 2


@pytest.mark.parametrize("case", ["56", "58", "61"])
def test_another_model_or_other_weights_are_another_artifact(
    instance: NeuronTerminal, tmp_path: Path, case: str
) -> None:
    from tests.sdk.models import make_model

    profile = PROFILE[case in UNSHARDED]
    instance.profile(profile)
    end(instance.serve("--json"))
    before = instance.served()
    config = {"hidden_size": 256, "head_dim": 64} if case == "56" else {}
    instance.model = make_model(tmp_path / "other" / instance.model.name, seed="other", **config)
    instance.profile(profile)
    assert end(instance.serve("--json"))["hit"] is False
    assert instance.served() != before


def test_70_a_compile_that_fails_leaves_nothing_that_could_be_loaded(instance: NeuronTerminal) -> None:
    instance.run_sdk("die-in=save", "compile", "p.yaml").expect(20)
    assert (instance.artifacts(), instance.staging()) == ([], [])
    assert end(instance.serve("--json"))["hit"] is False
    assert instance.served().startswith("LOADS")


def test_72_a_killed_compile_is_not_mixed_with_what_was_there(warm_instance: NeuronTerminal) -> None:
    other = "engine: {tensor_parallel_size: 2, max_model_len: 128, max_num_seqs: 8}"
    warm_instance.profile(other)
    running = warm_instance.start_sdk("hang=shard", "compile", "p.yaml").until_told("shard weights")
    running.signal(signal.SIGKILL)
    running.process.wait(10)
    assert len(warm_instance.artifacts()) == 1
    end(warm_instance.serve("--json"))
    assert "batch=8" in warm_instance.served()
    warm_instance.profile()
    assert end(warm_instance.serve("--json"))["hit"] is True
    assert "batch=4" in warm_instance.served()
    assert warm_instance.staging() == []


def test_81_a_store_that_cannot_be_written_is_served_from(warm_instance: NeuronTerminal) -> None:
    home = warm_instance.store_home
    folders = [home, *(path for path in home.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert end(warm_instance.serve("--json"))["hit"] is True
        if os.geteuid():
            assert not list(home.glob("logs"))
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_what_may_not_be_read_is_not_called_damage(warm_instance: NeuronTerminal) -> None:
    if not os.geteuid():
        pytest.skip("root reads everything")
    (warm_instance.tree() / "model.pt").chmod(0)
    warm_instance.run("serve", "p.yaml").expect(30, "model.pt: permission is denied")
    assert warm_instance.quarantined() == []


def quantized(instance: NeuronTerminal) -> Path:
    checkpoint = instance.cwd / "quantized"
    instance.profile(
        f"features: {{quantization: {{weights: int8, checkpoint: {checkpoint}}}}}\n"
        "neuron: {save_sharded_checkpoint: false}"
    )
    return checkpoint


def test_a_compile_by_the_plugin_into_our_artifact_is_a_failed_load(instance: NeuronTerminal) -> None:
    """quantized_checkpoints_path missing: the plugin's FileNotFoundError, after which it compiles."""
    checkpoint = quantized(instance)
    instance.run("serve", "p.yaml").expect(
        1, "artifacts.quantized-elsewhere", "leave save_sharded_checkpoint out"
    )
    end(instance.serve("--json", "--force"))
    sound = instance.served()
    files = {path.name: path.read_bytes() for path in instance.tree().rglob("*") if path.is_file()}
    shutil.rmtree(checkpoint)
    running = instance.serve("--json", "--force")
    assert "began to compile although it had an artifact" in running.told
    data = end(running)
    assert (data["hit"], data["repaired"], instance.served()) == (False, True, sound)
    (name,) = instance.quarantined()
    kept = instance.store / "quarantine" / name / "tree"
    assert {path.name: path.read_bytes() for path in kept.rglob("*") if path.is_file()} == files


def test_it_is_repaired_once_and_not_at_each_start(instance: NeuronTerminal) -> None:
    """Here what the plugin misses is missing again after our compile."""
    checkpoint = quantized(instance)
    sdk = f"forget={checkpoint}"
    instance.run("compile", "p.yaml", "--force").expect(0)
    shutil.rmtree(checkpoint)
    first = instance.run_sdk(sdk, "serve", "p.yaml", "--force").expect(40, "began to compile")
    assert "quarantined" in first.err
    second = instance.run_sdk(sdk, "serve", "p.yaml", "--force").expect(
        40, "compiled anew for this reason before"
    )
    assert "quarantined" not in second.err
    assert len(instance.quarantined()) == 1


@pytest.mark.parametrize("sample", ["device-oom", "cores-in-use", "driver-missing"])
def test_an_artifact_is_not_blamed_for_its_machine(warm_instance: NeuronTerminal, sample: str) -> None:
    log = Path(__file__).parents[1] / "data" / "logs" / f"{sample}.log"
    said = warm_instance.run_sdk(f"die-saying-load={log}", "serve", "p.yaml", "--json").expect(40)
    assert said.envelope["errors"][0]["details"]["explained"]["id"] == sample
    assert warm_instance.quarantined() == []


def test_a_whole_artifact_that_does_not_load_is_compiled_anew_once(warm_instance: NeuronTerminal) -> None:
    running = warm_instance.start_sdk(
        f"die-in=load,only-first={warm_instance.folder / 'first'}", "serve", "p.yaml", "--json"
    ).until_told("ready after")
    assert end(running)["repaired"] is True
    assert len(warm_instance.quarantined()) == 1


def test_half_a_file_after_the_check_is_a_failed_load(warm_instance: NeuronTerminal) -> None:
    """Damage that keeps size and time shows only when it is loaded."""
    file = warm_instance.tree() / "model.pt"
    facts = file.stat()
    file.chmod(0o644)
    size = facts.st_size
    halve(file)
    with file.open("ab") as stream:
        stream.write(b"\0" * (size - file.stat().st_size))
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    running = warm_instance.serve("--json")
    assert "its content has changed" in running.told
    assert end(running)["repaired"] is True
