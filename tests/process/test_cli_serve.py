"""`neuronctl serve` with a stand-in engine: ready, asked, stopped, restarted, repaired; nothing is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from neuronctl.host import Host
from tests.process.terminal import Running, Terminal, arguments_of, until

KEY = "sesame-and-poppy-seed"


@pytest.fixture(scope="module", autouse=True)
def dying(
    serving: tuple[Path, Path], compiled_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A server that dies each time it is ready: it takes half a minute, beside the tests."""
    terminal = Terminal(tmp_path_factory.mktemp("dying") / "t", *serving)
    shutil.copytree(compiled_home, terminal.store_home)
    running = terminal.serve("--json", stand_in="die-after-ready=0.7")
    yield running
    terminal.stop_all()


def paris(terminal: Terminal, key: str | None = None) -> str:
    body = {"model": terminal.model.name, "messages": [{"role": "user", "content": "The capital of France?"}]}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = Host().http(
        "POST", f"{terminal.url}/v1/chat/completions", body=json.dumps(body).encode(), headers=headers
    )
    return f"{answer.status} {answer.body}"


def stop(running: Running) -> dict[str, object]:
    running.signal(signal.SIGINT)
    data: dict[str, object] = running.end().expect(130).envelope["data"]
    return data


def test_serve_compiles_once_and_hits_afterwards(terminal: Terminal) -> None:
    for hit in (False, True):
        running = terminal.serve("--json")
        assert "Paris" in paris(terminal)
        data = stop(running)
        assert (data["hit"], data["repaired"], data["compiled_again"]) == (hit, False, False)
        assert ("nothing to compile" in running.told) == hit
    assert list((terminal.store_home / "run").iterdir()) == []


def test_the_printed_command_works_with_the_key_from_a_variable(compiled: Terminal) -> None:
    compiled.profile(f"server: {{port: {compiled.port}, api_key_env: MY_SECRET}}")
    running = compiled.serve("--json", env={"MY_SECRET": KEY})
    assert paris(compiled).startswith("401")
    assert "Paris" in paris(compiled, KEY)
    printed = next(line for line in running.told.splitlines() if "curl" in line)
    assert "$MY_SECRET" in printed
    assert KEY.encode() not in arguments_of([str(os.getpid())])
    if shutil.which("curl"):
        done = subprocess.run(
            ["sh", "-c", printed.strip()], env={**compiled.env, "MY_SECRET": KEY}, capture_output=True
        )
        assert b"Paris" in done.stdout
    running.signal(signal.SIGTERM)
    said = running.end().expect(143)
    plan = compiled.run("plan", "p.yaml", "--json", env={"MY_SECRET": KEY})
    assert KEY not in said.out + said.err + plan.out
    assert KEY.encode() not in compiled.everything_written()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("phase", "word"),
    [("import", "log:"), ("load", "load weights"), ("compile", "load compiled"), ("", "try it")],
)
def test_stopped_in_each_phase(compiled: Terminal, phase: str, word: str, number: int) -> None:
    behaviour = "grandchildren" + (f",hang={phase}" if phase else "")
    running = compiled.start("serve", "p.yaml", stand_in=behaviour).until_told(word)
    running.signal(number)
    running.end().expect(130 if number == signal.SIGINT else 143)
    assert compiled.logs()
    assert len(compiled.artifacts()) == 1
    assert list((compiled.store_home / "run").iterdir()) == []


def test_nohup_is_respected(compiled: Terminal) -> None:
    compiled.prefix = ("nohup",)
    running = compiled.serve("--json")
    running.signal(signal.SIGHUP)
    assert "Paris" in paris(compiled)
    stop(running)


def test_public_server_when_somebody_insists(compiled: Terminal) -> None:
    running = compiled.serve("--json", "--host", "0.0.0.0", "--allow-public-without-key")
    assert f"http://127.0.0.1:{compiled.port}/v1" in running.told
    assert "Paris" in paris(compiled)
    stop(running)


def test_without_an_artifact(terminal: Terminal) -> None:
    data = stop(terminal.serve("--json", "--policy", "never"))
    assert data["hit"] is False
    assert terminal.artifacts() == []


