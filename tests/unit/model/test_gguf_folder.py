"""A GGUF file becomes a model folder: content, refusals, and what stays behind when it goes wrong."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import json
import os
import shutil
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tokenizers

from neuronctl.errors import LockTimedOut, MachineUnfit, ModelNotResolved, NeuronctlError, StackUnfit
from neuronctl.host import Host
from neuronctl.model import gguf_weights
from neuronctl.model.gguf_folder import convert_gguf, read_gguf_config
from neuronctl.model.layout import FILES
from neuronctl.short_command import Finished
from tests.gguf_sample import HEAD_DIM, TEMPLATE, TOKENS, Sample, hf_weights

PYTHON = Path("/some/python")


def run_in_this_process(argv: Sequence[str]) -> Finished:
    """What the child would do, done here."""
    assert list(argv[:2]) == [str(PYTHON), "-I"]
    story = io.StringIO()
    with contextlib.redirect_stderr(story):
        code = gguf_weights.main(list(argv[3:]))
    return Finished(code, "", story.getvalue())


@dataclass(frozen=True)
class FakeHost(Host):
    """A world whose processes are functions, with a clock that moves when somebody sleeps."""

    child: Callable[[Sequence[str]], Finished] = run_in_this_process
    clock: list[float] = field(default_factory=lambda: [0.0])

    def run(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Finished:
        return self.child(argv)

    def monotonic(self) -> float:
        return self.clock[0]

    def sleep(self, seconds: float) -> None:
        self.clock[0] += seconds


def convert(sample: Sample, folder: Path, host: Host | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    target = folder / "model"
    convert_gguf(sample.write(folder / "m.gguf"), target, PYTHON, host or FakeHost())
    return target


def read_weights(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file of bfloat16, widened to float32."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    assert length % 8 == 0
    header = json.loads(content[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "pt"}
    tensors = {}
    for name, entry in header.items():
        assert entry["dtype"] == "BF16"
        begin, end = entry["data_offsets"]
        halves = np.frombuffer(content[8 + length + begin : 8 + length + end], dtype="<u2")
        tensors[name] = (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])
    assert max(entry["data_offsets"][1] for entry in header.values()) == len(content) - 8 - length
    return tensors


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [("F32", 0.0), ("F16", 2**-10), ("BF16", 0.0), ("Q8_0", 0.02), ("Q4_1", 0.3)],
)
def test_weights_come_back_as_they_were(tmp_path: Path, kind: str, tolerance: float) -> None:
    original = hf_weights()
    target = convert(Sample(original, kind=gguf.GGMLQuantizationType[kind]), tmp_path)
    found = read_weights(target / "model.safetensors")
    assert found.keys() == original.keys()
    for name, weights in original.items():
        assert found[name].shape == weights.shape
        # Half a step of bfloat16 (8 bits), and the step of the quantisation where there is one.
        bound = np.abs(weights) * 2.0**-8 + (0.0 if weights.ndim == 1 else tolerance)
        assert np.all(np.abs(found[name] - weights) <= bound), name


def test_rounding_is_to_the_nearest_and_ties_to_even() -> None:
    numbers = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-9], dtype=np.float32)
    halves = np.frombuffer(gguf_weights.bfloat16_bytes(numbers), dtype="<u2").astype(np.uint32)
    assert (halves << 16).view(np.float32).tolist() == [1.0, 1.0, 1 + 2**-6, 1 + 2**-7, -1.0]


def test_reordered_rows_attend_as_llama_cpps_do() -> None:
    """Scores of rotated queries and keys are equal: neighbours rotated there, halves rotated here."""
    random = np.random.default_rng(1)
    heads, hidden = 3, 16
    query, key = (random.standard_normal((heads * HEAD_DIM, hidden)) for _ in range(2))
    left, right = (random.standard_normal(hidden) for _ in range(2))
    angles = np.outer([5, 11], 10000.0 ** (-np.arange(0, HEAD_DIM, 2) / HEAD_DIM))

    def neighbours(rows: Any, angle: Any) -> Any:
        pair = rows.reshape(heads, HEAD_DIM // 2, 2)
        turned = (pair[..., 0] + 1j * pair[..., 1]) * np.exp(1j * angle)
        return np.stack([turned.real, turned.imag], -1).reshape(heads, HEAD_DIM)

    def halves(rows: Any, angle: Any) -> Any:
        first, second = np.split(rows.reshape(heads, HEAD_DIM), 2, axis=1)
        turned = (first + 1j * second) * np.exp(1j * angle)
        return np.concatenate([turned.real, turned.imag], axis=1)

    there = neighbours(query @ left, angles[0]) * neighbours(key @ right, angles[1])
    split_query, split_key = (gguf_weights.split_rotary_pairs(rows, heads) for rows in (query, key))
    here = halves(split_query @ left, angles[0]) * halves(split_key @ right, angles[1])
    np.testing.assert_allclose(here.sum(1), there.sum(1))
    assert not np.array_equal(split_query, query)


def test_config_says_what_the_header_says(tmp_path: Path) -> None:
    target = convert(Sample(), tmp_path)
    config = json.loads((target / "config.json").read_text())
    assert config == read_gguf_config(tmp_path / "m.gguf")
    assert config == {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "vocab_size": len(TOKENS),
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-05,
        "rope_theta": 100000.0,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    generation = json.loads((target / "generation_config.json").read_text())
    assert generation["eos_token_id"] == 2


def test_an_output_layer_of_its_own_is_kept(tmp_path: Path) -> None:
    target = convert(Sample(hf_weights(tied=False)), tmp_path)
    assert json.loads((target / "config.json").read_text())["tie_word_embeddings"] is False
    assert "lm_head.weight" in read_weights(target / "model.safetensors")


def test_the_tokenizer_cuts_digits_merges_and_knows_special_tokens(tmp_path: Path) -> None:
    target = convert(Sample(), tmp_path)
    tokenizer = tokenizers.Tokenizer.from_file(str(target / "tokenizer.json"))
    assert tokenizer.encode("hello 42").tokens == ["hell", "o", "Ġ", "4", "2"]
    assert tokenizer.encode("<|im_start|>x<|im_end|>").tokens == ["<|im_start|>", "x", "<|im_end|>"]
    text = " naïve\tcafé\r\n日本 🙂 x=12345 "
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert tokenizer.decode(tokenizer.encode("<|im_start|>x").ids) == "x"
    settings = json.loads((target / "tokenizer_config.json").read_text())
    assert settings["chat_template"] == TEMPLATE
    assert (settings["bos_token"], settings["eos_token"]) == ("<|im_start|>", "<|im_end|>")
    assert settings["model_max_length"] == 128


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in hf_weights().items() if key != name}


REFUSED = {
    "architecture": (Sample(architecture="qwen2"), "architecture is 'qwen2'"),
    "tokenizer": (Sample(tokenizer="llama"), "tokenizer is 'llama'"),
    "way of cutting": (Sample(cutting="qwen2"), "cuts text in the way 'qwen2'"),
    "experts": (Sample(values={"expert_count": 8}), "expert_count"),
    "part of a head": (Sample(values={"rope.dimension_count": 16}), "only a part of each head"),
    "no layers": (Sample(drop=("block_count",)), "block_count"),
    "too many layers": (Sample(values={"block_count": 2**31}), "layers"),
    "no embeddings": (Sample(without("model.embed_tokens.weight")), "token_embd"),
    "a tensor short": (Sample(without("model.layers.1.mlp.up_proj.weight")), r"blk\.1\.ffn_up"),
    "shapes": (Sample(values={"feed_forward_length": 128}), r"ffn_gate.*\(96, 64\) instead of \(128, 64\)"),
    "more layers than it says": (Sample(values={"block_count": 1}), r"blk\.1\..*not one of a plain Llama"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_carried_over_is_refused_in_words(tmp_path: Path, case: str) -> None:
    sample, words = REFUSED[case]
    with pytest.raises(ModelNotResolved, match=words):
        convert(sample, tmp_path)
    assert not (tmp_path / "model").exists()
    assert not list(tmp_path.glob(".model.stage.*"))


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    target = convert(Sample(), tmp_path)
    (target / "config.json").write_text("{}")

    def never(argv: Sequence[str]) -> Finished:
        raise AssertionError("converted again")

    convert_gguf(tmp_path / "m.gguf", target, PYTHON, FakeHost(child=never))
    assert (target / "config.json").read_text() == "{}"


@pytest.mark.parametrize("lost", FILES)
def test_a_folder_that_lost_a_file_is_made_again(tmp_path: Path, lost: str) -> None:
    target = convert(Sample(), tmp_path)
    before = {name: (target / name).read_bytes() for name in FILES}
    (target / lost).unlink()
    convert_gguf(tmp_path / "m.gguf", target, PYTHON, FakeHost())
    assert {name: (target / name).read_bytes() for name in FILES} == before
    assert sorted(os.listdir(tmp_path)) == [".model.lock", "m.gguf", "model"]


def test_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    leftover = tmp_path / ".model.stage.dead"
    (leftover / "folder").mkdir(parents=True)
    (leftover / "folder" / "model.safetensors").write_bytes(b"half")
    target = convert(Sample(), tmp_path)
    assert not leftover.exists()
    assert sorted(os.listdir(target)) == sorted(FILES)


CHILD_ENDS: dict[str, tuple[Finished, type[NeuronctlError], str]] = {
    "no gguf": (Finished(3, "", "No module named 'gguf'\n"), StackUnfit, "No module named 'gguf'"),
    "disk full": (Finished(4, "", os.strerror(errno.ENOSPC)), MachineUnfit, "No space left on device"),
    "no such python": (Finished(127, "", "not found"), StackUnfit, "cannot be started"),
    "killed": (Finished(-9, "", ""), MachineUnfit, "signal 9"),
    "hangs": (Finished(None, "", ""), MachineUnfit, "after 1800 s"),
    "crash": (Finished(1, "", "Traceback …\nValueError: odd\n"), ModelNotResolved, "ValueError: odd"),
    "silent": (Finished(1, "", ""), ModelNotResolved, "it said nothing"),
}


@pytest.mark.parametrize("case", CHILD_ENDS)
def test_a_child_that_fails_leaves_no_folder(tmp_path: Path, case: str) -> None:
    ended, kind, words = CHILD_ENDS[case]

    def fail(argv: Sequence[str]) -> Finished:
        Path(argv[-1]).write_bytes(b"half")
        return ended

    with pytest.raises(kind, match=words):
        convert(Sample(), tmp_path, FakeHost(child=fail))
    assert sorted(os.listdir(tmp_path)) == [".model.lock", "m.gguf"]


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(argv: Sequence[str]) -> Finished:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(Sample(), tmp_path, FakeHost(child=interrupt))
    assert sorted(os.listdir(tmp_path)) == [".model.lock", "m.gguf"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = Sample().write(tmp_path / "m.gguf")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MachineUnfit, match=r"file/model cannot be written") as caught:
        convert_gguf(path, tmp_path / "file" / "model", PYTHON, FakeHost())
    assert caught.value.fix and "NEURONCTL_HOME" in caught.value.fix


def test_the_child_says_what_the_file_system_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Sample().write(tmp_path / "m.gguf")
    (tmp_path / "tensors.json").write_text("[]")
    code = gguf_weights.main([str(path), str(tmp_path / "tensors.json"), str(tmp_path / "no" / "out")])
    assert (code, capsys.readouterr().err) == (gguf_weights.REFUSED, "No such file or directory\n")


def test_a_lock_that_is_never_given_up_ends_in_words(tmp_path: Path) -> None:
    path = Sample().write(tmp_path / "m.gguf")
    with (tmp_path / ".model.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LockTimedOut, match=r"\.model\.lock"):
            convert_gguf(path, tmp_path / "model", PYTHON, FakeHost())


def test_who_waited_uses_what_the_other_made(tmp_path: Path) -> None:
    made = convert(Sample(), tmp_path / "other")
    path = Sample().write(tmp_path / "m.gguf")
    held = (tmp_path / ".model.lock").open("a")
    fcntl.flock(held, fcntl.LOCK_EX)

    @dataclass(frozen=True)
    class Waiting(FakeHost):
        def sleep(self, seconds: float) -> None:
            shutil.copytree(made, tmp_path / "model")
            held.close()

    def never(argv: Sequence[str]) -> Finished:
        raise AssertionError("converted a second time")

    convert_gguf(path, tmp_path / "model", PYTHON, Waiting(child=never))
    assert (tmp_path / "model" / "config.json").is_file()
