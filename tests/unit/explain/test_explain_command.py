"""`neuronctl explain` as a function: where the source comes from, the answer, and what is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neuronctl.cli.explain import explain_source, list_known
from neuronctl.cli.invocation import Invocation
from neuronctl.doctor.all import CHECKS
from neuronctl.errors import Exit, UsageError
from neuronctl.explain.error_code import error_codes
from neuronctl.explain.explain import known_codes
from neuronctl.host import Host
from neuronctl.rules.all import RULES
from neuronctl.rules.rule import Rule

LOG = "INFO start\nRuntimeError: No EFA device found at /sys token-of-mine\n"


@pytest.fixture
def call(tmp_path: Path) -> Invocation:
    host = Host(environ={"HF_TOKEN": "token-of-mine", "HOME": str(tmp_path)}, cwd=tmp_path, root=tmp_path)
    return Invocation(host=host, tell=lambda told: None)


def test_a_file(call: Invocation, tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text(LOG)
    result = explain_source("server.log", call)
    assert result.exit_code == Exit.DONE
    data = json.loads(json.dumps(result.data))
    assert data["source"] == "server.log"
    (found,) = data["explanations"]
    assert (found["id"], found["issue"], found["line_number"]) == (
        "efa-missing-native",
        "efa-missing-native",
        2,
    )
    assert result.text is not None
    for words in (
        "efa-missing-native: ",
        "line 2:",
        "why: ",
        "try: export NEURON_SKIP_EFA_AFFINITY=1",
        "source: ",
    ):
        assert words in result.text


def test_a_secret_of_the_environment_is_not_shown(call: Invocation, tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text(LOG + "ValueError: token-of-mine\n")
    result = explain_source("server.log", call)
    assert "token-of-mine" not in json.dumps(result.data) + str(result.text)


def test_a_file_comes_before_a_code_and_a_folder_does_not(call: Invocation, tmp_path: Path) -> None:
    (tmp_path / "70").write_text(LOG)
    (tmp_path / "137").mkdir()
    assert "efa-missing-native" in str(explain_source("70", call).text)
    assert "killed" in str(explain_source("137", call).text)


def test_a_pasted_line(call: Invocation) -> None:
    result = explain_source("RuntimeError: No EFA device found", call)
    assert result.exit_code == Exit.DONE
    assert "NEURON_SKIP_EFA_AFFINITY" in str(result.text)


def test_nothing_known_shows_what_looks_like_an_error(call: Invocation, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("INFO fine\nValueError: never seen before\n")
    result = explain_source("a.log", call)
    assert result.exit_code == Exit.ANSWER_IS_NO
    assert result.data["explanations"] == []
    assert result.data["error_lines"] == [{"line_number": 2, "line": "ValueError: never seen before"}]
    for words in ("nothing in a.log is known", "2: ValueError: never seen before", "log-neuron-cc.txt"):
        assert words in str(result.text)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("tie-word-embedings", "tie-word-embeddings is known"),
        ("NCC_EARG01", "NCC_EARG001 is known"),
        ("no-such-file.log", "there is no file no-such-file.log"),
        ("x" * 5000, "there is no file"),
        ("a\0b", "there is no file"),
        ("", "there is no file"),
    ],
)
def test_neither_a_file_nor_a_code(call: Invocation, source: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        explain_source(source, call)
    assert str(caught.value.fix).startswith("neuronctl explain ")


def test_a_folder_is_no_log(call: Invocation, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    with pytest.raises(UsageError, match="logs is a folder"):
        explain_source("logs", call)


def test_without_a_source(call: Invocation) -> None:
    with pytest.raises(UsageError, match="say what to explain"):
        explain_source(None, call)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_each_rule_is_explained(call: Invocation, rule: Rule) -> None:
    result = explain_source(rule.id, call)
    assert result.exit_code == Exit.DONE
    assert "why: " in str(result.text)


@pytest.mark.parametrize("code", error_codes())
def test_each_error_is_explained_with_its_exit_number(call: Invocation, code: str) -> None:
    result = explain_source(code, call)
    first = result.data["explanations"][0]  # type: ignore[index]
    assert (first["id"], first["kind"]) == (code, "error")
    for number in error_codes()[code].exits:
        assert f"{number} ({Exit(number).name.lower().replace('_', '-')})" in first["why"]
    assert "try: " in str(result.text)
    assert "`" not in str(result.text).split("source: ")[0]


def test_a_code_that_is_an_error_and_a_finding_of_doctor_is_told_as_both(call: Invocation) -> None:
    result = explain_source("stack.no-vllm", call)
    assert [one["kind"] for one in result.data["explanations"]] == ["error", "check"]  # type: ignore[attr-defined]
    assert "neuronctl doctor --check serving-python" in str(result.text)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("profile.mising", ["profile.missing"]),
        ("Stack.No-Pyton", ["stack.no-python"]),
        ("no-python", ["stack.no-python"]),
        ("machine.lnc-mismach", ["machine.lnc-mismatch"]),
        ("devices.drivr-too-old", ["devices.driver-too-old", "devices.driver-too-new"]),
        ("nothing like it at all", []),
    ],
)
def test_what_looks_alike_is_offered(call: Invocation, said: str, meant: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        explain_source(said.replace(" ", "_"), call)
    for each in meant:
        assert each in caught.value.what
    assert caught.value.fix == f"neuronctl explain {meant[0] if meant else '--list'}"


def test_several_are_told_shortly(call: Invocation, tmp_path: Path) -> None:
    names = ["NRT_FAILURE", "NRT_CLOSED", "NRT_TIMEOUT", "NRT_QUEUE_FULL", "NRT_INVALID"]
    (tmp_path / "a.log").write_text("".join(f"ERROR {name}\n" for name in names))
    text = str(explain_source("a.log", call).text)
    assert text.count("why: ") == 3
    assert "seen as well" in text
    assert all(name in text for name in names)


def test_the_list_holds_everything() -> None:
    result = list_known()
    lines = str(result.text).splitlines()
    troubles = {trouble.id for check in CHECKS for trouble in check.finds}
    assert len(lines) == len(known_codes().keys() | {rule.id for rule in RULES} | troubles)
    assert any(line.startswith("NCC_EARG001 ") for line in lines)