def test_only_what_is_compiled(compiled: Terminal) -> None:
    data = stop(compiled.serve("--json", "--policy", "cached-only"))
    assert data["hit"] is True
    words = ("serve", "p.yaml", "--policy", "cached-only")
    compiled.run(*words, "--set", "engine.max_model_len=64").expect(10, "no artifact")
    truncate(compiled.tree())
    compiled.run(*words).expect(12, "is damaged", "bytes instead of")
    assert compiled.quarantined() == []


def library(tree: Path) -> Path:
    return tree / "inductor" / "ab" / "cab2x7.main.so"


def truncate(tree: Path) -> None:
    rewrite(library(tree), lambda content: content[:1000], keep_time=False)


def flip(tree: Path) -> None:
    """Same size, same time: only loading tells."""
    rewrite(library(tree), lambda content: content[:-1] + b"!", keep_time=True)


def rewrite(path: Path, change: Callable[[bytes], bytes], *, keep_time: bool) -> None:
    """As a broken disk does: in place, so that the blob is damaged too."""
    facts = path.stat()
    path.chmod(0o644)
    path.write_bytes(change(path.read_bytes()))
    path.chmod(0o444)
    if keep_time:
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def lose(tree: Path) -> None:
    library(tree).unlink()


def edit_manifest(tree: Path) -> None:
    file = tree.parent / "manifest.json"
    file.chmod(0o644)
    file.write_text(file.read_text().replace('"size_bytes"', '"size"'))


@pytest.mark.parametrize("damage", [truncate, flip, lose, edit_manifest])
def test_damaged_artifact_is_replaced_once(compiled: Terminal, damage: Callable[[Path], None]) -> None:
    damage(compiled.tree())
    running = compiled.serve("--json")
    assert "quarantine" in running.told
    assert "Paris" in paris(compiled)
    data = stop(running)
    assert data["repaired"] is (damage is flip)
    assert len(compiled.quarantined()) == 1
    assert (compiled.store / "quarantine" / compiled.quarantined()[0] / "reason.json").is_file()
    compiled.run("cache", "verify").expect(0, "whole")
    compiled.run("cache", "list").expect(0, "in quarantine")
    assert stop(compiled.serve("--json"))["hit"] is True


def test_artifact_that_does_not_load_and_must_not_be_replaced(compiled: Terminal) -> None:
    flip(compiled.tree())
    compiled.run("serve", "p.yaml", "--policy", "cached-only").expect(12, "does not load", "--policy auto")


@pytest.mark.parametrize(
    ("stand_in", "code", "says"),
    [
        ("die-at-once=2", 40, "exited with code 2 in phase start"),
        ("die-in=load", 40, "told to die in load"),
        ("die-in=listen", 40, "told to die in listen"),
        ("oom", 21, "more memory"),
    ],
)
def test_server_that_never_is_ready(compiled: Terminal, stand_in: str, code: int, says: str) -> None:
    compiled.run("serve", "p.yaml", stand_in=stand_in).expect(code, says, "log")
    assert compiled.quarantined() == []
    assert len(compiled.logs()) == 1


def test_server_that_hangs_while_it_starts(compiled: Terminal) -> None:
    compiled.profile(f"server: {{port: {compiled.port}, ready_timeout_s: 1}}")
    compiled.run("serve", "p.yaml", stand_in="hang=load").expect(40, "not ready after 1 s", "load weights")


def test_argument_that_vllm_does_not_know(compiled: Terminal) -> None:
    words = ("serve", "p.yaml", "--policy", "never", "--", "--no-such-flag")
    compiled.run(*words).expect(40, "exited with code 2", "unrecognized arguments: --no-such-flag")


def test_artifact_that_twice_does_not_load(compiled: Terminal, tmp_path: Path) -> None:
    """The engine compiles and answers; when it serves it fails where it reads what was compiled."""
    python = compiled.folder / "python"
    python.write_text(
        f"#!/bin/sh\ncase \"$*\" in *'--port {compiled.port}'*) export STAND_IN=die-in=compile;; esac\n"
        f'exec {compiled.python} "$@"\n'
    )
    python.chmod(0o755)
    said = compiled.run("serve", "p.yaml", "--python", str(python)).expect(40, "told to die in compile")
    assert said.err.count("✓ compiled") + said.err.count("hit, nothing") == 2
    assert len(compiled.quarantined()) == 1

    # A whole artifact that was compiled for this very reason is not thrown away again at every start.
    said = compiled.run("serve", "p.yaml", "--python", str(python)).expect(
        40, "compiled anew for this reason"
    )
    assert "✓ compiled" not in said.err
    assert len(compiled.quarantined()) == 1


