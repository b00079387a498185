"""`neuronctl doctor --bundle`: what is planted where people and programs leave secrets is not in the file."""

from __future__ import annotations

import codecs
import json
import os
import shutil
import signal
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.planted import SHAPES, digits, word
from tests.process.terminal import Terminal, until

ENCODINGS = {
    "utf-8": ("utf-8", b""),
    "utf-16-le": ("utf-16-le", codecs.BOM_UTF16_LE),
    "utf-16-be": ("utf-16-be", codecs.BOM_UTF16_BE),
    "utf-16-le-bare": ("utf-16-le", b""),
    "utf-16-be-bare": ("utf-16-be", b""),
    "utf-32-le": ("utf-32-le", codecs.BOM_UTF32_LE),
}
TEXT = "\n".join(f"{one.text}\nan ordinary line of {one.name}" for one in SHAPES) + "\n"
SECRETS = {secret for one in SHAPES for secret in one.secrets}
COMMIT, KEY = digits("commit", 40), digits("key", 32)


def members(path: Path) -> dict[str, bytes]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as packed:
            return {name: packed.read(name) for name in packed.namelist()}
    with tarfile.open(path) as tar:
        found = {}
        for one in tar:
            file = tar.extractfile(one)
            assert file is not None
            found[one.name] = file.read()
        return found


def leaks(told: dict[str, bytes]) -> list[tuple[str, str]]:
    """Each member and what of the planted is in it, in whatever encoding."""
    return [
        (name, secret)
        for name, content in told.items()
        for secret in SECRETS
        if any(secret.encode(codec) in content for codec in ("utf-8", "utf-16-le", "utf-16-be"))
    ]


def make_bundle(terminal: Terminal, *words: str, env: dict[str, str] | None = None) -> dict[str, bytes]:
    terminal.run("doctor", "--offline", "--bundle", "b.tar.gz", *words, env=env)
    return members(terminal.cwd / "b.tar.gz")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_logs(terminal: Terminal, encoding: str) -> None:
    logs = terminal.store_home / "logs"
    logs.mkdir(parents=True)
    codec, mark = ENCODINGS[encoding]
    (logs / "a.log").write_bytes(mark + TEXT.encode(codec))
    told = make_bundle(terminal, "--check", "store")
    assert leaks(told) == []
    shown = told["logs/a.log"].decode()
    missing = [one.name for one in SHAPES if f"an ordinary line of {one.name}" not in shown]
    assert missing == []


@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_logs_that_are_cut(terminal: Terminal, start: int) -> None:
    logs = terminal.store_home / "logs"
    logs.mkdir(parents=True)
    long = "a line that is of no use\n" * 8000
    for encoding, (codec, mark) in ENCODINGS.items():
        (logs / f"{encoding}.log").write_bytes(mark + (long + TEXT + "x" * start).encode(codec))
    told = make_bundle(terminal, "--check", "store")
    assert leaks(told) == []
    for encoding in ENCODINGS:
        assert b"of no use\n" in told[f"logs/{encoding}.log"]
        assert b"bytes are left out" in told[f"logs/{encoding}.log"]


def test_a_log_of_two_encodings(terminal: Terminal) -> None:
    logs = terminal.store_home / "logs"
    logs.mkdir(parents=True)
    text = "".join(f"{one.text}\n" for one in SHAPES if "\0" not in one.text)
    wide, narrow = text.encode("utf-16-le"), text.encode()
    (logs / "narrow-first.log").write_bytes(narrow + wide + narrow)
    (logs / "wide-first.log").write_bytes(
        codecs.BOM_UTF16_LE + wide + narrow + b" " * (len(narrow) % 2) + wide
    )
    assert leaks(make_bundle(terminal, "--check", "store")) == []


def test_what_cannot_be_looked_through_is_left_out(terminal: Terminal) -> None:
    logs = terminal.store_home / "logs"
    logs.mkdir(parents=True)
    import gzip
    import random

    (logs / "a.log.gz").write_bytes(gzip.compress(TEXT.encode()))
    (logs / "core").write_bytes(random.Random(1).randbytes(20_000))
    told = make_bundle(terminal, "--check", "store")
    assert not [name for name in told if name.startswith("logs/")]
    assert b"a.log.gz: it is packed with gzip" in told["contents.txt"]
    assert b"core: it is no text" in told["contents.txt"]


def test_everything_else_that_goes_into_a_bundle(compiled: Terminal) -> None:
    reports = compiled.store_home / "reports"
    reports.mkdir()
    (reports / "neuronctl-1.txt").write_text(TEXT)
    manifest = compiled.tree().parent / "manifest.json"
    data = json.loads(manifest.read_bytes())
    texts = {one.name: one.text for one in SHAPES}
    data["inputs"] |= {"said": list(texts.values()), "by name": texts, "env": {"MY_TOKEN": word("env")}}
    data["inputs"]["argv"] = ["mysql", "-uroot", f"-p{word('argv')}"]
    manifest.write_text(json.dumps(data))
    quarantined = compiled.store / "quarantine" / f"{KEY}.20260101T000000Z"
    quarantined.mkdir(parents=True)
    (quarantined / "reason.json").write_text(json.dumps({"key": KEY, "reason": TEXT, "problems": []}))
    compiled.profile(
        f"description: {json.dumps(TEXT[:20000])}\nenv: {{HF_TOKEN: {word('env')}}}\n"
        f"engine: {{api_key: [{word('argv')}]}}\n"
    )
    env = {f"VLLM_X{number}": one.text.replace("\0", " ") for number, one in enumerate(SHAPES)}
    told = make_bundle(compiled, "p.yaml", env={**env, "MY_TOKEN": word("env")})
    extra = {word("env"), word("argv")}
    assert leaks(told) == []
    assert not [(name, one) for name, content in told.items() for one in extra if one.encode() in content]


