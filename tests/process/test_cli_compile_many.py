"""`neuronctl compile` for many profiles: what is compiled, what is told, and what a signal leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.process.neuron_machine import ENGINE, NeuronTerminal
from tests.process.terminal import Said, Terminal, until
from tests.process.test_cli_compile import limited, nothing_published

ONE, TWO, THREE = "one.yaml", "two.yaml", "three.yaml"


@pytest.fixture
def many(terminal: Terminal) -> Terminal:
    """A terminal with three profiles of three keys."""
    for number, name in enumerate((ONE, TWO, THREE)):
        profile(terminal, name, 64 + number)
    return terminal


def profile(terminal: Terminal, name: str, tokens: int, more: str = "") -> None:
    terminal.profile(f"engine: {{max_model_len: {tokens}}}\n{more}", name)


def outcomes(said: Said) -> dict[str, str]:
    return {one["reference"]: one["outcome"] for one in said.envelope["data"]["profiles"]}


def entry(said: Said, reference: str) -> dict[str, Any]:
    (found,) = [one for one in said.envelope["data"]["profiles"] if one["reference"] == reference]
    return dict(found)


def cases(path: Path) -> dict[str, str]:
    """Each case of a JUnit report, and what it says: failure, error, skipped or passed."""
    root = ET.parse(path).getroot()
    (suite,) = root
    found = {case.attrib["name"]: next((child.tag for child in case), "passed") for case in suite}
    tags = [*found.values()]
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert suite.attrib[attribute] == root.attrib[attribute] == str(tags.count(tag))
    assert suite.attrib["tests"] == str(len(found))
    return found


def children(terminal: Terminal) -> list[int]:
    """The pids of the compiles that many were given to."""
    return [int(line.partition(":")[0]) for line in terminal.left() if "answer.json" in line]


def engines_that_say(terminal: Terminal, word: bytes) -> int:
    """How many engines have `word` in their logs; the stories repeat an engine's last line."""
    logs = [log for log in terminal.logs() if "-compile-story-" not in log.name]
    return sum(word in log.read_bytes() for log in logs)


def test_each_is_compiled_once_and_is_a_hit_the_next_time(many: Terminal) -> None:
    said = many.run("compile", ONE, TWO, THREE, "--junit", "out.xml")
    said.expect(0, "3 profiles: 3 compiled", "one: compiling (1 of 3)", "three: compiled in")
    lines = said.out.splitlines()
    assert lines[0].split() == ["profile", "outcome", "seconds", "key", "or", "error", "log"]
    assert [line.split()[:2] for line in lines[1:4]] == [[n, "compiled"] for n in ("one", "two", "three")]
    assert cases(many.cwd / "out.xml") == {ONE: "passed", TWO: "passed", THREE: "passed"}
    assert len(many.artifacts()) == len(many.logs()) == 3

    profile(many, "four.yaml", 99)
    said = many.run("compile", ONE, TWO, THREE, "four.yaml", "--json").expect(0)
    assert outcomes(said) == {ONE: "hit", TWO: "hit", THREE: "hit", "four.yaml": "compiled"}
    data = said.envelope["data"]
    assert data["totals"]["hit"] == 3
    assert data["totals"]["compiled"] == 1
    assert data["jobs"] == 1
    for one in data["profiles"]:
        assert Path(one["path"]) == many.store / "artifacts" / one["key"] / "tree"
        assert one["error"] is None
    assert Path(entry(said, "four.yaml")["log"]) in many.logs()
    many.run("cache", "verify").expect(0, "whole")


