"""The stand-in hub, with the real client of the Hugging Face hub as its judge."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.hub.repository import Repository
from tests.hub.sample import make_model_files, make_safetensors
from tests.hub.server import Hub, Token

PATIENCE_S = 60.0
# What the client reads at a time; what of it came before a connection ended is lost.
CLIENT_CHUNK_BYTES = 10 * 1024 * 1024
TOKENS: dict[str, str | Token] = {
    "hf_alice": "alice",
    "hf_bob": "bob",
    "hf_fine": Token("alice", reads_gated=False),
}

PREAMBLE = """
import hashlib, json, os, sys, time
from pathlib import Path
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_download, hf_hub_url, snapshot_download

def fault_of(call):
    'The names of the classes of what a call raises, and what it says.'
    try:
        call()
    except Exception as error:
        return [[kind.__name__ for kind in type(error).__mro__], str(error)]
    return [[], '']

def as_named(path):
    'Whether a file in the cache has the content by whose SHA-256 it is named.'
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() == os.path.basename(os.path.realpath(path))

api, told = HfApi(), {}
"""


class Client:
    """The real client in a child process, with a home of its own."""

    def __init__(self, hub: Hub, home: Path) -> None:
        self.home = home
        self.cache = home / ".cache" / "huggingface" / "hub"
        self.env = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def tell(self, code: str, **env: str) -> Any:
        """Run some lines that fill the dict `told`, and give it."""
        script = f"{PREAMBLE}\n{textwrap.dedent(code)}\nprint(json.dumps(told))"
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**self.env, **env},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


def make_client(hub: Hub, tmp_path: Path) -> Client:
    home = tmp_path / "home"
    home.mkdir()
    return Client(hub, home)


@pytest.fixture
def small() -> Repository:
    return Repository("org/small", make_model_files(300_000))


@pytest.fixture
def plain(small: Repository) -> Iterator[http.client.HTTPConnection]:
    """A connection to a hub with the small model, without a client's cleverness."""
    with Hub(small) as hub:
        connection = http.client.HTTPConnection(urlsplit(hub.endpoint).netloc, timeout=5)
        yield connection
        connection.close()


