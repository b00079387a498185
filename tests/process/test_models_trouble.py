"""Models from the hub where something is wrong: files with other content, settings, networks, pauses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.hub.server import Hub
from tests.process.hub_terminal import (
    ID,
    cache_of,
    connect,
    contents,
    fetched,
    refused,
    small,
    snapshot,
    with_older_client,
    write_profile,
)
from tests.process.terminal import Terminal


@pytest.fixture
def hub() -> Iterator[Hub]:
    """An empty hub."""
    with Hub(tokens={"hf_of_a_reader": "reader"}) as one:
        yield one


@pytest.fixture(params=["client that is installed", "client of the Neuron stacks"])
def online(request: pytest.FixtureRequest, terminal: Terminal, hub: Hub) -> Terminal:
    """A terminal that reaches the hub with either client, with a profile of a model on it."""
    connect(terminal, hub)
    write_profile(terminal)
    return terminal if request.param == "client that is installed" else with_older_client(terminal)


def flip(path: Path, place: int) -> None:
    """Change one byte of a file."""
    with path.open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([byte ^ 1]))


# Content


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_small_files_are_compared_before_they_are_visible(online: Terminal, hub: Hub, name: str) -> None:
    repo = hub.add(small())
    file = repo.head.files[name]
    hub.fail(f"*/{name}", flip_at=7, times=None)
    refused(online.run("models", "show", ID), name, "is not what the hub says it is")
    assert not (snapshot(online, repo.sha) / name).exists()
    assert not list((cache_of(online) / "blobs").glob(f"{file.etag}*"))
    hub.heal()
    hub.fail(f"*/{name}", flip_at=7, times=1)
    online.run("models", "show", ID).expect(0)
    assert contents(snapshot(online, repo.sha))[name] == file.blob.read(0, file.blob.size)


def test_what_became_wrong_in_the_cache_is_fetched_again(online: Terminal, hub: Hub) -> None:
    repo = hub.add(small())
    online.run("models", "download", ID).expect(0)
    folder = snapshot(online, repo.sha)
    before = contents(folder)
    names = ("tokenizer_config.json", "generation_config.json")
    for name in names:
        flip(folder / name, 7)
    (folder / names[1]).unlink()  # its blob stays, and is not to be linked again
    online.run("models", "download", ID).expect(0, f"{names[0]} is not here as the hub has it")
    assert contents(folder) == before


def test_weights_with_a_damaged_header_are_mended_by_what_the_error_says(online: Terminal, hub: Hub) -> None:
    repo = hub.add(small(shards=2))
    online.run("models", "download", ID).expect(0)
    folder = snapshot(online, repo.sha)
    before = contents(folder)
    flip(folder / "model-00002-of-00002.safetensors", 8)
    command = f"neuronctl models download {ID} --revision {repo.sha}"
    refused(online.run("compile", "p.yaml"), "model-00002-of-00002.safetensors", command)
    received = fetched(hub)
    online.run(*command.split()[1:]).expect(0, "model-00002-of-00002.safetensors is not here as the hub has")
    assert contents(folder) == before
    assert fetched(hub) - received < 300_000, "the other shard was fetched too"
    online.run("compile", "p.yaml").expect(0)


def test_one_byte_of_the_weights_is_found_by_verify(online: Terminal, hub: Hub) -> None:
    repo = hub.add(small())
    online.run("models", "download", ID, "--verify").expect(0, "all 5 files are what the hub says")
    folder = snapshot(online, repo.sha)
    before = contents(folder)
    flip(folder / "model.safetensors", 300_000)
    online.run("models", "download", ID).expect(0)
    assert contents(folder) != before
    online.run("models", "download", ID, "--verify").expect(0, "model.safetensors is not here as the hub has")
    assert contents(folder) == before
    received = fetched(hub)
    online.run("models", "download", ID, "--verify").expect(0, "all 5 files are what the hub says")
    assert fetched(hub) == received


# Settings


@pytest.mark.parametrize(
    ("setting", "said", "code"),
    [
        ({"HF_HUB_DOWNLOAD_TIMEOUT": "x"}, "HF_HUB_DOWNLOAD_TIMEOUT='x' is no whole number", "bad-setting"),
        ({"HF_HUB_ETAG_TIMEOUT": ""}, "HF_HUB_ETAG_TIMEOUT='' is no whole number", "bad-setting"),
        ({"HF_ENDPOINT": "garbage"}, "HF_ENDPOINT=garbage is no address", "bad-setting"),
        ({"HF_ENDPOINT": "http://[::1"}, "HF_ENDPOINT=http://[::1 is no address", "bad-setting"),
        ({"HF_ENDPOINT": "ftp://x"}, "HF_ENDPOINT=ftp://x is no address", "bad-setting"),
        ({"HF_ENDPOINT": "http://u:p4ssW@127.0.0.1:1"}, "u:(hidden)@127.0.0.1:1 refuses", "download-failed"),
        ({"HTTP_PROXY": "http://[::1"}, "HTTP_PROXY=http://[::1 is no address of a proxy", "bad-setting"),
        ({"HTTP_PROXY": "ftp://x"}, "HTTP_PROXY=ftp://x is no address of a proxy", "bad-setting"),
        ({"HF_TOKEN": "hf_ünï"}, "the token that is set cannot be one", "bad-token"),
        ({"HF_HUB_CACHE": "/proc/nope"}, "/proc/nope", "download-failed"),
        ({"HF_HOME": "{file}"}, "cannot be written: Not a directory", "download-failed"),
    ],
    ids=lambda value: "=".join(*value.items()) if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_setting_that_cannot_be_right_is_named(
    online: Terminal, hub: Hub, setting: dict[str, str], said: str, code: str
) -> None:
    hub.add(small())
    file = online.cwd / "a file"
    file.touch()
    env = {name: value.format(file=file) for name, value in setting.items()}
    env |= {"NO_PROXY": ""} if "HTTP_PROXY" in env else {}
    for command in (("models", "show", ID), ("models", "download", ID), ("plan", "p.yaml")):
        answer = refused(online.run(*command, env=env), said)
        assert len(answer.err.splitlines()) <= 4, answer.err
        assert "p4ssW" not in answer.err
        assert "ünï" not in answer.err
    failed = online.run("plan", "p.yaml", "--json", env=env).expect(41).envelope
    assert failed["errors"][0]["code"] == f"model.{code}"


def test_certificates_that_are_not_there(terminal: Terminal, hub: Hub) -> None:
    connect(terminal, hub)
    hub.add(small())
    env = {"SSL_CERT_FILE": "/nope"}
    refused(terminal.run("models", "show", ID, env=env), "SSL_CERT_FILE=/nope is not there")
    env = {"REQUESTS_CA_BUNDLE": "/nope", "HF_ENDPOINT": "https://127.0.0.1:1"}
    refused(with_older_client(terminal).run("models", "show", ID, env=env), "REQUESTS_CA_BUNDLE=/nope is not")


def test_a_number_that_is_none_is_told_where_the_hub_is_not_asked(terminal: Terminal) -> None:
    env = {"HF_HUB_DOWNLOAD_TIMEOUT": "x"}
    refused(terminal.run("models", "list", env=env), "HF_HUB_DOWNLOAD_TIMEOUT='x'")


@pytest.mark.parametrize("revision", ["..", ".", "./", "", "main\nx", "a b", "x.lock", "-x", "a..b"])
def test_what_git_takes_for_no_revision(terminal: Terminal, hub: Hub, revision: str) -> None:
    connect(terminal, hub)
    hub.add(small())
    for command in ("show", "download"):
        refused(terminal.run("models", command, ID, f"--revision={revision}"), "cannot be a revision")
    assert not hub.requests()
    assert not cache_of(terminal).exists()


# Networks and rights


class _LoginPage(BaseHTTPRequestHandler):
    """What a network sends for whatever is asked, until somebody has logged in."""

    body = b"<html>Log in</html>"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(self.body)

    do_HEAD = do_GET  # noqa: N815 (the library's name)

    def log_message(self, *args: object) -> None:
        """Nowhere."""


@pytest.mark.parametrize(
    "body", [b"<html>Log in</html>", b'{"ok": true}', b'["a"]', b'{"id": "a", "sha": "x"}']
)
def test_a_network_with_a_login_page(online: Terminal, body: bytes) -> None:
    page = type("Page", (_LoginPage,), {"body": body})
    with ThreadingHTTPServer(("127.0.0.1", 0), page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
        said = refused(online.run("models", "show", ID, env=env), env["HF_ENDPOINT"], "log in with a browser")
        server.shutdown()
    assert "is no answer of a hub" in said.err


def test_a_model_that_is_disabled_and_a_hub_that_wants_a_token(online: Terminal, hub: Hub) -> None:
    hub.add(small(disabled=True))
    for env in ({}, {"HF_TOKEN": "hf_of_a_reader"}):
        refused(online.run("models", "show", ID, env=env), "org/small is disabled on the hub")
    hub.add(small("org/other"))
    for status in (401, 403):
        hub.fail("/api/models/*", status=status, times=None)
        refused(online.run("models", "show", "org/other"), f"without a token ({status})", "set HF_TOKEN")
        said = refused(online.run("models", "show", "org/other", env={"HF_TOKEN": "hf_of_a_reader"}))
        assert "the token that is set" in said.err
        hub.heal()


# Pauses


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("/api/models/*", ("plan", "p.yaml")),
        ("*/config.json", ("plan", "p.yaml")),
        ("/cdn/*", ("plan", "p.yaml")),
        ("/cdn/*", ("models", "download", ID)),
    ],
)
def test_a_pause_that_the_hub_asks_for_is_told(
    online: Terminal, hub: Hub, path: str, command: tuple[str, ...]
) -> None:
    hub.add(small())
    trouble = hub.fail(path, status=429, retry_after_s=3)
    said = online.run(*command).expect(0, "the hub asks to wait 3 s (429)")
    assert said.err.count("asks to wait") == 1
    assert trouble.happened == 1


def test_a_line_that_breaks_off_every_moment_brings_all_in_the_end(online: Terminal, hub: Hub) -> None:
    repo = hub.add(small(weight_bytes=900_000))
    hub.fail("/cdn/*", cut_after=200_000, times=None)
    online.run("models", "download", ID).expect(0)
    blob = repo.head.files["model.safetensors"].blob
    assert contents(snapshot(online, repo.sha))["model.safetensors"] == blob.read(0, blob.size)


def test_a_line_that_goes_silent_is_told(terminal: Terminal, hub: Hub) -> None:
    connect(terminal, hub)
    hub.add(small())
    hub.fail("/cdn/*", stall_after=100_000)
    env = {"HF_HUB_DOWNLOAD_TIMEOUT": "7"}
    said = terminal.run("models", "download", ID, env=env).expect(0, "nothing came for 5 s")
    assert "left, nothing" not in said.err
