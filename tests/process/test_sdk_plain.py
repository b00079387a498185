"""What a user of plain vLLM on Neuron meets: the stand-in for the SDK, held against the measurements.

Nothing of neuronctl runs here: `python -m vllm.entrypoints.openai.api_server` is started as its manual says.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.process.terminal import until
from tests.reference import reference
from tests.sdk.damage import (
    DAMAGE,
    FLAG_CASES,
    drop_section,
    halve,
    move_draft_class,
    set_in_config,
    shard,
)
from tests.sdk.models import make_hub_cache, make_model
from tests.sdk.user import BASE, LATER_SDK, LENGTH, PRESHARDED, TP, Start, User, make_user

CASES: list[dict[str, Any]] = reference("measured")["artifact_damage"]["cases"]
ROWS: list[dict[str, Any]] = reference("vllm_defaults")["compiled_artifacts"]["outcome_by_damage"]


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    one = make_user(tmp_path_factory.mktemp("user"))
    yield one
    one.end()


@pytest.fixture(scope="module")
def good(user: User) -> dict[bool, tuple[Path, str]]:
    """A good artifact with and without shards, and the weights that it serves."""
    found = {}
    for has_shards in (True, False):
        folder = user.folder / f"good-{has_shards}"
        override = {"save_sharded_checkpoint": has_shards}
        start = user.start(
            user.folder / "tiny",
            *BASE,
            *LENGTH,
            *TP,
            override=override,
            NEURON_COMPILED_ARTIFACTS=str(folder),
        )
        assert start.served["how"] == "RECOMPILES"
        found[has_shards] = folder, start.served["weights"]
    return found


@dataclass(frozen=True)
class Expected:
    """What was measured of one start."""

    how: str
    text: str
    weights: str
    tp: str | None
    length: str | None


def expected(measured: str) -> Expected:
    """Read `LOADS the artifacts | config served != flags: tp_degree 2->4 | weights 0c84798293e8455d`."""
    how = measured.split()[0]
    caught = re.search(r"\(caught (\w+): (.*)\) \|", measured)
    crash = re.match(r"CRASH (\w+) .*? at \w+: (['\"])(.*)\2 in ", measured)
    weights = re.search(r"weights (\w+)", measured)
    tp, length = re.search(r"tp_degree \d+->(\d+)", measured), re.search(r"max_length \d+->(\d+)", measured)
    if crash:
        how = f"CRASH {crash[1]}"
    return Expected(
        how,
        crash[3] if crash else caught[2] if caught else "",
        weights[1] if weights else "",
        tp[1] if tp else None,
        length[1] if length else None,
    )


SAME_WEIGHTS = expected(CASES[0]["first_start"]).weights
# The flags of the starts that differ from the base.
WORDS: dict[str, tuple[str, ...]] = {
    "50": (*BASE, *LENGTH, "--tensor-parallel-size", "4"),
    "52": (*BASE, "--max-model-len", "256", *TP),
    "54": ("--max-num-seqs", "4", "--block-size", "32", *LENGTH, *TP),
}
MODELS = {"56": "smollm2", "58": "tiny2", "61": "tiny2"}
NOT_SHARDED = ("61", "63")
# Texts that are not compared: where a JSON text breaks off in half depends on its length.
OTHER_TEXT = ("23",)
# These have tests of their own below.
APART = ("70", "72", "81")


def case_id(case: dict[str, Any]) -> str:
    return str(case["case"]).split()[0]


def test_every_measured_case_is_known() -> None:
    assert {case_id(case) for case in CASES} == DAMAGE.keys() | FLAG_CASES.keys()


def check(start: Start, measured: Expected, flags: tuple[str, str], same_weights: str, folder: Path) -> None:
    """Whether a start went as measured."""
    if measured.how.startswith("CRASH"):
        name, text = start.crash
        assert (f"CRASH {name}", start.code) == (measured.how, 1), start.told
        assert text[:60] == measured.text.partition("\\n")[0][:60]
        return
    served = start.served
    assert served.get("how") == measured.how, start.told
    assert (served["weights"] == same_weights) == (measured.weights == SAME_WEIGHTS)
    assert (served["tp"], served["len"]) == (measured.tp or flags[0], measured.length or flags[1])
    told = start.caught.replace(str(folder), "ARTIFACTS")
    assert told.startswith(measured.text[:60]), start.told


@pytest.mark.parametrize("case", [one for one in CASES if case_id(one) not in APART], ids=case_id)
def test_a_damaged_artifact_is_met_as_measured(
    case: dict[str, Any], user: User, good: dict[bool, tuple[Path, str]], tmp_path: Path
) -> None:
    name = case_id(case)
    source, weights = good[name not in NOT_SHARDED]
    folder = tmp_path / "artifacts"
    shutil.copytree(source, folder)
    DAMAGE.get(name, lambda folder: None)(folder)
    words = WORDS.get(name, (*BASE, *LENGTH, *TP))
    flags = (words[words.index("--tensor-parallel-size") + 1], words[words.index("--max-model-len") + 1])
    for which in ("first_start", "second_start"):
        start = user.start(
            user.folder / MODELS.get(name, "tiny"),
            *words,
            override={"save_sharded_checkpoint": name not in NOT_SHARDED},
            NEURON_COMPILED_ARTIFACTS=str(folder),
        )
        measured = expected(case[which])
        if name in OTHER_TEXT:
            measured = Expected(measured.how, "", measured.weights, measured.tp, measured.length)
        check(start, measured, flags, weights, folder)


def by_id(name: str) -> dict[str, Any]:
    return next(case for case in CASES if case_id(case) == name)


def test_a_compile_that_fails_leaves_what_is_compiled_over(
    user: User, good: dict[bool, tuple[Path, str]], tmp_path: Path
) -> None:
    """Case 70. The measured text of the failure is that of the harness; here the compiler speaks."""
    where = {"NEURON_COMPILED_ARTIFACTS": str(tmp_path / "new"), "STAND_IN_TMP": str(tmp_path)}
    failing = user.start(
        user.folder / "tiny", *BASE, *LENGTH, *TP, override=PRESHARDED, **where, STAND_IN_SDK="cc-70=1"
    )
    assert f"CRASH {failing.crash[0]}" == expected(by_id("70")["first_start"]).how
    assert failing.crash[1] == "neuronx-cc compilation failed with 70. Check compiler logs."
    # The compiler's cache remembers the failure; the harness had no such cache.
    stuck = user.start(user.folder / "tiny", *BASE, *LENGTH, *TP, override=PRESHARDED, **where)
    assert stuck.crash[0] == "RuntimeError"
    assert "Got a cached failed neff at" in stuck.told
    again = user.start(
        user.folder / "tiny",
        *BASE,
        *LENGTH,
        *TP,
        override=PRESHARDED,
        **where,
        NEURON_CC_FLAGS="--retry_failed_compilation",
    )
    check(again, expected(by_id("70")["second_start"]), ("2", "128"), good[True][1], tmp_path / "new")


def test_a_killed_compile_mixes_two_artifacts(
    user: User, good: dict[bool, tuple[Path, str]], tmp_path: Path
) -> None:
    """Case 72."""
    folder = tmp_path / "artifacts"
    shutil.copytree(good[True][0], folder)
    lost = shard(folder, 1).read_bytes()
    shard(folder, 1).unlink()
    words = ("--max-num-seqs", "8", *BASE[2:], *LENGTH, *TP)
    where = {"NEURON_COMPILED_ARTIFACTS": str(folder)}
    killed = user.begin(user.folder / "tiny", *words, override=PRESHARDED, STAND_IN_SDK="hang=trace", **where)
    until(lambda: "in phase trace" in user.told(), "the trace")
    killed.kill()
    assert killed.wait(10) == -9
    shard(folder, 1).write_bytes(lost)
    start = user.start(user.folder / "tiny", *words, override=PRESHARDED, **where)
    check(start, expected(by_id("72")["second_start"]), ("2", "128"), "", folder)


def test_loading_writes_nothing_into_the_folder(
    user: User, good: dict[bool, tuple[Path, str]], tmp_path: Path
) -> None:
    """Case 81: so it may be read-only. A test cannot mount; it looks at the times instead."""
    folder = tmp_path / "artifacts"
    shutil.copytree(good[True][0], folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    start = user.start(
        user.folder / "tiny", *BASE, *LENGTH, *TP, override=PRESHARDED, NEURON_COMPILED_ARTIFACTS=str(folder)
    )
    check(start, expected(by_id("81")["first_start"]), ("2", "128"), good[True][1], folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@dataclass(frozen=True)
class Row:
    """How a row of the table of damages is tried: what is compiled, what is done, how it is started."""

    damage: Any
    outcome: str
    error: str = ""
    text: str = ""
    override: dict[str, Any] = field(default_factory=lambda: PRESHARDED)
    words: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)


def row_name(row: dict[str, Any]) -> str:
    return str(row["damage"]).split(" (")[0]


# `outcome` is what the row says; where it says two, the first. What is caught is told by its text only.
TRIED = {
    "directory or neuron_config.json missing": Row(
        shutil.rmtree, "recompile", text="[Errno 2] No such file or directory: 'ARTIFACTS/neuron_config.json'"
    ),
    "neuron_config.json truncated / not JSON": Row(DAMAGE["21"], "recompile", text="Expecting value"),
    "neuron_config.json with a value that fails an assert": Row(
        lambda folder: set_in_config(folder, torch_dtype="int4"),
        "crash",
        "AssertionError",
        "Unsupported dtype: int4",
    ),
    "IncompatibleConfigError / ValueError from NeuronConfig": Row(
        lambda folder: set_in_config(folder, is_medusa=True, async_mode=True),
        "recompile",
        text="Medusa Decoding is not yet supported with async.",
    ),
    "key missing for the class": Row(
        drop_section, "crash", "TypeError", "InferenceConfig.__init__() missing 1"
    ),
    "model.pt missing": Row(
        DAMAGE["10"], "recompile", text="The provided filename ARTIFACTS/model.pt does not"
    ),
    "model.pt truncated or corrupt": Row(DAMAGE["12"], "crash", "RuntimeError", "PytorchStreamReader failed"),
    "a weights shard missing": Row(
        DAMAGE["41"], "recompile", text="No such file or directory: ARTIFACTS/weights/tp1_sharded"
    ),
    "a weights shard truncated": Row(
        lambda folder: halve(shard(folder, 0)), "crash", "SafetensorError", "Error while deserializing header"
    ),
    "save_sharded_checkpoint false and the original checkpoint path no longer exists": Row(
        lambda folder: _elsewhere(folder),
        "recompile",
        text="Can not find model.safetensors or pytorch_model.bin in ARTIFACTS",
        override={},
    ),
    "quantized_checkpoints_path missing": Row(
        lambda folder: (folder.parent / "int8.pt").unlink(),
        "recompile",
        text="Quantized checkpoint file not found",
        override={"quantized": True, "quantized_checkpoints_path": "../int8.pt"},
    ),
    "NEFF for another LNC / architecture / runtime": Row(
        lambda folder: None,
        "crash",
        "RuntimeError",
        "Could not load the model",
        env={"STAND_IN_DEVICE_TARGET": "trn2"},
    ),
    "fused_spec_config class moved": Row(
        move_draft_class,
        "crash",
        "ModuleNotFoundError",
        "No module named 'neuronx_distributed_inference.models.gone'",
        words=(
            "--speculative-config",
            '{"model": "../model", "num_speculative_tokens": 3, "method": "eagle"}',
        ),
    ),
}
HUB_ROW = "save_sharded_checkpoint false and the model was given as a hub id"


def _elsewhere(folder: Path) -> None:
    """The model is moved; a new one of the same name in another folder is what is served."""
    set_path = folder / "neuron_config.json"
    config = json.loads(set_path.read_text())
    config["_name_or_path"] = str(folder.parent / "gone")
    set_path.write_text(json.dumps(config, indent=2, sort_keys=True))


def test_every_row_of_the_table_is_tried() -> None:
    assert {row_name(row) for row in ROWS} == {*TRIED, HUB_ROW}


@pytest.mark.parametrize("row", [row for row in ROWS if row_name(row) != HUB_ROW], ids=row_name)
def test_a_damage_ends_as_the_table_says(row: dict[str, Any], tmp_path: Path) -> None:
    tried = TRIED[row_name(row)]
    assert row["outcome"].startswith(tried.outcome)
    # Not the SDK that was measured, whose NxD Inference looks for lost weights in another way.
    one = User(tmp_path, LATER_SDK)
    make_model(tmp_path / "model")
    folder = tmp_path / "artifacts"
    words = (*BASE, *LENGTH, *TP, *tried.words)
    where = {"NEURON_COMPILED_ARTIFACTS": str(folder)}
    first = one.start("../model", *words, override=dict(tried.override), **where)
    assert first.served.get("how") == "RECOMPILES", first.told
    tried.damage(folder)
    start = one.start("../model", *words, override=dict(tried.override), **where, **tried.env)
    if tried.outcome == "crash":
        assert start.crash[0] == tried.error, start.told
        assert start.crash[1].startswith(tried.text)
        assert tried.error in row["raises"] or tried.error == "TypeError"
        # And so it goes on at every start.
        assert (
            one.start("../model", *words, override=dict(tried.override), **where, **tried.env).crash
            == start.crash
        )
    else:
        assert start.served.get("how") == "RECOMPILES", start.told
        assert start.caught.replace(str(folder), "ARTIFACTS").startswith(tried.text)
        assert one.start("../model", *words, override=dict(tried.override), **where).served["how"] == "LOADS"


def test_a_hub_id_without_shards_is_compiled_at_every_start(tmp_path: Path) -> None:
    one = User(tmp_path, LATER_SDK)
    make_model(tmp_path / "hub" / "org" / "tiny")
    where = {"NEURON_COMPILED_ARTIFACTS": str(tmp_path / "artifacts")}
    starts = [one.start("org/tiny", *BASE, *LENGTH, *TP, **where) for _ in range(2)]
    assert [start.served["how"] for start in starts] == ["RECOMPILES"] * 2
    assert starts[1].caught.startswith("Can not find model.safetensors or pytorch_model.bin in")
    # The copy is in float32: twice the bytes.
    copy, original = (
        folder / "model.safetensors"
        for folder in (one.cwd / "local-models/org/tiny", tmp_path / "hub/org/tiny")
    )
    assert b'"F32"' in copy.read_bytes()[:200]
    assert copy.stat().st_size > 1.8 * original.stat().st_size


def test_before_nxdi_0_7_tied_embeddings_of_a_hub_id_end_it(tmp_path: Path) -> None:
    one = User(tmp_path)
    make_model(tmp_path / "hub" / "org" / "tied", tie_word_embeddings=True)
    start = one.start("org/tied", *BASE, *LENGTH, *TP)
    assert start.crash == ("NotImplementedError", "Cannot copy out of meta tensor; no data!")


@pytest.mark.parametrize("model", ["../model", "org/tiny"])
def test_the_folder_of_its_own_choice_is_emptied_at_every_start(model: str, tmp_path: Path) -> None:
    one = User(tmp_path)
    make_model(tmp_path / "model")
    make_model(tmp_path / "hub" / "org" / "tiny")
    base = tmp_path / "model" if model == "../model" else one.cwd / "local-models" / "org" / "tiny"
    for _ in range(2):
        start = one.start(model, *BASE, *LENGTH, *TP, override=PRESHARDED)
        assert start.served["how"] == "RECOMPILES"
        (folder,) = (base / "neuron-compiled-artifacts").iterdir()
        assert {path.name for path in folder.iterdir()} == {"neuron_config.json", "model.pt", "weights"}
        (folder / "of-somebody-else").touch()


def test_settings_of_the_artifact_win_without_a_word(user: User, good: dict[bool, tuple[Path, str]]) -> None:
    words = ("--max-num-seqs", "8", *BASE[2:], "--max-model-len", "256", "--tensor-parallel-size", "4")
    start = user.start(user.folder / "tiny2", *words, NEURON_COMPILED_ARTIFACTS=str(good[True][0]))
    served = {"how": "LOADS", "weights": good[True][1], "tp": "2", "batch": "4", "len": "128"}
    assert start.served == {**served, "model": str(user.folder / "tiny")}
    assert "will be ignored" not in start.told
    overridden = user.start(
        user.folder / "tiny", *words, override={"tp_degree": 4}, NEURON_COMPILED_ARTIFACTS=str(good[True][0])
    )
    assert overridden.told.count("Using pre-compiled artifacts, override_neuron_config will be ignored") == 1


def test_without_a_device_it_serves_on_the_wrong_platform(user: User, tmp_path: Path) -> None:
    start = user.start(user.folder / "tiny", *BASE, *LENGTH, *TP[:1], "1", STAND_IN_DEV=str(tmp_path))
    assert start.code == 0
    assert "No Neuron devices found. Skipping Neuron plugin registration." in start.told
    assert start.served == {}


def test_the_parser_refuses_what_it_does_not_know(user: User) -> None:
    assert user.start(user.folder / "tiny", "--override-neuron-config", "{}").code == 2


# Kinds of models, and what becomes of settings on the way.


def test_images_make_two_models_in_one_folder(tmp_path: Path) -> None:
    one = User(tmp_path, LATER_SDK)
    make_hub_cache(tmp_path / "cache", ["meta-llama/Llama-4-Scout-17B-16E-Instruct"])
    (model,) = (tmp_path / "cache").glob("*/snapshots/*")
    folder = tmp_path / "artifacts"
    override = {"text_neuron_config": PRESHARDED, "vision_neuron_config": PRESHARDED}
    words = (*BASE, *LENGTH, *TP)
    first, second = (
        one.start(model, *words, override=override, NEURON_COMPILED_ARTIFACTS=str(folder)) for _ in range(2)
    )
    assert (first.served["how"], second.served["how"]) == ("RECOMPILES", "LOADS"), second.told
    assert first.served["weights"] == second.served["weights"]
    parts = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    shards = {f"weights/tp{rank}_sharded_checkpoint.safetensors" for rank in (0, 1)}
    each = {"model.pt", *shards}
    assert parts == {
        "neuron_config.json",
        *(f"{part}_model/{name}" for part in ("text", "vision") for name in each),
    }
    config = json.loads((folder / "neuron_config.json").read_text())
    for section in (config, config["text_config"], config["vision_config"]):
        assert section["neuron_config"]["save_sharded_checkpoint"] is True
    flat = one.start(model, *words, override=PRESHARDED, NEURON_COMPILED_ARTIFACTS=str(folder))
    assert flat.crash[0] == "AssertionError"
    assert flat.crash[1].startswith("override_neuron_config for ImageToText models can only contain keys")


def test_a_draft_is_compiled_into_one_graph_with_its_target(tmp_path: Path) -> None:
    one = User(tmp_path, LATER_SDK)
    make_model(tmp_path / "model")
    make_model(tmp_path / "draft", seed="draft", num_hidden_layers=1)
    speculation = json.dumps({"model": "../draft", "num_speculative_tokens": 3, "method": "eagle"})
    words = (*BASE, *LENGTH, *TP, "--speculative-config", speculation)
    where = {"NEURON_COMPILED_ARTIFACTS": str(tmp_path / "artifacts")}
    first, second = (one.start("../model", *words, override=PRESHARDED, **where) for _ in range(2))
    assert (first.served["how"], second.served["how"]) == ("RECOMPILES", "LOADS")
    assert "['context_encoding_model', 'fused_speculation_model']" in first.told
    config = json.loads((tmp_path / "artifacts" / "neuron_config.json").read_text())
    draft = config["fused_spec_config"]["draft_config"]
    assert (draft["num_hidden_layers"], draft["neuron_config"]["is_eagle_draft"]) == (1, True)
    assert draft["neuron_config"]["enable_fused_speculation"] is False
    plain = one.start("../model", *BASE, *LENGTH, *TP, override=PRESHARDED)
    assert plain.served["weights"] != first.served["weights"]


def test_quantized_weights_are_written_where_the_settings_say(tmp_path: Path) -> None:
    one = User(tmp_path, LATER_SDK)
    make_model(tmp_path / "model")
    override = {"quantized": True, "quantized_checkpoints_path": str(tmp_path / "int8.pt"), **PRESHARDED}
    start = one.start("../model", *BASE, *LENGTH, *TP, override=override)
    assert start.served["how"] == "RECOMPILES", start.told
    assert (tmp_path / "int8.pt").is_file()
    plain = one.start("../model", *BASE, *LENGTH, *TP, override=PRESHARDED)
    assert plain.served["weights"] != start.served["weights"]
    pathless = one.start("../model", *BASE, *LENGTH, *TP, override={"quantized": True})
    assert pathless.crash == ("AssertionError", "quantized_checkpoints_path is required")


def test_adapters_are_compiled_at_each_start(tmp_path: Path) -> None:
    """What is saved names the JSON file and the paths in it: each adapter twice, which is a ValueError."""
    one = User(tmp_path, LATER_SDK)
    make_model(tmp_path / "model")
    adapter = tmp_path / "sql"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"target_modules": ["q_proj"], "r": 8}')
    listed = {"lora-ckpt-paths": {"sql": str(adapter)}, "lora-ckpt-paths-cpu": {}}
    (tmp_path / "list.json").write_text(json.dumps(listed))
    override = {"lora_ckpt_json": str(tmp_path / "list.json"), **PRESHARDED}
    words = (*BASE, *LENGTH, *TP, "--enable-lora", "--lora-modules", f"sql={adapter}")
    where = {"NEURON_COMPILED_ARTIFACTS": str(tmp_path / "artifacts")}
    for start in [one.start("../model", *words, override=dict(override), **where) for _ in range(3)][1:]:
        assert start.served["how"] == "RECOMPILES", start.told
        assert start.caught.startswith("The adapter ID sql appears more than once")


REFUSED_BY_0_2_0 = {
    "LoRA": ("Llama", ("--enable-lora",), "Multi-lora is not yet supported on the Neuron plugin"),
    "Pixtral": ("mistral-community/pixtral-12b", (), "Pixtral is not yet supported on the Neuron plugin"),
}


@pytest.mark.parametrize("name", REFUSED_BY_0_2_0)
def test_plugin_0_2_0_refuses(name: str, tmp_path: Path) -> None:
    model, words, text = REFUSED_BY_0_2_0[name]
    one = User(tmp_path)
    make_model(tmp_path / "Llama")
    if "/" in model:
        make_hub_cache(tmp_path / "cache", [model])
    where = {"HF_HUB_CACHE": str(tmp_path / "cache")}
    start = one.start(model if "/" in model else f"../{model}", *BASE, *LENGTH, *TP, *words, **where)
    assert start.crash == ("NotImplementedError", text)