def test_profiles_of_one_key_are_compiled_once(many: Terminal) -> None:
    profile(many, "same.yaml", 64, "server: {port: 9999}")
    said = many.run("compile", ONE, "same.yaml", "--jobs", "2", "--json").expect(0)
    assert outcomes(said) == {ONE: "compiled", "same.yaml": "same-key"}
    assert entry(said, "same.yaml")["same_as"] == ONE
    assert entry(said, "same.yaml")["path"] == entry(said, ONE)["path"]
    assert "same: same key as one" in said.err
    assert len(many.logs()) == 1
    profile(many, "strict.yaml", 70, "artifacts: {policy: cached-only}")
    profile(many, "willing.yaml", 70)
    said = many.run("compile", "strict.yaml", "willing.yaml", "--json").expect(0)
    assert outcomes(said) == {"strict.yaml": "same-key", "willing.yaml": "compiled"}
    profile(many, "other.yaml", 71)
    profile(many, "twin.yaml", 71)
    said = many.run("compile", "other.yaml", "twin.yaml", "--json", stand_in="die-in=load").expect(20)
    assert outcomes(said) == {"other.yaml": "failed", "twin.yaml": "failed"}
    assert len(said.envelope["errors"]) == 1


def test_one_profile_is_answered_as_ever_unless_an_option_is_for_many(many: Terminal) -> None:
    assert many.run("compile", ONE, ONE, "--json").expect(0).envelope["data"]["outcome"] == "compiled"
    said = many.run("compile", "--profile", "./one.yaml", "--jobs", "1", "--json").expect(0)
    assert outcomes(said) == {"./one.yaml": "hit"}
    said = many.run("compile", "--keep-going", "--json", env={"NEURONCTL_PROFILE": "./two.yaml"}).expect(0)
    assert outcomes(said) == {"./two.yaml": "compiled"}


def test_check_compiles_nothing(many: Terminal) -> None:
    many.run("compile", ONE).expect(0)
    said = many.run("compile", ONE, TWO, "--check", "--junit", "out.xml", "--json").expect(10)
    assert outcomes(said) == {ONE: "hit", TWO: "miss"}
    (error,) = said.envelope["errors"]
    assert (error["code"], error["fix"]) == ("artifact.miss", f"neuronctl compile {TWO}")
    assert cases(many.cwd / "out.xml") == {ONE: "passed", TWO: "failure"}
    many.run("compile", ONE, "--check", "--keep-going").expect(0, "1 hit")
    many.profile("engin: {}", "wrong.yaml")
    assert outcomes(many.run("compile", "wrong.yaml", TWO, "--check", "--json").expect(2)) == {
        "wrong.yaml": "refused",
        TWO: "miss",
    }
    (many.tree() / "inductor" / "cd" / "ccd9qz.py").unlink()
    said = many.run("compile", ONE, TWO, "--check", "--json").expect(12)
    assert outcomes(said) == {ONE: "failed", TWO: "miss"}
    assert "it is missing" in entry(said, ONE)["error"]["message"]
    assert outcomes(many.run("compile", ONE, TWO, "--json").expect(0)) == {ONE: "compiled", TWO: "compiled"}
    assert len(many.quarantined()) == 1


def test_what_is_refused_is_known_before_anything_is_compiled(many: Terminal) -> None:
    many.profile("engine: {max_model_len: 64, max_num_seq: 8}", "wrong.yaml")
    many.profile("artifacts: {policy: never}", "never.yaml")
    words = ("compile", ONE, "wrong.yaml", "never.yaml", "missing.yaml", "--junit", "out.xml", "--json")
    said = many.run(*words).expect(2)
    refused = dict.fromkeys(("wrong.yaml", "never.yaml", "missing.yaml"), "refused")
    assert outcomes(said) == {ONE: "not-tried", **refused}
    assert "wrong.yaml:3: engine.max_num_seq" in said.err
    assert "nothing is compiled" in said.err
    assert {one["details"]["reference"] for one in said.envelope["errors"]} == set(refused)
    nothing_published(many)
    assert cases(many.cwd / "out.xml") == {ONE: "skipped", **dict.fromkeys(refused, "failure")}

    said = many.run(*words, "--keep-going").expect(2)
    assert outcomes(said) == {ONE: "compiled", **refused}


