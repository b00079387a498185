"""What doctor says of the hub, with the real clients and the stand-in of a hub."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hub.server import Hub, Token
from tests.process.hub_terminal import ID, connect, small, write_profile
from tests.process.terminal import PROJECT, Terminal, free_port

SECRET = "hf_of_a_reader_planted"
# The checks as doctor runs them; the clock may be turned.
PROGRAM = """
import json, sys, time
from neuronctl.doctor.checks import clock, hub, model
from neuronctl.doctor.facts import Facts
from neuronctl.doctor.run import run_checks
from neuronctl.host import Host
from neuronctl.pipeline import Request
ahead_s = float(sys.argv[1])
if ahead_s:
    Host.now = lambda self: time.time() + ahead_s
request = Request(sys.argv[2]) if len(sys.argv) > 2 else None
told = {}
for one in run_checks((*hub.CHECKS, *model.CHECKS, clock.clock), Facts(Host(), request=request)):
    findings = [[f.id, f.severity, f.message, f.fix, str(f.place)] for f in one.findings]
    seen = {"status": one.status, "says": one.says, "findings": findings, "data": dict(one.data)}
    told[one.check.name] = seen
json.dump(told, sys.stdout)
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    tokens = {SECRET: "reader", "hf_of_another": "another", "hf_narrow": Token("reader", reads_gated=False)}
    with Hub(small(), small("org/gated", gated="manual", readers={"reader"}), tokens=tokens) as one:
        yield one


@pytest.fixture(params=["client that is installed", "client of the Neuron stacks"])
def online(request: pytest.FixtureRequest, terminal: Terminal, hub: Hub) -> Terminal:
    """A terminal that reaches the hub by either client, and names a model on it."""
    connect(terminal, hub)
    write_profile(terminal)
    write_profile(terminal, "org/gated", "gated.yaml")
    if request.param == "client of the Neuron stacks":
        older = PROJECT / ".venv" / "older-hub"
        assert (older / "huggingface_hub").is_dir(), "make setup puts it there"
        terminal.env["PYTHONPATH"] = f"{older}:{terminal.env['PYTHONPATH']}"
    return terminal