def get(
    connection: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    return response, response.read()


def test_the_client_downloads_into_its_cache_and_reads_it_again_when_the_hub_is_down(
    small: Repository, tmp_path: Path
) -> None:
    first = small.sha
    small.tag("v1")
    second = small.commit({"config.json": '{"model_type": "llama"}'}, delete=["README.md"])
    with Hub(small, tokens=TOKENS) as hub:
        client = make_client(hub, tmp_path)
        told = client.tell(
            """
            told["main"] = snapshot_download("org/small")
            told["tag"] = snapshot_download("org/small", revision="v1", token="hf_alice")
            url = hf_hub_url("org/small", "model.safetensors")
            meta = get_hf_file_metadata(url)
            told["meta"] = [meta.commit_hash, meta.etag, meta.size, meta.location]
            told["small"] = get_hf_file_metadata(hf_hub_url("org/small", "config.json")).etag
            """
        )
        blobs = {file.name for file in (client.cache / "models--org--small" / "blobs").iterdir()}
        weights = small.head.files["model.safetensors"]
        for name, sha in (("main", second), ("tag", first)):
            snapshot = Path(told[name])
            assert snapshot == client.cache / "models--org--small" / "snapshots" / sha
            commit = small.find(sha)
            assert commit is not None
            assert {path.name for path in snapshot.iterdir()} == set(commit.files)
            for path, file in commit.files.items():
                assert (snapshot / path).read_bytes() == file.blob.read(0, file.blob.size)
                assert os.path.basename(os.path.realpath(snapshot / path)) == file.etag
                assert file.etag in blobs
        assert (client.cache / "models--org--small" / "refs" / "main").read_text() == second
        assert told["meta"][:3] == [second, weights.blob.sha256, weights.blob.size]
        assert told["meta"][3].startswith(hub.protocol.cdn)
        assert told["small"] == small.head.files["config.json"].blob.git_id
        assert hub.sent_bytes("*/model.safetensors", host="cdn") == weights.blob.size, "the tag has the same"
        assert any(request.authorized for request in hub.requests("*/README.md"))
        assert not any(request.authorized for request in hub.requests(host="cdn"))
        with hub.down():
            again = client.tell('told["main"] = snapshot_download("org/small")', HF_HUB_OFFLINE="1")
        assert again == {"main": told["main"]}


def test_the_client_learns_of_models_without_downloading_them(small: Repository, tmp_path: Path) -> None:
    weights = make_safetensors({"w": ("BF16", (1000, 2000)), "s": ("F32", (7,))})
    large = Repository("org/large", {**make_model_files(), "model.safetensors": weights})
    large.commit({"extra/notes/a.txt": "a", "extra/b.txt": "b"}, title="Notes")
    large.branch("float16", large.sha)
    large.branch("refs/pr/1")
    sharded = Repository("org/sharded", make_model_files(60_000, shards=3))
    old = Repository("gpt2", make_model_files(1000))
    canonical = Repository("bert", make_model_files(1000), about={"downloads": 7, "tags": ["old"]})
    # Pages of three: whatever has more of anything is told on several.
    with Hub(small, large, sharded, old, canonical, tokens=TOKENS, page_size=3) as hub:
        hub.rename("gpt2", "newer/gpt2")
        told = make_client(hub, tmp_path).tell(
            """
            info = api.model_info("org/large", files_metadata=True)
            counts = info.safetensors
            told["info"] = [info.id, info.sha, counts.parameters, counts.total, info.gated]
            told["config"] = info.config
            told["files"] = {
                one.rfilename: [one.size, one.blob_id, one.lfs and [one.lfs.sha256, one.lfs.pointer_size]]
                for one in info.siblings
            }
            some = api.model_info("bert", expand=["downloads", "tags"])
            told["expanded"] = [some.id, some.downloads, some.tags, some.sha, some.siblings]
            told["bad expand"] = fault_of(lambda: api.model_info("bert", expand=["nonsense"]))
            refs = api.list_repo_refs("org/large", include_pull_requests=True)
            refs = refs.branches + refs.pull_requests
            told["refs"] = [[ref.name, ref.ref, ref.target_commit] for ref in refs]
            told["commits"] = [commit.title for commit in api.list_repo_commits("org/large")]
            tree = list(api.list_repo_tree("org/large", recursive=True, expand=True))
            told["tree"] = [[entry.path, entry.last_commit.title] for entry in tree]
            folder = api.list_repo_tree("org/large", "extra", revision="float16")
            told["folder"] = [entry.path for entry in folder]
            paths = api.get_paths_info("org/large", ["config.json", "extra", "missing"], expand=True)
            told["paths"] = [[type(entry).__name__, entry.path] for entry in paths]
            told["all"] = sorted(model.id for model in api.list_models())
            told["found"] = [model.id for model in api.list_models(search="LARGE")]
            told["limited"] = len(list(api.list_models(limit=4)))
            told["most"] = next(api.list_models(sort="downloads")).id
            told["org"] = sorted(model.id for model in api.list_models(author="org", full=True))
            told["who"] = api.whoami(token="hf_alice")["name"]
            told["renamed"] = [api.model_info("gpt2").id, Path(hf_hub_download("gpt2", "config.json")).name]
            told["parameters"] = api.get_safetensors_metadata("org/large").parameter_count
            header = api.parse_safetensors_file_metadata("org/large", "model.safetensors")
            told["header"] = list(header.tensors)
            told["shards"] = sorted(api.get_safetensors_metadata("org/sharded").files_metadata)
            """
        )
        asked = hub.requests("*/model.safetensors", host="cdn")
    counts = {"BF16": 2_000_000, "F32": 7}
    assert told["info"] == ["org/large", large.sha, counts, 2_000_007, False]
    assert told["config"]["architectures"] == ["LlamaForCausalLM"]
    assert told["files"] == {
        path: [
            file.blob.size,
            file.git_id,
            [file.blob.sha256, len(file.blob.pointer)] if file.lfs else None,
        ]
        for path, file in large.head.files.items()
    }
    assert told["expanded"] == ["bert", 7, ["old"], None, None]
    assert told["bad expand"][0][0] == "BadRequestError"
    assert told["refs"] == [
        ["float16", "refs/heads/float16", large.sha],
        ["main", "refs/heads/main", large.sha],
        ["1", "refs/pr/1", large.sha],
    ]
    assert told["commits"] == ["Notes", "initial commit"]
    assert dict(told["tree"])["extra/notes"] == "Notes"
    assert dict(told["tree"])["config.json"] == "initial commit"
    assert len(told["tree"]) == len(large.head.files) + 2
    assert told["folder"] == ["extra/b.txt", "extra/notes"]
    assert told["paths"] == [["RepoFile", "config.json"], ["RepoFolder", "extra"]]
    assert told["all"] == ["bert", "newer/gpt2", "org/large", "org/sharded", "org/small"]
    assert (told["found"], told["limited"], told["most"]) == (["org/large"], 4, "bert")
    assert told["org"] == ["org/large", "org/sharded", "org/small"]
    assert told["who"] == "alice"
    assert told["renamed"] == ["newer/gpt2", "config.json"]
    assert told["parameters"] == counts and told["header"] == ["w", "s"]
    assert len(told["shards"]) == 3
    assert [(request.range, request.status) for request in asked] == [("bytes=0-100000", 206)] * 2
    assert sum(request.sent for request in asked) == 2 * 100_001, "the header, not the 4 MB of weights"


def test_what_the_hub_refuses_becomes_the_exceptions_that_the_client_has_for_it(
    small: Repository, tmp_path: Path
) -> None:
    gated = Repository("org/gated", make_model_files(1000), gated="manual", readers={"alice"})
    private = Repository("org/private", make_model_files(1000), private=True, readers={"alice"})
    disabled = Repository("org/disabled", make_model_files(1000), disabled=True)
    with Hub(small, gated, private, disabled, tokens=TOKENS) as hub:
        client = make_client(hub, tmp_path)
        told = client.tell(
            """
            info, load = api.model_info, hf_hub_download
            for name, call in {
                "unknown": lambda: info("org/none"),
                "unknown, who asks is known": lambda: info("org/none", token="hf_bob"),
                "unknown file's": lambda: load("org/none", "config.json"),
                "private": lambda: info("org/private"),
                "private, another's": lambda: info("org/private", token="hf_bob"),
                "private, mine": lambda: info("org/private", token="hf_alice"),
                "gated, told of": lambda: info("org/gated"),
                "gated": lambda: load("org/gated", "config.json"),
                "gated snapshot": lambda: snapshot_download("org/gated"),
                "gated, not granted": lambda: load("org/gated", "config.json", token="hf_bob"),
                "gated, fine-grained": lambda: load(
                    "org/gated", "config.json", token="hf_fine", force_download=True
                ),
                "gated, granted": lambda: load("org/gated", "config.json", token="hf_alice"),
                "auth check": lambda: api.auth_check("org/gated"),
                "disabled": lambda: info("org/disabled"),
                "revision": lambda: info("org/small", revision="none"),
                "revision of a file": lambda: load("org/small", "config.json", revision="none"),
                "entry": lambda: load("org/small", "none.json"),
                "entry of the tree": lambda: list(api.list_repo_tree("org/small", "none")),
                "bad token": lambda: info("org/small", token="hf_none"),
                "who am I": lambda: api.whoami(token="hf_none"),
            }.items():
                told[name] = fault_of(call)
            """
        )
    absent = client.cache / "models--org--small" / ".no_exist" / small.sha / "none.json"
    assert absent.exists(), "the error told of which commit it speaks"
    raised = {name: kinds[:1] for name, (kinds, _) in told.items()}
    for name in ("unknown", "unknown, who asks is known", "unknown file's", "private", "private, another's"):
        assert raised[name] == ["RepositoryNotFoundError"], told[name]
    for name in ("private, mine", "gated, told of", "gated, granted"):
        assert raised[name] == [], told[name]
    for name in ("gated", "gated snapshot", "gated, not granted", "auth check"):
        assert raised[name] == ["GatedRepoError"], told[name]
    assert "ask for access" in told["gated, not granted"][1]
    assert "Force download failed" in told["gated, fine-grained"][1]
    assert raised["disabled"] == ["DisabledRepoError"]
    assert raised["revision"] == raised["revision of a file"] == ["RevisionNotFoundError"]
    assert "EntryNotFoundError" in told["entry"][0] and "EntryNotFoundError" in told["entry of the tree"][0]
    assert raised["bad token"] == ["HfHubHTTPError"]
    assert "Invalid credentials in Authorization header" in told["bad token"][1]
    assert "HTTPError" in told["who am I"][0] and "Invalid user token" in told["who am I"][1]


def test_faults_reach_the_client_as_they_would_on_a_bad_day(tmp_path: Path) -> None:
    large = os.urandom(CLIENT_CHUNK_BYTES // 10) * 25
    names = ("cut", "again", "stall", "flip", "short", "limited", "unavailable")
    files = {f"{name}.bin": f"weights of {name}".encode() for name in names}
    files.update({"cut.bin": large, "again.bin": large[1:], "stall.bin": large[2:]})
    repo = Repository("org/bad-day", files)
    with Hub(repo) as hub:
        hub.fail("/cdn/*/cut.bin", cut_after=CLIENT_CHUNK_BYTES * 2 + 1000)
        hub.fail("/cdn/*/again.bin", cut_after=CLIENT_CHUNK_BYTES + 1000)
        hub.fail("/cdn/*/again.bin", ignore_range=True)
        hub.fail("/cdn/*/stall.bin", stall_after=CLIENT_CHUNK_BYTES + 1000)
        hub.fail("*/flip.bin", flip_at=-1)
        hub.fail("*/short.bin", shorter_by=10)
        hub.fail("/cdn/*/limited.bin", status=429, retry_after_s=1)
        unavailable = hub.fail("*/unavailable.bin", status=503, method="GET", times=None)
        told = make_client(hub, tmp_path).tell(
            """
            for name in "cut again stall flip".split():
                told[name] = as_named(hf_hub_download("org/bad-day", name + ".bin"))
            begin = time.monotonic()
            told["limited"] = as_named(hf_hub_download("org/bad-day", "limited.bin"))
            told["waited"] = time.monotonic() - begin
            for name in "short unavailable".split():
                told[name] = fault_of(lambda: hf_hub_download("org/bad-day", name + ".bin"))
            """,
            HF_HUB_DOWNLOAD_TIMEOUT="2",
        )
        ranges = {name: [one.range for one in hub.requests(f"/cdn/*/{name}.bin")] for name in names}
        statuses = {name: [one.status for one in hub.requests(f"/cdn/*/{name}.bin")] for name in names}
        assert unavailable.happened == 1
    # The client reads by chunks, and goes on after the last whole one.
    assert told["cut"] and ranges["cut"] == [None, f"bytes={CLIENT_CHUNK_BYTES * 2}-"]
    assert statuses["cut"] == [200, 206]
    assert told["again"] and ranges["again"] == [None, f"bytes={CLIENT_CHUNK_BYTES}-"]
    assert statuses["again"] == [200, 200], "the range was ignored, and the client begins anew"
    assert told["stall"] and ranges["stall"] == [None, f"bytes={CLIENT_CHUNK_BYTES}-"]
    assert told["flip"] is False, "the client compares sizes only, and keeps a wrong content under its name"
    assert told["limited"] and 1 <= told["waited"] < 10 and statuses["limited"] == [429, 200]
    assert "OSError" in told["short"][0] and "Consistency check failed" in told["short"][1]
    assert "HfHubHTTPError" in told["unavailable"][0] and "503" in told["unavailable"][1]


def test_ranges_and_lengths_are_those_of_http(plain: http.client.HTTPConnection, small: Repository) -> None:
    path = f"/api/resolve-cache/models/org/small/{small.sha}/config.json"
    file = small.head.files["config.json"]
    content, size = file.blob.read(0, file.blob.size), file.blob.size
    for wanted, status, part in (
        (None, 200, content),
        ("bytes=0-9", 206, content[:10]),
        ("bytes=5-", 206, content[5:]),
        ("bytes=-7", 206, content[-7:]),
        (f"bytes=10-{size + 100}", 206, content[10:]),
        (f"bytes={size}-", 416, b""),
        ("bytes=0-1,4-5", 200, content),
        ("lines=1-2", 200, content),
    ):
        response, body = get(plain, path, **({"Range": wanted} if wanted else {}))
        assert (response.status, body) == (status, part), wanted
        assert response.headers["Content-Length"] == str(len(part))
        if status == 206:
            begin = size - 7 if wanted == "bytes=-7" else content.index(part)
            assert response.headers["Content-Range"] == f"bytes {begin}-{begin + len(part) - 1}/{size}"
        if status == 416:
            assert response.headers["Content-Range"] == f"bytes */{size}"
    first = plain.sock
    response, body = get(plain, f"/org/small/resolve/{small.sha}/config.json", "HEAD")
    assert (response.status, body) == (307, b"")
    assert response.headers["Location"].startswith(path)
    response, body = get(plain, "/org/small/resolve/main/model.safetensors", "HEAD")
    weights = small.head.files["model.safetensors"]
    assert (response.status, response.headers["X-Linked-Size"]) == (302, str(weights.blob.size))
    assert response.headers["X-Linked-Etag"] == f'"{weights.blob.sha256}"'
    assert response.headers["X-Repo-Commit"] == small.sha
    assert not [name for name in response.headers if name.lower().startswith("x-xet")]
    assert plain.sock is first, "one connection for all of them"
    cdn = urlsplit(response.headers["Location"])
    elsewhere = http.client.HTTPConnection(cdn.netloc, timeout=5)
    response, body = get(elsewhere, f"{cdn.path}?{cdn.query}")
    assert hashlib.sha256(body).hexdigest() == weights.blob.sha256
    assert get(elsewhere, cdn.path)[0].status == 403, "without its signature"
    elsewhere.close()


def test_a_commit_moves_its_branch_and_leaves_the_older_ones(
    plain: http.client.HTTPConnection, small: Repository
) -> None:
    def sha(revision: str) -> Any:
        return json.loads(get(plain, f"/api/models/org/small/revision/{revision}")[1]).get("sha")

    before = sha("main")
    after = small.commit({"config.json": "{}"})
    aside = small.commit({"config.json": "[]"}, branch="wip/aside")
    assert (sha("main"), sha(before), sha("wip%2Faside"), sha("other")) == (after, before, aside, None)
    assert len({before, after, aside}) == 3


def test_a_slow_a_late_a_silent_and_a_dead_hub(small: Repository) -> None:
    path = f"/api/resolve-cache/models/org/small/{small.sha}/config.json"
    size = small.head.files["config.json"].blob.size
    threads = threading.active_count()
    with Hub(small) as hub:
        address = urlsplit(hub.endpoint).netloc
        for name, value in (("bytes_per_s", size * 4), ("delay_s", 0.2)):
            hub.fail("*/config.json", **{name: value})
            connection = http.client.HTTPConnection(address, timeout=5)
            begin = time.monotonic()
            response, body = get(connection, path)
            assert (response.status, len(body)) == (200, size)
            assert 0.15 <= time.monotonic() - begin < 3
            connection.close()
        hub.fail("*/config.json", hang=True)
        connection = http.client.HTTPConnection(address, timeout=0.1)
        with pytest.raises(TimeoutError):
            get(connection, path)
        connection.close()
        for cut_after in (None, 10):
            hub.fail("*/config.json", cut_after=cut_after, reset=True, drop=cut_after is None)
            connection = http.client.HTTPConnection(address, timeout=5)
            with pytest.raises(ConnectionResetError):
                get(connection, path)
            connection.close()
        hub.fail("*/config.json", cut_after=10)
        connection = http.client.HTTPConnection(address, timeout=5)
        with pytest.raises(http.client.IncompleteRead) as cut:
            get(connection, path)
        assert len(cut.value.partial) == 10
        connection.close()
        kept = http.client.HTTPConnection(address, timeout=5)
        assert get(kept, path)[0].status == 200
        with hub.down():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", urlsplit(hub.endpoint).port or 0))
            with pytest.raises(ConnectionError):
                get(kept, path)
        kept.close()
        assert get(kept, path)[0].status == 200, "it is back at the same address"
        kept.close()
        assert hub.requests("*/config.json")[-1].sent == size
        # This one is not answered when the hub ends, and must not keep it from ending.
        hub.fail("*/config.json", hang=True)
        waiting = http.client.HTTPConnection(address, timeout=5)
        waiting.request("GET", path)
        begin = time.monotonic()
    assert time.monotonic() - begin < 2
    waiting.close()
    assert threading.active_count() == threads, "nothing is left of it"


def test_faults_are_counted_skipped_and_lifted(small: Repository) -> None:
    path = "/api/models/org/small"
    with Hub(small) as hub:
        connection = http.client.HTTPConnection(urlsplit(hub.endpoint).netloc, timeout=5)
        fault = hub.fail("/api/*", status=500, skip=1, times=2, error_code="Odd", message="so it is")
        assert [get(connection, path)[0].status for _ in range(4)] == [200, 500, 500, 200]
        assert fault.happened == 2
        always = hub.fail("/api/*", status=502, times=None)
        response, body = get(connection, path)
        assert (response.status, json.loads(body)) == (502, {"error": "Internal Error"})
        hub.heal(always)
        assert get(connection, path)[0].status == 200
        hub.fail("*", method="HEAD", status=503, times=None)
        assert [get(connection, path, method)[0].status for method in ("HEAD", "GET")] == [503, 200]
        hub.heal()
        assert get(connection, path, "HEAD")[0].status == 200
        assert [request.status for request in hub.requests()] == [200, 500, 500, 200, 502, 200, 503, 200, 200]
        connection.close()


@pytest.mark.skipif(shutil.which("git") is None, reason="git gives the ids to compare with")
def test_ids_are_those_that_git_gives(tmp_path: Path) -> None:
    repo = Repository("org/ids", {"config.json": "{}", "a.b": "1", "a/z.txt": "2", "w.bin": b"weights"})
    head = repo.head
    moment = f"{int(head.date.timestamp())} +0000"
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        **{f"GIT_{who}_NAME": "stand-in" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "stand-in@localhost" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_DATE": moment for who in ("AUTHOR", "COMMITTER")},
    }

    def git(*words: str) -> str:
        return subprocess.check_output(["git", *words], cwd=tmp_path, env=env, text=True).strip()

    git("init", "-q")
    for path, file in head.files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(file.blob.pointer if file.lfs else file.blob.read(0, file.blob.size))
    git("add", ".")
    assert git("write-tree") == head.trees[""]
    assert git("commit-tree", "-m", head.title, head.trees[""]) == head.sha
    assert git("rev-parse", f"{head.sha}:a") == head.trees["a"]
    assert git("hash-object", "w.bin") == head.files["w.bin"].git_id


def test_by_hand_it_serves_the_models_of_a_folder(tmp_path: Path) -> None:
    for folder in ("org/one", "old"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text(json.dumps({"model_type": folder}))
    serving = subprocess.Popen(
        [sys.executable, "-m", "tests.hub", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert serving.stdout is not None
    try:
        endpoint = serving.stdout.readline().strip()
        connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=5)
        listed = json.loads(get(connection, "/api/models")[1])
        assert sorted(model["id"] for model in listed) == ["old", "org/one"]
        told = json.loads(get(connection, "/api/models/old")[1])
        assert told["config"] == {"model_type": "old"}
        connection.close()
    finally:
        serving.terminate()
        assert serving.wait(PATIENCE_S) == 0
        serving.stdout.close()