def test_profiles_that_do_not_fit_the_target_are_told_by_rule(many: Terminal) -> None:
    (many.cwd / "big.yaml").write_text("extends: llama-3.1-8b\nengine: {tensor_parallel_size: 32}\n")
    words = ("--target", "inf2.48xlarge", "--stack", "sdk-2.28", "--junit", "out.xml", "--json")
    said = many.run("compile", "big.yaml", "tinyllama-tp2", *words).expect(31)
    assert outcomes(said) == {"big.yaml": "refused", "tinyllama-tp2": "refused"}  # that SDK is not here
    assert entry(said, "big.yaml")["exit_code"] == 1
    assert "big: refused, exit 1: machine.too-many-cores" in said.err
    assert "machine.too-many-cores" in entry(said, "big.yaml")["findings"]
    assert "machine.too-many-cores" in {one["id"] for one in said.envelope["findings"]}
    report = (many.cwd / "out.xml").read_text()
    assert "tensor_parallel_size to 2, 4 or 8" in report


def test_two_artifacts_do_not_go_into_one_folder(builder: NeuronTerminal) -> None:
    builder.profile(name="same.yaml")
    builder.profile(ENGINE.replace("max_num_seqs: 4", "max_num_seqs: 2"), "two.yaml")
    cross = ("--target", "inf2.xlarge", "--stack", "sdk-2.28", "--json", "--keep-going")
    folder = {"NEURON_COMPILED_ARTIFACTS": str(builder.cwd / "named")}
    said = builder.run("compile", "p.yaml", "two.yaml", *cross, env=folder).expect(2)
    assert outcomes(said) == {"p.yaml": "refused", "two.yaml": "refused"}
    assert "named is named as the folder of two too, and a folder holds one artifact" in said.err
    assert said.envelope["errors"][0]["code"] == "artifacts.one-folder"
    assert "unset NEURON_COMPILED_ARTIFACTS" in said.envelope["errors"][0]["fix"]
    assert not (builder.cwd / "named").exists()
    said = builder.run("compile", "p.yaml", "same.yaml", *cross, "--jobs", "2", env=folder).expect(0)
    assert sorted(outcomes(said).values()) == ["compiled", "hit"]


def test_for_neuron_on_a_machine_without_a_device(builder: NeuronTerminal) -> None:
    builder.profile(name="same.yaml")
    builder.profile(ENGINE.replace("max_num_seqs: 4", "max_num_seqs: 2"), "two.yaml")
    builder.profile(f"artifacts: {{path: {builder.cwd / 'named'}}}", "named.yaml")
    profiles = ("p.yaml", "same.yaml", "two.yaml", "named.yaml")
    cross = ("--target", "inf2.xlarge", "--stack", "sdk-2.28", "--json")
    said = builder.run("compile", *profiles, *cross, "--jobs", "2").expect(0)
    expected = {
        "p.yaml": "compiled",
        "same.yaml": "same-key",
        "two.yaml": "compiled",
        "named.yaml": "compiled",
    }
    assert outcomes(said) == expected
    assert entry(said, "two.yaml")["retries"] == 0
    assert entry(said, "named.yaml")["path"] == str(builder.cwd / "named")
    assert len(builder.artifacts()) == 2
    said = builder.run("compile", *profiles, *cross).expect(0)
    assert outcomes(said) == {**dict.fromkeys(profiles, "hit"), "same.yaml": "same-key"}
    assert outcomes(builder.run("compile", *profiles, *cross, "--check").expect(0)) == dict.fromkeys(
        profiles, "hit"
    )
    builder.run("compile", "p.yaml", *cross, "--check").expect(0)
    other = ("--target", "inf2.xlarge", "--stack", "sdk-2.27", "--json")
    said = builder.run("compile", "p.yaml", "two.yaml", *other).expect(31)
    assert outcomes(said) == {"p.yaml": "refused", "two.yaml": "refused"}
    assert said.envelope["errors"][0]["code"] == "stack.only-assumed"


