"""Models from the hub: what is known of them without weights, and that a download is whole or not there."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.hub.sample import make_model_files, make_safetensors
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
from tests.process.terminal import Terminal, until

NEEDED = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    """An empty hub."""
    with Hub(tokens={"hf_of_a_reader": "reader", "hf_of_another": "another"}) as one:
        yield one


@pytest.fixture
def online(terminal: Terminal, hub: Hub) -> Terminal:
    """A terminal that reaches the hub, with a profile of a model on it."""
    connect(terminal, hub)
    write_profile(terminal)
    return terminal


@pytest.fixture(params=["client that is installed", "client of the Neuron stacks"])
def either(request: pytest.FixtureRequest, online: Terminal) -> Terminal:
    """The same with this client of the hub, or with the one that transformers 4.57 wants (below 1.0)."""
    if request.param == "client of the Neuron stacks":
        with_older_client(online)
    return online


# Facts


def test_facts_need_no_weights_and_planning_again_needs_no_network(either: Terminal, hub: Hub) -> None:
    repo = hub.add(small(weight_bytes=40_000_000, shards=150))
    told = either.run("models", "show", ID, "--json", "--tensors").expect(0).envelope["data"]
    assert told["commit"] == repo.sha
    assert told["checkpoint"]["numbers"] == repo.head.parameters()
    assert len(told["tensors"]) == told["checkpoint"]["tensors"] == 150
    assert told["facts"]["architecture"] == "LlamaForCausalLM"
    assert (told["here"], told["tied_by"]) == (False, "config.json")
    assert hub.sent_bytes() < 400_000, "of 40 MB"
    before = len(hub.requests())
    with hub.down():
        either.run("plan", "p.yaml").expect(0, repo.sha)
        either.run("plan", "p.yaml", env={"HF_HUB_OFFLINE": "1"}).expect(0)
    either.run("plan", "p.yaml").expect(0)
    assert len(hub.requests()) == before


@pytest.mark.parametrize(
    ("stored", "tied"), [(("embed_tokens",), True), (("embed_tokens", "lm_head"), False)]
)
def test_the_tensors_tell_whether_embeddings_are_tied(
    online: Terminal, hub: Hub, stored: tuple[str, ...], tied: bool
) -> None:
    files = make_model_files(config={"model_type": "nobody_knows", "tie_word_embeddings": None})
    names = {"embed_tokens": "model.embed_tokens.weight", "lm_head": "lm_head.weight"}
    files["model.safetensors"] = make_safetensors({names[one]: ("BF16", (256, 64)) for one in stored})
    hub.add(small()).commit(files)
    told = online.run("models", "show", ID, "--json").expect(0).envelope["data"]
    assert (told["facts"]["tied"], told["facts"]["is_tied"], told["tied_by"]) == (None, tied, "the tensors")
    online.run("models", "show", ID).expect(0, "tied (by" if tied else "two tensors (by")


def test_a_hub_that_sends_no_parts_of_files_is_good_enough(either: Terminal, hub: Hub) -> None:
    hub.add(small(weight_bytes=30_000_000))
    hub.fail("*.safetensors", ignore_range=True, times=None)
    told = either.run("models", "show", ID, "--json").expect(0).envelope["data"]
    assert told["checkpoint"] is None
    assert told["facts"]["layers"] == 2
    assert fetched(hub) < 10_000_000, "it does not read what it did not ask for"


# Pinning


def test_a_branch_is_a_commit_in_plan_and_profile(online: Terminal, hub: Hub) -> None:
    repo = hub.add(small())
    sha = repo.sha
    repo.tag("v1")
    pinned = online.run("profiles", "show", "p.yaml", "--pin").expect(0).out
    assert f"revision: {sha}" in pinned
    (online.cwd / "pinned.yaml").write_text(pinned)
    plans = [
        online.run("plan", name, "--json", *more).expect(0).envelope["data"]
        for name, more in (("p.yaml", ()), ("pinned.yaml", ()), ("p.yaml", ("--set", "model.revision=v1")))
    ]
    assert {plan["model"]["commit"] for plan in plans} == {sha}
    assert len({plan["key"] for plan in plans}) == 1


def test_a_branch_that_moves_is_told_and_is_no_new_model(online: Terminal, hub: Hub) -> None:
    repo = hub.add(small())
    first = repo.sha
    online.run("compile", "p.yaml").expect(0)
    online.run("compile", "p.yaml").expect(0, "hit, nothing to compile")
    second = repo.commit(make_model_files(400_000, seed=1))
    online.run("plan", "p.yaml").expect(0, first)
    # Another tool brings the news.
    code = f"import huggingface_hub as h; print(h.snapshot_download({ID!r}))"
    env = {**online.env, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith(second)
    said = online.run("plan", "p.yaml", "--json").expect(0).envelope
    assert said["data"]["model"]["commit"] == first
    (finding,) = [one for one in said["findings"] if one["id"] == "model.branch-moved"]
    assert first in finding["message"]
    assert second in finding["message"]
    online.run("models", "download", ID).expect(0, second)
    said = online.run("plan", "p.yaml", "--json").expect(0).envelope
    assert said["data"]["model"]["commit"] == second
    assert "model.branch-moved" not in {one["id"] for one in said["findings"]}


def test_always_asks_the_hub_for_news(online: Terminal, hub: Hub) -> None:
    repo = hub.add(small())
    write_profile(online, download="always")
    online.run("compile", "p.yaml").expect(0)
    first, second = repo.sha, repo.commit(make_model_files(400_000, seed=1))
    said = online.run("compile", "p.yaml").expect(0)
    assert f"was {first}" in said.err
    assert snapshot(online, second).is_dir()
    assert len(online.artifacts()) == 2


# Downloads


def test_only_what_serving_needs_is_downloaded(either: Terminal, hub: Hub) -> None:
    files = make_model_files(400_000)
    extra = (
        "pytorch_model.bin",
        "model.gguf",
        "consolidated.safetensors",
        "training_args.bin",
        "optimizer.pt",
        "trainer_state.json",
        "original/consolidated.00.pth",
        "onnx/model.onnx",
        "checkpoint-5/model.safetensors",
        "tf_model.h5",
        "LICENSE.txt",
    )
    repo = hub.add(small())
    repo.commit({**files, **dict.fromkeys(extra, b"of no use" * 10)})
    said = either.run("compile", "p.yaml").expect(0)
    assert "preparing the model" in said.err
    assert contents(snapshot(either, repo.sha)) == {name: files[name] for name in NEEDED}
    assert (cache_of(either) / "refs" / "main").read_text() == repo.sha
    listed = either.run("models", "list", "--json").expect(0).envelope["data"]["models"]
    (one,) = listed
    assert (one["id"], one["refs"], one["commit"]) == (ID, ["main"], repo.sha)
    assert (one["here"], one["tied"], one["used_by"]) == (True, False, [])
    # Others find it, and we find theirs.
    code = f"import huggingface_hub as h; print(h.snapshot_download({ID!r}, local_files_only=True))"
    done = subprocess.run([sys.executable, "-c", code], env=either.env, capture_output=True, text=True)
    assert done.stdout.strip().endswith(repo.sha), done.stderr


def test_weights_in_the_older_form(online: Terminal, hub: Hub) -> None:
    repo = hub.add(small())
    repo.commit(
        {"pytorch_model.bin": b"old weights", "training_args.bin": b"x"}, delete=["model.safetensors"]
    )
    online.run("models", "download", ID).expect(0)
    assert contents(snapshot(online, repo.sha)).keys() == NEEDED - {"model.safetensors"} | {
        "pytorch_model.bin"
    }


def test_a_download_that_breaks_off_goes_on_where_it_ended(either: Terminal, hub: Hub) -> None:
    repo = hub.add(small(weight_bytes=9_000_000))
    weights = repo.head.files["model.safetensors"].blob
    cut = hub.fail("/cdn/*.safetensors", cut_after=2_500_000, times=None)
    started = either.start("models", "download", ID)
    until(lambda: hub.requests("/cdn/*.safetensors"), "the first request")
    hub.fail("*resolve*", status=404, error_code="EntryNotFound", times=None)
    refused(started.end(), "goes on where this ended")
    part = cache_of(either) / "blobs" / f"{weights.sha256}.incomplete"
    received = part.stat().st_size
    assert 0 < received < weights.size
    assert not (snapshot(either, repo.sha) / "model.safetensors").exists()
    hub.heal()
    assert cut.happened
    before = fetched(hub)
    either.run("models", "download", ID).expect(0)
    assert fetched(hub) - before == weights.size - received
    assert contents(snapshot(either, repo.sha))["model.safetensors"] == weights.read(0, weights.size)
    assert not part.exists()


def test_a_hub_with_troubles_is_asked_again(either: Terminal, hub: Hub) -> None:
    repo = hub.add(small(weight_bytes=3_000_000))
    weights = repo.head.files["model.safetensors"].blob
    troubles = [
        hub.fail("/api/models/*", status=429, retry_after_s=1),
        hub.fail("/api/models/*", status=502),
        hub.fail("*config.json", status=500),
        hub.fail("/cdn/*.safetensors", cut_after=1_500_000),
        hub.fail("/cdn/*.safetensors", status=429, retry_after_s=1),
        hub.fail("/cdn/*.safetensors", status=503),
    ]
    either.run("models", "download", ID).expect(0)
    assert [one.happened for one in troubles] == [1] * len(troubles)
    assert contents(snapshot(either, repo.sha))["model.safetensors"] == weights.read(0, weights.size)
    begins = [one.range[6:-1] for one in hub.requests("/cdn/*.safetensors") if str(one.range).endswith("-")]
    assert 1_400_000 < max(map(int, begins)) <= 1_500_000, "what was received was dropped"


def test_a_hub_that_asks_for_a_long_pause_is_left_alone(either: Terminal, hub: Hub) -> None:
    hub.add(small())
    hub.fail("/api/models/*", status=429, retry_after_s=3600, times=None)
    refused(either.run("plan", "p.yaml"), "too many requests (429)", "wait 3600 s, as it asks")
    assert len(hub.requests("/api/models/*")) == 1


def test_a_mirror_that_tells_neither_sizes_nor_checksums(either: Terminal) -> None:
    with Hub(tells_blobs=False) as mirror:
        connect(either, mirror)
        repo = mirror.add(small(weight_bytes=1_000_000, shards=2))
        files = make_model_files(1_000_000, shards=2)
        told = either.run("models", "show", ID, "--json").expect(0).envelope["data"]
        assert (told["here"], told["checkpoint"]["numbers"]) == (False, repo.head.parameters())
        either.run("models", "download", ID).expect(0)
        there = contents(snapshot(either, repo.sha))
        assert {name for name in files if name.endswith(("json", "safetensors"))} == there.keys()
        assert all(files[name] == content for name, content in there.items())
        before = fetched(mirror)
        either.run("compile", "p.yaml").expect(0)
        either.run("models", "download", ID).expect(0)
        assert fetched(mirror) == before, "all of it was there"
        for header in ((10**6).to_bytes(8, "little") + b"{}", (30_000).to_bytes(8, "little") + b" " * 20_000):
            repo.commit({"model-00001-of-00002.safetensors": header})
            refused(either.run("models", "show", ID, "--revision", repo.sha), "is damaged on the hub")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_content_that_is_not_what_the_hub_says_is_never_visible(
    online: Terminal, hub: Hub, name: str
) -> None:
    files = make_model_files(400_000)
    files["tokenizer.json"] = b'{"version": "1.0", "of": "' + b"x" * 3_000_000 + b'"}'
    repo = hub.add(small())
    repo.commit(files)
    blob = repo.head.files[name]
    where = "/cdn/*" if name == "model.safetensors" else "*resolve*"
    hub.fail(f"{where}/{name}", flip_at=200_000, times=None)
    refused(online.run("models", "download", ID), name, "is not what the hub says it is")
    assert not (snapshot(online, repo.sha) / name).exists()
    assert not (cache_of(online) / "blobs" / blob.etag).exists()
    hub.heal()
    hub.fail(f"{where}/{name}", flip_at=200_000, times=1)
    online.run("models", "download", ID).expect(0)
    assert contents(snapshot(online, repo.sha))[name] == files[name]


def test_several_at_once_download_once(either: Terminal, hub: Hub) -> None:
    repo = hub.add(small(weight_bytes=3_000_000, shards=3))
    hub.fail("/cdn/*", bytes_per_s=1_500_000, times=None)
    for one in [either.start("models", "download", ID) for _ in range(4)]:
        one.end(clean=False).expect(0)
    sizes = [file.blob.size for name, file in repo.head.files.items() if name.endswith(".safetensors")]
    assert sum(sizes) <= fetched(hub) < sum(sizes) + 100_000, "headers may be read by each"
    assert not list(cache_of(either).glob("blobs/*.incomplete"))


def test_killed_at_random_moments_it_is_whole_in_the_end(online: Terminal, hub: Hub) -> None:
    files = make_model_files(80_000_000, shards=4)
    shards = {name: len(content) for name, content in files.items() if name.endswith(".safetensors")}
    repo = hub.add(small())
    repo.commit({**files, "model.safetensors": b"not named by the index"})
    # The client hands on 1 MiB at a time: what comes more slowly is never there to be taken up.
    hub.fail("/cdn/*-00001-of-*", bytes_per_s=16_000_000, times=None)
    hub.fail("/cdn/*", bytes_per_s=4_000_000, times=None)
    folder, blobs = snapshot(online, repo.sha), cache_of(online) / "blobs"
    chance = random.Random(5)
    parts: dict[str, int] = {}
    taken_up = 0
    whole: set[str] = set()
    for turn in range(50):
        before = fetched(hub)
        one = online.start("models", "download", ID)
        # For most of its life it only begins: every third is killed while weights come.
        while turn % 3 == 0 and fetched(hub) == before and one.process.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.uniform(0.1, 0.7))
        one.process.kill()
        one.process.wait()
        for name, content in contents(folder).items() if folder.exists() else ():
            assert content == files[name], f"{name} is half there"
        whole |= {name for name in shards if (folder / name).exists()}
        left = {part.name: part.stat().st_size for part in blobs.glob("*.incomplete")}
        taken_up += any(0 < parts.get(name, 0) < size for name, size in left.items())
        parts = left
    until(lambda: not online.left(), "the children's end")
    assert taken_up >= 5, "hardly anything was left to be taken up"
    assert whole, "no shard was whole in fifty tries"
    hub.heal()
    online.run("models", "download", ID).expect(0)
    wanted = {name: content for name, content in files.items() if name not in (".gitattributes", "README.md")}
    assert contents(folder) == wanted
    assert not list(blobs.glob("*.incomplete"))
    assert fetched(hub) < 3 * sum(shards.values()), "what was there was fetched again"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_it_ends_at_once_and_keeps_what_it_has(
    online: Terminal, hub: Hub, number: int, code: int
) -> None:
    repo = hub.add(small(weight_bytes=9_000_000))
    hub.fail("/cdn/*", bytes_per_s=2_000_000, times=None)
    one = online.start("models", "download", ID)
    part = cache_of(online) / "blobs" / f"{repo.head.files['model.safetensors'].blob.sha256}.incomplete"
    until(lambda: part.exists() and part.stat().st_size > 2_000_000, "something received")
    began = time.monotonic()
    one.signal(number)
    assert one.end().code == code
    assert time.monotonic() - began < 10
    received = part.stat().st_size
    hub.heal()
    before = fetched(hub)
    online.run("models", "download", ID).expect(0)
    assert fetched(hub) - before <= 9_100_000 - received


# What goes wrong


def test_a_model_that_nobody_knows(online: Terminal, hub: Hub) -> None:
    hub.add(small("org/smaller"))
    for command in (("plan",), ("compile",), ("serve",)):
        refused(
            online.run(*command, "p.yaml"), "the hub knows no model org/small", "did you mean org/smaller?"
        )
    said = online.run("plan", "p.yaml", "--json").expect(41).envelope
    assert said["errors"][0]["code"] == "model.unknown"


def test_a_revision_that_is_gone(either: Terminal, hub: Hub) -> None:
    hub.add(small()).branch("stable")
    write_profile(either, revision="stabel")
    refused(either.run("plan", "p.yaml"), "org/small has no revision stabel", "did you mean stable?")
    write_profile(either, revision="f" * 40)
    refused(either.run("plan", "p.yaml"), f"org/small has no revision {'f' * 40}")


def test_a_gated_model(either: Terminal, hub: Hub) -> None:
    repo = hub.add(small(gated="manual", readers={"reader"}))
    said = refused(either.run("compile", "p.yaml"), "org/small", "is gated, and no token is set")
    assert f"accept its licence on {hub.endpoint}/{ID}, then set HF_TOKEN" in said.err
    env = {"HF_TOKEN": "hf_of_another"}
    said = refused(either.run("compile", "p.yaml", env=env), "has no access to it")
    assert "hf_of_another" not in said.out + said.err
    either.run("compile", "p.yaml", env={"HF_TOKEN": "hf_of_a_reader"}).expect(0)
    assert contents(snapshot(either, repo.sha)).keys() == NEEDED
    assert b"hf_of_a_reader" not in either.everything_written()
    assert not [one for one in hub.requests(host="cdn") if one.authorized], "another host got the token"


def test_a_private_model(online: Terminal, hub: Hub) -> None:
    hub.add(small(private=True, readers={"reader"}))
    refused(online.run("plan", "p.yaml"), "it is private and no token is set", "HF_TOKEN")
    online.run("plan", "p.yaml", env={"HF_TOKEN": "hf_of_a_reader"}).expect(0)
    refused(online.run("plan", "p.yaml", "--set", "model.revision=x", env={"HF_TOKEN": "hf_wrong"}), "token")


def test_offline_it_says_which_files_are_missing(online: Terminal, hub: Hub) -> None:
    hub.add(small(shards=2))
    offline = {"HF_HUB_OFFLINE": "1"}
    refused(
        online.run("plan", "p.yaml", env=offline), "HF_HUB_OFFLINE=1 forbids to ask", "unset HF_HUB_OFFLINE"
    )
    online.run("plan", "p.yaml").expect(0)
    refused(online.run("compile", "p.yaml", env=offline), "(model-00001-of-00002.safetensors, model-00002")
    write_profile(online, download="never")
    refused(online.run("compile", "p.yaml"), "model-00001-of-00002.safetensors", "models download org/small")
    write_profile(online, "org/other", download="never")
    refused(online.run("plan", "p.yaml"), "org/other is not in the hub's cache", "forbids to fetch")


def test_a_repository_that_is_no_model(online: Terminal, hub: Hub) -> None:
    repo = hub.add(small())
    repo.commit({}, delete=["config.json"])
    refused(online.run("plan", "p.yaml"), "has no config.json")
    repo.commit({"config.json": b'{"model_type": "llama"}'})
    refused(online.run("plan", "p.yaml"), "names no architecture")
    repo.commit({"config.json": b'{"model_type": \n'})
    refused(online.run("plan", "p.yaml"), "config.json is not JSON", "config.json:2")


def test_weights_that_are_damaged_on_the_hub(online: Terminal, hub: Hub) -> None:
    repo = hub.add(small())
    repo.commit({"model.safetensors": (10**9).to_bytes(8, "little") + b"{}"})
    refused(online.run("plan", "p.yaml"), "model.safetensors of org/small is damaged on the hub")
    repo.commit({"model.safetensors": (9).to_bytes(8, "little") + b"not JSON!"})
    refused(online.run("plan", "p.yaml"), "its header cannot be read")


def test_an_index_that_names_files_that_are_not_there(online: Terminal, hub: Hub) -> None:
    repo = hub.add(small(shards=3))
    repo.commit({}, delete=["model-00002-of-00003.safetensors"])
    refused(online.run("compile", "p.yaml"), "the index of org/small names files", "model-00002-of-00003")


def test_a_model_without_weights_that_vllm_loads(online: Terminal, hub: Hub) -> None:
    repo = hub.add(small())
    repo.commit({"model.gguf": b"GGUF"}, delete=["model.safetensors"])
    refused(online.run("compile", "p.yaml"), "has no weights that vLLM loads")


def test_a_hub_that_cannot_be_reached(either: Terminal, hub: Hub) -> None:
    hub.add(small())
    with hub.down():
        refused(either.run("plan", "p.yaml"), f"{hub.endpoint} refuses the connection", "HF_ENDPOINT")
    env = {"HF_ENDPOINT": "http://no-such-host.invalid"}
    refused(either.run("plan", "p.yaml", env=env), "no address is known for http://no-such-host.invalid")
    env = {
        "HTTP_PROXY": "http://me:swordfish@127.0.0.1:9",
        "NO_PROXY": "",
        "HF_ENDPOINT": "http://hub.invalid",
    }
    said = refused(either.run("plan", "p.yaml", env=env), "HTTP_PROXY=http://me:(hidden)@127.0.0.1:9")
    assert "swordfish" not in said.out + said.err
    hub.fail("/api/models/*", status=503, times=None)
    refused(either.run("plan", "p.yaml"), "has a trouble of its own (HTTP 503)")


def test_code_of_the_model_s_own_is_not_run_unasked(online: Terminal, hub: Hub) -> None:
    own = {"auto_map": {"AutoConfig": "configuration_x.XConfig"}, "model_type": "x_of_a_test"}
    hub.add(small(config=own))
    said = online.run("plan", "p.yaml", "--python", sys.executable, "--json").expect(1).envelope
    (finding,) = [one for one in said["findings"] if one["id"] == "model.remote-code"]
    assert "configuration_x.XConfig" in finding["message"]
    online.run("plan", "p.yaml", "--python", sys.executable, "--set", "model.trust_remote_code=true").expect(
        0
    )
    known = {**own, "model_type": "llama"}
    hub.add(small("org/known", config=known))
    write_profile(online, "org/known")
    online.run("plan", "p.yaml", "--python", sys.executable).expect(0)


def test_a_link_out_of_a_model_s_folder(terminal: Terminal) -> None:
    outside = terminal.folder / "outside.safetensors"
    outside.write_bytes(b"weights")
    folder = terminal.cwd / "linked"
    folder.mkdir()
    (folder / "config.json").write_bytes((terminal.model / "config.json").read_bytes())
    (folder / "model.safetensors").symlink_to(outside)
    refused(
        terminal.run("plan", "p.yaml", "--set", "model.id=./linked"), "is a link out of the model's folder"
    )
    outside.unlink()
    refused(terminal.run("plan", "p.yaml", "--set", "model.id=./linked"), "which is not there")
