"""A folder for compiled output that the user names, as the plugin's own variable does."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.process.neuron_machine import NeuronTerminal
from tests.process.terminal import until
from tests.sdk.damage import DAMAGE
from tests.sdk.models import make_model

VARIABLE = "NEURON_COMPILED_ARTIFACTS"
# Cases whose damage shows in a header, in a name or in neuron_config.json.
LOADABLE = {"00", "14", "16", "29", "43"}
# These change settings: the folder could be loaded, and would serve something else.
DRIFTED = {"30", "32", "34", "63"}


@pytest.fixture
def named(instance: NeuronTerminal) -> NeuronTerminal:
    """A terminal whose user has set the variable, and compiled into the folder."""
    instance.env[VARIABLE] = str(instance.folder / "mine")
    said = instance.run("compile", "p.yaml").expect(0, "compiled in", str(folder(instance)))
    assert "NEURON_COMPILED_ARTIFACTS is" in said.err
    assert instance.artifacts() == []
    return instance


def folder(terminal: NeuronTerminal) -> Path:
    return Path(terminal.env[VARIABLE])


def test_it_is_compiled_into_and_served_from(named: NeuronTerminal) -> None:
    assert sorted(path.name for path in folder(named).iterdir()) == [
        ".neuronctl.json",
        "model.pt",
        "neuron_config.json",
        "weights",
    ]
    named.run("compile", "p.yaml").expect(0, "hit")
    named.run("compile", "p.yaml", "--check").expect(0, "hit")
    running = named.serve("--json")
    running.signal(signal.SIGINT)
    assert running.end().expect(130).envelope["data"]["hit"] is True
    assert named.served().startswith("LOADS")
    left = [path.name for path in named.folder.iterdir() if path.name.startswith(".mine")]
    assert left == [".mine.lock"]


def test_the_profile_may_name_it(instance: NeuronTerminal) -> None:
    instance.profile("artifacts: {path: ./compiled}")
    instance.run("compile", "p.yaml").expect(0, "compiled in")
    assert (instance.cwd / "compiled" / "model.pt").is_file()
    instance.run("compile", "p.yaml", "--policy", "always").expect(2, "is yours, and is not overwritten")


@pytest.fixture
def foreign(named: NeuronTerminal) -> NeuronTerminal:
    """The same, as if the plugin itself had filled the folder."""
    (folder(named) / ".neuronctl.json").unlink()
    return named


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("engine: {tensor_parallel_size: 1, max_model_len: 128, max_num_seqs: 4}", "tp_degree"),
        ("engine: {tensor_parallel_size: 2, max_model_len: 256, max_num_seqs: 4}", "seq_len"),
        ("engine: {tensor_parallel_size: 2, max_model_len: 128, max_num_seqs: 8}", "batch_size"),
        ("features: {prefix_caching: true}", "is_prefix_caching"),
        ("features: {sampling: {on_device: false}}", "on_device_sampling_config"),
        ("neuron: {sequence_parallel_enabled: true}", "sequence_parallel_enabled"),
    ],
)
def test_other_settings_are_refused_field_by_field(foreign: NeuronTerminal, text: str, field: str) -> None:
    foreign.profile(text)
    for command in ("compile", "serve"):
        said = foreign.run(command, "p.yaml", "--json").expect(11)
        (error,) = said.envelope["errors"]
        assert field in [one["field"] for one in error["details"]["differs"]]
        assert f"{field}: " in error["message"]
    assert foreign.quarantined() == []


def test_another_model_is_refused(foreign: NeuronTerminal, tmp_path: Path) -> None:
    foreign.model = make_model(tmp_path / "other" / "model", hidden_size=256, head_dim=64)
    foreign.profile()
    foreign.run("serve", "p.yaml").expect(11, "hidden_size: 128 there, 256 in the plan")


def test_the_same_shape_from_another_folder_wants_to_be_forced(
    foreign: NeuronTerminal, tmp_path: Path
) -> None:
    foreign.model = make_model(tmp_path / "other" / "model", seed="other")
    foreign.profile()
    foreign.run("serve", "p.yaml").expect(11, "_name_or_path: ", "--force")
    running = foreign.serve("--force")
    running.signal(signal.SIGINT)
    running.end().expect(130, "_name_or_path")


def test_a_folder_that_neuronctl_filled_says_what_it_was_made_from(
    named: NeuronTerminal, tmp_path: Path
) -> None:
    changed = {
        "--set=env.NEURON_CC_FLAGS=-O3": "environment.NEURON_CC_FLAGS: (not set) there, -O3 here",
        "--set=engine.max_num_seqs=8": "engine.max_num_seqs: 4 there, 8 here",
        "--target=trn1.2xlarge": "machine.target: inf2 there, trn1 here",
    }
    for word, said in changed.items():
        named.run("compile", "p.yaml", word).expect(11, said)
    weights = make_model(tmp_path / "other" / "model", seed="other")
    named.model = weights
    named.profile()
    named.run("serve", "p.yaml", "--force").expect(11, "model.weights: ")


def test_the_same_weights_elsewhere_are_the_same(named: NeuronTerminal, tmp_path: Path) -> None:
    shutil.copytree(named.model, tmp_path / "moved" / "model")
    named.model = tmp_path / "moved" / "model"
    named.profile()
    named.run("compile", "p.yaml").expect(0, "hit")


@pytest.mark.parametrize("case", [case for case in DAMAGE if case not in LOADABLE | {"02"}])
def test_damage_is_told_and_nothing_is_touched(named: NeuronTerminal, case: str) -> None:
    DAMAGE[case](folder(named))
    before = {path: path.read_bytes() for path in folder(named).rglob("*") if path.is_file()}
    said = named.run("serve", "p.yaml").expect(11 if case in DRIFTED else 12, str(folder(named)))
    assert "try: " in said.err
    assert {path: path.read_bytes() for path in folder(named).rglob("*") if path.is_file()} == before
    assert (named.artifacts(), named.quarantined()) == ([], [])


def test_an_empty_folder_is_compiled_into_unless_that_is_forbidden(named: NeuronTerminal) -> None:
    DAMAGE["02"](folder(named))
    named.run("serve", "p.yaml", "--policy", "cached-only").expect(10, "nothing is compiled in")
    running = named.serve()
    running.signal(signal.SIGINT)
    running.end().expect(130, "compiled")


def test_a_folder_whose_files_do_not_load_is_left_alone(named: NeuronTerminal) -> None:
    said = named.run_sdk("die-in=load", "serve", "p.yaml").expect(12, "does not load", "name another folder")
    assert "quarantine" not in said.err
    assert (folder(named) / "model.pt").is_file()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_it_is_never_half_made(instance: NeuronTerminal, number: int) -> None:
    instance.env[VARIABLE] = str(instance.folder / "mine")
    running = instance.start_sdk("hang=shard", "compile", "p.yaml")
    until(lambda: instance.logs() and "in phase shard" in instance.logs()[0].read_text(), "the shards")
    running.signal(number)
    running.process.wait(20)
    until(lambda: not instance.left(), "the end of all children", 15)
    assert not folder(instance).exists()
    instance.run("compile", "p.yaml").expect(0, "compiled in")
    left = [path.name for path in instance.folder.iterdir() if path.name.startswith(".mine")]
    assert left == [".mine.lock"]


def test_two_at_once_compile_once(instance: NeuronTerminal) -> None:
    instance.env[VARIABLE] = str(instance.folder / "mine")
    first = instance.start_sdk("compile-s=1.5", "compile", "p.yaml", "--json").until_told("configure")
    second = instance.start("compile", "p.yaml", "--json").until_told("waiting for")
    outcomes = [first.end(clean=False), second.end()]
    assert [said.expect(0).envelope["data"]["outcome"] for said in outcomes] == ["compiled", "hit"]


def test_a_link_to_an_empty_folder_is_followed(instance: NeuronTerminal) -> None:
    (instance.folder / "real").mkdir()
    (instance.folder / "link").symlink_to("real")
    env = {VARIABLE: str(instance.folder / "link")}
    instance.run("compile", "p.yaml", env=env).expect(0, "compiled in")
    assert (instance.folder / "real" / "model.pt").is_file()
    assert (instance.folder / "link").is_symlink()


def test_a_folder_of_other_things_is_not_to_be_removed(instance: NeuronTerminal) -> None:
    for place in (instance.model, instance.cwd, Path("/")):
        said = instance.run("serve", "p.yaml", env={VARIABLE: str(place)}).expect(12, "holds other things")
        assert "remove" not in said.err


def test_a_place_that_cannot_be_a_folder(instance: NeuronTerminal) -> None:
    (instance.folder / "file").write_text("")
    for place in ("file", "file/below"):
        said = instance.run("compile", "p.yaml", env={VARIABLE: str(instance.folder / place)})
        said.expect(30, "a file stands where a folder should be")


def test_doctor_says_what_a_serve_would_end_with(instance: NeuronTerminal) -> None:
    (instance.folder / "file").write_text("")
    places = {
        "/dev/null": (30, "a device stands where a folder should be"),
        "file/below": (30, "a file stands where a folder should be"),
        str(instance.model): (12, "holds other things"),
        "/": (12, "holds other things"),
    }
    for place, (code, words) in places.items():
        env = {VARIABLE: str(instance.folder / place)}
        instance.run("doctor", "p.yaml", "--offline", env=env).expect(code, words)
        instance.run("compile", "p.yaml", env=env).expect(code, words)


def test_doctor_on_a_folder_that_fits_or_can_be_filled(named: NeuronTerminal) -> None:
    named.run("doctor", "p.yaml", "--offline").expect(
        0, f"compiled in the folder that the user names, {folder(named)}"
    )
    empty = {VARIABLE: str(named.folder / "not" / "there yet")}
    said = named.run("doctor", "p.yaml", "--offline", "--all", env=empty)
    said.expect(0, "artifact.not-compiled: nothing is compiled in")
    assert not (named.folder / "not").exists()
    assert sorted(path.name for path in named.folder.iterdir() if path.name.startswith(".trial")) == []
    (named.cwd / "p.yaml").write_text(
        (named.cwd / "p.yaml").read_text().replace("num_seqs: 4", "num_seqs: 2")
    )
    named.run("doctor", "p.yaml", "--offline").expect(11, "max_num_seqs")


def test_doctor_on_a_folder_of_a_disk_that_is_read_only(instance: NeuronTerminal) -> None:
    disk = instance.folder / "disk"
    disk.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "ro", "none", str(disk)]
    if shutil.which("mount") is None or subprocess.run(options, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        env = {VARIABLE: str(disk / "mine")}
        for command in ("doctor", "compile"):
            instance.run(command, "p.yaml", env=env).expect(30, str(disk), "it is read-only")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("place", [None, "empty"])
def test_where_the_profile_forbids_to_compile_what_is_to_be_typed_compiles(
    instance: NeuronTerminal, place: str | None
) -> None:
    if place:
        instance.env[VARIABLE] = str(instance.folder / place)
    instance.profile("artifacts: {policy: cached-only}")
    instance.run("doctor", "p.yaml", "--offline").expect(10, "try: neuronctl compile --policy auto p.yaml")
    instance.run("compile", "p.yaml").expect(10, "try: neuronctl compile --policy auto p.yaml")
    instance.run("compile", "--policy", "auto", "p.yaml").expect(0)
    instance.run("doctor", "p.yaml", "--offline").expect(0)