def test_a_failure_ends_the_work_unless_it_is_to_go_on(many: Terminal) -> None:
    first = f"die-in=compile,only-first={many.folder / 'first'}"
    said = many.run("compile", ONE, TWO, THREE, "--junit", "out.xml", stand_in=first).expect(20, "1 failed")
    assert "one: failed, exit 20: the compile failed" in said.err
    assert "| RuntimeError: stand-in was told to die in compile" in said.err
    assert cases(many.cwd / "out.xml") == {ONE: "failure", TWO: "skipped", THREE: "skipped"}
    nothing_published(many)
    (log,) = many.logs()
    assert str(log) in said.out
    assert str(log) in (many.cwd / "out.xml").read_text()

    (many.folder / "first").unlink()
    said = many.run("compile", ONE, TWO, THREE, "--keep-going", "--json", stand_in=first).expect(20)
    assert outcomes(said) == {ONE: "failed", TWO: "compiled", THREE: "compiled"}
    assert said.envelope["status"] == "compile-failed"
    assert [one["code"] for one in said.envelope["errors"]] == ["compile.failed"]
    said = many.run("compile", ONE, TWO, THREE, "--json").expect(0)
    assert outcomes(said) == {ONE: "compiled", TWO: "hit", THREE: "hit"}


def test_the_worst_of_all_is_the_exit_number(many: Terminal) -> None:
    many.run("compile", ONE).expect(0)
    many.profile("engin: {}", "wrong.yaml")
    words = ("compile", ONE, TWO, "wrong.yaml", "--keep-going", "--json")
    said = many.run(*words, stand_in="oom").expect(21)
    assert outcomes(said) == {ONE: "hit", TWO: "failed", "wrong.yaml": "refused"}
    said = many.run(*words, "--policy", "cached-only").expect(2)
    assert outcomes(said) == {ONE: "hit", TWO: "miss", "wrong.yaml": "refused"}


def test_options_and_words_go_to_each(many: Terminal) -> None:
    more = ("--set", "engine.max_num_seqs=3", "--python", str(many.python))
    last = ("--", "--block-size", "16")
    said = many.run("compile", ONE, TWO, *more, "--lock-timeout", "60", "--force", "--json", *last).expect(0)
    for reference in (ONE, TWO):
        plan = many.run("plan", reference, *more, "--json", *last).expect(0).envelope["data"]
        assert entry(said, reference)["key"] == plan["key"]
        assert plan["compiled"]
    again = many.run("compile", ONE, TWO, *more, "--policy", "always", "--json", *last).expect(0)
    assert set(outcomes(again).values()) == {"compiled"}


def test_names_that_are_the_same_or_have_spaces(many: Terminal) -> None:
    (many.cwd / "a").mkdir()
    profile(many, "a/one.yaml", 90)
    profile(many, "with space ünï.yaml", 91)
    words = ("compile", ONE, "a/one.yaml", "with space ünï.yaml", "--junit", "a/out report.xml")
    said = many.run(*words).expect(0, "one.yaml: compiled in", "a/one.yaml: compiled in", "3 compiled")
    shown = [line.split("  ")[0] for line in said.out.splitlines()[1:4]]
    assert shown == [ONE, "a/one.yaml", "with space ünï"]
    assert set(cases(many.cwd / "a" / "out report.xml")) == set(words[1:4])


