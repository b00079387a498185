"""`compile` and `serve` with the stand-in Neuron SDK, as real processes."""

from __future__ import annotations

import json
import signal

import pytest

from neuronctl.host import Host
from tests.process.neuron_machine import NeuronTerminal
from tests.process.terminal import Running

CROSS = ("--target", "inf2.xlarge", "--stack", "sdk-2.28")


def paris(terminal: NeuronTerminal) -> str:
    body = {"model": terminal.model.name, "messages": [{"role": "user", "content": "The capital of France?"}]}
    answer = Host().http("POST", f"{terminal.url}/v1/chat/completions", body=json.dumps(body).encode())
    return f"{answer.status} {answer.body}"


def stop(running: Running) -> dict[str, object]:
    running.signal(signal.SIGINT)
    data: dict[str, object] = running.end().expect(130).envelope["data"]
    return data


def test_compiled_once_and_served_from_the_artifact(instance: NeuronTerminal) -> None:
    for hit in (False, True):
        running = instance.serve("--json")
        assert "Paris" in paris(instance)
        data = stop(running)
        assert (data["hit"], data["repaired"]) == (hit, False)
        assert instance.served().startswith("LOADS")
        assert "tp=2 batch=4 len=128" in instance.served()
    files = sorted(path.relative_to(instance.tree()).as_posix() for path in instance.tree().rglob("*.*"))
    assert files == [
        "model.pt",
        "neuron_config.json",
        "weights/tp0_sharded_checkpoint.safetensors",
        "weights/tp1_sharded_checkpoint.safetensors",
    ]
    assert [path.name for path in instance.cwd.iterdir()] == ["p.yaml"]
    assert not (instance.tmp / "nxd_model").exists()
    assert instance.staging() == []


def test_compiled_without_a_device_and_served_on_the_instance(
    builder: NeuronTerminal, instance: NeuronTerminal
) -> None:
    said = builder.run("compile", "p.yaml", *CROSS).expect(0, "compiled in", "on an inf2.xlarge")
    assert "with this store: neuronctl serve p.yaml\n" in said.out
    assert "differs" not in said.err
    builder.run("compile", "p.yaml", *CROSS).expect(0, "hit")
    builder.store_home.rename(instance.store_home)
    running = instance.serve("--json")
    assert "Paris" in paris(instance)
    assert stop(running)["hit"] is True


@pytest.mark.parametrize("kind", ["repeat", "empty"])
def test_what_was_compiled_without_being_asked_is_asked_before_it_serves(
    warm_instance: NeuronTerminal, kind: str
) -> None:
    said = warm_instance.run("serve", "p.yaml", stand_in=f"answer={kind}").expect(40, "fails the smoke test")
    assert "ready after" not in said.err
    assert warm_instance.quarantined() == []  # the files are whole: to compile them again helps nobody
    assert stop(warm_instance.serve("--json"))["hit"] is True
