"""Explaining logs: each pattern by a sample, what comes first, bounds, and what is not shown."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.explain.compiler_code import compiler_codes
from neuronctl.explain.explain import MOST_EXPLANATIONS, explain_log, explain_tail
from neuronctl.explain.line import LONGEST_BYTES, SHOWN_CHARACTERS, read_lines
from neuronctl.explain.pattern import Pattern, patterns
from neuronctl.explain.runtime_status import RuntimeStatus, status_table
from neuronctl.explain.suspect import MOST_SUSPECTS, keep_suspects

LOGS = Path(__file__).parents[2] / "data" / "logs"
HEALTHY = "healthy"


def sample(name: str) -> list[str]:
    return (LOGS / f"{name}.log").read_text(encoding="utf-8").splitlines(keepends=True)


@pytest.mark.parametrize("pattern", patterns(), ids=lambda pattern: pattern.id)
def test_the_sample_of_a_pattern_is_explained_by_it(pattern: Pattern) -> None:
    first = explain_log(sample(pattern.id))[0]
    assert first.id == pattern.id
    assert first.issue == pattern.issue
    assert first.line
    assert first.line_number
    assert first.why
    assert first.fix
    assert first.source
    assert first.basis
    assert "…" not in first.title.replace("{…}", ""), "a word in braces that the sample does not fill"
    assert not re.search(r"\{[a-z]+\}", first.title + first.why + first.fix)


def test_there_is_a_sample_of_each_pattern_and_no_other() -> None:
    names = {path.stem for path in LOGS.glob("*.log")}
    assert names == {pattern.id for pattern in patterns()} | {HEALTHY}


def test_a_healthy_log_shows_nothing() -> None:
    assert explain_log(sample(HEALTHY)) == ()
    assert explain_tail(sample(HEALTHY), 0) is None


@pytest.mark.parametrize(
    "line",
    [
        "NeuronConfig(block_size=32, chunked_prefill_config=None, quantized_checkpoints_path=None)",
        "No neuron overrides are passed via additional_config: {}. Proceeding with defaults.",
        "INFO killed by nobody, Killed is only a word in the middle",
        'INFO: 127.0.0.1:55 - "GET /v1/models?status=4 HTTP/1.1" 200 OK',
        "prefix caching and segmented prefill are both on",
        "status 9 and err: 10 are only numbers here",
    ],
)
def test_what_only_looks_alike_is_not_explained(line: str) -> None:
    assert explain_log([line]) == ()


def test_numbers_of_the_line_stand_in_the_words() -> None:
    (blocks,) = explain_log(sample("num-gpu-blocks-override"))
    assert "256 are needed for max_model_len 2048, 128 are there" in blocks.title
    (cores,) = explain_log(sample("cores-in-use"))
    assert "nc1-nc1" in cores.title
    (alone,) = explain_log(sample("pa-blocks-alone"))
    assert "--num-gpu-blocks-override 64" in alone.fix
    (topology,) = explain_log(sample("unsupported-topology"))
    assert "1, 2, 8, 16 or a multiple of 32" in topology.title


def test_the_cause_comes_before_what_it_led_to_and_warnings_come_last() -> None:
    log = [
        *sample("unknown-neuron-keys"),
        *sample("artifacts-not-found"),
        *sample("engine-core-failed"),
        *sample("compiler-failed"),
        *sample("islpy-too-new"),
        *sample("device-oom"),
    ]
    found = explain_log(log)
    assert [one.id for one in found] == [
        "islpy-too-new",
        "device-oom",
        "engine-core-failed",
        "compiler-failed",
        "unknown-neuron-keys",
        "artifacts-not-found",
    ]
    assert [one.rank for one in found] == ["cause"] * 2 + ["general"] * 2 + ["warning"] * 2


def test_each_thing_once_with_its_first_line_and_how_often() -> None:
    line = "RuntimeError: No EFA device found at /sys/{}\n"
    (found,) = explain_log(["INFO start\n", *(line.format(rank) for rank in range(32))])
    assert (found.id, found.line_number, found.count) == ("efa-missing-native", 2, 32)
    assert found.line == "RuntimeError: No EFA device found at /sys/0"


@pytest.mark.parametrize("code", sorted(compiler_codes()))
def test_each_documented_compiler_code_is_recognised(code: str) -> None:
    found = explain_log([f"2026-11-20T09:20:10Z ERROR [{code}] something", "neuronx-cc failed with 70"])
    assert found[0].rank == "cause"
    assert code in found[0].title or found[0].issue
    assert found[1].id == "compiler-failed"


def test_a_compiler_code_without_a_page_says_so() -> None:
    (found,) = explain_log(["[INTERNAL_ERROR] [NCC_ITRF901] TritiumFusion assertion error"])
    assert found.id == "NCC_ITRF901"
    assert "no page" in found.why


@pytest.mark.parametrize("status", status_table().statuses, ids=lambda status: status.name)
def test_each_runtime_status_is_recognised_by_its_name(status: RuntimeStatus) -> None:
    (found,) = explain_log([f"2026-Nov-20 09:14:12.0323 4:4 ERROR NRT:nrt_infodump  answer: {status.name}"])
    assert status.name in str(found.line)
    assert status.issue in (None, found.issue)
    assert found.id == status.name or found.id in {pattern.id for pattern in patterns()}


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("ERROR nrt_load status=1, error", "NRT_FAILURE"),
        ("nrt_load: status=2, error message", "NRT_INVALID"),
        (
            "NMGR:kmgr_load_nn_post_metrics  Failed to load NN: /tmp/model.neff, err: 10",
            "NRT_UNSUPPORTED_NEFF_VERSION",
        ),
        ("NMGR:dlr_infer    Inference completed with err: 1006. mode->h_nn=1001", "NRT_EXEC_OOB"),
        ("NRT status 5", "NRT_TIMEOUT"),
    ],
)
def test_a_runtime_status_is_recognised_by_its_number(line: str, name: str) -> None:
    (found,) = explain_log([line])
    assert found.id == name


def test_colours_and_control_characters_do_not_hide_an_error() -> None:
    red = "\x1b[0;31mRuntimeError:\x1b[0m No \x1b[1mEFA\x1b[0m device found\x07 at\t/sys\r\n"
    (found,) = explain_log([red])
    assert found.id == "efa-missing-native"
    assert found.line == "RuntimeError: No EFA device found at /sys"


def test_a_long_line_is_quoted_around_what_matters() -> None:
    line = f"Failed compilation with {'x ' * 5000} No EFA device found {'y ' * 5000}"
    (found,) = explain_log([line])
    assert found.line is not None
    assert "No EFA device found" in found.line
    assert len(found.line) <= SHOWN_CHARACTERS + 2


@pytest.mark.parametrize(
    "noise", ["segmented ", "x", "prefix caching only ", "a=", "--token ", "torch.Size([", "status="]
)
def test_a_line_made_to_be_slow_is_not(noise: str) -> None:
    words = "segmented No EFA device found expected shape torch.Size status"
    line = noise * (LONGEST_BYTES // len(noise) // 2) + words + noise * 10_000
    began = time.process_time()
    explain_log([line] * 3)
    assert time.process_time() - began < 5


def test_tokens_keys_and_passwords_are_not_quoted() -> None:
    secrets = ("hf_AbCdEfGhIjKl", "sk-123456789", "p4ssw0rd", "eyJhbGci", "s3cr3t")
    line = (
        f"No EFA device found token={secrets[0]} 'api_key': '{secrets[1]}' http://u:{secrets[2]}@host/ "
        f"Authorization: Bearer {secrets[3]} --hf-token {secrets[4]} num_key_value_heads=8 block_size: 32"
    )
    (found,) = explain_log([line])
    assert found.line is not None
    assert not [secret for secret in secrets if secret in found.line]
    assert "num_key_value_heads=8 block_size: 32" in found.line


def test_secrets_are_not_put_into_words_either() -> None:
    (found,) = explain_log(["vllm: error: unrecognized arguments: --apikey sk-123456789"])
    assert "sk-123456789" not in found.title + str(found.line)


def test_memory_stays_bounded() -> None:
    lines = (f"[NCC_I{letters}{number}] x" for letters in ("ABC", "DEF") for number in range(100, 999))
    assert len(explain_log(lines)) == MOST_EXPLANATIONS


def test_lines_of_a_file_are_read_within_bounds_whatever_is_in_it() -> None:
    long = b"x" * (2 * LONGEST_BYTES) + b" NRT_RESOURCE\n"
    log = bytes(range(256)) * 3 + b"\n" + long + b"\xff\xfe NRT_TIMEOUT \x00\n"
    lines = list(read_lines(io.BytesIO(log)))
    assert max(map(len, lines)) <= LONGEST_BYTES
    assert [one.id for one in explain_log(lines)] == ["NRT_TIMEOUT"]
    assert b"".join(line.encode() for line in read_lines(io.BytesIO(b"a\nb\r\nc"))) == b"a\nb\r\nc"


@given(st.lists(st.text(max_size=200), max_size=30))
def test_any_text_is_survived(lines: list[str]) -> None:
    for one in explain_log(lines):
        assert one.line_number is not None
        assert 1 <= one.line_number <= len(lines)


@given(st.binary(max_size=2000))
def test_any_bytes_are_survived(log: bytes) -> None:
    assert len(list(read_lines(io.BytesIO(log)))) <= log.count(b"\n") + 1


def test_the_tail_of_a_log_tells_the_cause_before_the_exit_number() -> None:
    found = explain_tail([*sample("compile-oom-host"), *sample("engine-core-failed")], 1)
    assert found is not None
    assert found.id == "compile-oom-host"


@pytest.mark.parametrize(
    ("exit_code", "name"), [(-9, "killed"), (137, "killed"), (-11, "segmentation-fault")]
)
def test_a_signal_tells_more_than_what_followed(exit_code: int, name: str) -> None:
    found = explain_tail(sample("engine-core-failed"), exit_code)
    assert found is not None
    assert found.id == name


def test_what_is_general_is_better_than_nothing() -> None:
    assert (found := explain_tail(sample("engine-core-failed"), 1)) is not None
    assert found.id == "engine-core-failed"
    assert (found := explain_tail(["INFO all well"], 70)) is not None
    assert found.id == "compiler-failed"


def test_a_warning_does_not_explain_an_end() -> None:
    assert explain_tail(sample("unknown-neuron-keys"), 1) is None


def test_suspects_are_the_first_lines_that_look_like_errors() -> None:
    kept: list[tuple[int, str]] = []
    log = ["INFO fine\n", *(f"ValueError: number {n}\n" for n in range(50)), "ValueError: number 0\n"]
    assert list(keep_suspects(log, kept)) == log
    assert kept[0] == (2, "ValueError: number 0")
    assert len(kept) == MOST_SUSPECTS