def doctor(terminal: Terminal, *words: str, ahead_s: float = 0.0, **env: str) -> dict[str, Any]:
    """What each check said; no token is ever in it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ahead_s), *words],
        cwd=terminal.cwd,
        env={**terminal.env, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    secrets = [env.get("HF_TOKEN", SECRET), SECRET]
    assert not any(secret in done.stdout + done.stderr for secret in secrets)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def ids(told: dict[str, Any]) -> dict[str, list[str]]:
    return {name: [finding[0] for finding in one["findings"]] for name, one in told.items()}


def test_all_is_well(online: Terminal) -> None:
    told = doctor(online, "./gated.yaml", HF_TOKEN=SECRET)
    assert {name: one["status"] for name, one in told.items()} == {
        "hub": "ok",
        "hub token": "ok",
        "clock": "ok",
        "hub access": "ok",
        "model": "ok",
    }
    assert told["hub token"]["data"] == {"set": True, "from": "HF_TOKEN", "valid": True, "account": "reader"}
    assert told["hub access"]["data"]["asked"] == ["org/gated"]


def test_without_a_profile_and_a_token(online: Terminal) -> None:
    told = doctor(online)
    assert [told[name]["status"] for name in ("hub", "hub token", "hub access")] == ["ok", "ok", "not-here"]


def test_a_token_out_of_a_file(online: Terminal) -> None:
    file = online.home / ".cache" / "huggingface" / "token"
    file.parent.mkdir(parents=True)
    file.write_text(f"{SECRET}\n")
    assert doctor(online)["hub token"]["data"]["from"] == str(file)
    [finding] = doctor(online, HF_TOKEN="hf_wrong")["hub token"]["findings"]
    assert "unset HF_TOKEN" in finding[3], "the one in the file is good"
    file.write_text("hf_wrong_as_well")
    [finding] = doctor(online)["hub token"]["findings"]
    assert (finding[0], str(file) in finding[2]) == ("hub.bad-token", True)


def test_a_bad_token_is_a_warning_and_an_error_for_a_model_that_is_not_here(online: Terminal) -> None:
    told = doctor(online, "./gated.yaml", HF_TOKEN="hf_wrong")
    assert ids(told)["hub token"] == ["hub.bad-token"]
    [finding] = told["hub access"]["findings"]
    assert finding[:2] == ["hub.no-access", "error"]
    assert "does not accept the token" in finding[2]
    assert ids(told)["hub"] == [], "it is reached all the same"


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (None, "gated, and no token is set"),
        ("hf_of_another", "has no access to it"),
        ("hf_narrow", "no right to read"),
    ],
)
def test_a_gated_model(online: Terminal, token: str | None, words: str) -> None:
    told = doctor(online, "./gated.yaml", **({"HF_TOKEN": token} if token else {}))
    [finding] = told["hub access"]["findings"]
    assert finding[:2] == ["hub.no-access", "error"]
    assert words in finding[2]
    assert finding[4] == "model.id"


def test_adapters_and_drafts_are_asked_for_too(online: Terminal) -> None:
    (online.cwd / "more.yaml").write_text(
        f"model: {{id: {ID}}}\nbackend: cpu\nfeatures:\n"
        "  speculative: {method: eagle, model: org/gated, tokens: 3}\n"
        "  lora: {adapters: {sql: org/nowhere, local: ./adapter}}\n"
    )
    told = doctor(online, "./more.yaml", HF_TOKEN="hf_of_another")
    places = {finding[4]: finding[2] for finding in told["hub access"]["findings"]}
    assert set(places) == {"features.speculative.model", "features.lora.adapters.sql"}
    assert "knows no model org/nowhere" in places["features.lora.adapters.sql"]


def test_what_is_here_is_not_asked_for(online: Terminal, hub: Hub) -> None:
    online.run("models", "download", ID).expect(0)
    before = len(hub.requests("*auth-check"))
    assert doctor(online, "./p.yaml")["hub access"]["status"] == "not-here"
    assert len(hub.requests("*auth-check")) == before
    with hub.down():
        assert ids(doctor(online, "./p.yaml"))["hub"] == ["hub.unreachable"]


def test_a_hub_that_is_down(online: Terminal, hub: Hub) -> None:
    with hub.down():
        told = doctor(online, "./p.yaml", HF_TOKEN=SECRET)
    [finding] = told["hub"]["findings"]
    assert finding[:2] == ["hub.model-unreachable", "error"]
    assert "refuses the connection" in finding[2]
    assert {told[name]["status"] for name in ("hub token", "clock", "hub access")} == {"cannot-tell"}


def test_a_hub_that_is_down_is_one_finding_and_no_further_doubt(online: Terminal, hub: Hub) -> None:
    before, *_ = online.run("doctor").expect(0).out.splitlines()
    with hub.down():
        first, *rest = online.run("doctor").expect(0).out.splitlines()
    assert first == before, "the clock, which asks the hub too, adds nothing to it"
    assert any("hub.unreachable" in line for line in rest)


def test_a_hub_that_hangs_or_is_unwell(online: Terminal, hub: Hub) -> None:
    hub.fail("*", hang=True, times=None)
    [finding] = doctor(online)["hub"]["findings"]
    assert (finding[0], "in time" in finding[2]) == ("hub.unreachable", True)
    hub.faults.lift()
    hub.fail("*", status=503, times=None)
    [finding] = doctor(online)["hub"]["findings"]
    assert "trouble of its own (HTTP 503)" in finding[2]


def test_no_address_and_a_proxy_that_is_not_there(online: Terminal) -> None:
    [finding] = doctor(online, HF_ENDPOINT="http://hub.invalid")["hub"]["findings"]
    assert (finding[0], "no address is known" in finding[2]) == ("hub.unreachable", True)
    proxy = f"http://me:hunter2@127.0.0.1:{free_port()}"
    told = doctor(online, HF_ENDPOINT="http://hub.invalid", HTTP_PROXY=proxy, http_proxy=proxy)
    [finding] = told["hub"]["findings"]
    assert "_proxy" in finding[2].lower()
    assert "hunter2" not in str(told)


def test_a_clock_that_is_an_hour_ahead(online: Terminal) -> None:
    told = doctor(online, ahead_s=3600.0)
    [finding] = told["clock"]["findings"]
    assert finding[:2] == ["host.clock-off", "warning"]
    assert "60 minutes ahead of" in finding[2]


def test_offline_nothing_is_asked(online: Terminal, hub: Hub) -> None:
    told = doctor(online, "./p.yaml", HF_HUB_OFFLINE="1", HF_TOKEN=SECRET)
    assert {name for name, one in told.items() if one["status"] != "not-here"} == {"model"}
    assert not hub.requests("*")


def test_a_model_that_is_not_here_and_must_not_be_fetched(online: Terminal) -> None:
    online.env["HF_HUB_OFFLINE"] = "1"
    said = online.run("doctor", "p.yaml").expect(
        41, "error model.not-here: org/small is not here, and HF_HUB_O"
    )
    assert "try: unset HF_HUB_OFFLINE, or download it elsewhere" in said.out
    online.run("compile", "p.yaml").expect(41)
    said = online.run("doctor", "p.yaml", env={"HF_HUB_OFFLINE": "0"}).expect(0)
    online.run("models", "download", ID, env={"HF_HUB_OFFLINE": "0"}).expect(0)
    online.run("doctor", "p.yaml").expect(0)


def test_a_model_that_the_profile_forbids_to_fetch(online: Terminal) -> None:
    write_profile(online, download="never")
    said = online.run("doctor", "p.yaml", "--json").expect(41)
    errors = [one for one in said.envelope["findings"] if one["severity"] == "error"]
    assert [one["id"] for one in errors] == ["model.not-here"]
    assert errors[0]["fix"].startswith("neuronctl models download org/small")
    online.run("models", "download", ID).expect(0)
    online.run("doctor", "p.yaml").expect(0)


def test_offline_says_that_it_was_not_asked_and_blames_no_variable(online: Terminal) -> None:
    """Of a model of which nothing is known there is no plan; of one that is known there is one."""
    said = online.run("doctor", "p.yaml", "--offline").expect(1, "is not known: its plan cannot be made")
    assert "leave --offline out" in said.out
    online.run("plan", "p.yaml").expect(0)
    again = online.run("doctor", "p.yaml", "--offline")
    again.expect(0, "as far as could be checked", "org/small is not here, and --offline forbids to ask")
    online.run("doctor", "p.yaml", "--offline", "--strict").expect(1)
    assert "HF_HUB_OFFLINE" not in said.out + again.out