def test_no_more_than_so_many_at_once(many: Terminal) -> None:
    running = many.start("compile", ONE, TWO, THREE, "--jobs", "2", "--json", stand_in="hang=load")
    running.until_told("two: compiling (2 of 3)")
    running.until_told("compiling one, two (2 of 3)")
    assert len(children(many)) == 2
    assert "three: compiling" not in running.told
    running.signal(signal.SIGINT)
    running.end().expect(130)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_with_a_summary_of_what_is_there(many: Terminal, number: int) -> None:
    many.run("compile", ONE).expect(0)
    profile(many, "four.yaml", 99)
    words = ("compile", ONE, TWO, THREE, "four.yaml", "--jobs", "2", "--junit", "out.xml", "--json")
    running = many.start(*words, stand_in="hang=compile,grandchildren")
    until(lambda: engines_that_say(many, b"grandchild") == 2, "both engines")
    running.signal(number)
    said = running.end().expect(130 if number == signal.SIGINT else 143)
    assert said.envelope["status"] == ("interrupted" if number == signal.SIGINT else "terminated")
    assert outcomes(said) == {ONE: "hit", TWO: "stopped", THREE: "stopped", "four.yaml": "not-tried"}
    assert cases(many.cwd / "out.xml") == {
        ONE: "passed",
        TWO: "skipped",
        THREE: "skipped",
        "four.yaml": "skipped",
    }
    assert len(many.artifacts()) == 1
    assert many.staging() == []
    said = many.run(*words).expect(0)
    assert outcomes(said) == {ONE: "hit", TWO: "compiled", THREE: "compiled", "four.yaml": "compiled"}


def test_stopped_in_words_for_a_person(many: Terminal) -> None:
    running = many.start("compile", ONE, TWO, stand_in="hang=load").until_told("compiling (1 of 2)")
    running.signal(signal.SIGTERM)
    said = running.end().expect(143, "SIGTERM: stopping", "1 stopped, 1 not tried")
    assert "one: stopped" in said.err


def test_asked_twice_it_hurries(many: Terminal) -> None:
    running = many.start("compile", ONE, TWO, "--jobs", "2", "--json", stand_in="ignore-signals,hang=load")
    until(lambda: engines_that_say(many, b"Starting to load") == 2, "both engines")
    began = time.monotonic()
    running.signal(signal.SIGINT)
    for _ in range(100):
        try:
            running.process.wait(0.5)
            break
        except subprocess.TimeoutExpired:
            running.signal(signal.SIGTERM)
    assert time.monotonic() - began < 12
    assert outcomes(running.end().expect(130)) == {ONE: "stopped", TWO: "stopped"}
    assert many.artifacts() == []


def test_killed_in_the_middle_it_goes_on_where_it_was(many: Terminal) -> None:
    first = many.run("compile", ONE, "--keep-going").expect(0)
    assert "1 compiled" in first.out
    running = many.start("compile", ONE, TWO, THREE, "--jobs", "2", stand_in="hang=compile,grandchildren")
    until(lambda: engines_that_say(many, b"grandchild") == 2, "both engines")
    running.signal(signal.SIGKILL)
    running.process.wait(10)
    until(lambda: not many.left(), "the end of all children", 20)
    said = many.run("compile", ONE, TWO, THREE, "--jobs", "2", "--json").expect(0)
    assert outcomes(said) == {ONE: "hit", TWO: "compiled", THREE: "compiled"}
    assert many.staging() == []
    many.run("cache", "verify").expect(0, "whole")


def test_killed_without_a_warning_it_leaves_a_report_of_nothing_tried(many: Terminal) -> None:
    (many.cwd / "out.xml").write_text("<?xml of an earlier run")
    running = many.start("compile", ONE, TWO, "--junit", "out.xml", stand_in="hang=load")
    running.until_told("compiling (1 of 2)").signal(signal.SIGKILL)
    running.process.wait(10)
    assert cases(many.cwd / "out.xml") == {ONE: "skipped", TWO: "skipped"}
    until(lambda: not many.left(), "the end of all children", 20)


