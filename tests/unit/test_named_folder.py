"""A folder that the user names: which one is meant, and which cannot be filled in one step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neuronctl.errors import UsageError
from neuronctl.named_folder import compile_named, is_filled, named_folder
from neuronctl.neuron.written import read_written
from tests.plan_sample import neuron_plan, sample_host, sample_plan

VARIABLE = "NEURON_COMPILED_ARTIFACTS"


def test_the_profile_wins_over_the_shell_and_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    host = sample_host(tmp_path, {VARIABLE: "./link"})
    plan = neuron_plan(tmp_path)
    assert named_folder(plan, host) == tmp_path / "real"
    stated = neuron_plan(tmp_path, "artifacts: {path: /stated}")
    assert named_folder(stated, host) == Path("/stated")
    assert named_folder(plan, sample_host(tmp_path)) is None
    assert named_folder(sample_plan(tmp_path), host) is None


def test_a_new_disk_is_empty(tmp_path: Path) -> None:
    assert not is_filled(tmp_path / "nowhere")
    (tmp_path / "lost+found").mkdir()
    assert not is_filled(tmp_path)
    (tmp_path / "model.pt").touch()
    assert is_filled(tmp_path)


def test_the_root_of_a_file_system_is_refused_before_anything_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path / "volume")
    plan, host = neuron_plan(tmp_path), sample_host(tmp_path)
    with pytest.raises(UsageError, match="root of a file system") as caught:
        compile_named(plan, host, tmp_path / "volume", tmp_path / "log", lambda told: None)
    assert str(tmp_path / "volume" / "compiled") in str(caught.value.fix)
    assert not (tmp_path / "volume").exists()


def test_a_pipe_in_place_of_the_configuration_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "neuron_config.json")
    with pytest.raises(OSError, match="not a file"):
        read_written(tmp_path)