def test_artifact_that_was_made_from_something_else(compiled: Terminal) -> None:
    from msgspec import structs

    from neuronctl.artifacts.manifest import decode, encode

    file = next(compiled.store.glob("artifacts/*/manifest.json"))
    manifest = decode(file.read_bytes(), file)
    other = {**manifest.inputs, "python": "3.9.0"}
    file.write_bytes(encode(structs.replace(manifest, inputs=other)))
    for words in (("serve", "p.yaml"), ("compile", "p.yaml", "--check")):
        compiled.run(*words).expect(11, "python: 3.9.0 there", "compile --policy always p.yaml")
    compiled.run("compile", "p.yaml", "--policy", "always").expect(0)
    compiled.run("compile", "p.yaml", "--check").expect(0, "hit")


@pytest.fixture
def read_only(compiled: Terminal) -> Terminal:
    """The terminal's cache cannot be written, not even by root."""
    home = str(compiled.store_home)
    if os.geteuid():
        subprocess.run(["chmod", "-R", "a-w", home], check=True)
        return compiled
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    compiled.prefix = ("unshare", "-m", "sh", "-c", script, home)
    if subprocess.run([*compiled.prefix, "true"], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    return compiled


def test_cache_that_is_read_only(read_only: Terminal) -> None:
    running = read_only.serve("--json")
    assert "Paris" in paris(read_only)
    stop(running)
    told = read_only.run("serve", "p.yaml", "--set", "engine.max_model_len=64")
    told.expect(30, "The store cannot be used", "NEURONCTL_HOME")
    if os.geteuid():
        subprocess.run(["chmod", "-R", "u+w", str(read_only.store_home)], check=True)


@pytest.mark.parametrize("word", ["log:", "load compiled", "try it"])
def test_killed_leaves_no_process_and_a_whole_store(compiled: Terminal, word: str) -> None:
    running = compiled.start("serve", "p.yaml", stand_in="grandchildren,ready-after=0.3").until_told(word)
    running.signal(signal.SIGKILL)
    running.process.wait(10)
    until(lambda: not compiled.left(), "the end of all children", 15)
    assert stop(compiled.serve("--json"))["hit"] is True
    compiled.run("cache", "verify").expect(0, "whole")
    assert list((compiled.store_home / "run").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_at_any_moment(terminal: Terminal, number: int) -> None:
    """At moments that no word announces, from the import of neuronctl's own modules on."""
    for delay_s in (0.09, 0.2, 0.5, 1.0):
        running = terminal.start("serve", "p.yaml", stand_in="grandchildren,ready-after=0.3")
        with suppress(subprocess.TimeoutExpired):
            running.process.wait(delay_s)
        running.signal(number)
        running.process.wait(20)
        until(lambda: not terminal.left(), "the end of all children", 15)
        assert (
            running.process.returncode
            in {
                signal.SIGINT: (130, -2),
                signal.SIGTERM: (143, -15),
                signal.SIGKILL: (-9,),
            }[number]
        ), (delay_s, running.told)
        assert "Traceback" not in running.told, (delay_s, running.told)
    running = terminal.serve("--json")
    stop(running)
    terminal.run("cache", "verify").expect(0, "whole")
    assert terminal.staging() == []


def test_server_that_dies_after_it_was_ready_is_restarted(compiled: Terminal, tmp_path: Path) -> None:
    once = f"die-after-ready=0.7,only-first={tmp_path / 'first'}"
    running = compiled.serve("--json", stand_in=once).until_told("restart 1 of 5 in 1 s")
    until(lambda: "Paris" in paris(compiled), "the second server")
    until(lambda: running.told.count("ready after") == 2, "the story")
    assert stop(running)["restarts"] == 1


def test_server_that_always_dies_is_given_up(dying: Running) -> None:
    """Begun before the first test of this file."""
    error = dying.end().expect(40).envelope["errors"][0]
    assert "restarted 5 times in a row" in error["message"]
    assert "told to die" in json.dumps(error["details"])