def test_what_helps_is_still_readable(compiled: Terminal) -> None:
    """Keys of artifacts, commits, hashes, versions, paths and numbers."""
    key = compiled.artifacts()[0]
    logs = compiled.store_home / "logs"
    logs.mkdir(exist_ok=True)
    ordinary = (Path(__file__).parents[1] / "data" / "ordinary.log").read_text()
    (logs / "a.log").write_text(f"{ordinary}key: {key}\ncommit {COMMIT}\n")
    manifest = json.loads((compiled.tree().parent / "manifest.json").read_bytes())
    told = make_bundle(compiled, "p.yaml")
    assert told["logs/a.log"].decode() == f"{ordinary}key: {key}\ncommit {COMMIT}\n"
    shown = json.loads(told[f"manifests/{key}.json"])
    assert shown["key"] == key
    assert shown["files"] == manifest["files"]
    assert shown["built"] == manifest["built"]
    doctor = json.loads(told["doctor.json"])
    (artifact,) = (one for one in doctor["data"]["checks"] if one["name"] == "artifact")
    assert artifact["data"]["key"] == key
    assert str(compiled.store) in told["doctor.json"].decode()


# Where it is written to


def left(terminal: Terminal) -> list[str]:
    """What is in the working folder beside the profile."""
    return sorted(path.name for path in terminal.cwd.iterdir() if path.name != "p.yaml")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("b.zip", ("exists already", "rm ")),
        ("folder.zip", ("is a folder", "name a file in it: --bundle ")),
        ("dangling.zip", ("exists already",)),
        ("folder.zip/", ("is a folder",)),
        (".", ("is a folder",)),
        ("missing/b.zip", ("is no folder", "mkdir -p ")),
        ("b.zip/c.zip", ("is no folder",)),
        ("b.txt", ("names no kind of archive", "b.txt.tar.gz")),
        ("-", ("cannot be written to stdout", "--bundle ")),
        ("/dev/stdout", ("names no kind of archive",)),
        ("", ("is a folder", "--bundle ")),
    ],
)
def test_names_that_cannot_be(terminal: Terminal, name: str, words: tuple[str, ...]) -> None:
    (terminal.cwd / "b.zip").write_text("mine")
    (terminal.cwd / "folder.zip").mkdir()
    (terminal.cwd / "dangling.zip").symlink_to("nowhere")
    before = left(terminal)
    terminal.run("doctor", "--check", "store", "--bundle", name).expect(2, *words)
    assert left(terminal) == before
    assert (terminal.cwd / "b.zip").read_text() == "mine"


@pytest.fixture
def small_disk(terminal: Terminal) -> Iterator[Path]:
    """A disk of 64 KiB in the working folder."""
    disk = terminal.cwd / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount command")
@pytest.mark.parametrize("trouble", ["full", "read-only"])
@pytest.mark.parametrize("name", ["b.zip", "b.tar.gz"])
def test_a_disk_that_refuses(terminal: Terminal, small_disk: Path, trouble: str, name: str) -> None:
    logs = terminal.store_home / "logs"
    logs.mkdir(parents=True)
    (logs / "a.log").write_text("\n".join(digits(str(number), 100) for number in range(1900)))
    if trouble == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    words = {"full": "no space is left there", "read-only": "it is read-only there"}[trouble]
    said = terminal.run("doctor", "--check", "store", "--bundle", f"disk/{name}", "--json").expect(30)
    (error,) = said.envelope["errors"]
    assert (error["code"], words in error["message"]) == ("bundle.not-written", True), error
    assert error["fix"].startswith("name a file")
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_in_the_middle_leaves_nothing(terminal: Terminal, number: signal.Signals) -> None:
    """While it waits for a program that hangs, and the file has been begun or not."""
    tools = terminal.folder / "tools"
    tools.mkdir()
    begun = terminal.folder / "begun"
    (tools / "dmesg").write_text(f"#!/bin/sh\n: > '{begun}'\nexec sleep 600\n")
    (tools / "dmesg").chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    running = terminal.start("doctor", "--check", "store", "--bundle", "b.zip", env={"PATH": path})
    until(begun.exists, "dmesg to be asked")
    running.signal(number)
    said = running.end()
    assert said.code == (130 if number == signal.SIGINT else 143)
    assert left(terminal) == []


def test_a_stop_while_it_is_written_leaves_no_half_file(terminal: Terminal) -> None:
    """The file is there as a whole, or not at all."""
    logs = terminal.store_home / "logs"
    logs.mkdir(parents=True)
    for number in range(10):
        (logs / f"{number}.log").write_text("".join(f"{digits(f'{number}/{i}', 99)}\n" for i in range(1900)))

    def begun() -> bool:
        return any(terminal.cwd.glob(".neuronctl-bundle-*"))

    for name in ("a.tar.gz", "b.zip"):
        running = terminal.start("doctor", "--check", "store", "--bundle", name)
        process = running.process
        until(lambda: begun() or process.poll() is not None, "the file to be begun")  # noqa: B023
        running.signal(signal.SIGINT)
        said = running.end()
        if (terminal.cwd / name).exists():
            assert "doctor.json" in members(terminal.cwd / name)
        else:
            assert said.code == 130
        assert not begun()