def test_a_child_without_an_answer(many: Terminal) -> None:
    words = ("compile", ONE, TWO, "--keep-going", "--junit", "out.xml", "--json")
    running = many.start(*words, stand_in=f"hang=load,only-first={many.folder / 'first'}")
    until(lambda: engines_that_say(many, b"Starting to load"), "the engine")
    (pid,) = children(many)
    os.kill(pid, signal.SIGKILL)
    said = running.end().expect(70)
    assert outcomes(said) == {ONE: "failed", TWO: "compiled"}
    (error,) = said.envelope["errors"]
    assert error["code"] == "compile.no-answer"
    assert "ended without an answer: it was killed by SIGKILL" in error["message"]
    assert Path(entry(said, ONE)["log"]).read_text()
    assert cases(many.cwd / "out.xml") == {ONE: "error", TWO: "passed"}
    assert outcomes(many.run(*words).expect(0)) == {ONE: "compiled", TWO: "hit"}
    assert many.staging() == []


def test_disk_that_is_full(many: Terminal) -> None:
    said = limited(many, 100_000, "compile", ONE, TWO, "--keep-going", "--json").expect(30)
    assert outcomes(said) == {ONE: "failed", TWO: "failed"}
    assert {one["code"] for one in said.envelope["errors"]} == {"store.full"}
    assert many.staging() == []


@pytest.mark.parametrize("name", ["no/such/out.xml", "folder", "/dev/null", "a\nb/out.xml", ""])
def test_a_report_that_cannot_be_written(many: Terminal, name: str) -> None:
    (many.cwd / "folder").mkdir()
    said = many.run("compile", ONE, TWO, "--junit", name, "--json").expect(2)
    (error,) = said.envelope["errors"]
    assert "--junit" in error["message"]
    assert error["fix"]
    nothing_published(many)
    assert many.logs() == []
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((ONE, TWO, "--profile", "p"), "two profiles are named"),
        ((ONE, TWO, "--jobs", "0"), "--jobs"),
        ((ONE, "--jobs", "two"), "--jobs"),
        (("--keep-going",), "no profile is named"),
    ],
)
def test_words_that_make_no_sense(many: Terminal, words: tuple[str, ...], says: str) -> None:
    many.run("compile", *words).expect(2, says)


def test_a_model_that_is_not_here_and_cannot_be_fetched(many: Terminal) -> None:
    (many.cwd / "hub.yaml").write_text("model: {id: org/name}\nbackend: cpu\n")
    words = ("compile", "hub.yaml", ONE, "--json")
    said = many.run(*words, env={"HF_HUB_OFFLINE": "1"}).expect(41)
    assert outcomes(said) == {"hub.yaml": "failed", ONE: "not-tried"}
    assert entry(said, "hub.yaml")["log"] is None
    said = many.run(*words, "--check", env={"HF_HUB_OFFLINE": "1"}).expect(41)
    assert outcomes(said) == {"hub.yaml": "refused", ONE: "miss"}


def test_secrets_are_nowhere(many: Terminal) -> None:
    secret = "hf_abcdefghijklmnop"
    (many.cwd / "saying").write_text(f"Error: the token {secret} is wrong\n")
    words = ("compile", ONE, TWO, "--keep-going", "--junit", "out.xml", "--json")
    stand_in = f"die-saying={many.cwd / 'saying'}"
    said = many.run(*words, stand_in=stand_in, env={"HF_TOKEN": secret}).expect(20)
    (many.cwd / "saying").unlink()
    assert secret not in said.out + said.err
    assert secret.encode() not in many.everything_written()
    assert "the token *** is wrong" in said.out


def test_a_report_does_not_overwrite_a_profile(many: Terminal) -> None:
    """As when a shell writes `--junit *.yaml` out."""
    before = (many.cwd / TWO).read_text()
    said = many.run("compile", ONE, "--keep-going", "--junit", TWO).expect(
        2, "no report", "name another file"
    )
    assert (many.cwd / TWO).read_text() == before
    assert "compiling" not in said.err
    for _ in range(2):
        many.run("compile", ONE, TWO, "--junit", "out.xml").expect(0)
